"""The coordinate check: trains small networks of several sizes for a few steps and judges how their features move."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core import MutransferError, Size
from ..pytorch import Plan, build_model, plan, read
from ..reading import pattern
from ..rules import Parametrization, Role, is_default, parametrization
from ..tasks import Task
from ..tasks import task as find_task
from ._batch import batches
from ._expected import Expectations, Spot, spots
from ._measure import Network, Row, Setup, measure, sizes_of
from ._result import CoordinateCheck
from ._slopes import Slope, slopes
from ._verdict import Finding, findings, judged, misled, order_of

_RATES = {"sgd": 0.1}
_RATE = 2**-7
_RANGE = 4
Report = Callable[[str, int, int], None]


def coordinate_check(
    build: Callable[..., nn.Module],
    *,
    width: Sequence[int] | None = None,
    depth: Sequence[int] | None = None,
    rule: str | Parametrization | None = None,
    optimizer: Any = "adamw",
    lr: float | None = None,
    eps: float | None = None,
    weight_decay: float | None = None,
    steps: int = 4,
    seeds: int = 3,
    task: Task | str | None = None,
    batch: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    fresh: bool = False,
    joint: bool = False,
    train: Callable[[Plan, nn.Module], Any] | None = None,
    prepare: Callable[[nn.Module], nn.Module] | None = None,
    control: bool = True,
    report: Report | None = None,
    **options: Any,
) -> CoordinateCheck:
    """Check that a model's features move by the same amount at every width and depth, and say what is wrong where they do not.

    Networks of every size are trained for a few steps. Of each module it is measured how large its output is, how far it moved since
    initialisation, and which part of that came from the module's own weight; each goes as a power of the size, and the theory says which.
    The same under standard parametrization, the negative control, has to fail: where it does not, the check could not have seen a fault.

    Args:
        build: Makes an untrained model: `build(width=..., depth=...)`, with the axes that are checked.
        width: Widths, ascending, at least 4 times wider in all; the first is the base.
        depth: Depths, the same.
        rule: A parametrization, as in `plan`.
        optimizer: What trains it, as in `plan`.
        lr: The learning rate at base size; 2^-7, and 0.1 for SGD, where it is not given.
        eps: The optimizer's eps at base size.
        weight_decay: The weight decay at base size.
        steps: How many steps are trained, at least 1; faults in later layers show from the second.
        seeds: How many networks of each size.
        task: Data and loss, or the name of a task.
        batch: What a forward pass takes (a tensor, tuple or mapping), or what makes it of seed and step; random data by default.
        loss: Makes a scalar of the output and the batch; by default the output's own `loss`, or cross-entropy with random classes.
        fresh: Whether every step has another batch; changes are then measured on the first.
        joint: Whether every width is combined with every depth; otherwise one axis is varied at a time.
        train: Makes the optimizer, or (optimizer, scheduler), of the plan and the initialised model, as your own training does.
        prepare: What is done to a model after it is initialised, such as torch.compile or fully_shard.
        control: Whether standard parametrization is run as negative control.
        report: Called as report(size, done, total) after each network.
        **options: What else `plan` takes: axes, roles, example_inputs, hooks, branches.

    Returns:
        Verdict, findings and every number.

    Raises:
        MutransferError: fewer than two sizes, or sizes too close; the base cannot be built, planned or run.
    """
    axes = _axes(width, depth)
    _check_arguments(steps, seeds, task, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = build_model(build, {axis: values[0] for axis, values in axes.items()})
    data = batches(
        base,
        find_task(task) if isinstance(task, str) else task,
        batch,
        loss,
        fresh=fresh,
        examples=64,
        steps=steps,
    )
    if batch is not None:
        options = {"example_inputs": _inputs(batch(0, 0) if callable(batch) else batch), **options}
    reading_options = {
        key: options[key] for key in ("example_inputs", "axes", "branches") if key in options
    }
    setup = Setup(
        build=build,
        axes=tuple(axes),
        base=read(base, **reading_options),
        rule=rule,
        optimizer=optimizer,
        hyperparameters={
            "lr": _rate(optimizer) if lr is None else lr,
            "eps": eps,
            "weight_decay": weight_decay,
        },
        options=options,
        steps=steps,
        batches=data,
        train=train,
        prepare=prepare,
        on_cpu=all(parameter.device.type == "cpu" for parameter in base.parameters()),
    )
    sizes = list(sizes_of(axes, joint=joint))
    plans = [(setup, size, seed) for size in sizes for seed in range(seeds)]
    if control and (is_default(rule) or not parametrization(rule).one_rate):
        alone = optimizer if train is None else "adamw"
        plain = replace(setup, rule="sp", train=None, optimizer=alone, plans={})
        plans += [
            (plain, size, seed)
            for size in sizes
            for seed in range(2 if min(map(len, axes.values())) < 3 else 1)
        ]
    with torch.random.fork_rng(devices=[]):
        networks, notes = _networks(plans, report)
    own = [network for each, network in networks if each is setup]
    largest = own[-1].plan
    axes = {axis: tuple(sorted({size[axis] for size in _measured(own)})) for axis in axes}
    expectations = Expectations(*_layout(setup, base, own[0].plan))
    rows = [row for network in own for row in network.rows]
    found = judged(slopes(rows, axes, joint=joint), expectations, steps)
    wrong = _wrong(setup, own, found, rows)
    others = [row for each, network in networks if each is not setup for row in network.rows]
    doubts = (
        []
        if wrong
        else [
            *_doubts(found, axes, rows),
            *(_blind(others, axes, expectations, joint=joint) if others else ()),
        ]
    )
    notes += doubts
    skipped = sorted({name for network in own for name in network.skipped})
    notes += (
        [f"{len(skipped)} modules put out no tensor and were skipped: {', '.join(skipped[:3])}"]
        if skipped
        else []
    )
    return CoordinateCheck(
        rule=largest.rule,
        why=largest.why,
        axes=axes,
        seeds=seeds,
        steps=steps,
        verdict="fail" if wrong else "undecided" if doubts else "pass",
        findings=tuple(wrong),
        notes=tuple(notes),
        slopes=tuple(found),
        rows=tuple(rows + others),
        spots={name: str(spot) for name, spot in expectations.spots.items()},
    )


def _check_arguments(steps: int, seeds: int, task: object, options: Mapping[str, Any]) -> None:
    if not (isinstance(steps, int) and isinstance(seeds, int)) or steps < 1 or seeds < 1:
        raise MutransferError(
            f"steps is {steps} and seeds {seeds}: give a whole number of at least 1 for each"
        )
    if task is not None and not isinstance(task, str | Task):
        raise MutransferError(
            f"task is a {type(task).__name__}: give a mutransfer.Task or the name of one"
        )
    if unknown := sorted(options.keys() - {"axes", "roles", "example_inputs", "hooks", "branches"}):
        raise MutransferError(
            f"coordinate_check has no argument {unknown[0]!r}, and neither has plan"
        )


def _inputs(batch: Any) -> Any:
    """A batch as inputs to trace with; labels would bring in the loss."""
    return (
        {name: value for name, value in batch.items() if "label" not in name}
        if isinstance(batch, Mapping)
        else batch
    )


def _axes(width: Sequence[int] | None, depth: Sequence[int] | None) -> dict[str, tuple[int, ...]]:
    given = {"width": width, "depth": depth}
    for axis, values in given.items():
        if values is not None and (
            not isinstance(values, Sequence)
            or not all(isinstance(size, int) and size > 0 for size in values)
        ):
            raise MutransferError(
                f"{axis} is {values!r}: give a list of sizes, whole numbers above 0"
            )
    axes = {axis: tuple(values) for axis, values in given.items() if values is not None}
    if not axes:
        raise MutransferError(
            "give widths, depths or both: coordinate_check(build, width=[64, 128, 256])"
        )
    for axis, values in axes.items():
        if len(values) < 2 or sorted(set(values)) != list(values):
            raise MutransferError(
                f"{axis} is {list(values)}: give at least two different sizes, ascending"
            )
        if axis == "depth" and values[0] < 2:
            raise MutransferError(
                f"depth starts at {values[0]}: one layer has no others to compare with, take 2 or more"
            )
        if values[-1] < _RANGE * values[0]:
            raise MutransferError(
                f"{axis} goes from {values[0]} to {values[-1]}, less than {_RANGE} times: no exponent can be told; spread them"
            )
    return axes


def _rate(optimizer: Any) -> float:
    return _RATES.get(str(getattr(optimizer, "__name__", optimizer)).lower(), _RATE)


def _networks(
    plans: Sequence[tuple[Setup, Size, int]], report: Report | None
) -> tuple[list[tuple[Setup, Network]], list[str]]:
    """Every network; those of the base have to work, of other sizes what cannot be measured is left out with a note."""
    found: list[tuple[Setup, Network]] = []
    notes: dict[str, None] = {}
    base = plans[0][1]
    for done, ((setup, size, _), measured) in enumerate(
        zip(plans, _measured_in_turn(plans), strict=True), 1
    ):
        where = ", ".join(f"{axis} {size[axis]}" for axis in setup.axes)
        try:
            found.append((setup, measured()))
        except Exception as error:
            if size == base:
                raise (
                    error
                    if isinstance(error, MutransferError)
                    else MutransferError(f"training at {where} failed: {error}")
                ) from error
            notes[
                f"{where} was left out: {(str(error) or type(error).__name__).splitlines()[0]}"
            ] = None
        if report is not None:
            report(where, done, len(plans))
    return found, list(notes)


def _measured_in_turn(plans: Sequence[tuple[Setup, Size, int]]) -> Iterator[Callable[[], Network]]:
    """What gives each network, in order; on the CPU one network a thread, which uses the cores better than many threads for each."""
    threads, first = torch.get_num_threads(), plans[0][0]
    if threads == 1 or first.prepare is not None or not first.on_cpu:
        yield from (partial(measure, *each) for each in plans)
        return
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    torch.set_num_threads(1)
    try:
        for future in [pool.submit(measure, *each) for each in plans]:
            yield future.result
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _measured(networks: Sequence[Network]) -> list[Size]:
    return [
        Size(width=row.width, depth=row.depth) for network in networks for row in network.rows[:1]
    ]


def _layout(setup: Setup, base: nn.Module, largest: Plan) -> tuple[dict[str, Spot], Any]:
    """Where the modules of the base stand, and the residual exponent that is expected."""
    alpha = (
        setup.rule if isinstance(setup.rule, Parametrization) else parametrization(largest.rule)
    ).alpha
    if alpha is None:
        deep = any(branch.matrices > 1 for branch in setup.base.trace.branches)
        alpha = parametrization("completep" if deep else "depth-mup").alpha
    own = largest if largest.rescales else plan(base, setup.base, **setup.options)
    return spots(base, own, setup.base), alpha


def _wrong(
    setup: Setup, networks: Sequence[Network], found: Sequence[Slope], rows: Sequence[Row]
) -> list[Finding]:
    """What the slopes say, and what the audits of the optimizers found."""
    names = networks[-1].plan.tensors
    weights = {
        pattern(name.rpartition(".")[0]): pattern(name) for name in names if name.endswith("weight")
    }
    wrong = [
        Finding(
            name="",
            text=f"training diverges at width {row.width}, depth {row.depth}: the loss is {row.value} after {row.step} steps",
        )
        for row in rows
        if row.kind == "loss" and not math.isfinite(row.value)
    ][:1]
    wrong += findings(found, order_of(rows), weights)
    if networks[-1].plan.rescales:
        wrong += misled(found, [each.name for each in wrong])
    declared = {pattern(name) for name, tensor in names.items() if tensor.role == Role.FROZEN}
    wrong += [each for each in _still(setup, rows) if each.name not in declared]
    audits = dict.fromkeys(text for network in networks for text in network.findings)
    wrong += [
        Finding(name="", text=f"the optimizer does not train as planned: {text}")
        for text in list(audits)[:1]
    ]
    if setup.base.trace.post_norm and "depth" in setup.axes:
        wrong.append(
            Finding(
                name="",
                text="a normalisation follows the residual joins (post-norm): no rule is known for its depth",
            )
        )
    return wrong


def _still(setup: Setup, rows: Sequence[Row]) -> list[Finding]:
    """Tensors that do not move at all at some size, though the forward pass uses them."""
    used = {pattern(name) for name, uses in setup.base.trace.uses.items() if uses}
    moved: dict[tuple[str, int, int], float] = {}
    for row in rows:
        if row.quantity == "update" and pattern(row.name) in used:
            key = row.name, row.width, row.depth
            moved[key] = max(moved.get(key, 0.0), row.value)
    still = dict.fromkeys(pattern(name) for (name, *_), value in moved.items() if value == 0)
    return [
        Finding(name=name, text="it does not train: its update is 0, or that of a layer like it")
        for name in still
    ]


def _doubts(
    found: Sequence[Slope], axes: Mapping[str, Sequence[int]], rows: Sequence[Row]
) -> Iterator[str]:
    """Why nothing can be told although nothing is wrong."""
    for axis, values in axes.items():
        if values[-1] < _RANGE * values[0]:
            yield f"too few sizes could be measured in {axis}, so that nothing can be told of it"
    if _rounded(rows):
        yield "the rate is so small that updates are lost in rounding: take a larger one"
    if unsure := [each for each in found if each.verdict == "undecided"]:
        first = unsure[0]
        yield (
            f"{len(unsure)} exponents are too uncertain to judge, such as that of {first.name or 'the output'} in {first.axis} "
            f"[{first.low:.2f}, {first.high:.2f}]: take more seeds or a wider range"
        )


def _rounded(rows: Sequence[Row]) -> bool:
    """Whether most tensors move by less than what single precision can tell well."""
    tensors = [row for row in rows if row.kind == "tensor"]
    start = {
        (row.name, *row[1:4]): row.value for row in tensors if row.quantity == "size" and row.value
    }
    updates = {(row.name, *row[1:4]): row.value for row in tensors if row.quantity == "update"}
    moved = sorted(value / start[key] for key, value in updates.items() if key in start)
    return bool(moved) and moved[len(moved) // 2] < 2**-18


def _blind(
    rows: Sequence[Row],
    axes: Mapping[str, Sequence[int]],
    expectations: Expectations,
    *,
    joint: bool,
) -> list[str]:
    """The axes in which standard parametrization passes, too."""
    last = max(row.step for row in rows)
    found = judged(slopes(rows, axes, joint=joint), expectations, last)
    seen = {
        each.axis for each in found if each.verdict == "fail" and each.quantity in {"change", "own"}
    }
    return [
        f"standard parametrization does not fail in {axis}, so this check could not have seen a fault: take a larger learning rate, "
        f"more steps (at least {max(8, 2 * last)}) or a wider range of {axis}s"
        for axis in axes
        if axis not in seen
    ]
