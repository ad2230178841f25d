"""Residual branches and what ends them, read off one forward pass."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.tasks import gpt, mlp
from tests.analysis.walking import (
    WIDTH,
    Join,
    Layers,
    bias_and_weight,
    matrix,
    no_gain,
    norm,
    stack,
    stacked,
)
from tests.models import StagedResNet, gelu_by_hand, resnet

IMAGES, ROWS = torch.zeros(2, 3, 8, 8), torch.zeros(2, 5)


def pre_norm(block: Any, x: Tensor) -> Tensor:
    return x + block["c"](gelu_by_hand(block["b"](block["a"](x))))


def parallel_in_turn(block: Any, x: Tensor) -> Tensor:
    normed = block["a"](x)
    return (x + block["b"](normed)) + block["c"](normed)


def parallel_at_once(block: Any, x: Tensor) -> Tensor:
    normed = block["a"](x)
    return x + (block["b"](normed) + block["c"](normed))


def in_place(block: Any, x: Tensor) -> Tensor:
    x = x.clone()
    x += block["c"](torch.relu_(block["b"](block["a"](x))))
    return x


def nested(block: Any, x: Tensor) -> Tensor:
    inner = block["a"](x)
    inner = inner + block["b"](torch.relu(inner))
    return x + block["c"](inner)


def branch_first(block: Any, x: Tensor) -> Tensor:
    return block["b"](block["a"](x)) + x


def ends_in(activation: Callable[[Tensor], Tensor]) -> Join:
    return lambda block, x: x + activation(block["b"](block["a"](x)))


def before_norm(block: Any, x: Tensor) -> Tensor:
    return block["a"](x + block["b"](x))


def viewed(block: Any, x: Tensor) -> Tensor:
    return x + block["b"](x).unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)


def subtracted(block: Any, x: Tensor) -> Tensor:
    return x - block["b"](block["a"](x))


def fused(block: Any, x: Tensor) -> Tensor:
    return torch.addmm(x, torch.tanh(block["a"](x)), block["b"].weight.t())


def gated(block: Any, x: Tensor) -> Tensor:
    return torch.addcmul(x, block["b"](block["a"](x)), torch.sigmoid(block["c"](x)))


def gated_in_turn(block: Any, x: Tensor) -> Tensor:
    return torch.addcmul(x, torch.sigmoid(block["c"](x)), block["b"](block["a"](x)))


def summed_stack(block: Any, x: Tensor) -> Tensor:
    return torch.stack([x, block["b"](block["a"](x))]).sum(0)


def indexed(block: Any, x: Tensor) -> Tensor:
    return x.index_add(0, torch.arange(len(x)), block["b"](block["a"](x)))


def halved_and_back(block: Any, x: Tensor) -> Tensor:
    return x * 0.5 + block["b"](block["a"](x))


ABC: Layers = {"a": norm, "b": matrix, "c": matrix}
AB: Layers = {"a": norm, "b": matrix}
NO_GAIN: Layers = {"a": matrix, "b": no_gain}

# Model of two blocks: number of joins, layers and last layers of the first block's first branch,
# matrices of a branch.
READINGS: dict[str, tuple[nn.Module, int, str, str | None, int]] = {
    "GELU by hand": (stack(pre_norm, ABC), 2, "abc", "c", 2),
    "parallel, in turn": (stack(parallel_in_turn, ABC), 4, "ab", "b", 1),
    "parallel, at once": (stack(parallel_at_once, ABC), 2, "abc", "bc", 1),
    "in place": (stack(in_place, ABC), 2, "abc", "c", 2),
    "branch before stream": (stack(branch_first, AB), 2, "ab", "b", 1),
    "subtracted": (stack(subtracted, AB), 2, "ab", "b", 1),
    "ends in a norm": (stack(branch_first, {"a": matrix, "b": norm}), 2, "ab", "b", 1),
    "ends in a norm without gain": (stack(branch_first, NO_GAIN), 2, "a", None, 1),
    "ends in relu": (stack(ends_in(torch.relu), AB), 2, "ab", "b", 1),
    "ends in abs": (stack(ends_in(torch.abs), AB), 2, "ab", "b", 1),
    "ends in gelu": (stack(ends_in(F.gelu), AB), 2, "ab", None, 1),
    "ends in tanh": (stack(ends_in(torch.tanh), AB), 2, "ab", None, 1),
    "ends in a square": (stack(ends_in(lambda x: x * x), AB), 2, "ab", None, 1),
    "ends in dropout": (stack(ends_in(F.dropout), AB), 2, "ab", "b", 1),
    "views": (stack(viewed, {"b": matrix}), 2, "b", "b", 1),
    "post-norm": (stack(before_norm, AB), 2, "b", "b", 1),
    "nested": (stack(nested, {"a": matrix, "b": matrix, "c": matrix}), 2, "abc", "c", 3),
    "a sum over a stack": (stack(summed_stack, AB), 2, "ab", "b", 1),
    "added at indices": (stack(indexed, AB), 2, "ab", "b", 1),
}


@pytest.mark.parametrize(
    ("model", "number", "layers", "last", "matrices"), READINGS.values(), ids=READINGS
)
def test_branches(
    model: nn.Module, number: int, layers: str, last: str | None, matrices: int
) -> None:
    joins = stacked(model, inputs=ROWS).joins
    assert len(joins) == number
    assert joins[0].tensors == bias_and_weight(*(f"blocks.0.{name}" for name in layers))
    ends = None if last is None else bias_and_weight(*(f"blocks.0.{name}" for name in last))
    assert joins[0].signal.tensors == ends
    assert {join.matrices for join in joins} == {matrices}
    assert all(join.top <= join.end and join.stream < join.value for join in joins)


def test_a_branch_within_a_branch_has_the_place_of_the_outer_one() -> None:
    layers: Layers = {"a": matrix, "b": matrix, "c": matrix}
    found = stacked(stack(nested, layers), stack(nested, layers, 4))
    assert {found.place[name].matrices for name in bias_and_weight("blocks.0.b")} == {3}
    assert set(found.counts.values()) == {2}


def test_a_branch_that_one_operation_multiplies_and_adds() -> None:
    first, _ = stacked(stack(fused, AB), inputs=ROWS).joins
    assert first.signal.tensors == {"blocks.0.b.weight"}
    assert first.tensors == {"blocks.0.b.weight", *bias_and_weight("blocks.0.a")}
    assert first.matrices == 1


@pytest.mark.parametrize("join", [gated, gated_in_turn])
def test_a_branch_that_one_operation_gates_and_adds(join: Join) -> None:
    first, _ = stacked(stack(join, ABC), inputs=ROWS).joins
    assert first.tensors == bias_and_weight("blocks.0.a", "blocks.0.b", "blocks.0.c")
    assert first.matrices == 1


def test_branches_of_a_resnet() -> None:
    first, second = stacked(resnet(WIDTH, 2), inputs=IMAGES).joins
    norms = (bias_and_weight(f"blocks.0.norms.{i}") for i in range(2))
    convs = {f"blocks.0.convs.{i}.weight" for i in range(2)}
    assert first.tensors == convs.union(*norms)
    assert first.signal.tensors == bias_and_weight("blocks.0.norms.1")
    assert first.matrices == second.matrices == 2


@pytest.mark.parametrize("before", [False, True])
def test_a_branch_beside_a_projected_shortcut_counts(before: bool) -> None:
    """Two stages of n blocks: the first block of the second stage has a projection."""
    model, deeper = (StagedResNet(8, depth, before=before) for depth in (2, 4))
    found, there = stacked(model, deeper, IMAGES), stacked(deeper, model, IMAGES)
    assert {len(each.joins) for each in (found, there)} == {4, 8}
    name = "stages.{}.{}.convs.1.weight"
    for stage in (0, 1):
        for block in (0, 1):
            place = name.format(stage, block)
            assert (found.counts[place], there.counts[place]) == (2, 4)
    assert not any("shortcut" in name for name in found.place)


def test_the_second_of_two_parallel_branches() -> None:
    second = stacked(stack(parallel_in_turn, ABC), inputs=ROWS).joins[1]
    assert second.signal.tensors == {"blocks.0.c.weight", "blocks.0.c.bias"}


def test_a_model_without_branches() -> None:
    found = stacked(mlp(8, 3, inputs=5), inputs=ROWS)
    assert found.joins == () and not found.normalised and not found.place and not found.chained
    assert found.deepest == 0


@pytest.mark.parametrize(
    "activation", [gelu_by_hand, lambda x: x + torch.sin(x)], ids=["gelu", "snake"]
)
def test_an_activation_with_a_sum_is_no_branch(activation: Callable[[Tensor], Tensor]) -> None:
    model = stack(lambda block, x: activation(block["a"](x)), {"a": matrix})
    assert stacked(model, inputs=ROWS).joins == ()


def test_post_norm_is_not_pre_norm() -> None:
    assert stacked(stack(before_norm, AB), inputs=ROWS).normalised == 1
    others = (model for name, (model, *_) in READINGS.items() if name != "post-norm")
    assert not any(stacked(model, inputs=ROWS).normalised for model in others)


def test_a_stream_that_shrinks_is_noted() -> None:
    assert stacked(stack(halved_and_back, AB), inputs=ROWS).decayed == 1
    assert stacked(stack(halved_and_back, AB, 4), inputs=ROWS).decayed == 3
    assert stacked(stack(pre_norm, ABC, 4), inputs=ROWS).decayed == 0


def added_twice(block: Any, x: Tensor) -> Tensor:
    return x + (x + block["b"](block["a"](x)))


def shifted_rows(block: Any, x: Tensor) -> Tensor:
    return x + block["b"](x + block["a"].weight * (torch.roll(x, 1, 0) - x))


def a_number_on_the_stream(block: Any, x: Tensor) -> Tensor:
    return block["a"].bias[0] * x + block["b"](block["a"](x))


def a_number_inside(block: Any, x: Tensor) -> Tensor:
    y = block["a"](x)
    return x + torch.tanh(block["a"].bias[0] * y + block["b"](y))


MIXED: list[tuple[Join, int]] = [
    (added_twice, 3),
    (a_number_on_the_stream, 3),
    (a_number_inside, 0),
    (shifted_rows, 0),
]


@pytest.mark.parametrize(("join", "times"), MIXED)
def test_sums_and_numbers_on_the_stream_are_counted(join: Join, times: int) -> None:
    assert stacked(stack(join, AB, 4), inputs=ROWS).mixed == times


def test_a_stream_of_sums_with_branches_alone_is_not_mixed() -> None:
    assert not any(stacked(model, inputs=ROWS).mixed for model, *_ in READINGS.values())


def test_layers_of_a_growing_run_in_series_are_chained() -> None:
    def chain(block: Any, x: Tensor) -> Tensor:
        return torch.relu(block["a"](x))

    model, deeper = (stack(chain, {"a": matrix}, depth) for depth in (2, 4))
    assert stacked(model, deeper).chained == bias_and_weight("blocks.1.a")
    assert not stacked(model, model).chained


@pytest.mark.parametrize("times", [1, 3])
def test_uses_of_a_matrix_in_series_are_counted(times: int) -> None:
    def loop(block: Any, x: Tensor) -> Tensor:
        for _ in range(times):
            x = torch.tanh(block["a"](x))
        return x

    series = stacked(stack(loop, {"a": matrix}), inputs=ROWS).series
    assert {series[f"blocks.{i}.a.weight"] for i in range(2)} == {times}
    beside = stacked(stack(lambda block, x: block["a"](x) + block["a"](x + 1), {"a": matrix}, 1))
    assert beside.series["blocks.0.a.weight"] == 1


def test_counts_are_those_of_the_longest_stream() -> None:
    """Attention and mlp are of one container; queries are counted with all branches."""
    base, deeper = gpt(16, 2), gpt(16, 6)
    found = stacked(deeper, base)
    assert set(found.counts.values()) == {12}
    assert [join.matrices for join in found.joins] == [2] * 12
    assert found.joins[0].signal.tensors == {"blocks.0.out.weight"}
    assert found.joins[-1].signal.tensors == {"blocks.5.down.weight"}


def test_counts_do_not_need_another_depth() -> None:
    assert set(stacked(gpt(16, 2)).counts.values()) == {4}


DEEPER = {
    "ends in gelu": (
        ends_in(F.gelu),
        AB,
        "blocks.0.a.bias.*does not end in learned tensors.*end it with a linear layer",
    ),
    "ends in a norm without gain": (
        branch_first,
        NO_GAIN,
        "does not end in learned tensors",
    ),
    "post-norm": (before_norm, AB, "post-norm.*keep the depth, or scale width alone"),
    "decayed": (halved_and_back, AB, "multiplied by a number between its residual joins"),
}


@pytest.mark.parametrize(("join", "layers", "message"), DEEPER.values(), ids=DEEPER)
def test_depth_that_cannot_be_folded_is_refused(join: Join, layers: Layers, message: str) -> None:
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
    (found,) = stacked(model, inputs=ROWS).joins
    ends: list[Tensor] = []

    def join(model: nn.Module, block: nn.Module, x: Tensor) -> Tensor:
        ends.append(activation(block["b"](block["a"](x))))
        return x

    model.join = join
    x = torch.linspace(-1, 1, 10).view(2, 5)
    for factor in (1, 3):
        torch.manual_seed(0)
        with torch.no_grad():
            for name in found.signal.tensors or ():
                model.get_parameter(name).mul_(factor)
            model(x)
    torch.testing.assert_close(ends[1], 3 * ends[0])


def test_inputs_are_guessed_or_given() -> None:
    tokens = torch.zeros(1, 3, dtype=torch.long)
    for model, given in [
        (mlp(8, 2, inputs=5), ROWS),
        (resnet(WIDTH, 2), IMAGES),
        (gpt(16, 1), tokens),
    ]:
        guessed, told = stacked(model), stacked(model, inputs=given)
        meta = stacked(model.to("meta"), inputs=(given,))
        tensors = [[join.tensors for join in each.joins] for each in (guessed, told, meta)]
        assert tensors[0] == tensors[1] == tensors[2]
        assert guessed.place.keys() == told.place.keys() == meta.place.keys()
