"""The Plan: how every tensor of one model is initialised and trained, relative to its base; plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor, nn

from .._errors import MutransferError
from ..rules import Powers, Role, family, parametrization, powers
from . import _apply
from ._show import explanation, table


@dataclass(frozen=True, kw_only=True)
class TensorPlan:
    """How one tensor scales.

    Attributes:
        name: Its fully qualified name.
        role: What it is to the network.
        shape: Its shape in the model.
        base_shape: The shape of its counterpart in the base.
        run: Names of the tensors that are its equals in the model; their initial scale is measured together.
        in_branch: Whether it lies in a residual branch.
        ratios: The ratios that the powers are evaluated at, target over base.
        init: Power of the standard deviation at initialisation.
        lr: Power of the learning rate.
        eps: Power of the optimizer's eps.
        decay: Power of the weight decay that the optimizer is given.
        base_rms: RMS of its counterparts at initialisation, for `initialize`; None where the base has no values.
        reasons: Why, one sentence each, with the source.
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    base_shape: tuple[int, ...]
    run: tuple[str, ...]
    in_branch: bool
    ratios: Mapping[str, Fraction]
    init: Powers
    lr: Powers
    eps: Powers
    decay: Powers
    base_rms: float | None
    reasons: tuple[str, ...]

    def factor(self, quantity: str) -> float:
        """The factor of "init", "lr", "eps" or "decay" over its value at base size."""
        power: Powers = getattr(self, quantity)
        return power.evaluate(self.ratios)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How every tensor of a model is initialised and trained so that the base's hyperparameters stay right.

    Plain, immutable data keyed by parameter name: nothing is hung on tensors, and `Plan.from_json` gives it back on any machine.

    Attributes:
        rule: Name of the parametrization.
        why: Why this one.
        optimizer: Name of the optimizer family.
        depth: Number of residual branches in the base and in the model.
        tensors: What is planned for each parameter.
    """

    rule: str
    why: str
    optimizer: str
    depth: tuple[int, int]
    tensors: Mapping[str, TensorPlan]

    @property
    def at_base(self) -> bool:
        """Whether the model is its own base, so that the plan changes nothing."""
        return all(ratio == 1 for tensor in self.tensors.values() for ratio in tensor.ratios.values())

    def initialize(self, model: nn.Module) -> None:
        """Rescale the model's own initial draw in place, so that each tensor's RMS is the base's times the planned power.

        Zeros stay zeros and distributions keep their shape. At base size, and under standard parametrization, nothing changes.

        Raises:
            MutransferError: the model is not the planned one, or has no values yet, or the base had none.
        """
        _apply.initialize(self, model)

    def param_groups(
        self, model: nn.Module, lr: float | Tensor, *, eps: float | None = None, weight_decay: float | None = None
    ) -> list[dict[str, Any]]:
        """Parameter groups for the optimizer, one for each set of equal factors.

        What the plan scales is given here and not to the optimizer: values in groups go before the optimizer's own.
        Each group names its parameters ("names") and its share of the rate ("lr_factor").

        Args:
            model: The planned model, also wrapped by torch.compile or DDP.
            lr: The learning rate at base size; a tensor is left as it is: each group has its own.
            eps: The optimizer's eps at base size; torch's default where it is not given.
            weight_decay: The weight decay at base size; torch's default where it is not given.

        Raises:
            MutransferError: the model is not the planned one, or the optimizer has no such hyperparameter.
        """
        return _apply.param_groups(self, model, lr, eps=eps, weight_decay=weight_decay)

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

        def plain(tensor: TensorPlan) -> dict[str, Any]:
            data = asdict(tensor) | {q: getattr(tensor, q).to_json() for q in ("init", "lr", "eps", "decay")}
            return data | {"ratios": {name: str(ratio) for name, ratio in tensor.ratios.items()}}

        head = {"rule": self.rule, "why": self.why, "optimizer": self.optimizer, "depth": self.depth}
        return json.dumps(head | {"tensors": [plain(t) for t in self.tensors.values()]}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote.

        Raises:
            MutransferError: the text is no plan.
        """
        try:
            data = json.loads(text)
            tensors = [_tensor(fields) for fields in data.pop("tensors")]
            parametrization(data["rule"]), family(data["optimizer"])
            return cls(**data | {"depth": tuple(data["depth"]), "tensors": {t.name: t for t in tensors}})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise MutransferError(f"this is not a plan written by Plan.to_json: {error}") from error


def _tensor(fields: dict[str, Any]) -> TensorPlan:
    exact = {q: powers(**fields[q]) for q in ("init", "lr", "eps", "decay")}
    lists = {q: tuple(fields[q]) for q in ("shape", "base_shape", "run", "reasons")}
    ratios = {name: Fraction(ratio) for name, ratio in fields["ratios"].items()}
    return TensorPlan(**fields | exact | lists | {"role": Role(fields["role"]), "ratios": ratios})
