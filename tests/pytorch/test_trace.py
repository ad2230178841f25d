"""Residual branches, their ends, and attention, read off one forward pass."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.pytorch import trace
from mutransfer.tasks import gpt, mlp
from tests.models import Residual, embedded, gelu_by_hand, one_query, resnet, square

WIDTH = 8
IMAGES, ROWS = torch.zeros(2, 3, 8, 8), torch.zeros(2, 5)

Join = Callable[[Any, Tensor], Tensor]
Layers = Mapping[str, Callable[[], nn.Module]]

matrix = partial(square, WIDTH)
norm = partial(nn.LayerNorm, WIDTH)
no_gain = partial(nn.LayerNorm, WIDTH, elementwise_affine=False)


def stack(join: Join, layers: Layers, depth: int = 2) -> nn.Module:
    """Build blocks of named layers; `join(block, x)` is the stream after a block."""
    return Residual(
        WIDTH,
        depth,
        lambda width: nn.ModuleDict({name: layer() for name, layer in layers.items()}),
        join=lambda model, block, x: join(block, x),
    )


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


def bias_and_weight(*names: str) -> set[str]:
    return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}


ABC: Layers = {"a": norm, "b": matrix, "c": matrix}
AB: Layers = {"a": norm, "b": matrix}

# Model of two blocks: number of branches, layers and last layers of the first block's first branch,
# matrices of a branch.
READINGS: dict[str, tuple[nn.Module, int, str, str | None, int]] = {
    "GELU by hand": (stack(pre_norm, ABC), 2, "abc", "c", 2),
    "parallel, in turn": (stack(parallel_in_turn, ABC), 4, "ab", "b", 1),
    "parallel, at once": (stack(parallel_at_once, ABC), 2, "abc", "bc", 1),
    "in place": (stack(in_place, ABC), 2, "abc", "c", 2),
    "nested": (stack(nested, {"a": matrix, "b": matrix, "c": matrix}), 2, "abc", "c", 3),
    "branch before stream": (stack(branch_first, AB), 2, "ab", "b", 1),
    "ends in a norm": (stack(branch_first, {"a": matrix, "b": norm}), 2, "ab", "b", 1),
    "ends in a norm without gain": (
        stack(branch_first, {"a": matrix, "b": no_gain}),
        2,
        "a",
        None,
        1,
    ),
    "ends in relu": (stack(ends_in(torch.relu), AB), 2, "ab", "b", 1),
    "ends in abs": (stack(ends_in(torch.abs), AB), 2, "ab", "b", 1),
    "ends in gelu": (stack(ends_in(F.gelu), AB), 2, "ab", None, 1),
    "ends in tanh": (stack(ends_in(torch.tanh), AB), 2, "ab", None, 1),
    "ends in a square": (stack(ends_in(lambda x: x * x), AB), 2, "ab", None, 1),
    "ends in dropout": (stack(ends_in(F.dropout), AB), 2, "ab", "b", 1),
    "views": (stack(viewed, {"b": matrix}), 2, "b", "b", 1),
    "post-norm": (stack(before_norm, AB), 2, "b", "b", 1),
}


@pytest.mark.parametrize(
    ("model", "number", "layers", "last", "matrices"), READINGS.values(), ids=READINGS
)
def test_branches(
    model: nn.Module, number: int, layers: str, last: str | None, matrices: int
) -> None:
    branches = trace(model).branches
    assert len(branches) == number
    assert branches[0].tensors == bias_and_weight(*(f"blocks.0.{name}" for name in layers))
    ends = None if last is None else bias_and_weight(*(f"blocks.0.{name}" for name in last))
    assert branches[0].end.tensors == ends
    assert {branch.matrices for branch in branches} == {matrices}


def test_branches_of_a_resnet() -> None:
    first, second = trace(resnet(WIDTH, 2)).branches
    norms = (bias_and_weight(f"blocks.0.norms.{i}") for i in range(2))
    convs = {f"blocks.0.convs.{i}.weight" for i in range(2)}
    assert first.tensors == convs.union(*norms)
    assert first.end.tensors == bias_and_weight("blocks.0.norms.1")
    assert first.matrices == second.matrices == 2


def test_the_second_of_two_parallel_branches() -> None:
    second = trace(stack(parallel_in_turn, ABC)).branches[1]
    assert second.end.tensors == {"blocks.0.c.weight", "blocks.0.c.bias"}


def test_a_model_without_branches() -> None:
    read = trace(mlp(8, 3, inputs=5), ROWS)
    assert read.branches == () and not read.post_norm
    assert read.first == bias_and_weight("input") and read.final == bias_and_weight("readout")


@pytest.mark.parametrize(
    "activation", [gelu_by_hand, lambda x: x + torch.sin(x)], ids=["gelu", "snake"]
)
def test_an_activation_with_a_sum_is_no_branch(activation: Callable[[Tensor], Tensor]) -> None:
    assert trace(stack(lambda block, x: activation(block["a"](x)), {"a": matrix})).branches == ()


def test_post_norm_is_not_pre_norm() -> None:
    assert trace(stack(before_norm, AB)).post_norm
    others = (model for name, (model, *_) in READINGS.items() if name != "post-norm")
    assert not any(trace(model).post_norm for model in others)


DEEPER = {
    "ends in gelu": (
        ends_in(F.gelu),
        AB,
        "blocks.0.a.bias.*does not end in learned tensors.*end it with a linear layer",
    ),
    "ends in a norm without gain": (
        branch_first,
        {"a": matrix, "b": no_gain},
        "does not end in learned tensors",
    ),
    "post-norm": (before_norm, AB, "post-norm.*keep the depth, or scale width alone"),
}


@pytest.mark.parametrize(("join", "layers", "message"), DEEPER.values(), ids=DEEPER)
def test_depth_that_cannot_be_folded_is_refused(join: Callable, layers: dict, message: str) -> None:
    model, base = stack(join, layers, 4), stack(join, layers)
    with pytest.raises(mt.MutransferError, match=message):
        mt.plan(model, base)
    assert mt.plan(base, base).at_base
    assert mt.plan(model, base, rule="mup").rule == "mup"


@pytest.mark.parametrize(
    "activation", [torch.relu, F.leaky_relu, torch.abs, F.dropout], ids=lambda f: f.__name__
)
def test_a_positively_homogeneous_end_folds_the_multiplier(
    activation: Callable[[Tensor], Tensor],
) -> None:
    """Multiplying the last tensors multiplies the branch, by the values."""
    model = stack(ends_in(activation), AB, 1).eval()
    (branch,) = trace(model).branches
    ends: list[Tensor] = []

    def join(model: nn.Module, block: nn.Module, x: Tensor) -> Tensor:
        ends.append(activation(block["b"](block["a"](x))))
        return x

    model.join = join
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
    for i, attention in enumerate(read.attention):
        keys_and_values = {f"blocks.{i}.{name}.weight" for name in ("key", "value")}
        assert (attention.head_dim, attention.scale) == (8, 8**-0.5)
        assert attention.query.tensors == {f"blocks.{i}.query.weight"}
        assert attention.query.module == f"blocks.{i}.query"
        assert attention.key_value == keys_and_values
    assert len(read.attention) == 2
    assert [branch.matrices for branch in read.branches] == [2] * 4
    ends = [read.branches[i].end.tensors for i in (0, 3)]
    assert ends == [{"blocks.0.out.weight"}, {"blocks.1.down.weight"}]
    assert read.feeds["token.weight"].tensors == {"norm.weight", "norm.bias"}


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
def test_tensors_that_make_the_queries(query: Callable, tensors: set[str] | None) -> None:
    (attention,) = trace(one_query(query)).attention
    assert attention.query.tensors == tensors


@pytest.mark.parametrize(("scale", "read"), [(None, WIDTH**-0.5), (1.0, 1.0), (0.25, 0.25)])
def test_attention_scale(scale: float | None, read: float) -> None:
    assert trace(one_query(QUERIES["linear"][0], scale=scale)).attention[0].scale == read


FEEDS: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], set[str] | None]] = {
    "norm": (lambda model, x: model.norm(model.layer(x)), bias_and_weight("norm")),
    "norm and dropout": (
        lambda model, x: F.dropout(model.norm(model.layer(x))),
        bias_and_weight("norm"),
    ),
    "linear": (lambda model, x: model.layer(x), bias_and_weight("layer")),
    "activation": (lambda model, x: torch.tanh(model.layer(x)), None),
    "norm without gain": (lambda model, x: F.layer_norm(model.layer(x), (WIDTH,)), None),
}


@pytest.mark.parametrize(("feed", "tensors"), FEEDS.values(), ids=FEEDS)
def test_tensors_that_feed_a_tied_head(feed: Callable, tensors: set[str] | None) -> None:
    model = embedded(WIDTH, lambda m, x: m.head(feed(m, m.token(x))))
    assert trace(model).feeds["token.weight"].tensors == tensors


def test_inputs_are_guessed_or_given() -> None:
    tokens = torch.zeros(1, 3, dtype=torch.long)
    for model, given in [
        (mlp(8, 2, inputs=5), ROWS),
        (resnet(WIDTH, 2), IMAGES),
        (gpt(16, 1), tokens),
    ]:
        assert trace(model) == trace(model, given) == trace(model.to("meta"), (given,))
