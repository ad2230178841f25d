"""One forward pass of a model, as a program."""

from __future__ import annotations

import itertools
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..core import MutransferError
from ..reading import Program, canonical
from . import _execute as execute
from . import _stand_ins as stand_ins
from ._calls import Calls
from ._dropout import without_dropout
from ._hooks import detached
from ._inputs import arguments, candidates, tensors
from ._ledger import Ledger
from ._recorder import Recorder
from ._spread import check_whole, inner, remove_hooks
from ._untouched import untouched

_LARGEST_REAL = 2e9
"""Bytes of the parameters above which a forward pass on numbers takes too long."""
_MOST_WORK = 3e12
"""Parameters times entries of the inputs, likewise."""


@dataclass(frozen=True)
class _Way:
    """A way to run a model: which tensors, and with gradients or without."""

    substitute: stand_ins.Substitute = stand_ins.on_cpu
    execute: execute.Execute = execute.on_cpu
    grad: bool = True
    mode: AbstractContextManager[Any] = field(default_factory=nullcontext)


class _Failure(Exception):
    """The forward pass failed, in a module."""

    def __init__(self, module: str) -> None:
        super().__init__(module)
        self.module = module


def record_program(
    model: nn.Module, example_inputs: Any = None, *, training: bool = False
) -> Program:
    """Run one forward pass and return its operations below autograd.

    It runs on the CPU, on the model's own numbers where they are there, on small ones in their
    place where they are elsewhere, and on shapes alone where they are many. Afterwards the model,
    its caches, hooks and buffers, and all generators are as before. What the code writes to files
    or prints stays.

    Args:
        model: Any module; its parameters may live on any device, also meta.
        example_inputs: A tensor, a tuple of positional or a mapping of keyword arguments. By
            default guessed from the first layer, or the model's own `dummy_inputs`.
        training: True for training mode, without dropout.

    Raises:
        MutransferError: the forward pass failed, or the inputs cannot be guessed.
    """
    _check_materialized(model)
    check_whole(model)
    failure: Exception | None = None
    tries = list(candidates(model, example_inputs))
    for way, inputs in itertools.product(_ways(model, tries), tries):
        try:
            could_compile = _has_compiler()
            program = _recorded(model, inputs, way(), training)
            # The forward pass itself may have loaded the compiler, which had to be kept off.
            again = _has_compiler() and not could_compile
            return _recorded(model, inputs, way(), training) if again else program
        except _Failure as error:
            failure = failure or error
    assert isinstance(failure, _Failure)
    raise _explained(model, failure) from failure.__cause__


def _check_materialized(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.UninitializedParameter):
            raise MutransferError(
                f"the shape of {name} is not known before the first forward pass: "
                "call the model once on a batch"
            )


def _ways(model: nn.Module, tries: list[Any]) -> list[Callable[[], _Way]]:
    """Return the ways to run a model, the best first."""

    hollow: list[Callable[[], _Way]] = [_hollow, _fake]
    hollow += [partial(_hollow, grad=False), partial(_fake, grad=False)]
    real: list[Callable[[], _Way]] = [_Way, partial(_Way, grad=False)]
    if any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters()):
        real.append(partial(_Way, stand_ins.in_single_precision))
    parameters = sum(p.numel() for p in model.parameters())
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    entries = max((t.numel() for inputs in tries for t in tensors(inputs)), default=0)
    if all(p.is_meta for p in model.parameters()):
        return [*hollow, *real]
    if size > _LARGEST_REAL:
        has_numbers = all(p.device.type == "cpu" for p in model.parameters())
        return [*hollow, *(real if has_numbers else [])]
    if parameters * entries > _MOST_WORK:
        return [_hollow, *real, *hollow[1:]]
    return [*real, *hollow]


def _hollow(*, grad: bool = True) -> _Way:
    return _Way(stand_ins.on_meta, execute.on_meta, grad)


def _fake(*, grad: bool = True) -> _Way:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    return _Way(stand_ins.as_fakes(mode), execute.on_fakes, grad, _quiet(mode))


@contextmanager
def _quiet(mode: FakeTensorMode) -> Iterator[None]:
    """Enter a mode that logs what it cannot compute: the failure is raised, too."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before = logger.disabled
    logger.disabled = True
    try:
        with mode:
            yield
    finally:
        logger.disabled = before


def _recorded(model: nn.Module, inputs: Any, way: _Way, training: bool) -> Program:
    """Return the program of one forward pass; the model is restored whatever happens."""
    with untouched(model, inputs) as state, detached(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        swaps = list(stand_ins.substitutes(model, way.substitute))
        others = {id(own): other for own, other in swaps}
        unknown = frozenset(id(other) for own, other in swaps if own.is_meta)
        ledger = Ledger(
            _names(model.named_parameters(remove_duplicate=False), others),
            _names(model.named_buffers(remove_duplicate=False), others),
            unknown,
        )
        state.substitute(others)
        state.set_training(model, training)
        remove_hooks(model)
        calls = Calls(model, ledger)
        recorder = Recorder(ledger, way.execute, state.keep)
        positional, named = arguments(inputs)
        for tensor in tensors((positional, named)):
            ledger.take_input(tensor)
        try:
            with _plain_torch(way), without_dropout(model, training), calls.listening(), recorder:
                output = inner(model)(*positional, **named)
                outputs = tuple(ledger.read(tensor) for tensor in tensors(output))
        except Exception as error:
            raise _Failure(calls.place(error)) from error
        return ledger.program(outputs, calls.outputs, is_training=training)


def _names(named: Iterator[tuple[str, Tensor]], others: Mapping[int, Tensor]) -> dict[int, str]:
    """Return the first name of each tensor, by identity of its stand-in."""
    found: dict[int, str] = {}
    for name, tensor in named:
        found.setdefault(id(others.get(id(tensor), tensor)), canonical(name))
    return found


@contextmanager
def _plain_torch(way: _Way) -> Iterator[None]:
    """Take off what hides operations: fused kernels, compiled code, fast paths."""
    # Some of these take effect when they are made, so that each is entered at once.
    with (
        torch.inference_mode(False),
        torch.enable_grad() if way.grad else torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        torch.device("cpu") if torch.get_default_device().type != "cpu" else nullcontext(),
        torch.compiler.set_stance("force_eager") if _has_compiler() else nullcontext(),
        torch.jit.optimized_execution(False),  # type: ignore[attr-defined]
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.mkldnn.flags(enabled=False),
        _without_fast_path(),
        way.mode,
    ):
        yield


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Switch the fused transformer layers of inference off, and their nested tensors."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _has_compiler() -> bool:
    """Return True if code could be compiled: the compiler is loaded, or its users are."""
    users = "torch._dynamo", "torch.nn.attention.flex_attention"
    return any(name in sys.modules for name in users)


def _explained(model: nn.Module, failure: _Failure) -> MutransferError:
    cause = failure.__cause__
    place = f" in {failure.module}" if failure.module else ""
    text = f"{type(cause).__name__}: {cause}"
    reason = ""
    if "cuda" in text.lower() or "triton" in text.lower():
        reason = "; the plan reads it on the CPU, so that it must not ask for a GPU"
    return MutransferError(
        f"the forward pass of {type(model).__name__} failed{place} while its residual branches "
        f"were read ({text}){reason}; give inputs it accepts with example_inputs=, or, where it "
        "cannot run on the CPU, declare its residual branches with "
        'branches={"blocks.*.attention.out": ("blocks.*.norm1.*", "blocks.*.attention.*"), ...}, '
        "or branches={} if there are none"
    )
