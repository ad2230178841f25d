"""Convolution nets: residual, in stages, U-shaped, depthwise, transposed."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .parts import Net
from .residual import Block, Residual, inside


def mean_over_places(x: Tensor) -> Tensor:
    return x.mean((-2, -1))


class ConvBlock(nn.Module):
    """A residual block of He et al. (1512.03385), with a convolution for each kernel.

    Where the shape of the stream changes, it is projected.

    Args:
        channels: Channels of the stream before the block.
        inner: Channels between the convolutions; by default as many.
        out: Channels of the stream after it; by default as many.
        stride: Stride of the convolution with the kernel 3.
        kernels: The kernels.
        norm: The norm of a number of channels.
        before: Whether norms and activations come before the convolutions (1603.05027).
        groups: Groups of the first convolution.
        bias: Whether the convolutions have biases.
        inplace: Whether activations and the residual add are in place, as in torchvision.
    """

    def __init__(
        self,
        channels: int,
        inner: int | None = None,
        out: int | None = None,
        *,
        stride: int = 1,
        kernels: tuple[int, ...] = (3, 3),
        norm: Block = nn.BatchNorm2d,
        before: bool = False,
        groups: int = 1,
        bias: bool = False,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        inner, out = inner or channels, out or channels
        sizes = [channels, *[inner] * (len(kernels) - 1), out]
        self.convs = nn.ModuleList()
        for i, (kernel, (a, b)) in enumerate(zip(kernels, pairwise(sizes), strict=True)):
            self.convs.append(
                nn.Conv2d(
                    a,
                    b,
                    kernel,
                    stride if i == kernels.index(3) else 1,
                    kernel // 2,
                    groups=1 if i else groups,
                    bias=bias,
                )
            )
        self.norms = nn.ModuleList(map(norm, sizes[:-1] if before else sizes[1:]))
        projection = [
            nn.Conv2d(channels, out, 1, stride, bias=False),
            *([] if before else [norm(out)]),
        ]
        self.shortcut = nn.Sequential(*projection if channels != out or stride != 1 else [])
        self.before, self.relu = before, nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        branch = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if self.before:
                branch = conv(self.relu(norm(branch)))
            else:
                branch = norm(conv(self.relu(branch) if i else branch))
        if self.relu.inplace:
            branch += self.shortcut(x)
            total = branch
        else:
            total = self.shortcut(x) + branch
        return total if self.before else self.relu(total)


def resnet(width: int, depth: int, inner: int | None = None, **settings: Any) -> nn.Module:
    """A ResNet of one stage; `settings` are those of its blocks."""
    return Residual(
        width,
        depth,
        lambda channels: ConvBlock(channels, inner, **settings),
        join=inside,
        stem=nn.Conv2d(3, width, 3, padding=1, bias=settings.get("bias", False)),
        pool=mean_over_places,
        readout=nn.Linear(width, 10),
    )


class StagedResNet(nn.Module):
    """A ResNet of two stages, the second of twice the width behind a projection.

    Args:
        width: Channels of the stem.
        depth: Number of blocks of a stage.
        kernels: The kernels of a block.
        expansion: Channels of the stream over those between the convolutions.
        before: Whether norms and activations come before the convolutions.
        inplace: Whether activations and residual adds are in place.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        kernels: tuple[int, ...] = (3, 3),
        expansion: int = 1,
        *,
        before: bool = False,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        self.stem, channels = nn.Conv2d(3, width, 3, padding=1, bias=False), width
        self.stages = nn.ModuleList()
        for inner in (width, 2 * width):
            stage = nn.Sequential()
            for i in range(depth):
                stride = 2 if inner > width and not i else 1
                sizes = (channels, inner, expansion * inner)
                same = {"stride": stride, "kernels": kernels, "before": before, "inplace": inplace}
                stage.append(ConvBlock(*sizes, **same))
                channels = expansion * inner
            self.stages.append(stage)
        self.norm = nn.BatchNorm2d(channels if before else width)
        self.head, self.before = nn.Linear(channels, 10), before

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) if self.before else torch.relu(self.norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        return self.head(mean_over_places(torch.relu(self.norm(x)) if self.before else x))


class UNet(nn.Module):
    """A U-Net of three scales with group norms."""

    def __init__(self, width: int, outputs: int = 10) -> None:
        super().__init__()
        sizes = [width, 2 * width, 4 * width]
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(sizes)
        )
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(sizes))
        self.joins = nn.ModuleList(nn.Conv2d(2 * a, a, 3, padding=1) for a in sizes[:-1])
        self.norms = nn.ModuleList(nn.GroupNorm(4, a) for a in [*sizes, *sizes[:-1]])
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        streams = [torch.relu(self.norms[0](self.stem(x)))]
        for i, down in enumerate(self.downs):
            streams.append(torch.relu(self.norms[i + 1](down(streams[-1]))))
        x = streams[-1]
        for i in reversed(range(len(self.ups))):
            both = torch.cat([streams[i], self.ups[i](x)], 1)
            x = torch.relu(self.norms[i + 3](self.joins[i](both)))
        return self.head(x)


