"""Shapes of real architectures in a few lines each: encoders and decoders, gates behind experts, transposed linear layers, keywords."""

from typing import Any

import pytest
import torch
from mutransfer.plan import Plan, plan, trace
from torch import Tensor, nn
from torch.nn import functional as F

from mutransfer import MutransferError
from mutransfer.rules import Place, Role

TOKENS = torch.zeros(2, 6, dtype=torch.long)


class Conv1D(nn.Module):
    """A linear layer with a transposed weight, as in Hugging Face's GPT-2."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf) / nx**0.5), nn.Parameter(torch.zeros(nf))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Attention(nn.Module):
    """Attention over the stream, or over another one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        own = self.norm(x)
        other = own if memory is None else memory
        q, k, v = (t.unflatten(-1, (-1, 8)).transpose(1, 2) for t in (self.q(own), self.k(other), self.v(other)))
        return x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class EncoderDecoder(nn.Module):
    """A decoder each of whose layers attends to the whole encoder; it takes keywords alone."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, width)
        self.encoder = nn.ModuleList(Attention(width) for _ in range(depth))
        self.memory = nn.LayerNorm(width)
        self.decoder, self.cross = (nn.ModuleList(Attention(width) for _ in range(depth)) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 11, bias=False)
        self.dummy_inputs = {"source": TOKENS, "target": TOKENS, "mask": TOKENS}

    def forward(self, *, source: Tensor, target: Tensor) -> Tensor:
        x, y = self.embedding(source), self.embedding(target)
        for layer in self.encoder:
            x = layer(x)
        memory = self.memory(x)
        for layer, cross in zip(self.decoder, self.cross, strict=True):
            y = cross(layer(y), memory)
        return self.head(self.norm(y))


class Router(nn.Module):
    """Scores of experts, of which some are taken."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.num_experts, self.top_k = experts, 2
        self.weight = nn.Parameter(torch.randn(experts, width) / width)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight).softmax(-1)


class Experts(nn.Module):
    """A stack of experts, whose outputs are weighted by a gate."""

    def __init__(self, width: int, experts: int, transposed: bool) -> None:
        super().__init__()
        self.num_experts, self.is_transposed = experts, transposed
        shape = (lambda out, into: (into, out)) if transposed else (lambda out, into: (out, into))
        self.up = nn.Parameter(torch.randn(experts, *shape(2 * width, width)) / width**0.5)
        self.down = nn.Parameter(torch.randn(experts, *shape(width, 2 * width)) / width**0.5)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        up, down = (w if self.is_transposed else w.transpose(1, 2) for w in (self.up, self.down))
        hidden = torch.bmm(x[None].expand(self.num_experts, -1, -1), up).relu()
        return (torch.bmm(hidden, down) * gate.T[..., None]).sum(0)


