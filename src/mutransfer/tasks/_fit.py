"""Checks that a task fits a model, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..core import MutransferError
from ._batches import Batch, Inputs, inputs_like, length
from ._losses import with_own_loss
from ._outputs import main_tensor
from ._scores import cross_entropy
from ._stream import Stream
from ._task import Task

_IGNORED = -100
"""The target that torch's cross-entropy leaves out."""


def check_fit(model: nn.Module, task: Task | Stream) -> None:
    """Raise unless a model takes the inputs of a task, and its loss takes the output.

    Two examples pass through the model, in evaluation mode and without gradients; a model on the
    meta device sees their shapes. The model stays as it was.

    Args:
        model: A model of any size, such as the base.
        task: The task.

    Raises:
        MutransferError: one sentence that says what does not fit: shapes of inputs, a vocabulary
            or a number of classes that is too small, a sequence that is too long, a loss or a
            metric that fails.
    """
    task = with_own_loss(task)
    inputs, targets = _examples(task)
    given = _placed(inputs, model)
    output = _output(model, task, given, _tokens(task, inputs))
    if task.loss is cross_entropy:
        _check_classes(task, output, targets)
    like = main_tensor(output)
    on = targets.to(targets.device if like is None else like.device, copy=True)
    _check_score("the loss", task.loss, task, output, on)
    if task.validation is not None:
        _check_validation(task, inputs)
    for name, metric in task.metrics.items():
        _check_score(f"the metric {name}", metric, task, output, on)


def _examples(task: Task | Stream) -> Batch:
    """Return inputs and targets of two examples."""
    if isinstance(task, Stream):
        size = length(task.example)
        return task.feed(0, 1, size)[0]
    rows, targets = length(task.inputs), len(task.targets)
    if rows != targets:
        raise MutransferError(
            f"task {task.name} has {rows} rows of inputs and {targets} of targets: give one of "
            "each an example"
        )
    return task.example, task.targets[:2]


def _placed(inputs: Inputs, model: nn.Module) -> Inputs:
    """Return copies of inputs on the model's device, numbers in its type."""
    like = inputs_like(model)

    def placed(data: Tensor) -> Tensor:
        dtype = like.dtype if data.is_floating_point() else data.dtype
        # A forward pass may change its inputs in place.
        return data.to(like.device, dtype, copy=True)

    if isinstance(inputs, Mapping):
        return {name: placed(data) for name, data in inputs.items()}
    return placed(inputs)


def _tokens(task: Task | Stream, inputs: Inputs) -> int | None:
    """Return the largest token of a task whose inputs are tokens."""
    wholes = [inputs]
    if isinstance(task, Task):
        wholes = [task.inputs] + ([task.validation[0]] if task.validation is not None else [])
    found = [_token_ids(whole) for whole in wholes]
    largest = [int(ids.max()) for ids in found if ids is not None and ids.numel()]
    return max(largest, default=None)


def _token_ids(inputs: Inputs) -> Tensor | None:
    """Return the tokens among inputs, whose name is Hugging Face's."""
    ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else inputs
    return None if ids is None or _are_numbers(ids) else ids


def _are_numbers(data: Tensor) -> bool:
    """Return True for real and complex numbers, which name no tokens and no classes."""
    return data.is_floating_point() or data.is_complex()


def _output(model: nn.Module, task: Task | Stream, inputs: Inputs, largest: int | None) -> Any:
    """Return the model's output, or raise a sentence that says why there is none."""
    try:
        with _watched(model, task, inputs, largest), torch.no_grad():
            return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    except MutransferError:
        raise
    except Exception as error:  # of the user's model, of any kind
        raise MutransferError(
            f"task {task.name} does not fit the model: {type(model).__name__} fails on inputs "
            f"{_described(inputs)}: {_reason(error)}; build it for these inputs, or give another "
            "task"
        ) from error


@contextmanager
def _watched(
    model: nn.Module, task: Task | Stream, inputs: Inputs, largest: int | None
) -> Iterator[None]:
    """Look at embeddings that are called, and leave the model as it was."""
    names = {module: name for name, module in model.named_modules()}
    modes = {module: module.training for module in names}
    handles = [
        module.register_forward_pre_hook(_embedding_check(names[module], task, inputs, largest))
        for module in names
        if isinstance(module, nn.Embedding)
    ]
    try:
        # In evaluation mode, norms keep their running statistics and dropout does not draw.
        model.eval()
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training


