"""Everything that is wrong with the networks, and reasons to be undecided."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ..core import Size
from ..pytorch import build_model
from ..reading import parent
from ..rules import Role
from ._expected import Expectations
from ._findings import Finding, deviants, failures
from ._labels import Labels
from ._members import Members, lone_findings
from ._network import Network
from ._quantities import LOSS, QUANTITIES, REACH, TENSOR_SIZE, UPDATE
from ._rows import Row, order_of
from ._setup import Setup
from ._slopes import Slope, slopes
from ._spots import Spot, post_norms
from ._verdict import judged

RANGE = 4
"""Fewest times that the largest size has to be as large as the smallest."""

ROUNDED = 2**-18
"""Updates below this fraction of their tensor are mostly rounding in single precision (2^-24)."""


def everything_wrong(
    setup: Setup,
    networks: Sequence[Network],
    exponents: Sequence[Slope],
    rows: Sequence[Row],
    labels: Labels,
    spot_of: Mapping[str, Spot],
    single: Members,
) -> list[Finding]:
    """Return all findings, of exponents, tensors, optimizers and the model itself.

    Args:
        setup: The check's settings.
        networks: The measured networks, without the control.
        exponents: Their judged exponents.
        rows: Their measured numbers.
        labels: The labels of modules and tensors.
        spot_of: The spot of each module, by label.
        single: The exponents of single layers.
    """
    last, size = networks[-1].plan, networks[-1].rows[0].size
    weights = {
        labels.of(size, module): labels.of(size, weight)
        for module, weight in networks[-1].layout.weights.items()
        # A module that borrows its weight, as a tied head does, is not to blame for it.
        if parent(weight) == module
    }
    ends = [weights[s] for s, spot in spot_of.items() if spot == Spot.END and s in weights]
    named = failures(exponents, order_of(rows), weights, ends)
    wrong = [*_diverged(rows), *named]
    if last.rescales:
        wrong += deviants(exponents, [finding.name for finding in wrong])
    names = {m: w for n in networks for m, w in n.layout.weights.items() if parent(w) == m}
    found = [finding.name for finding in wrong]
    wrong += lone_findings(single, found, names, planned=last.rescales)
    tensors = last.tensors.values()
    frozen = {labels.of(size, tensor.name) for tensor in tensors if tensor.role == Role.FROZEN}
    wrong += [finding for finding in _still(setup, rows, labels) if finding.name not in frozen]
    wrong += _badly_trained(networks)
    if "depth" in setup.axes and _is_post_norm(setup, rows[0].size, size):
        text = (
            "a normalisation follows the residual joins (post-norm): no rule is known for its depth"
        )
        wrong.append(Finding(name="", text=text))
    return wrong


def _is_post_norm(setup: Setup, base: Size, deepest: Size) -> bool:
    """Return True where more joins follow a normalisation in a deeper network."""
    known = post_norms(setup.base)
    if not known or deepest["depth"] == base["depth"]:
        return known > 0
    model = build_model(setup.build, {axis: deepest[axis] for axis in setup.axes})
    return post_norms(setup.read(model)) > known


def _diverged(rows: Sequence[Row]) -> list[Finding]:
    """Return a finding for the first loss that is not finite."""
    lost = [row for row in rows if row.measures(LOSS) and not math.isfinite(row.value)]
    return [
        Finding(
            name="",
            text=f"training diverges at {row.size}: the loss is {row.value} after {row.step} steps",
        )
        for row in lost[:1]
    ]


def _still(setup: Setup, rows: Sequence[Row], labels: Labels) -> list[Finding]:
    """Return a finding for tensors that never move at some size, though they are used."""
    base = rows[0].size
    program = setup.base.program
    known = () if program is None else program.parameters
    used = {labels.of(base, name) for name in known}
    moved: dict[tuple[str, str, int, int], bool] = {}
    for row in rows:
        if row.measures(UPDATE) and row.label in used:
            key = row.label, row.name, row.width, row.depth
            # Not a number is no update of 0: a run that diverged has moved.
            moved[key] = moved.get(key, False) or row.value != 0
    still = dict.fromkeys(label for (label, *_), has_moved in moved.items() if not has_moved)
    text = "it does not train: its update is 0, or that of a layer like it"
    return [Finding(name=name, text=text) for name in still]


def _badly_trained(networks: Sequence[Network]) -> list[Finding]:
    """Return the first finding of the audits."""
    audits = dict.fromkeys(text for network in networks for text in network.findings)
    return [
        Finding(name="", text=f"the optimizer does not train as planned: {text}")
        for text in list(audits)[:1]
    ]


def doubts(
    exponents: Sequence[Slope], axes: Mapping[str, Sequence[int]], rows: Sequence[Row]
) -> Iterator[str]:
    """Yield the reasons why a check without findings is undecided."""
    for axis, values in axes.items():
        if values[-1] < RANGE * values[0]:
            yield f"too few sizes could be measured in {axis} to judge it"
    if _rounded(rows):
        yield "the rate is so small that updates are lost in rounding: take a larger one"
    if unsure := [slope for slope in exponents if slope.verdict == "undecided"]:
        first, count = unsure[0], len(unsure)
        which = f"{count} exponents are" if count > 1 else "one exponent is"
        yield (
            f"{which} too uncertain to judge, {'such as ' if count > 1 else ''}that of "
            f"{first.subject} in {first.axis} [{first.low:.2f}, {first.high:.2f}]: "
            "take more seeds or a wider range"
        )


def _rounded(rows: Sequence[Row]) -> bool:
    """Return True if most tensors move by less than single precision resolves."""

    def key(row: Row) -> tuple[str, int, int, int]:
        return row.name, row.width, row.depth, row.seed

    start = {key(row): row.value for row in rows if row.measures(TENSOR_SIZE) and row.value}
    updates = {key(row): row.value for row in rows if row.measures(UPDATE)}
    moved = sorted(update / start[name] for name, update in updates.items() if name in start)
    return bool(moved) and moved[len(moved) // 2] < ROUNDED


def blind(
    rows: Sequence[Row],
    axes: Mapping[str, Sequence[int]],
    expectations: Expectations,
    *,
    joint: bool,
) -> Iterator[str]:
    """Yield the axes along which the negative control passes, too.

    Args:
        rows: The measured numbers of the control.
        axes: The sizes along each axis.
        expectations: What is expected of the rule, not of the control.
        joint: True if all axes were varied together.
    """
    last = max(row.step for row in rows)
    # Fits take time: of the control only what it has to fail in matters.
    counting = {key for key, quantity in QUANTITIES.items() if quantity.sees_control}
    needed = {*counting, REACH.key, *((kind, "carried") for kind in ("module", "tensor"))}
    some = [row for row in rows if row.step in {0, last} and (row.kind, row.quantity) in needed]
    exponents = judged(slopes(some, axes, joint=joint), expectations, last)
    failed = [s for s in exponents if s.verdict == "fail" and s.measured.sees_control]
    seen = {slope.axis for slope in failed}
    for axis in [axis for axis in axes if axis not in seen]:
        yield (
            f"standard parametrization does not fail in {axis}, so this check could not have seen "
            f"a fault: take a larger learning rate, more steps (at least {max(8, 2 * last)}) or a "
            f"wider range of {axis}s"
        )
