"""Trains one network for a few steps and measures it at each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from inspect import signature
from itertools import product
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core import MutransferError, Size
from ..plans import TensorPlan
from ..pytorch import Plan, build_model, plan, planned_parameters, torch_class
from ..reading import Reading, canonical, pattern
from ..rules import ONE, Parametrization, Place, parametrization
from ._batch import Batches
from ._nonlinear import Inputs, inputs_of, nonlinearity
from ._record import Pass, linear_part, module_name, recording, rms, whole

SPECTRAL_STEPS = 8
"""Steps of the power iteration for spectral norms, which are taken of the first seed: right to a few percent, enough for an exponent."""


_BUILDING = Lock()
"""Initial draws come from torch's global generator, so that models are built one after another."""

DRAWN = 32
"""How many entries at least a tensor has whose initial scale is compared with the planned one."""

DIVERSE = 4
"""How many layers at least the diversity of features is told of."""


class Row(NamedTuple):
    """One measured number: of which network, when, of what.

    The kinds are "module" (quantities size, change, change of this step, own, through input, carried; of norms input, change of input and
    diversity exponent; of ends of branches share; of blocks nonlinearity),
    "tensor" (size, spectral, gradient, update, update spectral, alignment, lr, eps, decay, and planned ones), "attention" (logits, change
    of logits, entropy, head dim) and "loss".
    """

    rule: str
    width: int
    depth: int
    seed: int
    step: int
    kind: str
    name: str
    quantity: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all networks of a check share."""

    build: Callable[..., nn.Module]
    axes: tuple[str, ...]
    base: Reading
    rule: str | Parametrization | None
    optimizer: Any
    hyperparameters: Mapping[str, Any]
    options: Mapping[str, Any]
    steps: int
    batches: Batches
    train: Callable[[Plan, nn.Module], Any] | None
    prepare: Callable[[nn.Module], nn.Module] | None
    on_cpu: bool
    plans: dict[Size, Planned] = field(default_factory=dict)


class Network(NamedTuple):
    """A network that was measured: its plan, what it numbers, what the audits found, what was skipped."""

    plan: Plan
    rows: list[Row]
    findings: tuple[str, ...]
    skipped: tuple[str, ...]


def measure(setup: Setup, size: Size, seed: int) -> Network:
    """Train one network and measure it at every step; several may be measured by several threads.

    Raises:
        MutransferError: it cannot be built, planned or run, or its loss is not finite before the first step.
    """
    with _BUILDING:
        torch.manual_seed(seed)
        model = build_model(setup.build, {axis: size[axis] for axis in setup.axes})
        frozen = {
            canonical(name)
            for name, parameter in model.named_parameters()
            if not parameter.requires_grad
        }
        own, told, beside = _planned(setup, size, model)
        own.attach(model)
        own.initialize(model)
        if setup.prepare is not None:
            model = setup.prepare(model)
        optimizers, schedule = _trained_by(setup, own, model)
    measuring = _Measuring(Planned(own, told, beside), frozen, model, size, seed, setup.steps)
    findings: dict[str, None] = {}
    for step in range(setup.steps + 1):
        _calm(model)
        batch = setup.batches.training(seed, step)
        last = torch.no_grad() if step == setup.steps else nullcontext()
        nothing: AbstractContextManager[Inputs] = nullcontext({})
        blocks = (
            inputs_of(model, measuring.blocks) if step == 0 and setup.prepare is None else nothing
        )
        with recording(model, attention=step in {0, 1, setup.steps}) as seen, last, blocks as given:
            output = batch.run(model)
        measuring.given |= given
        loss = batch.loss(output)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = (
                f"has shape {tuple(loss.shape)}"
                if isinstance(loss, Tensor)
                else f"is a {type(loss).__name__}"
            )
            raise MutransferError(f"the loss {found}: it has to be a tensor with one entry")
        if step == 0 and not math.isfinite(loss.item()):
            raise MutransferError(
                f"the loss at {size} is {loss.item()} before the first step: check batch and loss"
            )
        if (probe := setup.batches.probe(seed)) is not None:
            with recording(model) as seen, torch.no_grad():
                probe.run(model)
        measuring.forward(step, seen, loss.item())
        if step == setup.steps:
            break
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        measuring.backward(step, groups)
        if step in {0, setup.steps - 1} and any("lr_factor" in group for group in groups):
            findings |= dict.fromkeys(own.audit(model, *optimizers).findings)
        for optimizer in optimizers:
            optimizer.step()
        if schedule is not None:
            schedule.step()
    return Network(own, measuring.rows, tuple(findings), tuple(dict.fromkeys(seen.skipped)))


def _whole_rule(rule: str | Parametrization | None, own: Plan) -> str | Parametrization | None:
    """The rule without ablations, and the default one for standard parametrization: what an optimizer should be told."""
    if not own.rescales:
        return None
    chosen = rule if isinstance(rule, Parametrization) else parametrization(own.rule)
    return replace(chosen, name=chosen.name.partition(", without")[0], off=frozenset())


class Planned(NamedTuple):
    """The plan of a size, what an optimizer should be told of each tensor, and what each carries beside its own multiplier."""

    plan: Plan
    told: Mapping[str, Mapping[str, float]]
    carried: Mapping[str, float]


def _planned(setup: Setup, size: Size, model: nn.Module) -> Planned:
    """What is planned for a size; made once for all seeds."""
    if size not in setup.plans:
        own = plan(model, setup.base, rule=setup.rule, optimizer=setup.optimizer, **setup.options)
        whole_rule = _whole_rule(setup.rule, own)
        changed = whole_rule is None or (
            isinstance(whole_rule, Parametrization) and whole_rule.name != own.rule
        )
        right = (
            plan(model, setup.base, rule=whole_rule, optimizer=setup.optimizer, **setup.options)
            if changed
            else own
        )
        chosen = (
            setup.rule if isinstance(setup.rule, Parametrization) else parametrization(own.rule)
        )
        told = {name: _should_be_told(right[name]) for name in own.tensors}
        beside = {
            name: _carried(each, chosen) if own.rescales else 1.0
            for name, each in own.tensors.items()
        }
        setup.plans[size] = Planned(own, told, beside)
    return setup.plans[size]


def _should_be_told(tensor: TensorPlan) -> dict[str, float]:
    """What a tensor's rate, eps, decay and initial scale go as."""
    told = {
        "lr": tensor.factor("lr"),
        "eps": tensor.factor("eps"),
        "decay": tensor.factor("lr") * tensor.factor("decay"),
    }
    told["size"] = tensor.factor("init") * (tensor.base_rms or 0.0)
    return {f"planned_{quantity}": value for quantity, value in told.items()}


