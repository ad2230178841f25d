"""Mixtures of experts and low-rank adapters."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .parts import Function, identity, repeat
from .residual import Residual


class Experts(nn.Module):
    """A branch of experts that are stacks of bare matrices, mixed by a router.

    Args:
        width: Size of the residual stream.
        number: Number of experts.
        active: Number of experts that the router picks; by default all.
    """

    def __init__(self, width: int, number: int = 4, active: int | None = None) -> None:
        super().__init__()
        self.active = active or number
        self.norm, self.router = nn.LayerNorm(width), nn.Linear(width, number, bias=False)
        self.up_experts = nn.Parameter(torch.randn(number, 2 * width, width) / width**0.5)
        self.down_experts = nn.Parameter(torch.randn(number, width, 2 * width) / (2 * width) ** 0.5)
        nn.init.normal_(self.router.weight, std=0.3 * width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        shares = self.router(x).softmax(-1)
        shares = shares * (shares >= shares.topk(self.active, -1).values[..., -1:])
        hidden = torch.relu(torch.einsum("...i,eoi->...eo", x, self.up_experts))
        return torch.einsum("...eo,eio->...i", hidden * shares[..., None], self.down_experts)


class ExpertModules(nn.Module):
    """Two experts that are linear layers, mixed by a router."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, 2)
        self.experts = repeat(2, lambda: nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        shares = self.router(x).softmax(-1)
        return sum(shares[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))


class Router(nn.Module):
    """Scores of experts, with the attributes of Hugging Face's routers."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.num_experts, self.top_k = experts, 2
        self.weight = nn.Parameter(torch.randn(experts, width) / width)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight).softmax(-1)


class GatedExperts(nn.Module):
    """A stack of experts with a gate, and the attributes of Hugging Face's stacks."""

    def __init__(self, width: int, experts: int, transposed: bool) -> None:
        super().__init__()
        self.num_experts, self.is_transposed = experts, transposed
        up, down = (width, 2 * width), (2 * width, width)
        if not transposed:
            up, down = up[::-1], down[::-1]
        self.up, self.down = (
            nn.Parameter(torch.randn(experts, *shape) / width**0.5) for shape in (up, down)
        )

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        up, down = (w if self.is_transposed else w.transpose(1, 2) for w in (self.up, self.down))
        hidden = torch.bmm(x[None].expand(self.num_experts, -1, -1), up).relu()
        return (torch.bmm(hidden, down) * gate.T[..., None]).sum(0)


class GatedMixture(nn.Module):
    """Branches of gated experts, in the layout of Hugging Face's mixtures.

    Args:
        width: Size of the residual stream.
        depth: Number of branches.
        experts: Number of experts.
        transposed: Whether the stacks have the fan-in first.
        end: What becomes of a branch before it is added.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        experts: int = 4,
        *,
        transposed: bool = False,
        end: Function = identity,
    ) -> None:
        super().__init__()
        self.end, self.stem, self.readout = end, nn.Linear(5, width), nn.Linear(width, 3)
        self.norms = repeat(depth, lambda: nn.LayerNorm(width))
        self.routers = repeat(depth, lambda: Router(width, experts))
        self.experts = repeat(depth, lambda: GatedExperts(width, experts, transposed))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        layers: Any = zip(self.norms, self.routers, self.experts, strict=True)
        for norm, router, experts in layers:
            normed = norm(x)
            x = x + self.end(experts(normed, router(normed)))
        return self.readout(x)


class Adapted(nn.Module):
    """A branch whose first matrix has a low-rank adapter.

    Args:
        width: Size of the residual stream.
        down: Whether an activation and a second matrix follow.
    """

    def __init__(self, width: int, *, down: bool = False) -> None:
        super().__init__()
        inner = 2 * width if down else width
        self.norm, self.pretrained = nn.RMSNorm(width), nn.Linear(width, inner)
        self.down = nn.Linear(inner, width) if down else None
        self.lora_A, self.lora_B = nn.Linear(width, 2, bias=False), nn.Linear(2, inner, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        x = self.pretrained(x) + self.lora_B(self.lora_A(x))
        return x if self.down is None else self.down(F.gelu(x))


def mixture(width: int, number: int = 4) -> nn.Module:
    """One branch of experts between a stem and a readout."""
    return Residual(width, 1, lambda n: Experts(n, number))


def adapted(width: int, depth: int = 2) -> nn.Module:
    """Branches of one adapted matrix between a stem and a readout."""
    return Residual(width, depth, Adapted)
