"""Residual branches, what ends them, and attention, read off one forward pass."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutransfer._errors import MutransferError
from mutransfer.plan import plan, trace
from mutransfer.plan._graph import Signal
from mutransfer.plan._trace import Attention
from mutransfer.tasks._models import gpt, mlp

WIDTH = 8
IMAGES, ROWS = torch.zeros(2, 3, 8, 8), torch.zeros(2, 5)


class Stack(nn.Module):
    """Blocks of the layers a, b, c and an activation, joined to the stream by `join(block, x)`."""

    def __init__(self, join: Callable[[nn.Module, Tensor], Tensor], depth: int = 2, **layers: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.join = join
        self.stem = nn.Linear(5, WIDTH)
        self.blocks = nn.ModuleList(nn.ModuleDict({name: make() for name, make in layers.items()}) for _ in range(depth))
        self.readout = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = self.join(block, x)
        return self.readout(x)


def square() -> nn.Module:
    return nn.Linear(WIDTH, WIDTH)


def norm() -> nn.Module:
    return nn.LayerNorm(WIDTH)


def no_gain() -> nn.Module:
    return nn.LayerNorm(WIDTH, elementwise_affine=False)


def gelu_by_hand(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def pre_norm(block: nn.Module, x: Tensor) -> Tensor:
    return x + block["c"](gelu_by_hand(block["b"](block["a"](x))))


def parallel_in_turn(block: nn.Module, x: Tensor) -> Tensor:
    normed = block["a"](x)
    return (x + block["b"](normed)) + block["c"](normed)


def parallel_at_once(block: nn.Module, x: Tensor) -> Tensor:
    normed = block["a"](x)
    return x + (block["b"](normed) + block["c"](normed))


def in_place(block: nn.Module, x: Tensor) -> Tensor:
    x = x.clone()
    x += block["c"](torch.relu_(block["b"](block["a"](x))))
    return x


def nested(block: nn.Module, x: Tensor) -> Tensor:
    inner = block["a"](x)
    inner = inner + block["b"](torch.relu(inner))
    return x + block["c"](inner)


def branch_first(block: nn.Module, x: Tensor) -> Tensor:
    return block["b"](block["a"](x)) + x


def ends_in(activation: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Tensor], Tensor]:
    return lambda block, x: x + activation(block["b"](block["a"](x)))


def before_norm(block: nn.Module, x: Tensor) -> Tensor:
    return block["a"](x + block["b"](x))


def viewed(block: nn.Module, x: Tensor) -> Tensor:
    return x + block["b"](x).unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)


class ResNet(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "a": nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
                    "b": nn.BatchNorm2d(WIDTH),
                    "c": nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
                    "d": nn.BatchNorm2d(WIDTH),
                }
            )
            for _ in range(depth)
        )
        self.readout = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(x + block["d"](block["c"](torch.relu(block["b"](block["a"](x))))))
        return self.readout(x.mean((-2, -1)))


def bias_and_weight(*names: str) -> set[str]:
    return {f"{name}.{own}" for name in names for own in ("weight", "bias")}


ABC = {"a": norm, "b": square, "c": square}
AB = {"a": norm, "b": square}

# Model of two blocks: number of branches, learned tensors and last tensors of the first block's first branch, block depth.
READINGS: dict[str, tuple[nn.Module, int, set[str], set[str] | None, int]] = {
    "GELU by hand": (Stack(pre_norm, **ABC), 2, bias_and_weight("a", "b", "c"), bias_and_weight("c"), 2),
    "parallel, in turn": (Stack(parallel_in_turn, **ABC), 4, bias_and_weight("a", "b"), bias_and_weight("b"), 1),
    "parallel, at once": (Stack(parallel_at_once, **ABC), 2, bias_and_weight("a", "b", "c"), bias_and_weight("b", "c"), 1),
    "in place": (Stack(in_place, **ABC), 2, bias_and_weight("a", "b", "c"), bias_and_weight("c"), 2),
    "nested": (Stack(nested, a=square, b=square, c=square), 2, bias_and_weight("a", "b", "c"), bias_and_weight("c"), 3),
    "branch before stream": (Stack(branch_first, **AB), 2, bias_and_weight("a", "b"), bias_and_weight("b"), 1),
    "ends in a norm": (Stack(branch_first, a=square, b=norm), 2, bias_and_weight("a", "b"), bias_and_weight("b"), 1),
    "ends in a norm without gain": (Stack(branch_first, a=square, b=no_gain), 2, bias_and_weight("a"), None, 1),
    "ends in relu": (Stack(ends_in(torch.relu), **AB), 2, bias_and_weight("a", "b"), bias_and_weight("b"), 1),
    "ends in abs": (Stack(ends_in(torch.abs), **AB), 2, bias_and_weight("a", "b"), bias_and_weight("b"), 1),
    "ends in gelu": (Stack(ends_in(F.gelu), **AB), 2, bias_and_weight("a", "b"), None, 1),
    "ends in tanh": (Stack(ends_in(torch.tanh), **AB), 2, bias_and_weight("a", "b"), None, 1),
    "ends in a square": (Stack(ends_in(lambda x: x * x), **AB), 2, bias_and_weight("a", "b"), None, 1),
    "ends in dropout": (Stack(ends_in(F.dropout), **AB), 2, bias_and_weight("a", "b"), bias_and_weight("b"), 1),
    "views": (Stack(viewed, b=square), 2, bias_and_weight("b"), bias_and_weight("b"), 1),
    "post-norm": (Stack(before_norm, **AB), 2, bias_and_weight("b"), bias_and_weight("b"), 1),
    "resnet": (ResNet(2), 2, {"a.weight", "c.weight"} | bias_and_weight("b", "d"), bias_and_weight("d"), 2),
}


@pytest.mark.parametrize(("model", "number", "tensors", "last", "matrices"), READINGS.values(), ids=READINGS)
def test_branches(model: nn.Module, number: int, tensors: set[str], last: set[str] | None, matrices: int) -> None:
    branches = trace(model).branches
    assert len(branches) == number
    assert branches[0].tensors == {f"blocks.0.{name}" for name in tensors}
    assert branches[0].end.tensors == (None if last is None else {f"blocks.0.{name}" for name in last})
    assert {branch.matrices for branch in branches} == {matrices}


def test_the_second_of_two_parallel_branches() -> None:
    second = trace(Stack(parallel_in_turn, **ABC)).branches[1]
    assert second.end.tensors == {"blocks.0.c.weight", "blocks.0.c.bias"}


def test_a_model_without_branches() -> None:
    read = trace(mlp(8, 3, inputs=5), ROWS)
    assert read.branches == () and not read.post_norm
    assert read.first == {"input.weight", "input.bias"} and read.final == {"readout.weight", "readout.bias"}


@pytest.mark.parametrize("activation", [gelu_by_hand, lambda x: x + torch.sin(x)], ids=["gelu", "snake"])
def test_an_activation_with_a_sum_is_no_branch(activation: Callable[[Tensor], Tensor]) -> None:
    assert trace(Stack(lambda block, x: activation(block["a"](x)), a=square)).branches == ()


def test_post_norm_is_told_from_pre_norm() -> None:
    assert trace(Stack(before_norm, **AB)).post_norm
    assert not any(trace(model).post_norm for name, (model, *_) in READINGS.items() if name != "post-norm")


DEEPER = {
    "ends in gelu": (ends_in(F.gelu), AB, "blocks.0.a.bias.*does not end in learned tensors.*end it with a linear layer"),
    "ends in a norm without gain": (branch_first, {"a": square, "b": no_gain}, "does not end in learned tensors"),
    "post-norm": (before_norm, AB, "post-norm.*keep the depth, or scale width alone"),
}


@pytest.mark.parametrize(("join", "layers", "message"), DEEPER.values(), ids=DEEPER)
def test_depth_that_cannot_be_folded_is_refused(join: Callable, layers: dict, message: str) -> None:
    model, base = Stack(join, 4, **layers), Stack(join, 2, **layers)
    with pytest.raises(MutransferError, match=message):
        plan(model, base)
    assert plan(base, base).at_base
    assert plan(model, base, rule="mup").rule == "mup"


@pytest.mark.parametrize("activation", [torch.relu, F.leaky_relu, torch.abs, F.dropout], ids=lambda f: f.__name__)
def test_a_positively_homogeneous_end_folds_the_multiplier(activation: Callable[[Tensor], Tensor]) -> None:
    """`plan` claims that dividing the last tensors divides the branch: check it on the values."""
    model = Stack(ends_in(activation), 1, **AB).eval()
    (branch,) = trace(model).branches
    ends: list[Tensor] = []
    model.join = lambda block, x: ends.append(activation(block["b"](block["a"](x)))) or x
    x = torch.linspace(-1, 1, 10).view(2, 5)
    for factor in (1, 3):
        torch.manual_seed(0)
        with torch.no_grad():
            for name in branch.end.tensors or ():
                model.get_parameter(name).mul_(factor)
            model(x)
    torch.testing.assert_close(ends[1], 3 * ends[0])


def test_attention_of_a_gpt() -> None:
    model = gpt(32, 2, heads=4, tied=True)
    read = trace(model)
    made = [[frozenset(f"blocks.{i}.{name}.weight" for name in names) for names in (("query",), ("key", "value"))] for i in range(2)]
    assert read.attention == tuple(
        Attention(8, 8**-0.5, Signal(query, f"blocks.{i}.query"), key_value) for i, (query, key_value) in enumerate(made)
    )
    assert len(read.branches) == 4 and [branch.matrices for branch in read.branches] == [2] * 4
    assert read.branches[0].end.tensors == {"blocks.0.out.weight"} and read.branches[3].end.tensors == {"blocks.1.down.weight"}
    assert read.feeds["token.weight"].tensors == {"norm.weight", "norm.bias"}


class Attending(nn.Module):
    """One attention whose queries are made by `query(self, x)`."""

    def __init__(self, query: Callable[[nn.Module, Tensor], Tensor], scale: float | None = None) -> None:
        super().__init__()
        self.make, self.scale = query, scale
        self.stem = nn.Linear(5, WIDTH)
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fused = nn.Linear(WIDTH, 2 * WIDTH)
        self.gain = nn.LayerNorm(WIDTH)
        self.latent = nn.Parameter(torch.zeros(1, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)[:, None]
        key = self.key(x)
        return F.scaled_dot_product_attention(self.make(self, x), key, key, scale=self.scale)


def rotated(model: nn.Module, x: Tensor) -> Tensor:
    query = model.query(x)
    first, second = query[..., : WIDTH // 2], query[..., WIDTH // 2 :]
    angle = torch.linspace(0, 1, WIDTH)
    return query * angle.cos() + torch.cat([-second, first], dim=-1) * angle.sin()


QUERIES: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], set[str] | None]] = {
    "linear": (lambda model, x: model.query(x), bias_and_weight("query")),
    "rotary": (rotated, bias_and_weight("query")),
    "normed": (lambda model, x: model.gain(model.query(x)), bias_and_weight("gain")),
    "latent": (lambda model, x: model.latent.expand(len(x), -1, -1), {"latent"}),
    "one matrix for query and more": (lambda model, x: model.fused(x).split(WIDTH, -1)[0], None),
    "the stream itself": (lambda model, x: torch.tanh(x), None),
}


@pytest.mark.parametrize(("query", "tensors"), QUERIES.values(), ids=QUERIES)
def test_what_makes_the_queries(query: Callable, tensors: set[str] | None) -> None:
    (attention,) = trace(Attending(query)).attention
    assert attention.query.tensors == tensors


@pytest.mark.parametrize(("scale", "read"), [(None, WIDTH**-0.5), (1.0, 1.0), (0.25, 0.25)])
def test_attention_scale(scale: float | None, read: float) -> None:
    assert trace(Attending(QUERIES["linear"][0], scale)).attention[0].scale == read


class Fed(nn.Module):
    """Embedding, one layer, and the embedding again as the head, fed by `feed(self, x)`."""

    def __init__(self, feed: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.feed = feed
        self.token = nn.Embedding(11, WIDTH)
        self.layer, self.norm = square(), norm()
        self.head = nn.Linear(WIDTH, 11, bias=False)
        self.head.weight = self.token.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.feed(self, self.token(x)))


FEEDS: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], set[str] | None]] = {
    "norm": (lambda model, x: model.norm(model.layer(x)), bias_and_weight("norm")),
    "norm and dropout": (lambda model, x: F.dropout(model.norm(model.layer(x))), bias_and_weight("norm")),
    "linear": (lambda model, x: model.layer(x), bias_and_weight("layer")),
    "activation": (lambda model, x: torch.tanh(model.layer(x)), None),
    "norm without gain": (lambda model, x: F.layer_norm(model.layer(x), (WIDTH,)), None),
}


@pytest.mark.parametrize(("feed", "tensors"), FEEDS.values(), ids=FEEDS)
def test_what_feeds_a_tied_head(feed: Callable, tensors: set[str] | None) -> None:
    assert trace(Fed(feed)).feeds["token.weight"].tensors == tensors


def test_inputs_are_guessed_or_given() -> None:
    for model, given in [(mlp(8, 2, inputs=5), ROWS), (ResNet(2), IMAGES), (gpt(16, 1), torch.zeros(1, 3, dtype=torch.long))]:
        assert trace(model) == trace(model, given) == trace(model.to("meta"), (given,))
