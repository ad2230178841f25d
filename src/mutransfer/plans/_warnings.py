"""Warnings: what a plan cannot promise, each explained in docs/warnings.md.

A warning is a function of what is known when a plan is made. Add one to `_WARNINGS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from ..core import MutransferError
from ..reading import Reading, pattern
from ..rules import (
    LAYERS,
    Family,
    Parametrization,
    Place,
    Powers,
    Role,
    depth_regime,
    width_regime,
)
from ._carry import Multipliers
from ._match import Match
from ._structure import Structure
from ._tensor import TensorPlan

SMALLEST_WIDTH, SMALLEST_DEPTH = 256, 4
"""The smallest proxies that Tensor Programs V (2203.03466) found to do."""

_UNPROVEN = {
    Role.KEY_VALUE: "keys and values that several queries share (2605.15290 proposes another rule)",
    Role.ROUTER: "routers of experts (sources disagree on initial scale and eps)",
    Role.EXPERT: "experts of a mixture (rules hold for a declared way of growing only)",
}


@dataclass(frozen=True)
class PlanWarning:
    """Something that a plan cannot promise.

    Attributes:
        id: Its name, the heading of its section in docs/warnings.md.
        text: The warning for this plan, in a sentence.
    """

    id: str
    text: str

    def __str__(self) -> str:
        return f"warning [{self.id}]: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts that warnings are drawn from.

    Attributes:
        rule: The parametrization.
        optimizers: The optimizer families by name.
        tensors: The plan of each tensor.
        multipliers: The multipliers that were folded.
        matches: The model's parameters with their counterparts in the base.
        structure: What the forward passes of both show.
        target: The reading of the model.
    """

    rule: Parametrization
    optimizers: Mapping[str, Family]
    tensors: Mapping[str, TensorPlan]
    multipliers: Multipliers
    matches: Mapping[str, Match]
    structure: Structure
    target: Reading


Warnings = Iterator[PlanWarning]


def warnings_of(facts: Facts) -> tuple[PlanWarning, ...]:
    """Return the warnings of a plan; one that scales nothing has none."""
    ratios = (ratio for tensor in facts.tensors.values() for ratio in tensor.ratios.values())
    if facts.rule.one_rate or all(ratio == 1 for ratio in ratios):
        return ()
    return tuple(warning for check in _WARNINGS for warning in check(facts))


def _small_width(facts: Facts) -> Warnings:
    hidden = [t for t in facts.tensors.values() if t.role == Role.HIDDEN]
    grown = [facts.matches[t.name] for t in hidden if t.ratios["fan_in"] != 1]
    sizes = (size for m in grown for size in m.fans(m.base.shape))
    width = min(sizes, default=SMALLEST_WIDTH)
    if width < SMALLEST_WIDTH:
        yield PlanWarning(
            "small-width",
            f"the base is {width} wide where it is narrowest; "
            f"proxies below {SMALLEST_WIDTH} drift more",
        )


def _depth(facts: Facts) -> Warnings:
    base, target = facts.structure.depth
    if facts.structure.ratio == 1:
        return
    rule, deepest = facts.rule, facts.structure.deepest
    if base < SMALLEST_DEPTH:
        yield PlanWarning(
            "small-depth",
            f"the base has {base} residual branches; proxies below {SMALLEST_DEPTH} drift more",
        )
    if rule.alpha is not None and rule.alpha < 1 and deepest > 1:
        yield PlanWarning(
            "alpha-below-1",
            f"branches have {deepest} matrices in series and alpha is {rule.alpha}: "
            "inside a branch features stop learning",
        )
    if rule.alpha is None:
        yield PlanWarning(
            "no-depth-rule",
            f"depth grows from {base} to {target} branches, "
            f"and rule {rule.name} says nothing about it",
        )


def _mixed_stream(facts: Facts) -> Warnings:
    if facts.structure.is_mixed and facts.rule.alpha is not None:
        yield PlanWarning(
            "mixed-stream",
            "the stream is added to its own past, or multiplied by learned numbers, more often "
            "than in the base, and nothing scales this: it grows with depth, or its changes do",
        )


