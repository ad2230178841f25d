"""Networks with many roles of tensors at once."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .attention import HEAD, Attention
from .convolutional import Separable
from .mixtures import Adapted, Experts
from .parts import repeat
from .residual import TwoMatrices


class Everything(nn.Module):
    """A pre-norm network of tokens and features in which every role occurs.

    Args:
        width: Size of the residual stream.
        depth: Number of times that each kind of branch occurs.
        shared: Number of heads of keys and values.
        experts: Number of experts.
        tied: Whether the head is the embedding.
        dense: Whether the router mixes all experts, and not half of them.
    """

    VOCABULARY, CONTEXT, FEATURES = 12, 8, 3

    def __init__(
        self,
        width: int,
        depth: int,
        shared: int,
        experts: int = 4,
        *,
        tied: bool = False,
        dense: bool = False,
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(self.VOCABULARY, width)
        self.position = nn.Embedding(self.CONTEXT, width)
        self.input = nn.Linear(self.FEATURES, width)
        gains, active = (nn.RMSNorm, nn.RMSNorm), experts if dense else experts // 2
        settings = {"gains": gains, "heat": True, "bias": True, "causal": True}
        blocks: list[Callable[[], nn.Module]] = [
            lambda: Attention(width, shared, **settings),
            lambda: Adapted(width, down=True),
            lambda: Experts(width, experts, active),
            lambda: Separable(width, branch=True),
        ]
        self.blocks = nn.ModuleList(block() for _ in range(depth) for block in blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, self.VOCABULARY, bias=False)
        nn.init.normal_(self.head.weight, std=0.25 * width**-0.5)
        if tied:
            self.head.weight = self.token.weight
            nn.init.normal_(self.token.weight, std=0.05)

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token(tokens) + self.position(places) + self.input(features)
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.norm(x))


class BarePatches(nn.Module):
    """A perceptron of patches with bare tensors: a token, positions, scales, heat."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 7, width))
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.patch = nn.Conv2d(3, width, 4, stride=4)
        self.blocks = repeat(depth, lambda: TwoMatrices(width, 4))
        self.scales = nn.ParameterList(1e-2 * torch.ones(width) for _ in range(depth))
        self.readout = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)[:, :6]
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
        for block, scale in zip(self.blocks, self.scales, strict=True):
            x = x + scale * block(x)
        return self.readout(x[:, 0]) * self.temperature


class BareAttention(nn.Module):
    """Attention over 4 places with bare tensors: positions, scales, heat."""

    def __init__(self, width: int, depth: int = 2) -> None:
        super().__init__()
        self.stem, self.readout = nn.Linear(5, width), nn.Linear(width, 3)
        self.position = nn.Parameter(torch.randn(1, 4, width))
        self.blocks = repeat(depth, lambda: Attention(width, width // HEAD, norm=nn.RMSNorm))
        self.gammas = nn.ParameterList(torch.full((width,), 0.1) for _ in range(depth))
        self.heat = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) + self.position
        for gamma, block in zip(self.gammas, self.blocks, strict=True):
            x = x + gamma * block(self.heat * x)
        return self.readout(x)
