"""A residual network of convolutions, with width and depth as arguments.

Records of studies name their builder by module and name, so that it stays in this file.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..core import MutransferError

GROUPS = 8
"""Groups of a norm, at every width.

Group norms stack: members of a study are trained as one program. They keep no running statistics,
and an example does not depend on the others of its batch, as with batch norms.
"""


class ConvolutionBlock(nn.Module):
    """A pre-activation block: (batch, width, height, width) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        changed = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(changed)))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """A convolution that changes the number of channels, and residual blocks."""

    def __init__(self, inputs: int, width: int, depth: int, stride: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.blocks = nn.ModuleList(ConvolutionBlock(width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return x


class ResNet(nn.Module):
    """A residual network: images (batch, channels, height, width) to (batch, outputs)."""

    def __init__(self, width: int, depth: int, stages: int, channels: int, outputs: int) -> None:
        super().__init__()
        widths = [width * 2**stage for stage in range(stages)]
        before = [channels, *widths]
        self.stages = nn.ModuleList(
            Stage(inputs, own, depth, stride=2 if number else 1)
            for number, (inputs, own) in enumerate(zip(before, widths, strict=False))
        )
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, own) for own in widths)
        self.readout = nn.Linear(widths[-1], outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for stage, norm in zip(self.stages, self.norms, strict=True):
            # A norm ends each stage, as streams grow with the blocks that they pass.
            x = F.relu(norm(stage(x)))
        return self.readout(x.mean((-2, -1)))  # type: ignore[no-any-return]


def resnet(
    width: int = 32,
    depth: int = 2,
    *,
    stages: int = 3,
    channels: int = 3,
    outputs: int = 10,
) -> nn.Module:
    """Return a pre-activation residual network; its defaults fit CIFAR-10's images.

    Stages of width, 2 width, 4 width channels and so on, each at half the resolution of the one
    before. Blocks have two 3x3 convolutions (He et al., 1603.05027) with group norms (Wu and He,
    1803.08494), whose number of groups stays. Convolutions start with variance 2 / fan_in.

    Args:
        width: Channels of the first stage, a multiple of 8.
        depth: Number of residual blocks in each stage.
        stages: Number of stages.
        channels: Channels of the images.
        outputs: Number of outputs.

    Raises:
        MutransferError: the width is not a multiple of the number of groups.
    """
    if width % GROUPS:
        raise MutransferError(
            f"width {width} is not a multiple of the {GROUPS} groups of a norm; choose one that is"
        )
    return ResNet(width, depth, stages, channels, outputs)