class Separable(nn.Module):
    """A depthwise convolution and one over channels, in one or two dimensions.

    Args:
        width: Channels.
        dimensions: 1 or 2.
        multiplier: Channels between the convolutions over the width.
        branch: Whether it is a branch over sequences, with a norm before and a layer scale after.
    """

    def __init__(
        self, width: int, dimensions: int = 1, multiplier: int = 1, *, branch: bool = False
    ) -> None:
        super().__init__()
        kind: Any = (nn.Conv1d, nn.Conv2d)[dimensions - 1]
        self.norm = nn.LayerNorm(width) if branch else None
        self.depthwise = kind(width, multiplier * width, 3, padding=1, groups=width)
        self.pointwise = kind(multiplier * width, width, 1)
        self.gamma = nn.Parameter(torch.ones(width)) if branch else None

    def forward(self, x: Tensor) -> Tensor:
        if self.norm is None:
            return self.pointwise(torch.relu(self.depthwise(x)))
        x = self.norm(x).transpose(1, 2)
        return self.gamma * self.pointwise(torch.relu(self.depthwise(x))).transpose(1, 2)


def separable_net(width: int, dimensions: int, multiplier: int = 1) -> nn.Module:
    """A stem, separable convolutions and a readout."""
    return Net(
        lambda m, x: m.readout(m.layer(m.stem(x)).flatten(2).mean(-1)),
        stem=(nn.Conv1d, nn.Conv2d)[dimensions - 1](3, width, 1),
        layer=Separable(width, dimensions, multiplier),
        readout=nn.Linear(width, 2),
    )


def layer_of_channels(layer: nn.Module, width: int, out: int | None = None) -> nn.Module:
    """A stem, one layer over feature maps, and a readout over their means."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.ReLU(),
        layer,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(out or width, 4),
    )


def conv_readout(width: int, inner: int) -> nn.Module:
    """A net whose readout is a convolution."""
    return Net(
        lambda m, x: mean_over_places(m.readout(torch.relu(m.hidden(torch.relu(m.stem(x)))))),
        stem=nn.Conv2d(3, width, 3, padding=1),
        hidden=nn.Conv2d(width, inner, 3, padding=1),
        readout=nn.Conv2d(inner, 10, 1),
    )


def upsampler(width: int, inner: int) -> nn.Module:
    """A net with a transposed convolution."""
    return Net(
        lambda m, x: m.readout(mean_over_places(torch.relu(m.up(torch.relu(m.stem(x)))))),
        stem=nn.Conv2d(3, width, 3, padding=1),
        up=nn.ConvTranspose2d(width, inner, 2, stride=2),
        readout=nn.Linear(inner, 10),
    )


def lazy_convolution(width: int, layers: int = 1, outputs: int = 4) -> nn.Module:
    """Convolutions and a readout whose fan-in the first images of 32 by 32 places set."""
    convs = [nn.Conv2d(width if i else 3, width, 3) for i in range(layers)]
    model = nn.Sequential(*convs, nn.Flatten(), nn.LazyLinear(outputs))
    model(torch.zeros(1, 3, 32, 32))
    return model