def _regimes(facts: Facts) -> Warnings:
    """Yield the regimes of growing sizes in which features are not learned."""
    rule, (base, target) = facts.rule, facts.structure.depth
    if any(t.ratios["fan_in"] != 1 for t in facts.tensors.values() if _is_hidden(t)):
        layers = {role: _family_of(role, facts) for role in LAYERS}
        verdict = _width_verdict(rule, layers)
        if verdict and "feature learning" not in verdict:
            yield PlanWarning(
                "width-regime",
                f"rule {rule.name} with {_names(layers.values())} is classified as {verdict} in "
                "width: the best rate does not transfer",
            )
    if rule.alpha is None or base == target:
        return
    inside = [t for t in facts.tensors.values() if _is_hidden(t) and t.place != Place.OUTSIDE]
    for name in dict.fromkeys(tensor.optimizer for tensor in inside):
        regime = depth_regime(rule, facts.optimizers[name])
        if not regime.feature_learning:
            yield PlanWarning(
                "depth-regime",
                f"rule {rule.name} with {name} is classified as {regime.verdict} in depth (alpha = "
                f"{regime.alpha}, gamma = {regime.gamma}: a step changes features by "
                f"depth^{1 - regime.alpha - regime.gamma}): the best rate does not transfer",
            )


def _width_verdict(rule: Parametrization, layers: Mapping[Role, Family]) -> str:
    """Return the verdict; nothing where rule and families have no such network."""
    try:
        return width_regime(rule, layers).verdict
    except MutransferError:
        return ""


def _is_hidden(tensor: TensorPlan) -> bool:
    return tensor.role == Role.HIDDEN


def _family_of(role: Role, facts: Facts) -> Family:
    """Return the family of the first tensor with a role, or of any tensor."""
    tensors = facts.tensors.values()
    optimizer = next((t.optimizer for t in tensors if t.role == role), None)
    return facts.optimizers[optimizer or next(iter(tensors)).optimizer]


def _names(families: Iterable[Family]) -> str:
    return " and ".join(dict.fromkeys(family.name for family in families))


def _without_size(facts: Facts) -> Warnings:
    """Yield the tensors that start at zero under an optimizer relative to their size."""
    lost = [
        tensor
        for tensor in facts.tensors.values()
        if (family := facts.optimizers[tensor.optimizer]).relative
        and not family.floored
        and tensor.is_trained
        and tensor.base_rms == 0
        and tensor.factor("init") != 1
    ]
    if lost:
        first = min(lost, key=lambda tensor: tensor.factor("init"))
        yield PlanWarning(
            "relative-to-zero",
            f"{len(lost)} tensors such as {first.name} start at zero, and steps of "
            f"{first.optimizer} are relative to a tensor's size: without one they are "
            f"{1 / first.factor('init'):.4g} times those planned",
        )


def _is_hidden_like(name: str, facts: Facts) -> bool:
    return facts.tensors[name].role in {Role.HIDDEN, Role.KEY_VALUE}


def _unproven(facts: Facts) -> Warnings:
    for role, what in _UNPROVEN.items():
        names = [name for name, tensor in facts.tensors.items() if tensor.role == role]
        if names:
            text = f"{len(names)} tensors such as {names[0]} are {what}"
            yield PlanWarning(f"unproven-{role}", text)
    accounts = facts.structure.accounts
    made = (n for n, each in accounts.items() if each.kind == "readout" and not each.is_generated)
    narrow = [name for name in made if _is_hidden_like(name, facts)]
    if narrow:
        yield PlanWarning(
            "unproven-bottleneck",
            f"{len(narrow)} tensors such as {narrow[0]} go from the width to a fixed number of "
            "features and start as hidden matrices do, so that the first change of these may grow "
            f'with width; roles={{"{pattern(narrow[0])}": "readout"}} starts them at 1/fan_in',
        )
    if facts.target.recurrent:
        yield PlanWarning(
            "unproven-recurrent",
            f"{facts.target.recurrent[0]} is used once a time step: "
            "the rules are derived for one use a forward pass",
        )
    if facts.target.state_space:
        yield PlanWarning(
            "unproven-state-space",
            f"{facts.target.state_space[0]} is a state-space layer: its matrices are planned as "
            "hidden ones, which may not make its features learn",
        )


def _unread(facts: Facts) -> Warnings:
    if unused := facts.structure.unused:
        yield PlanWarning(
            "unused",
            f"{len(unused)} tensors such as {unused[0]} are not used "
            "in the forward pass that was read",
        )
    if facts.structure.is_declared:
        yield PlanWarning(
            "declared-branches",
            "residual branches were declared and the forward pass was not read: attention scales, "
            "tied heads and the model's own factors are unknown",
        )


def _mixed(facts: Facts) -> Warnings:
    names = [name for name, each in facts.structure.accounts.items() if each.is_mixed]
    if names:
        yield PlanWarning(
            "mixed-fan-in",
            f"{len(names)} tensors such as {names[0]} take the width beside features whose number "
            "is fixed, in one dimension: all columns get the factors of the width",
        )
    names = [name for name, each in facts.structure.accounts.items() if each.is_split]
    if names:
        yield PlanWarning(
            "mixed-fan-out",
            f"{len(names)} tensors such as {names[0]} make features and an output of a fixed size "
            "together: the rows of the output get the factors of the features",
        )


