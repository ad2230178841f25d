"""Training one network for a few steps, measured at each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core import MutransferError, Size
from ..pytorch import Plan, build_model, seed_generators
from ..reading import canonical
from ._activations import (
    bare_parts,
    carried,
    diversity,
    inputs,
    nonlinearities,
    outputs,
    parts,
    shares,
)
from ._attention import attention
from ._labels import Layout
from ._nonlinear import Arguments, arguments_of
from ._optimizers import Optimizers, optimizers_of
from ._quantities import LOSS, Measured
from ._record import Pass, recording
from ._rows import Row, as_rows
from ._setup import Planned, Setup, planned
from ._subject import Subject, subject_of, with_bare
from ._tensors import initial, spectral_updates, training, updates

_BUILDING = Lock()
"""Initial draws come from torch's global generator, so models are built one after another."""


class Network(NamedTuple):
    """A network that was measured.

    Attributes:
        plan: Its plan.
        rows: Its measured numbers.
        findings: Findings of the audits of its optimizers.
        skipped: Calls of modules that put out no tensor.
        layout: Its modules and tensors.
    """

    plan: Plan
    rows: list[Row]
    findings: tuple[str, ...]
    skipped: tuple[str, ...]
    layout: Layout


class _Built(NamedTuple):
    """A network before its first step."""

    model: nn.Module
    planned: Planned
    frozen: frozenset[str]
    optimizers: Optimizers


def measure(setup: Setup, size: Size, seed: int) -> Network:
    """Train one network and measure it at every step.

    Several threads may measure several networks at once.

    Raises:
        MutransferError: it cannot be built, planned or run, or its loss is not finite before the
            first step.
    """
    with _BUILDING:
        model, plans, frozen, optimizers = _built(setup, size, seed)
    subject = subject_of(plans, model, size, seed, setup.steps, frozen)
    measuring = _Measuring(subject)
    findings: dict[str, None] = {}
    for step in range(setup.steps + 1):
        evaluate(model)
        seen, loss = _forward(setup, measuring, model, step)
        measuring.forward(step, seen, loss.item())
        if step == setup.steps:
            break
        optimizers.zero_grad()
        torch.autograd.backward(loss)
        measuring.backward(step, optimizers)
        planned_groups = any("lr_factor" in group for group in optimizers.groups)
        # At the ends: a schedule or a loop may spoil what was right at first.
        if step in {0, setup.steps - 1} and planned_groups:
            audit = plans.plan.audit(model, *optimizers.optimizers)
            findings |= dict.fromkeys(audit.findings)
        optimizers.step()
    skipped = tuple(dict.fromkeys(seen.skipped))
    return Network(plans.plan, measuring.rows, tuple(findings), skipped, subject.layout)


def _built(setup: Setup, size: Size, seed: int) -> _Built:
    """Build, plan, initialise and prepare a network, and make its optimizers."""
    seed_generators(seed)
    model = build_model(setup.build, {axis: size[axis] for axis in setup.axes})
    parameters = dict(model.named_parameters())
    frozen = frozenset(canonical(name) for name, p in parameters.items() if not p.requires_grad)
    plans = planned(setup, size, model)
    plans.plan.attach(model)
    plans.plan.initialize(model)
    if setup.prepare is not None:
        model = setup.prepare(model)
    return _Built(model, plans, frozen, optimizers_of(setup, plans.plan, model))


