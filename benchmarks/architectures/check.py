"""The outcome of planning one entry along one axis, judged by the truth."""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import mutransfer as mt

from .entry import Entry, call
from .hints import hints, merged
from .truth import Shape, Truth, close

TRIES = 12
"""Most refusals with a hint that are followed, one after the other."""
LIMIT = 30
"""Longest time of a plan, in seconds."""


class Outcome(StrEnum):
    """The outcome of a plan."""

    RIGHT = "right"
    HINT = "right with hint"
    NO_RULE = "refused: no rule known"
    REFUSED = "refused without reason"
    WRONG = "WRONG"
    DAMAGED = "damaged"


GOOD = (Outcome.RIGHT, Outcome.HINT, Outcome.NO_RULE)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """An outcome with what led to it.

    Attributes:
        entry: Name of the entry.
        package: Its package.
        axis: "width", "depth" or "both".
        outcome: The outcome.
        seconds: Time of the first plan.
        message: The first refusal; None without one.
        hint: The arguments that were given because messages asked for them.
        mismatches: Differences from the nearest truth.
        warnings: Identifiers of the plan's warnings.
    """

    entry: str
    package: str
    axis: str
    outcome: Outcome
    seconds: float
    message: str | None = None
    hint: Mapping[str, Any] = field(default_factory=dict)
    mismatches: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def checked(entry: Entry, axis: str) -> Checked:
    """Return the outcome of planning an entry along an axis."""
    base_size, size = entry.sizes(axis)
    with quiet():
        model, base = entry.make(*size), entry.make(*base_size)
        before = [State(each, entry) for each in (model, base)]
        plan, message, hint, seconds = planned(entry, model, base)
        after = [State(each, entry) for each in (model, base)]
        damages = [line for a, b in zip(before, after, strict=True) for line in a.damages(b)]
        differences = mismatches(entry, axis, plan) if plan is not None else ()
    return Checked(
        entry=entry.name,
        package=entry.package,
        axis=axis,
        outcome=judged(entry.refusal(axis), plan is not None, bool(hint), differences, damages),
        seconds=seconds,
        message=message,
        hint=hint,
        mismatches=tuple(damages) or differences,
        warnings=tuple(warning.id for warning in plan.warnings) if plan is not None else (),
    )


def judged(
    refusal: str | None, was_planned: bool, hinted: bool, differences: Any, damages: Any
) -> Outcome:
    """Return the outcome that these facts are."""
    if damages:
        return Outcome.DAMAGED
    if refusal is not None:
        return Outcome.WRONG if was_planned else Outcome.NO_RULE
    if not was_planned:
        return Outcome.REFUSED
    if differences:
        return Outcome.REFUSED if hinted else Outcome.WRONG
    return Outcome.HINT if hinted else Outcome.RIGHT


def planned(
    entry: Entry, model: nn.Module, base: nn.Module
) -> tuple[mt.Plan | None, str | None, dict[str, Any], float]:
    """Return the plan, the first refusal, the hint that was needed, and the first plan's time."""
    hint: dict[str, Any] = {}
    first, seconds = None, 0.0
    for attempt in range(TRIES):
        start = time.perf_counter()
        try:
            with limited(LIMIT):
                plan = mt.plan(model, base, example_inputs=entry.inputs(), **hint)
        except mt.MutransferError as error:
            message = str(error)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
        else:
            return plan, first, hint, seconds or time.perf_counter() - start
        if attempt == 0:
            first, seconds = message, time.perf_counter() - start
        following = merged(hint, hints(message, entry.hints))
        if following == hint:
            break
        hint = following
    return None, first, hint, seconds


def mismatches(entry: Entry, axis: str, plan: mt.Plan) -> tuple[str, ...]:
    """Return the differences of a plan from the nearest of the entry's truths."""
    if entry.refusal(axis) is not None:
        return (f"planned, but no rule is known: {entry.refusal(axis)}",)
    shapes = widened(entry)
    found = (tuple(differences(truth, entry, axis, plan, shapes)) for truth in entry.truths)
    return min(found, key=len)


def ratios(entry: Entry, axis: str) -> tuple[float, float]:
    """Return the ratios of width and depth along an axis."""
    (base_width, base_depth), (width, depth) = entry.sizes(axis)
    return width / base_width, depth / base_depth


