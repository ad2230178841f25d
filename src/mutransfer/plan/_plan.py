"""The Plan: how every tensor of one model is initialised and trained, relative to its base; plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from .._errors import MutransferError
from ..rules import QUANTITIES, Family, Place, Powers, Role, bibtex, powers
from . import _apply, _audit, _forward, _groups
from ._forward import ForwardMultiplier
from ._show import explanation, table
from ._warnings import PlanWarning


@dataclass(frozen=True, kw_only=True)
class TensorPlan:
    """How one tensor scales.

    Attributes:
        name: Its fully qualified name.
        role: What it is to the network.
        shape: Its shape in the model.
        base_shape: The shape of its counterpart in the base.
        run: Names of its equals in the model, of one shape and factor; their initial scale is measured together.
        place: Where it stands in the residual network.
        optimizer: Name of the family that trains it.
        ratios: The ratios that the powers are evaluated at, target over base.
        init: Power of the standard deviation at initialisation.
        lr: Power of the learning rate.
        eps: Power of the optimizer's eps.
        decay: Power of the weight decay that the optimizer is given.
        multiplier: The explicit multiplier (of the readout, the branch, the attention) that is folded into it.
        base_rms: RMS of its counterparts at initialisation, for `initialize`; None where the base has no values.
        reasons: Why, one sentence each, with the source.
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    base_shape: tuple[int, ...]
    run: tuple[str, ...]
    place: Place
    optimizer: str
    ratios: Mapping[str, Fraction]
    init: Powers
    lr: Powers
    eps: Powers
    decay: Powers
    multiplier: Powers
    base_rms: float | None
    reasons: tuple[str, ...]

    def factor(self, quantity: str) -> float:
        """The factor of "init", "lr", "eps", "decay" or "multiplier" over its value at base size."""
        power: Powers = getattr(self, quantity)
        return power.evaluate(self.ratios)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How every tensor of a model is initialised and trained so that the base's hyperparameters stay right.

    Plain, immutable data keyed by parameter name: nothing is hung on tensors, and `Plan.from_json` gives it back on any machine.

    Attributes:
        rule: Name of the parametrization.
        title: What it is, in one line.
        why: Why this one.
        cites: Keys of the papers that rule and optimizers come from.
        rescales: Whether initial scales follow the rule; under standard parametrization the model's own are kept.
        clip: Factor of a gradient norm's threshold over its value at base size (`clip_grad_norm_`).
        optimizers: The optimizer families by name.
        depth: Number of residual branches in the base and in the model.
        tensors: What is planned for each parameter.
        forward: What the outputs of modules are multiplied by, where no learned tensor can carry it; mostly empty.
        warnings: What the plan cannot promise.
    """

    rule: str
    title: str
    why: str
    cites: tuple[str, ...]
    rescales: bool
    clip: float
    optimizers: Mapping[str, Family]
    depth: tuple[int, int]
    tensors: Mapping[str, TensorPlan]
    forward: Mapping[str, ForwardMultiplier] = field(default_factory=dict)
    warnings: tuple[PlanWarning, ...] = ()

    @property
    def optimizer(self) -> str:
        """Names of the optimizer families."""
        return " + ".join(self.optimizers)

    @property
    def at_base(self) -> bool:
        """Whether the model is its own base, so that the plan changes nothing."""
        ratios = [each.ratios for each in self.tensors.values()] + [each.ratios for each in self.forward.values()]
        return all(ratio == 1 for each in ratios for ratio in each.values())

    def attach(self, model: nn.Module) -> None:
        """Put the forward multipliers on their modules, as hooks; nothing happens where the plan has none, as mostly.

        They are part of the model: call it after every building, before `initialize`, training and inference. They survive deepcopy,
        torch.compile, torch.export, sharding and pickling of the model, and leave its state_dict alone.

        Raises:
            MutransferError: the model is not the planned one, or was exported.
        """
        _forward.attach(self, model)

    def initialize(self, model: nn.Module) -> None:
        """Rescale the model's own initial draw in place, so that each tensor's RMS is the base's times the planned power.

        Zeros stay zeros and distributions keep their shape. At base size, and under standard parametrization, nothing changes.

        Raises:
            MutransferError: the model is not the planned one, or has no values yet, or the base had none.
        """
        _apply.initialize(self, model)

    def param_groups(
        self,
        model: nn.Module,
        lr: float | Tensor,
        *,
        eps: float | tuple[float, float] | None = None,
        weight_decay: float | None = None,
        rho: float | None = None,
        optimizer: str | None = None,
        modules: Mapping[str, float] | None = None,
        undecayed: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        """Parameter groups for the optimizer, one for each set of equal factors.

        What the plan scales is given here and not to the optimizer: values in groups go before the optimizer's own.
        Each group names its parameters ("names") and its share of the rate ("lr_factor").

        Args:
            model: The planned model, also wrapped by torch.compile or DDP.
            lr: The learning rate at base size; a tensor is left as it is: each group has its own.
            eps: The optimizer's eps at base size; torch's default where it is not given. Adafactor has two.
            weight_decay: The weight decay at base size; torch's default where it is not given, 0 for optimizers that torch has not.
            rho: Sophia's threshold at base size.
            optimizer: Which family the groups are for, where several train the model; only its tensors are in them.
            modules: Factors of the base rate by name pattern, for rates tuned for each kind of module; the first that matches.
            undecayed: Roles or name patterns of tensors that get no weight decay, such as ("bias", "gain").

        Raises:
            MutransferError: the model is not the planned one, or the optimizer has no such hyperparameter.
        """
        if isinstance(undecayed, str):
            raise MutransferError(f"undecayed is {undecayed!r}: give a list, such as [{undecayed!r}]")
        settings = _groups.Settings(lr=lr, eps=eps, weight_decay=weight_decay, rho=rho, modules=modules or {}, undecayed=tuple(undecayed))
        return _groups.param_groups(self, model, settings, optimizer)

    def clip_grad_norm_(self, model: nn.Module, max_norm: float) -> Tensor:
        """Clip the gradients' global norm at base size's threshold, whatever the model's size and the rule's form; like torch's function.

        The norm is that of the gradients where all multipliers are explicit (Table 8), as in `rules.Parametrization.clip`.

        Args:
            model: The planned model, after backward.
            max_norm: The threshold at base size.

        Returns:
            The norm before clipping.

        Raises:
            MutransferError: the model is not the planned one.
        """
        return _apply.clip_grad_norm_(self, model, max_norm)

    def audit(self, model: nn.Module, *optimizers: torch.optim.Optimizer, modules: Mapping[str, float] | None = None) -> _audit.Audit:
        """Whether the optimizers train the model as planned, asked at any step: schedules and loops can silently switch the scaling off.

        Every planned tensor that trains has to be in just one group, of an optimizer of its family, at rates, eps and weight decays that
        stand in the planned ratios, whatever common rate a schedule has reached. A weight decay of zero is taken as meant. Values of
        parameters are not read.

        Args:
            model: The planned model, also wrapped by torch.compile or DDP.
            optimizers: All optimizers that train it.
            modules: What `param_groups` was given.

        Raises:
            MutransferError: the model is not the planned one, or no optimizer was given.
        """
        return _audit.audit(self, _audit.expectations(self, modules or {}), model, optimizers)

    def guard(self, model: nn.Module, *optimizers: torch.optim.Optimizer, modules: Mapping[str, float] | None = None) -> _audit.Guard:
        """Audit now and before each step of the optimizers, and raise at the first that is not as planned.

        Step the schedulers of several optimizers after all of them. A rate that is a tensor on a device is read at each step.

        Args:
            model: The planned model, also wrapped by torch.compile or DDP.
            optimizers: All optimizers that train it.
            modules: What `param_groups` was given.

        Returns:
            What ends it, with `remove()` or as a context manager.

        Raises:
            MutransferError: with all findings of the audit.
        """
        return _audit.guard(self, model, optimizers, modules or {})

    def per_group(self, optimizer: torch.optim.Optimizer, value: float) -> list[float]:
        """A rate at base size, scaled for each group, for schedulers that set rates: OneCycleLR(max_lr=plan.per_group(optimizer, 0.1)).

        Also CyclicLR's base_lr and max_lr, ReduceLROnPlateau's min_lr and SWALR's swa_lr.

        Raises:
            MutransferError: a group has no factor, so it is not of `param_groups`.
        """
        return _audit.per_group(optimizer, value)

    def cite(self) -> str:
        """BibTeX of the papers that the rule and the optimizers' rules come from."""
        return bibtex(self.cites)

    def explain(self, name: str) -> str:
        """The derivation of one tensor's factors, with the source.

        Raises:
            MutransferError: the plan has no tensor of this name.
        """
        return explanation(self, self[name])

    def __getitem__(self, name: str) -> TensorPlan:
        try:
            return self.tensors[name]
        except KeyError:
            close = [other for other in self.tensors if name in other][:3] or list(self.tensors)[:3]
            raise MutransferError(f"the plan has no tensor {name!r}; it has {', '.join(close)}, ...") from None

    def __str__(self) -> str:
        return table(self)

    def to_json(self) -> str:
        """The whole plan as JSON text; powers and ratios are exact."""

        runs = {run: i for i, run in enumerate(dict.fromkeys(tensor.run for tensor in self.tensors.values()))}

        def plain(tensor: TensorPlan) -> dict[str, Any]:
            data = vars(tensor) | {q: getattr(tensor, q).to_json() for q in QUANTITIES} | {"run": runs[tensor.run]}
            return data | {"ratios": {name: str(ratio) for name, ratio in tensor.ratios.items()}}

        head = {name: getattr(self, name) for name in ("rule", "title", "why", "cites", "rescales", "clip", "depth")}
        head["forward"] = [
            {**asdict(each), "multiplier": each.multiplier.to_json(), "ratios": {k: str(v) for k, v in each.ratios.items()}}
            for each in self.forward.values()
        ]
        head["runs"] = list(runs)
        optimizers = [each.to_json() for each in self.optimizers.values()]
        head["warnings"] = [asdict(warning) for warning in self.warnings]
        return json.dumps(head | {"optimizers": optimizers, "tensors": [plain(t) for t in self.tensors.values()]}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote.

        Raises:
            MutransferError: the text is no plan.
        """
        try:
            data = json.loads(text)
            runs = [tuple(names) for names in data.pop("runs")]
            tensors = [_tensor(fields | {"run": runs[fields["run"]]}) for fields in data.pop("tensors")]
            optimizers = [Family.from_json(fields) for fields in data.pop("optimizers")]
            lists = {"depth": tuple(data["depth"]), "cites": tuple(data["cites"])}
            lists["warnings"] = tuple(PlanWarning(**fields) for fields in data["warnings"])
            forward = {fields["module"]: _forward_multiplier(fields) for fields in data.pop("forward")}
            return cls(**data | lists, forward=forward, optimizers={f.name: f for f in optimizers}, tensors={t.name: t for t in tensors})
        except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise MutransferError(f"this is not a plan written by Plan.to_json: {error}") from error


def _forward_multiplier(fields: dict[str, Any]) -> ForwardMultiplier:
    exact = {"multiplier": powers(**fields["multiplier"]), "reasons": tuple(fields["reasons"])}
    made = ForwardMultiplier(**fields | exact | {"ratios": {name: Fraction(ratio) for name, ratio in fields["ratios"].items()}})
    made.multiplier.evaluate(made.ratios)
    return made


def _tensor(fields: dict[str, Any]) -> TensorPlan:
    exact = {q: powers(**fields[q]) for q in QUANTITIES}
    lists = {q: tuple(fields[q]) for q in ("shape", "base_shape", "reasons")}
    ratios = {name: Fraction(ratio) for name, ratio in fields["ratios"].items()}
    for power in exact.values():
        power.evaluate(ratios)
    return TensorPlan(**fields | exact | lists | {"role": Role(fields["role"]), "place": Place(fields["place"]), "ratios": ratios})


def cite(plan: Plan) -> None:
    """Print the BibTeX of the papers that a plan's rule and optimizers come from."""
    print(plan.cite())