def _forward(
    setup: Setup, measuring: _Measuring, model: nn.Module, step: int
) -> tuple[Pass, Tensor]:
    """Run the batch of this step.

    Returns:
        The recorded forward pass, that of the probe where there is one, and the loss.
    """
    subject = measuring.subject
    batch = setup.batches.training(subject.seed, step)
    # A prepared model may not run its blocks alone, as a sharded one does not.
    blocks: AbstractContextManager[dict[str, Arguments]] = nullcontext({})
    owners = set(subject.bare.values())
    wanted = {0: subject.blocks, 1: owners, setup.steps: owners}.get(step)
    if wanted and setup.prepare is None:
        blocks = arguments_of(model, wanted)
    gradients: AbstractContextManager[Any] = nullcontext()
    if step == setup.steps:
        gradients = torch.no_grad()
    # Logits cost as much as the attention, so they are recorded at the ends alone.
    logits = step in {0, 1, setup.steps}
    copies = measuring.copies
    with recording(model, attention=logits, copies=copies) as seen, gradients, blocks as given:
        output = batch.run(model)
    if seen.overwritten:
        measuring.copies = True
        with recording(model, attention=logits, copies=True) as seen, torch.no_grad():
            batch.run(model)
    if step == 0:
        measuring.given = given
    else:
        measuring.last_given = given
    loss = batch.loss(output)
    _check_loss(loss, subject.size, step)
    if (probe := setup.batches.probe(subject.seed)) is not None:
        with recording(model, copies=measuring.copies) as seen, torch.no_grad():
            probe.run(model)
    return seen, loss


def _check_loss(loss: object, size: Size, step: int) -> None:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = f"is a {type(loss).__name__}"
        if isinstance(loss, Tensor):
            what = f"has shape {tuple(loss.shape)}"
        raise MutransferError(f"the loss {what}: it has to be a tensor with one entry")
    if step == 0 and not math.isfinite(loss.item()):
        raise MutransferError(
            f"the loss at {size} is {loss.item()} before the first step: check batch and loss"
        )


def evaluate(model: nn.Module) -> None:
    """Put the model in evaluation mode, but for batch statistics, and without caches.

    Dropout would hide changes; batch statistics are part of the function that is trained. Caches,
    which Hugging Face's models make in this mode, are written in place.
    """
    model.eval()
    copies: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
        config: Any = getattr(module, "config", None)
        if getattr(config, "use_cache", False) is True:
            # The builder's own configuration may serve other models, too.
            without = copies.setdefault(id(config), copy(config))
            without.use_cache = False
            module.config = without


class _Measuring:
    """The rows of one network, from its forward and backward passes."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.rows: list[Row] = []
        self.copies = False
        self.given: dict[str, Arguments] = {}
        self.last_given: dict[str, Arguments] = {}
        self._first: Pass | None = None
        self._before: dict[str, Tensor] = {}

    def forward(self, step: int, seen: Pass, loss: float) -> None:
        """Measure a forward pass."""
        if self._first is None:
            self._first, self.subject = seen, with_bare(self.subject, seen)
        self._add(step, self._of_forward(step, seen, self._first, loss))
        self._before = seen.outputs

    def backward(self, step: int, optimizers: Optimizers) -> None:
        """Measure a backward pass, and the values that the optimizers have."""
        if step == 0:
            self._add(step, initial(self.subject))
        gradients = step in {0, self.subject.steps - 1}
        self._add(step, training(self.subject, optimizers.groups, gradients=gradients))

    def _of_forward(self, step: int, seen: Pass, first: Pass, loss: float) -> Iterator[Measured]:
        subject, is_last = self.subject, step == self.subject.steps
        yield LOSS, "loss", loss
        if step == 0:
            yield from carried(subject, seen)
        yield from inputs(seen, first, step)
        yield from outputs(seen, first, self._before, step)
        if step == 0 or is_last:
            yield from shares(subject, seen)
            yield from diversity(subject, seen)
        yield from attention(seen, first, step)
        if step == 1 or is_last:
            yield from bare_parts(subject, self.last_given)
        if is_last:
            spectral = spectral_updates(subject)
            yield from updates(subject, spectral)
            yield from parts(subject, seen, first, spectral)
            yield from nonlinearities(subject, self.given)

    def _add(self, step: int, measured: Iterable[Measured]) -> None:
        subject = self.subject
        rule = subject.planned.plan.rule
        self.rows += as_rows(rule, subject.size, subject.seed, step, measured)
