"""What a plan cannot promise: warnings with an id, each explained on its own in docs/warnings.md."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..rules import Family, Parametrization, Role
from ._carry import Carried, left_factors
from ._read import Match
from ._trace import Trace

if TYPE_CHECKING:
    from ._plan import TensorPlan

SMALLEST_WIDTH, SMALLEST_DEPTH = 256, 4
"""What Tensor Programs V (2203.03466) found to be needed of a proxy."""

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
        text: What it is in this plan, in a sentence.
    """

    id: str
    text: str

    def __str__(self) -> str:
        return f"warning [{self.id}]: {self.text}"


def warnings_of(
    rule: Parametrization,
    optimizers: Mapping[str, Family],
    tensors: Mapping[str, TensorPlan],
    hooked: Mapping[str, Sequence[Carried]],
    matches: Mapping[str, Match],
    own: Trace,
    base: Trace,
    depth: tuple[int, int],
) -> tuple[PlanWarning, ...]:
    """The warnings of a plan that is about to be made."""
    if rule.one_rate or all(ratio == 1 for tensor in tensors.values() for ratio in tensor.ratios.values()):
        return ()
    grown = [matches[t.name] for t in tensors.values() if t.role == Role.HIDDEN and t.ratios["fan_in"] != 1]
    width = min((size for m in grown for size in m.fans(m.base.shape)), default=SMALLEST_WIDTH)
    return tuple(_warnings(rule, optimizers, tensors, hooked, width, own, base, depth))


def _grows_beside_gradient(rule: Parametrization, tensor: TensorPlan, optimizer: Family) -> bool:
    """Whether the tensor's eps becomes larger than in proportion to its gradient."""
    scaled = replace(rule, off=rule.off - {"eps"}, options={k: v for k, v in rule.options.items() if not k.endswith("_eps")})
    own, right = (each.quantities(tensor.role, optimizer, tensor.place).eps for each in (rule, scaled))
    return own != right and (own / right).evaluate(tensor.ratios) > 1


def _warnings(
    rule: Parametrization,
    optimizers: Mapping[str, Family],
    tensors: Mapping[str, TensorPlan],
    hooked: Mapping[str, Sequence[Carried]],
    width: int,
    own: Trace,
    base: Trace,
    depth: tuple[int, int],
) -> Iterator[PlanWarning]:
    if width < SMALLEST_WIDTH:
        yield PlanWarning("small-width", f"the base is {width} wide where it is narrowest; proxies below {SMALLEST_WIDTH} drift more")
    if depth[0] != depth[1]:
        deepest = max(branch.matrices for branch in own.branches)
        if depth[0] < SMALLEST_DEPTH:
            yield PlanWarning("small-depth", f"the base has {depth[0]} residual branches; proxies below {SMALLEST_DEPTH} drift more")
        if rule.alpha is not None and rule.alpha < 1 and deepest > 1:
            yield PlanWarning(
                "alpha-below-1",
                f"branches have {deepest} matrices in series and alpha is {rule.alpha}: inside a branch features stop learning",
            )
        if rule.alpha is None:
            yield PlanWarning(
                "no-depth-rule", f"depth grows from {depth[0]} to {depth[1]} branches, and rule {rule.name} says nothing about it"
            )
    for role, what in _UNPROVEN.items():
        if named := [name for name, tensor in tensors.items() if tensor.role == role]:
            yield PlanWarning(f"unproven-{role}", f"{len(named)} tensors such as {named[0]} are {what}")
    if own.recurrent:
        yield PlanWarning(
            "unproven-recurrent", f"{own.recurrent[0]} is used once a time step: the rules are derived for one use a forward pass"
        )
    if own.state_space:
        yield PlanWarning(
            "unproven-state-space",
            f"{own.state_space[0]} is a state-space layer: its matrices are planned as hidden ones, which may not make its features learn",
        )
    if unused := [name for name in tensors if not own.uses.get(name) and not own.declared]:
        yield PlanWarning("unused", f"{len(unused)} tensors such as {unused[0]} are not used in the forward pass that was read")
    if own.declared:
        yield PlanWarning(
            "declared-branches", "residual branches were declared: attention scales, tied heads and the model's own factors were not read"
        )
    reasons = [reason for tensor in tensors.values() for reason in tensor.reasons if "own_factor" in reason]
    reasons += [each.why for carried in hooked.values() for each in carried if "own_factor" in each.ratios]
    if reasons:
        yield PlanWarning("own-factor", reasons[0].partition(", undone by")[0] + ", which is undone")
    if left := left_factors(own, base):
        known = [f"{value:.6g}" for value in left if not math.isnan(value)]
        what = f"by {', '.join(known[:3])}, the base by others" if known else "by a number that is not known on the meta device"
        yield PlanWarning("own-factor-left", f"the model multiplies a signal {what}, and this is left as it is")
    if floors := [name for name, tensor in tensors.items() if _grows_beside_gradient(rule, tensor, optimizers[tensor.optimizer])]:
        yield PlanWarning("eps-floor", f"eps of {len(floors)} tensors such as {floors[0]} does not shrink as their gradients do")
    decays = {tensor.factor("decay") for tensor in tensors.values()}
    if decays != {1.0}:
        side = rule.options.get("decay", "fixed-fraction")
        yield PlanWarning(
            "decay-mode", f"weight decay is scaled by {min(decays):.4g} to {max(decays):.4g} (decay={side}), and sources disagree"
        )
    if scales := sorted({tensor.optimizer for tensor in tensors.values() if tensor.optimizer.startswith("muon")}):
        yield PlanWarning("muon-scale", f"rates are those of {scales[0]}: an implementation that scales its updates otherwise needs others")
