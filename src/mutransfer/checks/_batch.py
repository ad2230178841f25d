"""The data of a check: the user's, a task's, or random data that fits the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from ..core import MutransferError
from ..pytorch import guess_inputs
from ..tasks import Stream, Task, main_tensor

EXAMPLES, TOKENS = 8, 32
"""Size of a random batch, and length of its sequences."""

TASK_EXAMPLES = 64
"""Size of a batch of a task."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The inputs of a forward pass, and the loss of its output."""

    inputs: Any
    loss: Callable[[Any], Tensor]

    def run(self, model: nn.Module) -> Any:
        """Return the model's output."""
        match self.inputs:
            case Mapping():
                return model(**self.inputs)
            case tuple():
                return model(*self.inputs)
        return model(self.inputs)


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of all networks.

    Attributes:
        make: Makes the batch of a seed and a step.
        fresh: True if every step has another batch; changes are then measured on the first.
    """

    make: Callable[[int, int], Batch]
    fresh: bool

    def training(self, seed: int, step: int) -> Batch:
        """Return the batch of this step."""
        return self.make(seed, step if self.fresh else 0)

    def probe(self, seed: int) -> Batch | None:
        """Return the batch that is measured on, if it is not the one of the step."""
        return self.make(seed, 0) if self.fresh else None


def batches(
    model: nn.Module,
    task: Task | Stream | None,
    batch: Any,
    loss: Callable[[Any, Any], Tensor] | None,
    *,
    fresh: bool,
    steps: int,
) -> Batches:
    """Return the data of a check.

    Args:
        model: The base, to fit random data to.
        task: Data and loss.
        batch: The inputs of a forward pass, or a function of seed and step that makes them.
        loss: A function of output and batch. By default the output's own loss, or cross-entropy
            with random classes.
        fresh: True if every step has another batch.
        steps: Number of steps.

    Raises:
        MutransferError: no random data can be made for the model.
    """
    if task is not None:
        return _task_batches(task, steps, fresh=fresh)
    if fresh and batch is not None and not callable(batch):
        raise MutransferError(
            "fresh=True needs a batch that is a function of seed and step, or a task"
        )
    shape = None if batch is not None else guess_inputs(model)
    classes, tokens = _vocabulary(model)
    # An encoder with decoder of Hugging Face's makes the decoder's tokens of the labels.
    has_decoder = hasattr(model, "prepare_decoder_input_ids_from_labels")

    def made(seed: int, step: int) -> Batch:
        number = 1000 * seed + step
        inputs = batch
        if shape is not None:
            inputs = _random(shape, classes, tokens, number)
            if has_decoder and not shape.is_floating_point():
                inputs = {"input_ids": inputs, "labels": inputs.flip(-1)}
        elif callable(batch):
            inputs = called(batch, seed, step)
        if loss is None:
            return Batch(inputs, lambda output: _own_loss(output, number))
        return Batch(inputs, lambda output: loss(output, inputs))

    return Batches(cache(made), fresh)


def called(batch: Callable[..., Any], seed: int, step: int) -> Any:
    """Return the inputs that a function of seed and step makes.

    Raises:
        MutransferError: it takes other arguments.
    """
    try:
        signature(batch).bind(seed, step)
    except TypeError as error:
        raise MutransferError(
            f"batch is a function of other arguments ({error}): it gets a seed and a step, and "
            "returns the inputs of a forward pass; inputs that are always the same can be given "
            "themselves"
        ) from None
    except ValueError:
        pass  # A function of C has no signature.
    return batch(seed, step)


def _task_batches(task: Task | Stream, steps: int, *, fresh: bool) -> Batches:
    feed = cache(lambda seed: task.feed(seed, steps + 1, TASK_EXAMPLES))

    def made(seed: int, step: int) -> Batch:
        inputs, targets = feed(seed)[step]

        def loss(output: Any) -> Tensor:
            tensor = main_tensor(output)
            if tensor is None:
                raise _no_tensor(output, f"the task {task.name} needs one")
            return task.loss(tensor, targets)

        return Batch(inputs, loss)

    return Batches(cache(made), fresh)


def _vocabulary(model: nn.Module) -> tuple[int, int]:
    """Return the number of tokens, and how many fit into a sequence.

    The first embedding is that of tokens; a second one is mostly that of positions.
    """
    modules = model.modules()
    tables = [module.num_embeddings for module in modules if isinstance(module, nn.Embedding)]
    return (tables[0] if tables else 0), min([TOKENS, *tables[1:]])


def _random(like: Tensor, classes: int, tokens: int, number: int) -> Tensor:
    """Return random tokens or features in the shape of one guessed batch."""
    generator = torch.Generator().manual_seed(number)
    if not like.is_floating_point():
        return torch.randint(classes, (EXAMPLES, tokens), generator=generator)
    return torch.randn((EXAMPLES, *like.shape[1:]), generator=generator, dtype=like.dtype)


def _own_loss(output: Any, number: int) -> Tensor:
    """Return the output's own loss, or cross-entropy with random classes."""
    if isinstance(own := getattr(output, "loss", None), Tensor):
        return own
    logits = main_tensor(output)
    if logits is None:
        raise _no_tensor(output, "give loss=lambda output, batch: ...")
    flat = logits.flatten(0, -2) if logits.dim() > 1 else logits[:, None]
    generator = torch.Generator().manual_seed(number)
    # One number for each example has no classes: it is fitted to a random number.
    if flat.shape[-1] == 1:
        return (flat - torch.randn(flat.shape, generator=generator).to(flat)).square().mean()
    targets = torch.randint(flat.shape[-1], (len(flat),), generator=generator).to(flat.device)
    return nn.functional.cross_entropy(flat.float(), targets)


def _no_tensor(output: object, remedy: str) -> MutransferError:
    what = type(output).__name__
    return MutransferError(f"the output is a {what} without a tensor: {remedy}")