def widened(entry: Entry) -> dict[str, tuple[Shape, Shape]]:
    """Return each tensor's shapes at base width and where only the width has grown.

    The tensors of deeper layers have the shapes of those in the deeper models.
    """
    shapes = {}
    axes = ("width", "both") if "both" in entry.axes else entry.axes
    for axis in axes:
        (base_width, _), (width, depth) = entry.sizes(axis)
        narrow, wide = entry.make(base_width, depth), entry.make(width, depth)
        sizes = {name: tuple(each.shape) for name, each in wide.named_parameters()}
        shapes |= {n: (tuple(each.shape), sizes[n]) for n, each in narrow.named_parameters()}
    return shapes


def differences(
    truth: Truth, entry: Entry, axis: str, plan: mt.Plan, shapes: Mapping[str, tuple[Shape, Shape]]
) -> Iterator[str]:
    """Yield each tensor's and each module's difference from one truth."""
    width, depth = ratios(entry, axis)
    for name, tensor in plan.tensors.items():
        right = truth.factors(name, *shapes[name], width, depth)
        found = tensor.factor("init"), tensor.factor("lr")
        if not any(all(map(close, found, pair)) for pair in right):
            expected = " or ".join(f"init {i:.4g} lr {r:.4g}" for i, r in right)
            yield f"{name}: expected {expected}, found init {found[0]:.4g} lr {found[1]:.4g}"
    yield from forward_differences(truth, plan, width, depth)


def forward_differences(truth: Truth, plan: mt.Plan, width: float, depth: float) -> Iterator[str]:
    """Yield the differences of forward multipliers from one truth."""
    for pattern, (power, ends) in truth.forward.items():
        right = width**power * (1 / depth if ends else 1)
        found = [each for name, each in plan.forward.items() if fnmatchcase(name, pattern)]
        if right != 1 and not found:
            yield f"output of {pattern}: expected {right:.4g}, found none"
        for each in found:
            if not close(each.factor, right):
                yield f"output of {each.module}: expected {right:.4g}, found {each.factor:.4g}"
    for name, each in plan.forward.items():
        if not any(fnmatchcase(name, pattern) for pattern in truth.forward):
            yield f"output of {name}: expected none, found {each.factor:.4g}"


class State:
    """A model's tensors, hooks, modes and output in evaluation, to compare to the bit."""

    def __init__(self, model: nn.Module, entry: Entry) -> None:
        self.modes = [module.training for module in model.modules()]
        model.eval()
        torch.manual_seed(0)
        with torch.no_grad():
            output = call(model, entry.inputs())
        self.output = [each.clone() for each in leaves(output)]
        for module, mode in zip(model.modules(), self.modes, strict=True):
            module.training = mode
        # A first forward pass may put hooks and fill caches, so that these are read after it.
        self.hooks = [len(each) for each in hook_tables(model)]
        self.tensors = {name: value.clone() for name, value in tensors(model)}

    def damages(self, later: State) -> Iterator[str]:
        """Yield what differs in the later state."""
        if self.modes != later.modes:
            yield "training modes differ after planning"
        if self.hooks != later.hooks:
            yield f"hooks: {sum(self.hooks)} before planning, {sum(later.hooks)} after"
        if not same(self.tensors, later.tensors):
            yield "parameters or buffers differ after planning"
        if not same(dict(enumerate(self.output)), dict(enumerate(later.output))):
            yield "the output in evaluation differs after planning"


def tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers, those outside state_dict, too."""
    yield from ((name, value.detach()) for name, value in model.named_parameters())
    yield from model.named_buffers()


def hook_tables(model: nn.Module) -> Iterator[Mapping[int, Any]]:
    """Yield the tables of hooks of all modules."""
    for module in model.modules():
        for name, table in vars(module).items():
            if name.endswith("_hooks") and isinstance(table, dict):
                yield table


def leaves(output: Any) -> list[Tensor]:
    """Return the tensors of an output, in order."""
    if isinstance(output, Mapping):
        output = dict(output)
    return [each for each in pytree.tree_leaves(output) if isinstance(each, Tensor)]


def same(before: Mapping[Any, Tensor], after: Mapping[Any, Tensor]) -> bool:
    """Return True if two sets of tensors are equal to the bit."""
    return before.keys() == after.keys() and all(
        torch.equal(torch.nan_to_num(value), torch.nan_to_num(after[key]))
        for key, value in before.items()
    )


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block after this many seconds."""

    def stop(signum: int, frame: Any) -> None:
        raise TimeoutError(f"no plan after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class quiet(warnings.catch_warnings):
    """Silence for the warnings and the log of other packages."""

    def __enter__(self) -> Any:
        result = super().__enter__()
        warnings.simplefilter("ignore")
        return result
