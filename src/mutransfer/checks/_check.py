"""The coordinate check: small networks of several sizes, trained and compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core import OnProgress, Size
from ..pytorch import Plan, build_model, read, seeded
from ..rules import Parametrization, Place, is_default, parametrization
from ..tasks import Stream, Task
from ..tasks import task as task_named
from ._arguments import (
    Axes,
    axes_of,
    check_arguments,
    check_width,
    count_of,
    rate_of,
    steps_of,
)
from ._batch import batches, called
from ._diagnosis import blind, doubts, everything_wrong
from ._expected import Expectations
from ._fixed import fixed_layers
from ._labels import Labels, Layout, labelled
from ._members import members
from ._network import Network, evaluate
from ._networks import Job, Networks, measured_networks
from ._record import Pass, recording
from ._result import CoordinateCheck
from ._rows import Row, relabelled
from ._setup import Setup, sizes_of
from ._slopes import slopes
from ._spots import Spot, joins_of, spots
from ._verdict import judged

CONTROL_SEEDS = 3
"""Most networks of each size that the negative control has."""


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
    steps: int | None = None,
    seeds: int = 3,
    task: Task | Stream | str | None = None,
    batch: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    fresh: bool = False,
    joint: bool = False,
    train: Callable[[Plan, nn.Module], Any] | None = None,
    prepare: Callable[[nn.Module], nn.Module] | None = None,
    control: bool = True,
    progress: OnProgress | None = None,
    **options: Any,
) -> CoordinateCheck:
    """Check that a model's features move by the same amount at every width and depth.

    Networks of every size are trained for a few steps. Measured of each module are the size of its
    output, the change since initialisation, and the part of the change that its own weight makes.
    Each is a power of the size, and theory gives the exponent (Tensor Programs V, 2203.03466,
    Desideratum J.1; Tensor Programs VI, 2310.02244, Section 7). Where an exponent is off, a finding
    names the tensor and the likely cause.

    The negative control is standard parametrization, which has to fail. Where it passes, the check
    could not have seen a fault, and is undecided.

    Args:
        build: The builder of untrained models, `build(width=..., depth=...)`, called with the axes
            that are checked.
        width: Widths, ascending, the largest at least 4 times the first, which is the base.
        depth: Depths, likewise.
        rule: The parametrization, as in `plan`.
        optimizer: The optimizer, as in `plan`.
        lr: The learning rate at base size; 2^-7 by default, for SGD 0.1.
        eps: The optimizer's eps at base size; torch's by default.
        weight_decay: The weight decay at base size; torch's by default.
        steps: Number of steps, at least 1; 4 by default, and 12 for RAdam, whose first five are of
            momentum alone. Faults in later layers show from the second step.
        seeds: Number of networks of each size.
        task: Data and loss, or the name of a task.
        batch: The inputs of a forward pass (a tensor, tuple or mapping), or a function of seed and
            step that makes them; random data by default.
        loss: A scalar function of output and batch. By default the output's own `loss`, or
            cross-entropy with random classes.
        fresh: True for another batch at every step; changes are then measured on the first.
        joint: True to combine every width with every depth; otherwise one axis varies at a time.
        train: A function of the plan and the initialised model that makes the optimizer, or
            several, or (optimizer, scheduler), as your own training does.
        prepare: A function applied to an initialised model, such as torch.compile or fully_shard.
        control: True to run the negative control.
        progress: Called after each network.
        **options: Further arguments of `plan`: axes, roles, example_inputs, hooks, branches.

    Returns:
        Verdict, findings and every number.

    Raises:
        MutransferError: there are fewer than two sizes, or sizes too close; or the base cannot be
            built, planned or trained.
    """
    axes = axes_of(width, depth)
    check_arguments(rule, task, options)
    lr, steps = rate_of(lr, optimizer), steps_of(steps, optimizer)
    seeds = count_of("seeds", seeds)
    with seeded(0):
        base = build_model(build, {axis: values[0] for axis, values in axes.items()})
    check_width(build, base, axes)
    task = task_named(task) if isinstance(task, str) else task
    data = batches(base, task, batch, loss, fresh=fresh, steps=steps)
    if batch is not None:
        options = {"example_inputs": _traceable(base, batch), **options}
    elif task is not None:
        options = {"example_inputs": task.example, **options}
    known = {"example_inputs", "axes", "branches"}
    setup = Setup(
        build=build,
        axes=tuple(axes),
        base=read(base, **{name: value for name, value in options.items() if name in known}),
        rule=rule,
        optimizer=optimizer,
        lr=lr,
        eps=eps,
        weight_decay=weight_decay,
        options=options,
        steps=steps,
        batches=data,
        train=train,
        prepare=prepare,
        on_cpu=all(parameter.device.type == "cpu" for parameter in base.parameters()),
    )
    with seeded(0):
        sizes = list(sizes_of(axes, joint=joint))
        jobs = [Job(setup, size, seed) for size in sizes for seed in range(seeds)]
        controls = _control_jobs(setup, sizes, axes) if control else ([], [])
        trained = measured_networks([*jobs, *controls[0]], progress)
        more = partial(measured_networks, controls[1], progress)
        return _result(setup, base, axes, trained, more, seeds=seeds, joint=joint)


def _traceable(model: nn.Module, batch: Any) -> Any:
    """Return inputs to read with; labels would bring the loss into the graph."""
    inputs = called(batch, 0, 0) if callable(batch) else batch
    if not isinstance(inputs, Mapping):
        return inputs
    traceable = {name: value for name, value in inputs.items() if "label" not in name}
    # Without its own tokens a decoder of Hugging Face's makes them of the labels.
    shifted = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    has_tokens = any(name.startswith("decoder_input") for name in traceable)
    if shifted is not None and "labels" in inputs and not has_tokens:
        # Where it cannot, as without a token to start from, the forward pass says so better.
        with suppress(Exception):
            traceable["decoder_input_ids"] = shifted(labels=inputs["labels"])
    return traceable


def _control_jobs(setup: Setup, sizes: Sequence[Size], axes: Axes) -> tuple[list[Job], list[Job]]:
    """Return the networks of the control, and those that follow if these show nothing.

    Standard parametrization has none.
    """
    if not is_default(setup.rule) and parametrization(setup.rule).one_rate:
        return [], []
    # The control only has to fail: one network of each size mostly shows that, where a fit through
    # three sizes has an interval. Two sizes need a second seed for one.
    first = 2 if min(map(len, axes.values())) < 3 else 1
    plain = setup.control()
    jobs = [Job(plain, size, seed) for seed in range(CONTROL_SEEDS) for size in sizes]
    return jobs[: first * len(sizes)], jobs[first * len(sizes) :]


def _result(
    setup: Setup,
    base: nn.Module,
    axes: Axes,
    trained: Networks,
    more: Callable[[], Networks],
    *,
    seeds: int,
    joint: bool,
) -> CoordinateCheck:
    """Judge the networks of the rule, and ask of the control whether it fails.

    Args:
        setup: The settings.
        base: The base.
        axes: The sizes along each axis.
        trained: The measured networks.
        more: Measures more networks of the control.
        seeds: Number of networks of each size.
        joint: True if every width was combined with every depth.
    """
    networks = trained.of(setup)
    controls = [network for other, network in trained.measured if other is not setup]
    sizes = {network.rows[0].size for network in networks}
    axes = {axis: tuple(sorted({size[axis] for size in sizes})) for axis in axes}
    named = _spots(setup, base, networks[0].rows[0].size)
    layouts = {network.rows[0].size: network.layout for network in networks}
    labels = labelled(layouts, named)
    rows, others = _rows(networks, labels), _rows(controls, labels)
    expectations = replace(
        _expectations(setup, networks[0].plan, _by_label(named, labels, rows[0].size)),
        single=_single(layouts, labels),
        fixed=fixed_layers(layouts, labels, {s: p.intact for s, p in setup.plans.items()}),
    )
    exponents = judged(slopes(rows, axes, joint=joint), expectations, setup.steps)
    single = members(rows, axes, expectations, setup.steps, joint=joint)
    wrong = everything_wrong(setup, networks, exponents, rows, labels, expectations.spots, single)
    reasons: list[str] = []
    if not wrong:
        reasons += doubts(exponents, axes, rows)
        if others and any(blind(others, axes, expectations, joint=joint)):
            others += _rows([network for _, network in more().measured], labels)
            reasons += blind(others, axes, expectations, joint=joint)
    last = networks[-1].plan
    return CoordinateCheck(
        parametrization=last.parametrization,
        why=last.why,
        axes=axes,
        seeds=seeds,
        steps=setup.steps,
        verdict="fail" if wrong else "undecided" if reasons else "pass",
        findings=tuple(wrong),
        notes=(*trained.notes, *reasons, *_skipped(networks)),
        slopes=tuple(exponents),
        rows=tuple(rows + others),
        spots={name: str(spot) for name, spot in expectations.spots.items()},
    )


def _rows(networks: Sequence[Network], labels: Labels) -> list[Row]:
    return relabelled((row for network in networks for row in network.rows), labels)


def _spots(setup: Setup, base: nn.Module, base_size: Size) -> dict[str, Spot]:
    """Return the spots of the base's modules and tensors, by name."""
    # A role is what a tensor does as width grows, so the base alone has none: the widest network
    # of the base's depth has the same tensors, and knows.
    alike = [size for size in setup.plans if size["depth"] == base_size["depth"]]
    roles = setup.plans[max(alike, key=lambda size: size["width"])].intact
    evaluate(base)

    def run() -> Pass:
        with torch.no_grad(), recording(base, attention=False, copies=True) as seen:
            setup.batches.training(0, 0).run(base)
        return seen

    return spots(base, roles, setup.base, run, _one_off(setup, base_size))