def _transforms(facts: Facts) -> Warnings:
    if modules := facts.structure.transforms:
        yield PlanWarning(
            "fixed-transform",
            f"{modules[0] or 'the model'} sums over the width with fixed weights, as a "
            "Fourier transform does, and their size is left as it is",
        )


def _choices(facts: Facts) -> Warnings:
    if modules := facts.structure.choices:
        yield PlanWarning(
            "fixed-choice",
            f"{modules[0] or 'the model'} keeps the same number of the features at all widths, and "
            "sums over what it keeps are planned as sums over all",
        )


def _short(facts: Facts) -> Warnings:
    if modules := facts.structure.short:
        yield PlanWarning(
            "unit-length",
            f"{modules[0] or 'the model'} adds a signal of unit length, or times a softmax over "
            "the width, to one that is neither: its entries shrink beside it as the width grows",
        )


def _own_factors(facts: Facts) -> Warnings:
    if left := facts.structure.new_numbers:
        few = ", ".join(f"{number:.6g}" for number in left[:3])
        yield PlanWarning(
            "own-factor-left",
            f"layers that the base lacks multiply by {few}, which none of the base's layers does, "
            "and this is left as it is",
        )
    if undone := facts.multipliers.of_kind("own-factor"):
        yield PlanWarning("own-factor", f"{undone[0].fact}, which is undone")


def _eps_floor(facts: Facts) -> Warnings:
    rule = facts.rule
    options = {k: v for k, v in rule.options.items() if not k.endswith("_eps")}
    in_proportion = replace(rule, off=rule.off - {"eps"}, options=options)

    @cache
    def excess(role: Role, optimizer: str, place: Place) -> Powers:
        """Return how eps grows over its proportion to the gradient."""
        family = facts.optimizers[optimizer]
        eps, proportional = (
            each.quantities(role, family, place).eps for each in (rule, in_proportion)
        )
        return eps / proportional

    floors = [
        name
        for name, tensor in facts.tensors.items()
        if excess(tensor.role, tensor.optimizer, tensor.place).evaluate(tensor.ratios) > 1
    ]
    if floors:
        yield PlanWarning(
            "eps-floor",
            f"eps of {len(floors)} tensors such as {floors[0]} does not shrink "
            "as their gradients do",
        )


def _optimizers(facts: Facts) -> Warnings:
    # Families whose weight decay is refused have none to scale.
    decays = {
        tensor.factor("decay")
        for tensor in facts.tensors.values()
        if not facts.optimizers[tensor.optimizer].decays_badly
    }
    if decays - {1.0}:
        side = facts.rule.options.get("decay", "fixed-fraction")
        yield PlanWarning(
            "decay-mode",
            f"weight decay is scaled by {min(decays):.4g} to {max(decays):.4g} (decay={side}), "
            "and sources disagree",
        )
    names = {tensor.optimizer for tensor in facts.tensors.values()}
    if scales := sorted(name for name in names if name.startswith("muon")):
        yield PlanWarning(
            "muon-scale",
            f"rates are those of {scales[0]}: "
            "an implementation that scales its updates otherwise needs others",
        )
    kernels = [
        tensor
        for tensor in facts.tensors.values()
        if facts.optimizers[tensor.optimizer].matrices and len(tensor.shape) > 2
    ]
    if kernels:
        yield PlanWarning(
            "flat-kernels",
            f"{len(kernels)} kernels such as {kernels[0].name} are planned for a "
            f"{kernels[0].optimizer} that flattens them to matrices, as torch.optim.Muon does not",
        )


def _rectified(facts: Facts) -> Warnings:
    names = {tensor.optimizer for tensor in facts.tensors.values() if tensor.is_trained}
    for name in sorted(names & {"radam", "radamw"}):
        yield PlanWarning(
            "first-steps",
            f"the first steps of {name} (5 where beta2 is 0.999) are plain momentum, and as large "
            "as gradients are: up to then, tensors do not move alike at all sizes",
        )


_WARNINGS: tuple[Callable[[Facts], Warnings], ...] = (
    *(
        _small_width,
        _depth,
        _mixed_stream,
        _regimes,
        _unproven,
        _unread,
        _mixed,
        _transforms,
        _short,
        _choices,
        _own_factors,
        _eps_floor,
    ),
    *(_optimizers, _without_size, _rectified),
)
