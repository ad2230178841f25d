"""Networks that give the features of their layers, with initial laws of their own."""

from torch import Tensor, nn
from torch.nn import functional as F

from .parts import NormWithoutGain, repeat
from .residual import Block, TwoMatrices

INPUTS, OUTPUTS, ROWS = 8, 4, 32


def relu_branch(width: int) -> nn.Module:
    """A branch of two square matrices without biases behind a norm without a gain."""
    return TwoMatrices(width, norm=NormWithoutGain, activation=F.relu, bias=False)


class ResidualFeatures(nn.Module):
    """A pre-norm residual network: features of stem, middle and end, and the output.

    The last matrix of a branch starts at half the scale of the others.

    Args:
        width: Size of the residual stream.
        depth: Number of branches.
        block: A branch of a width, whose last matrix is named `down`.
        table: Whether the stem is a table over row numbers, and not a layer over 8 inputs.
    """

    def __init__(
        self, width: int, depth: int, block: Block = relu_branch, *, table: bool = False
    ) -> None:
        super().__init__()
        self.stem = nn.Embedding(ROWS, width) if table else nn.Linear(INPUTS, width)
        self.blocks = repeat(depth, lambda: block(width))
        self.norm, self.head = NormWithoutGain(width), nn.Linear(width, OUTPUTS)
        nn.init.normal_(self.stem.weight, std=1 if table else INPUTS**-0.5)
        for name, matrix in self.named_parameters():
            if name.startswith(("blocks", "head.weight")):
                nn.init.normal_(matrix, std=(0.5 if "down" in name else 1.0) * width**-0.5)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)["output"]

    def features(self, x: Tensor) -> dict[str, Tensor]:
        stream = [self.stem(x)]
        for block in self.blocks:
            stream.append(stream[-1] + block(stream[-1]))
        stem, middle, last = stream[0], stream[len(stream) // 2], stream[-1]
        features = {"stem": stem, "middle": middle, "last": last, "branches": last - stem}
        return features | {"output": self.head(self.norm(last))}


class PerceptronFeatures(nn.Module):
    """A perceptron: features of the first, second and last layer, and the output."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        first, rest = nn.Linear(INPUTS, width), (nn.Linear(width, width) for _ in range(depth))
        self.layers = nn.ModuleList([first, *rest])
        self.head = nn.Linear(width, OUTPUTS)
        for layer in (*self.layers, self.head):
            scale = 0.5 if layer is self.head else 2**0.5
            nn.init.normal_(layer.weight, std=scale * layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)["output"]

    def features(self, x: Tensor) -> dict[str, Tensor]:
        stream = [self.layers[0](x)]
        for layer in self.layers[1:]:
            stream.append(layer(F.relu(stream[-1])))
        features = {"stem": stream[0], "middle": stream[1], "last": stream[-1]}
        return features | {"output": self.head(F.relu(stream[-1]))}
