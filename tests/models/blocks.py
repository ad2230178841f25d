"""Residual blocks as other people write them, and bare tensors."""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

HEAD = 16


class OneBranch(nn.Module):
    """A block with one branch that returns the stream, as GPT-NeoX, Mamba and T5 have."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Parallel(nn.Module):
    """A block with two branches beside each other, as GPT-J and Falcon have."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.f1, self.f2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.g1, self.g2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return self.f2(torch.relu(self.f1(y))) + self.g2(torch.relu(self.g1(y))) + x


def in_a_row(block: type[nn.Module], depth: int, width: int = 64) -> nn.Module:
    """Blocks in an nn.Sequential between a first and a last layer."""
    blocks = nn.Sequential(*(block(width) for _ in range(depth)))
    return nn.Sequential(nn.Linear(10, width), blocks, nn.LayerNorm(width), nn.Linear(width, 5))


def numbered(width: int) -> nn.Module:
    """A perceptron in one nn.Sequential."""
    relu, middle = nn.ReLU, (nn.Linear(width, width), nn.Linear(width, width))
    ends = nn.Linear(32, width), nn.Linear(width, 10)
    return nn.Sequential(ends[0], relu(), middle[0], relu(), middle[1], relu(), ends[1])


def convolutions_in_a_row(width: int) -> nn.Module:
    """A convolutional network in one nn.Sequential."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 5),
    )


class Branches(nn.Module):
    """Branches in nn.Sequential, their layers with names or with numbers."""

    def __init__(self, depth: int, *, named: bool, width: int = 64) -> None:
        super().__init__()
        self.input, self.norm = nn.Linear(10, width), nn.LayerNorm(width)
        self.head = nn.Linear(width, 5)
        branches = (self._branch(width, named=named) for _ in range(depth))
        self.blocks = nn.ModuleList(branches)

    @staticmethod
    def _branch(width: int, *, named: bool) -> nn.Module:
        up, down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        parts = nn.LayerNorm(width), up, nn.GELU(), down
        if not named:
            return nn.Sequential(*parts)
        names = "norm", "up", "act", "down"
        return nn.Sequential(OrderedDict(zip(names, parts, strict=True)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.norm(x))


class Gained(nn.Module):
    """Branches of a matrix and a gain, as in LayerScale."""

    def __init__(self, depth: int, width: int = 64) -> None:
        super().__init__()
        self.input, self.head = nn.Linear(10, width), nn.Linear(width, 5)
        self.branches = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gains = nn.ParameterList(torch.full((width,), 0.1) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x)
        for branch, gain in zip(self.branches, self.gains, strict=True):
            x = x + gain * branch(torch.relu(x))
        return self.head(x)  # type: ignore[no-any-return]


class Banked(nn.Module):
    """Branches whose matrices are one tensor of all layers."""

    def __init__(self, depth: int, width: int = 64) -> None:
        super().__init__()
        self.input, self.head = nn.Linear(10, width), nn.Linear(width, 5)
        self.bank = nn.Parameter(torch.randn(depth, width, width) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x)
        for matrix in self.bank:
            x = x + torch.relu(x) @ matrix.T
        return self.head(x)  # type: ignore[no-any-return]


class _PublishedBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.mlp_c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.attn(self.ln1(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (-1, HEAD)).transpose(1, 2) for part in parts)
        attended = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(attended.transpose(1, 2).flatten(2))
        return x + self.mlp_c_proj(gelu(self.fc(self.ln2(x))))


class PublishedGPT(nn.Module):
    """A GPT as published: standard deviation 0.02, projections over sqrt(2 depth), tied head."""

    def __init__(self, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(64, width), nn.Embedding(32, width)
        self.blocks = nn.ModuleList(_PublishedBlock(width) for _ in range(depth))
        self.lnf, self.head = nn.LayerNorm(width), nn.Linear(width, 64, bias=False)
        self.head.weight = self.wte.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                shrunk = math.sqrt(2 * depth) if "c_proj" in name else 1.0
                nn.init.normal_(parameter, 0, 0.02 / shrunk)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.lnf(x))


class TiedWithBias(nn.Module):
    """A tied head with a bias, as BERT's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.emb, self.hidden = nn.Embedding(64, width), nn.Linear(width, width)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 64)
        self.head.weight = self.emb.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(torch.relu(self.hidden(self.emb(tokens)))))


class BareReadout(nn.Module):
    """A vector that features are summed against."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, width), nn.Linear(width, width)
        self.v = nn.Parameter(torch.randn(width) * width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.b(torch.relu(self.a(x)))) @ self.v


class Pool(nn.Module):
    """Attention pooling by a learned vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.randn(width) * width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        return ((x @ self.score).softmax(-1)[..., None] * x).sum(-2)


def pooled(width: int) -> nn.Module:
    """A perceptron on each place, and a readout of the pooled features."""
    layers = nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
    return nn.Sequential(*layers, Pool(width), nn.Linear(width, 4))


class WeightStandardised(nn.Linear):
    """A linear layer whose weight is standardised, as NFNet's."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.gain = nn.Parameter(torch.ones(outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        w = (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True)
        return linear(x, w * (self.gain * w.shape[1] ** -0.5), self.bias)


def standardised(width: int) -> nn.Module:
    """A perceptron with standardised weights."""
    hidden = WeightStandardised(width, width), nn.ReLU()
    return nn.Sequential(nn.Linear(10, width), *hidden, nn.Linear(width, 5))