def _embedding_check(
    name: str, task: Task | Stream, inputs: Inputs, largest: int | None
) -> Callable[[nn.Module, Any], None]:
    """Return a forward hook that raises where an embedding has too few rows."""
    tokens = _token_ids(inputs)

    def check(module: nn.Module, arguments: Any) -> None:
        rows = int(module.num_embeddings)  # type: ignore[arg-type]
        index = arguments[0] if arguments else None
        if not isinstance(index, Tensor):
            return
        if largest is not None and largest >= rows and _are_same(index, tokens):
            raise MutransferError(
                f"task {task.name} has token {largest}, and the model's embedding {name} has "
                f"{rows} rows: build the model with a vocabulary of at least {largest + 1}"
            )
        last = -1 if index.is_meta or not index.numel() else int(index.max())
        if last >= rows:
            raise MutransferError(
                f"task {task.name} has sequences of {index.shape[-1]}, for which the model looks "
                f"up row {last} of its embedding {name}, which has {rows}: build the model with a "
                "longer context, or give a task with shorter sequences"
            )

    return check


def _are_same(index: Tensor, tokens: Tensor | None) -> bool:
    """Return True if an embedding looks up the tokens themselves, not their places."""
    if tokens is None or index is tokens:
        return index is tokens
    return not index.is_meta and index.shape == tokens.shape and index.equal(tokens)


def _check_classes(task: Task | Stream, output: Any, targets: Tensor) -> None:
    """Raise where logits have too few classes, or other rows than the targets."""
    logits = main_tensor(output)
    if logits is None or _are_numbers(targets):
        return
    if logits.shape[:-1] != targets.shape:
        wanted = ", ".join([*map(str, targets.shape), "classes"])
        raise MutransferError(
            f"task {task.name} has targets {tuple(targets.shape)} for two examples, and the "
            f"model's logits are {tuple(logits.shape)}: they should be ({wanted})"
        )
    known = targets
    if isinstance(task, Task):
        parts = [task.targets] + ([task.validation[1]] if task.validation is not None else [])
        known = torch.cat([part.flatten() for part in parts])
    known = known[known != _IGNORED]
    smallest, largest = (int(known.min()), int(known.max())) if len(known) else (0, 0)
    if smallest < 0 or largest >= logits.shape[-1]:
        raise MutransferError(
            f"task {task.name} has classes from {smallest} to {largest}, and the model has "
            f"{logits.shape[-1]} logits, of classes from 0 to {logits.shape[-1] - 1}: build the "
            f"model with at least {largest + 1} outputs"
        )


def _check_validation(task: Task | Stream, inputs: Inputs) -> None:
    """Raise unless the data kept apart is as that to train on."""
    assert task.validation is not None
    kept, targets = task.validation
    if length(kept) != len(targets):
        raise MutransferError(
            f"task {task.name} has {length(kept)} rows of validation inputs and {len(targets)} of "
            "targets: give one of each an example"
        )
    if _rows(kept) != _rows(inputs):
        raise MutransferError(
            f"task {task.name} validates on inputs {_described(kept)} and trains on "
            f"{_described(inputs)}: give examples of one shape and type"
        )


def _check_score(
    what: str, score: Callable[[Any, Tensor], Tensor], task: Task | Stream, output: Any, on: Tensor
) -> None:
    """Raise unless the loss or a metric returns one number."""
    try:
        value = score(output, on)
    except MutransferError:
        raise
    except Exception as error:  # of a user's function, of any kind
        raise MutransferError(
            f"{what} of task {task.name} fails on the model's output, {_described(output)}: "
            f"{_reason(error)}; let it take this output, with targets {_described(on)}"
        ) from error
    if not isinstance(value, Tensor) or value.dim():
        raise MutransferError(
            f"{what} of task {task.name} returns {_described(value)}: return one number, the mean "
            "over examples"
        )


def _reason(error: Exception) -> str:
    """Return the first line of an error, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _rows(inputs: Inputs) -> Any:
    """Return shape and type of one example."""
    if isinstance(inputs, Mapping):
        return {name: _rows(tensor) for name, tensor in inputs.items()}
    return inputs.shape[1:], inputs.dtype


def _described(value: Any) -> str:
    """Return shapes and types, as messages show them."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_described(item)}" for name, item in value.items())
    return f"a {type(value).__name__}"
