"""The data of a check: the user's, a task's, or random ones that fit the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..core import MutransferError
from ..pytorch import guess_inputs
from ..tasks import Task
from ._record import main_tensor

EXAMPLES, TOKENS = 8, 32
"""Size of a random batch, and length of its sequences."""


@dataclass(frozen=True)
class Batch:
    """What a forward pass takes, and what makes a loss of its output."""

    inputs: Any
    loss: Callable[[Any], Tensor]

    def run(self, model: nn.Module) -> Any:
        """The model's output."""
        match self.inputs:
            case Mapping():
                return model(**self.inputs)
            case tuple():
                return model(*self.inputs)
        return model(self.inputs)


@dataclass(frozen=True)
class Batches:
    """The batches of all networks, by seed and step.

    Attributes:
        make: Makes the batch of a seed and a step.
        fresh: Whether every step has another one; changes are then measured on the first.
    """

    make: Callable[[int, int], Batch]
    fresh: bool

    def training(self, seed: int, step: int) -> Batch:
        """What is trained on at this step."""
        return self.make(seed, step if self.fresh else 0)

    def probe(self, seed: int) -> Batch | None:
        """What is measured on, where it is not what is trained on."""
        return self.make(seed, 0) if self.fresh else None


def batches(
    model: nn.Module,
    task: Task | None,
    batch: Any,
    loss: Callable[[Any, Any], Tensor] | None,
    *,
    fresh: bool,
    examples: int,
    steps: int,
) -> Batches:
    """The data of a check.

    Args:
        model: Any of its models, to fit random data to.
        task: Data and loss.
        batch: What a forward pass takes, or what makes it of a seed and a step.
        loss: Makes a loss of an output and a batch; the output's own, or cross-entropy with random classes, where it is not given.
        fresh: Whether every step has another batch.
        examples: Examples in a batch of a task.
        steps: How many steps are trained.

    Raises:
        MutransferError: no random data can be made for the model.
    """
    if task is not None:
        rows = cache(lambda seed: task.batches(seed, steps + 1, examples))

        def from_task(seed: int, step: int) -> Batch:
            chosen = rows(seed)[step]
            return Batch(
                task.inputs[chosen],
                lambda output: task.loss(main_tensor(output), task.targets[chosen]),
            )  # type: ignore[arg-type]

        return Batches(cache(from_task), fresh)
    if fresh and batch is not None and not callable(batch):
        raise MutransferError(
            "fresh=True needs a batch that is a function of seed and step, or a task"
        )
    shape = None if batch is not None else guess_inputs(model)
    classes, tokens = _vocabulary(model)

    def made(seed: int, step: int) -> Batch:
        generator = torch.Generator().manual_seed(1000 * seed + step)
        given = (
            _random(shape, classes, tokens, generator)
            if batch is None
            else batch(seed, step)
            if callable(batch)
            else batch
        )
        return Batch(
            given,
            lambda output: (
                loss(output, given) if loss is not None else _own_loss(output, 1000 * seed + step)
            ),
        )

    return Batches(cache(made), fresh)


def _vocabulary(model: nn.Module) -> tuple[int, int]:
    """How many tokens there are, and how many fit into a sequence."""
    tables = [
        module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)
    ]
    return (tables[0] if tables else 0), min([TOKENS, *tables[1:]])


def _random(like: Tensor | None, classes: int, tokens: int, generator: torch.Generator) -> Tensor:
    assert like is not None
    if not like.is_floating_point():
        return torch.randint(classes, (EXAMPLES, tokens), generator=generator)
    return torch.randn((EXAMPLES, *like.shape[1:]), generator=generator, dtype=like.dtype)


def _own_loss(output: Any, seed: int) -> Tensor:
    """The loss that the output has, or cross-entropy of its last dimension with random classes."""
    if isinstance(own := getattr(output, "loss", None), Tensor):
        return own
    logits = main_tensor(output)
    if logits is None:
        raise MutransferError(
            f"the output is a {type(output).__name__} without a tensor: give loss=lambda output, batch: ..."
        )
    flat = logits.flatten(0, -2) if logits.dim() > 1 else logits[:, None]
    generator = torch.Generator().manual_seed(seed)
    if flat.shape[-1] == 1:
        return (flat - torch.randn(flat.shape, generator=generator).to(flat)).square().mean()
    targets = torch.randint(flat.shape[-1], (len(flat),), generator=generator).to(flat.device)
    return nn.functional.cross_entropy(flat.float(), targets)
