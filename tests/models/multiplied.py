"""A residual network that multiplies its own signals by numbers."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .parts import repeat

TIMES: dict[str, Callable[[Tensor, float, Tensor], Tensor]] = {
    "times": lambda f, c, buffer: f * c,
    "times from the left": lambda f, c, buffer: c * f,
    "in place": lambda f, c, buffer: f.clone().mul_(c),
    "over": lambda f, c, buffer: f / (1 / c),
    "times a buffer": lambda f, c, buffer: f * buffer,
    "over a buffer": lambda f, c, buffer: f / (1 / buffer),
    "twice": lambda f, c, buffer: f * c**0.5 * c**0.5,
}
"""Ways to multiply a signal by a number, which a buffer holds too."""
ADD: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "alpha": lambda x, f, c: torch.add(x, f, alpha=c),
    "alpha of a method": lambda x, f, c: x.add(f, alpha=c),
    "alpha of a difference": lambda x, f, c: torch.sub(x, f, alpha=-c),
}
"""Ways to multiply a branch by a number in the residual add."""


class Multiplied(nn.Module):
    """A residual network of tokens that multiplies some of its signals by numbers.

    Args:
        width: Size of the residual stream.
        depth: Number of branches.
        numbers: The number at each place: "embedding", "branch", "head input", "logits";
            "alpha" in the residual add, "layers" for branch i times number / (i + 1), and behind
            an "activation" that is a module or a "function".
        how: The way to multiply, a key of TIMES or of ADD.
        tied: Whether the head is the embedding.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        numbers: Mapping[str, float],
        how: str = "times",
        *,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.numbers, self.how = numbers, how
        self.token, self.norm = nn.Embedding(11, width), nn.LayerNorm(width)
        self.act = nn.GELU()
        self.up, self.down = (repeat(depth, lambda: nn.Linear(width, width)) for _ in range(2))
        self.head = nn.Linear(width, 11, bias=not tied)
        if tied:
            self.head.weight = self.token.weight
        for place, number in numbers.items():
            self.register_buffer(place.replace(" ", "_") + "_factor", torch.tensor(float(number)))

    def times(self, place: str, x: Tensor) -> Tensor:
        """The signal times the number of its place, if there is one."""
        if place not in self.numbers:
            return x
        buffer = getattr(self, place.replace(" ", "_") + "_factor")
        return TIMES[self.how](x, self.numbers[place], buffer)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.times("embedding", self.token(tokens))
        for i, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            f = self.times("branch", down(F.gelu(up(x))))
            if "layers" in self.numbers:
                f = f * (self.numbers["layers"] / (i + 1))
            x = ADD[self.how](x, f, self.numbers["alpha"]) if "alpha" in self.numbers else x + f
        x = self.times("head input", self.norm(x))
        if "activation" in self.numbers:
            x = self.times("activation", self.act(x))
        if "function" in self.numbers:
            x = self.times("function", F.gelu(x))
        return self.times("logits", self.head(x))


def multiplied(width: int, depth: int) -> nn.Module:
    """A model with its embedding times sqrt(width) and its branches times 1/depth."""
    return Multiplied(width, depth, {"embedding": width**0.5, "branch": 1 / depth})