def _carried(tensor: TensorPlan, rule: Parametrization) -> float:
    """What a tensor carries beside its own multiplier and that of its branch."""
    branch = rule.branch_multiplier if tensor.place == Place.BRANCH_END else ONE
    return (tensor.multiplier / branch / rule.multiplier(tensor.role, "table8")).evaluate(
        {"depth": 1} | dict(tensor.ratios)
    )


def _trained_by(
    setup: Setup, own: Plan, model: nn.Module
) -> tuple[list[torch.optim.Optimizer], Any]:
    """The optimizers, and a schedule if there is one."""
    if setup.train is not None:
        made = setup.train(own, model)
        several = list(made) if isinstance(made, tuple | list) else [made]
        return [each for each in several if hasattr(each, "param_groups")], next(
            (e for e in several if not hasattr(e, "param_groups")), None
        )
    if (
        len(own.optimizers) != 1
        or (cls := torch_class(next(iter(own.optimizers.values())))) is None
    ):
        raise MutransferError(
            f"torch has no single optimizer for {own.optimizer}: give train=lambda plan, model: <your optimizer>"
        )
    build: Callable[..., torch.optim.Optimizer] = cls
    fast = {"fused": True} if "fused" in signature(cls).parameters and setup.prepare is None else {}
    return [build(own.param_groups(model, **setup.hyperparameters), **fast)], None