def _one_off(setup: Setup, base_size: Size) -> frozenset[str]:
    """Return the tensors of branches that do not grow in number with depth.

    They have the same multiplier at every depth, as those around a stack of layers.
    """
    size = max(setup.plans, key=lambda size: size["depth"])
    if size["depth"] == base_size["depth"]:
        return frozenset()
    return frozenset(
        tensor.name
        for tensor in setup.plans[size].intact.tensors.values()
        if tensor.place != Place.OUTSIDE and tensor.ratios.get("depth") == 1
    )


def _by_label(named: Mapping[str, Spot], labels: Labels, base: Size) -> dict[str, Spot]:
    """Return the spots by label; unknown where members of one label differ."""
    by_label: dict[str, Spot] = {}
    for name, spot in named.items():
        label = labels.of(base, name)
        by_label[label] = spot if by_label.get(label, spot) == spot else Spot.UNKNOWN
    return by_label


def _single(layouts: Mapping[Size, Layout], labels: Labels) -> frozenset[str]:
    """Return the labels of tensors that have one entry at every size."""
    counts: dict[str, int] = {}
    for size, layout in layouts.items():
        for name, (_, shape) in layout.tensors.items():
            label = labels.of(size, name)
            counts[label] = max(counts.get(label, 0), math.prod(shape))
    return frozenset(label for label, count in counts.items() if count == 1)


def _expectations(setup: Setup, base_plan: Plan, by_label: Mapping[str, Spot]) -> Expectations:
    """Return the expectations with the residual exponent of the rule.

    A rule that leaves branches alone is held to the exponent of the default rule.
    """
    alpha = base_plan.parametrization.alpha
    if alpha is None:
        deep = any(join.matrices > 1 for join in joins_of(setup.base))
        alpha = parametrization("completep" if deep else "depth-mup").alpha
    assert alpha is not None, "rules of depth have an exponent"
    return Expectations(spots=by_label, alpha=alpha)


def _skipped(networks: Sequence[Network]) -> list[str]:
    names = sorted({name for network in networks for name in network.skipped})
    if not names:
        return []
    return [f"{len(names)} modules put out no tensor and were skipped: {', '.join(names[:3])}"]
