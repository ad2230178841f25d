"""Convolutional residual networks with one matrix a branch (2309.16620)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ..core import MutransferError
from ..tasks import Task

PLACES = 4
"""Rows and columns of features: a patch of the image becomes one place."""


class Branch(nn.Module):
    """A 3x3 convolution behind a ReLU, with a norm before it or without."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width) if norm else nn.Identity()
        self.convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(torch.relu(self.norm(x)))  # type: ignore[no-any-return]


class Convolutional(nn.Module):
    """A convolution over patches, residual branches, and a readout."""

    def __init__(self, branches: list[Branch], width: int, image: tuple[int, int, int]) -> None:
        super().__init__()
        self.image = image
        patch = image[-1] // PLACES
        self.stem = nn.Conv2d(image[0], width, patch, stride=patch)
        self.branches = nn.ModuleList(branches)
        self.readout = nn.Linear(width, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.reshape(-1, *self.image))
        for branch in self.branches:
            x = x + branch(x)
        return self.readout(x.mean((-2, -1)))  # type: ignore[no-any-return]


def convolutional(
    width: int = 16,
    depth: int = 4,
    *,
    norm: bool = False,
    image: tuple[int, int, int] = (1, 8, 8),
) -> nn.Module:
    """Return a convolutional residual network; its defaults fit the task `digits`.

    Args:
        width: Number of channels.
        depth: Number of branches.
        norm: True for a norm over channels and places at the start of each branch.
        image: Channels, height and width of an image.

    Raises:
        MutransferError: an image is smaller than its features.
    """
    if image[-1] < PLACES:
        raise MutransferError(f"an image of side {image[-1]} has fewer than {PLACES} places")
    return Convolutional([Branch(width, norm) for _ in range(depth)], width, image)


def image_of(task: Task) -> tuple[int, int, int]:
    """Return channels, height and width of a task's images; digits are flat."""
    inputs = task.inputs
    if not isinstance(inputs, Tensor) or inputs.dim() != 4:
        return 1, 8, 8
    channels, height, width = inputs.shape[1:]
    return channels, height, width


def fitting(task: Task, norm: bool = False) -> partial[nn.Module]:
    """Return the builder of networks for a task's images."""
    return partial(convolutional, norm=norm, image=image_of(task))