def _calm(model: nn.Module) -> None:
    """No dropout, which would hide changes, but batch statistics as in training."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()


class _Measuring:
    """Turns forward and backward passes of one network into rows."""

    def __init__(
        self, own: Planned, frozen: set[str], model: nn.Module, size: Size, seed: int, steps: int
    ) -> None:
        self.rows: list[Row] = []
        self._planned, self._frozen = own, frozen
        self._about = (own.plan.rule, size.width, size.depth, seed)
        self._steps = steps
        self._spectral = seed == 0
        self._parameters = planned_parameters(own.plan, model)
        self._modules = {module_name(name): module for name, module in model.named_modules()}
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        every = model.named_parameters(remove_duplicate=False)
        self._weights = {
            module_name(name.rpartition(".")[0]): names[id(p)]
            for name, p in every
            if name.endswith("weight")
        }
        self._start = {name: whole(p.detach()).clone() for name, p in self._parameters.items()}
        ends = [
            name for name, tensor in own.plan.tensors.items() if tensor.place == Place.BRANCH_END
        ]
        self.blocks = {
            name.rpartition(".")[0].rpartition(".")[0] for name in ends
        } & self._modules.keys() - {""}
        self.given: Inputs = {}
        self._first: Pass | None = None
        self._last: dict[str, Tensor] = {}

    def _add(self, step: int, kind: str, name: str, **values: float) -> None:
        self.rows += [
            Row(*self._about, step, kind, name, quantity.replace("_", " "), value)
            for quantity, value in values.items()
        ]

    def forward(self, step: int, seen: Pass, loss: float) -> None:
        """What a forward pass shows."""
        first = self._first = self._first or seen
        self._add(step, "loss", "loss", size=loss)
        if step == 0:
            self._carried(seen)
        for name, given in seen.streams.items():
            self._add(step, "module", name, input=rms(given))
            if step and name in first.streams and first.streams[name].shape == given.shape:
                self._add(step, "module", name, change_of_input=rms(given - first.streams[name]))
        found: dict[str, dict[str, float]] = {}
        for name, output in seen.outputs.items():
            found[name] = found.get(seen.same.get(name, ""), {})
            if not found[name]:
                found[name] = {"size": rms(output)}
                start, before = first.outputs.get(name), self._last.get(name)
                if (
                    step
                    and start is not None
                    and before is not None
                    and start.shape == output.shape
                ):
                    found[name] |= {
                        "change": rms(output - start),
                        "change_of_this_step": rms(output - before),
                    }
            self._add(step, "module", name, **found[name])
        if step in {0, self._steps}:
            self._shares(step, seen)
            self._diversity(step, seen)
        for number, (logits, entropy) in enumerate(seen.logits):
            self._add(
                step,
                "attention",
                str(number),
                logits=rms(logits),
                entropy=entropy,
                head_dim=seen.head_dims[number],
            )
            if (
                step
                and number < len(first.logits)
                and first.logits[number][0].shape == logits.shape
            ):
                self._add(
                    step,
                    "attention",
                    str(number),
                    change_of_logits=rms(logits - first.logits[number][0]),
                )
        self._last = seen.outputs
        if step == self._steps:
            self._parts(step, seen, first, self._updates(step))
            self._linearisation(step)

    def _carried(self, seen: Pass) -> None:
        """Multipliers of other signals that a module's tensors carry, so that its output goes as they do."""
        for call, output in seen.outputs.items():
            module = seen.same.get(call, call).partition("#")[0]
            if (name := self._weights.get(module)) is not None and output.numel():
                hook = self._planned.plan.forward.get(module)
                beside = (
                    1.0
                    if hook is None
                    else hook.multiplier.substitute(depth=None, own_factor=None).evaluate(
                        hook.ratios
                    )
                )
                self._add(0, "module", call, carried=self._planned.carried[name] * beside)

    def _shares(self, step: int, seen: Pass) -> None:
        """How large the end of each branch is beside the stream, which is the input of the norm before the branch."""
        stream, tensors = 0.0, self._planned.plan.tensors
        for call, output in seen.outputs.items():
            weight = self._weights.get(call.partition("#")[0])
            ends = weight is not None and tensors[weight].place == Place.BRANCH_END
            if call in seen.streams and not ends:
                stream = rms(seen.streams[call])
            elif ends and stream:
                self._add(step, "module", call, share=rms(output) / stream)

    def _diversity(self, step: int, seen: Pass) -> None:
        """The exponent kappa with which features of layers a distance apart differ, as distance^(1 - kappa) (2310.02244, Section 6)."""
        layers: dict[str, list[Tensor]] = {}
        for call, given in seen.streams.items():
            layers.setdefault(pattern(call), []).append(given)
        for name, features in layers.items():
            if len(features) < DIVERSE or len({each.shape for each in features}) > 1:
                continue
            distances = [
                2**i for i in range(len(features).bit_length()) if 2**i <= len(features) // 2
            ]
            differ = [
                math.log(
                    sum(rms(b - a) for a, b in zip(features, features[d:], strict=False))
                    / (len(features) - d)
                )
                for d in distances
            ]
            steps = [math.log(distance) for distance in distances]
            middle = sum(steps) / len(steps)
            slope = sum((x - middle) * y for x, y in zip(steps, differ, strict=True)) / sum(
                (x - middle) ** 2 for x in steps
            )
            self._add(step, "module", name, diversity_exponent=1 - slope)

    def _parts(self, step: int, seen: Pass, first: Pass, spectral: Mapping[str, float]) -> None:
        """How much of a layer's change comes from its own weight, and how much through its input: all but that and the bias."""
        for name, given in seen.inputs.items():
            module = self._modules.get(name.partition("#")[0])
            linear = None if module is None else linear_part(module)
            weight = self._weights.get(name.partition("#")[0])
            if (
                module is None
                or linear is None
                or weight is None
                or name not in first.outputs
                or name not in seen.outputs
            ):
                continue
            own = linear(given, whole(module.weight.detach()) - self._start[weight])
            self._add(step, "module", name, own=rms(own))
            if not isinstance(module, nn.Embedding) and first.outputs[name].shape == own.shape:
                through = seen.outputs[name] - first.outputs[name] - own
                if (bias := getattr(module, "bias", None)) is not None:
                    through -= self._shift(weight, bias).view(-1, *(1,) * (module.weight.dim() - 2))
                self._add(step, "module", name, through_input=rms(through))
                if norms := spectral.get(weight, 0.0) * float(given.norm()):
                    self._add(step, "tensor", weight, alignment=float(own.norm()) / norms)

    def _linearisation(self, step: int) -> None:
        """How far the change of each block is from linear in that of its tensors."""
        for name, given in self.given.items() if self._spectral else ():
            module = self._modules[name]
            own = {
                inner: f"{name}.{inner}" if name else inner
                for inner, _ in module.named_parameters()
            }
            if all(full in self._start for full in own.values()):
                share = nonlinearity(
                    module, {inner: self._start[full] for inner, full in own.items()}, given
                )
                self._add(
                    step, "module", name, **({} if share is None else {"nonlinearity": share})
                )

    def _shift(self, weight: str, bias: Tensor) -> Tensor:
        """How far a layer's bias has moved."""
        return whole(bias.detach()) - self._start[f"{weight.removesuffix('weight')}bias"]

    def _updates(self, step: int) -> dict[str, float]:
        """How far each tensor has moved; the spectral norms of that, by tensor."""
        spectral = {}
        for name, parameter in self._parameters.items():
            if name in self._frozen:
                continue
            start = self._start[name]
            change = whole(parameter.detach()) - start
            self._add(step, "tensor", name, update=rms(change))
            if start.dim() > 1 and self._spectral:
                spectral[name] = spectral_norm(change)
                self._add(
                    step,
                    "tensor",
                    name,
                    update_spectral=spectral[name],
                    spectral=spectral_norm(start),
                )
        return spectral

    def _told(self, name: str, start: Tensor) -> dict[str, float]:
        """What a tensor should be told, and how it should start, where it has so many entries that its RMS tells."""
        told = self._planned.told[name]
        return {
            quantity: value
            for quantity, value in told.items()
            if quantity != "planned_size" or start.numel() >= DRAWN
        }

    def backward(self, step: int, told: list[dict[str, Any]]) -> None:
        """What a backward pass shows, and what the optimizer is told."""
        if step == 0:
            for name, start in self._start.items():
                self._add(step, "tensor", name, size=rms(start), **self._told(name, start))
        groups = {id(p): group for group in told for p in group["params"]}
        for name, parameter in self._parameters.items():
            if parameter.grad is not None and step in {0, self._steps - 1}:
                self._add(step, "tensor", name, gradient=rms(parameter.grad))
            if (group := groups.get(id(parameter))) is not None:
                self._add(step, "tensor", name, **_told(group))