class Mixture(nn.Module):
    def __init__(self, width: int, depth: int, experts: int = 4, transposed: bool = False) -> None:
        super().__init__()
        self.stem, self.readout = nn.Linear(5, width), nn.Linear(width, 3)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.routers = nn.ModuleList(Router(width, experts) for _ in range(depth))
        self.experts = nn.ModuleList(Experts(width, experts, transposed) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, router, experts in zip(self.norms, self.routers, self.experts, strict=True):
            own = norm(x)
            x = x + experts(own, router(own))
        return self.readout(x)


class Squared(Mixture):
    """The gate is made of what it lets through, so that no single tensor can carry the branch's multiplier."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, router, experts in zip(self.norms, self.routers, self.experts, strict=True):
            own = norm(x)
            y = experts(own, router(own))
            x = x + y * torch.sigmoid(y)
        return self.readout(x)


def factors(own: Plan, name: str) -> tuple[float, ...]:
    return tuple(own[name].factor(quantity) for quantity in ("init", "lr", "eps", "decay"))


def test_an_encoders_branches_count_beside_its_decoders() -> None:
    model, base = EncoderDecoder(32, 6), EncoderDecoder(16, 2)
    assert len(trace(base).branches) == 6 and {branch.matrices for branch in trace(base).branches} == {2}
    own = plan(model, base)
    assert own.depth == (6, 18) and own.rule == "completep"
    for stack in ("encoder", "decoder", "cross"):
        assert own[f"{stack}.1.q.weight"].place == Place.BRANCH and own[f"{stack}.1.o.weight"].place == Place.BRANCH_END
        assert factors(own, f"{stack}.1.o.weight") == pytest.approx((2**-0.5 / 3, 1 / 6, 1 / 2, 6))
    assert own["memory.weight"].place == own["norm.weight"].place == Place.OUTSIDE


@pytest.mark.parametrize("inputs", [None, {"source": TOKENS, "target": TOKENS}], ids=["the model's own", "given"])
def test_inputs_may_be_keywords(inputs: Any) -> None:
    assert plan(EncoderDecoder(32, 2), EncoderDecoder(16, 2), example_inputs=inputs).rule == "mup"


def test_keywords_that_the_model_does_not_take() -> None:
    with pytest.raises(MutransferError, match=r"the forward pass of EncoderDecoder failed.*example_inputs="):
        plan(EncoderDecoder(32, 2), EncoderDecoder(16, 2), example_inputs={"tokens": TOKENS})


@pytest.mark.parametrize("transposed", [False, True])
def test_experts_behind_a_gate_carry_the_branches_multiplier(transposed: bool) -> None:
    own = plan(Mixture(32, 6, transposed=transposed), Mixture(16, 2, transposed=transposed))
    assert own.depth == (2, 6)
    assert own["routers.0.weight"].role == Role.ROUTER and own["routers.0.weight"].place == Place.BRANCH
    assert own["experts.0.up"].role == own["experts.0.down"].role == Role.EXPERT
    assert own["experts.0.up"].place == Place.BRANCH and own["experts.0.down"].place == Place.BRANCH_END
    assert factors(own, "experts.0.up") == pytest.approx((2**-0.5, 1 / 2, 1 / 6, 2))
    assert factors(own, "experts.0.down") == pytest.approx((2**-0.5 / 3, 1 / 6, 1 / 2, 6))
    assert factors(own, "routers.0.weight") == pytest.approx((1 / 2, 1 / 2, 1 / 3, 2))


def test_more_experts_are_a_ratio_of_their_own() -> None:
    own = plan(Mixture(32, 2, experts=8), Mixture(16, 2, experts=4))
    assert own["experts.0.up"].ratios["experts"] == own["routers.0.weight"].ratios["experts"] == 2
    assert factors(own, "experts.0.up") == pytest.approx((2**-0.5, 1 / 2, 1 / 4, 2))


def test_a_gate_made_of_what_it_lets_through_is_refused() -> None:
    with pytest.raises(MutransferError, match="does not end in learned tensors that could carry its multiplier"):
        plan(Squared(32, 6), Squared(16, 2))


def test_a_transposed_linear_layer() -> None:
    """Its fan-in comes first in the shape: it grows twice here, and the fan-out four times."""
    own = plan(*(nn.Sequential(nn.Linear(5, w), Conv1D(w * w, w), nn.ReLU(), nn.Linear(w * w, 3)) for w in (16, 8)))
    assert own["1.weight"].role == Role.HIDDEN and own["1.weight"].shape == (16, 256)
    assert factors(own, "1.weight") == pytest.approx((2**-0.5, 1 / 2, 1 / 4, 2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_inputs_are_guessed_in_the_models_type(dtype: torch.dtype) -> None:
    model, base = (nn.Sequential(nn.Conv2d(3, w, 3), nn.Flatten(), nn.LazyLinear(4)) for w in (16, 8))
    for each in (model, base):
        each(torch.zeros(1, 3, 32, 32))
        each.to(dtype)
    assert plan(model, base)["0.weight"].role == Role.INPUT


def layers(kind: str, width: int, groups: int = 1) -> nn.Module:
    """A stem, one layer over features, and a readout."""
    make = {
        "grouped": lambda: nn.Conv2d(width, width, 3, groups=groups, padding=1),
        "transposed, depthwise": lambda: nn.ConvTranspose2d(width, width, 3, groups=width),
        "transposed, grouped": lambda: nn.ConvTranspose2d(width, width, 3, groups=groups),
    }
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.ReLU(), make[kind](), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4)
    )


@pytest.mark.parametrize(
    ("kind", "groups", "role", "init", "lr"),
    [
        ("grouped", (4, 4), Role.HIDDEN, 1 / 2, 1 / 4),  # wider groups
        ("grouped", (16, 4), Role.INPUT, 1, 1),  # more groups of one size
        ("transposed, depthwise", (1, 1), Role.DEPTHWISE, 1, 1),
    ],
)
def test_convolutions_in_groups(kind: str, groups: tuple[int, int], role: Role, init: float, lr: float) -> None:
    own = plan(layers(kind, 32, groups[0]), layers(kind, 8, groups[1]))
    assert own["2.weight"].role == role
    assert (own["2.weight"].factor("init"), own["2.weight"].factor("lr")) == pytest.approx((init, lr))


def test_a_transposed_convolution_in_groups_is_refused() -> None:
    with pytest.raises(MutransferError, match=r"4 groups over (8|32) channels.*say its axes with axes="):
        plan(layers("transposed, grouped", 32, 4), layers("transposed, grouped", 8, 4))


class Paired(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.left, self.right, self.both = nn.Linear(5, width), nn.Linear(5, width), nn.Bilinear(width, width, width)
        self.readout = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.both(self.left(x), self.right(x)))


def test_a_bilinear_layer_sums_over_both_its_inputs() -> None:
    own = plan(Paired(32), Paired(16))["both.weight"]
    assert own.role == Role.HIDDEN and own.ratios["fan_in"] == 4 and own.ratios["fan_out"] == 2