def _told(group: Mapping[str, Any]) -> Mapping[str, float]:
    """Rate, eps and decay a step of a parameter group."""
    found = {"lr": float(group["lr"])}
    if isinstance(eps := group.get("eps"), float):
        found["eps"] = eps
    if group.get("weight_decay"):
        found["decay"] = float(group["lr"]) * float(group["weight_decay"])
    return found


def spectral_norm(tensor: Tensor) -> float:
    """The largest singular value of a matrix, of kernels as matrices with a row for each output."""
    matrix = tensor.flatten(1).float()
    vector = (
        torch.ones(matrix.shape[1], device=matrix.device)
        + torch.arange(matrix.shape[1], device=matrix.device) % 7
    )
    for _ in range(SPECTRAL_STEPS):
        vector = matrix.mT @ (matrix @ vector)
        vector = vector / vector.norm().clamp_min(1e-30)
    return float((matrix @ vector).norm())


def sizes_of(axes: Mapping[str, tuple[int, ...]], *, joint: bool) -> Iterator[Size]:
    """The sizes of a check: one axis at a time from the smallest of each, or all of them together."""
    base = {axis: values[0] for axis, values in axes.items()}
    if joint:
        grids = [dict(zip(axes, point, strict=True)) for point in product(*axes.values())]
    else:
        grids = [
            base,
            *(base | {axis: value} for axis, values in axes.items() for value in values[1:]),
        ]
    yield from (Size(**{"width": 1, "depth": 1} | each) for each in grids)
