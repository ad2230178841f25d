"""Two programs side by side: pairs of operations, dimensions that grow, runs of layers."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.analysis import Stars, account, check_same_inputs
from mutransfer.analysis._growth import Growth
from mutransfer.analysis._movement import sources
from mutransfer.pytorch._record import record_program
from mutransfer.reading import Operation, Program, Ref, Value
from mutransfer.tasks import gpt, mlp
from tests.analysis.walking import of_features, of_weights, stars, walked
from tests.models import (
    FlatResidual,
    FlatStack,
    FlatTensors,
    GatedMixture,
    Net,
    Residual,
    numbered,
)

ROWS = torch.linspace(-1, 1, 10).view(2, 5)


def growth(base: nn.Module, other: nn.Module, inputs: Any = None) -> Growth:
    programs = [record_program(model, inputs) for model in (base, other)]
    return Growth(*programs, stars(*programs))


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_every_operation_of_a_shallow_base_has_a_counterpart(depth: int) -> None:
    """The base of one layer is paired with some layer of any deeper model."""
    found = growth(gpt(16, 1, heads=2), gpt(32, depth, heads=2))
    assert found.unpaired == [] and found.first_difference == ""
    for i, operation in enumerate(found.base.operations):
        assert found.operation_of[i].name == operation.name
        assert found.stars.star(found.operation_of[i].module) == found.stars.star(operation.module)


@pytest.mark.parametrize("make", [FlatResidual, FlatStack, FlatTensors, numbered])
@pytest.mark.parametrize(
    ("here", "there"), [((8, 2), (24, 4)), ((24, 2), (8, 5)), ((8, 2), (8, 3))]
)
def test_tensors_of_layers_without_modules_are_paired_by_name_and_shape(
    make: Any, here: tuple[int, int], there: tuple[int, int]
) -> None:
    """A head is never paired with a layer, whose operations are the same."""
    found = growth(make(*here), make(*there), ROWS)
    grown = dict(zip((here[0], 2 * here[0]), (there[0], 2 * there[0]), strict=True))
    for index in found.base.parameters.values():
        value, other = found.base.values[index], found.counterpart(index)
        assert other is not None and found.stars.star(other.name) == found.stars.star(value.name)
        rows = there[1] if len(value.shape) == 3 else grown.get(value.shape[0], value.shape[0])
        assert other.shape == (rows, *(grown.get(size, size) for size in value.shape[1:]))
    assert found.unpaired == []


def test_uses_are_the_same_whatever_the_depth_of_the_other() -> None:
    base = record_program(gpt(16, 1))
    walks = []
    for depth in (1, 3):
        other = record_program(gpt(32, depth))
        walks.append(account(base, other, stars(base, other)))
    assert walks[0].uses == walks[1].uses and walks[0].findings == walks[1].findings


def test_operations_without_a_counterpart_are_named() -> None:
    def make(width: int) -> nn.Module:
        return of_features(
            lambda m, x: m.up(torch.tanh(x) if width == 8 else torch.relu(x)),
            up=lambda n: nn.Linear(n, n),
        )(width)

    found = growth(make(8), make(16), ROWS)
    names = [found.base.operations[i].name for i in found.unpaired]
    assert names == ["tanh"] and found.first_difference == "tanh"


def test_only_what_parameters_grow_by_is_growth() -> None:
    """Tokens of an expert and places that are not zero differ in number by the data."""

    def run(m: Any, x: Tensor) -> Tensor:
        seen = x[:, : 3 if x.shape[-1] == 8 else 4]
        return m.up(x).sum() + seen.sum()

    walk = walked(of_features(run, up=lambda n: nn.Linear(n, n)))
    sliced = next(op for op in walk.program.operations if op.name == "slice")
    value = sliced.results[0]
    assert value is not None
    assert walk.growth.shape(value) == (2, 4) and walk.growth.growing(value) == []
    assert walk.growth.sizes(value, (0, 1)) is None


def test_products_and_quotients_of_widths_are_growth() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        return (m.up(x).view(2, -1, m.heads) * 1).sum()

    def make(width: int) -> nn.Module:
        model = of_features(run, up=lambda n: nn.Linear(n, n * n))(width)
        model.heads = width // 4
        return model

    walk = walked(make)
    view = next(op for op in walk.program.operations if op.name in {"view", "_unsafe_view"})
    value = view.results[0]
    assert value is not None
    assert walk.growth.growing(value) == [1, 2]
    assert walk.growth.sizes(value, (1,)) == (32, 64) and walk.growth.sizes(value, (2,)) == (2, 4)


def test_experts_that_data_pick_are_paired() -> None:
    def routed(m: Any, x: Tensor) -> Tensor:
        scores = m.router(x)
        best = scores.argmax(-1)
        total = torch.zeros_like(x)
        for i, expert in enumerate(m.experts):
            rows = (best == i).nonzero()[:, 0]
            total = total.index_add(0, rows, expert(x[rows]))
        return total

    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    walk = walked(
        of_features(
            routed,
            router=lambda n: nn.Linear(n, 3),
            experts=lambda n: nn.ModuleList(nn.Linear(n, n) for _ in range(3)),
        ),
        x,
    )
    for i in range(3):
        fans = {use.fan for use in walk.uses[f"experts.{i}.weight"] if use.kind == "contraction"}
        assert fans == {(8, 16)}
    assert walk.growth.unpaired == []


@pytest.mark.parametrize("exchanged", [False, True])
def test_inputs_of_other_shapes_are_refused(exchanged: bool) -> None:
    programs = [record_program(mlp(8, inputs=n)) for n in (5, 15)]
    check_same_inputs(programs[0], programs[0])
    with pytest.raises(mt.MutransferError, match=r"inputs of shapes.*made for different data"):
        check_same_inputs(*(programs[::-1] if exchanged else programs))


def test_stars_stand_for_runs_that_grow() -> None:
    def names(depth: int) -> list[str]:
        inside = (f"blocks.{i}.mlp.{j}.w" for i in range(depth) for j in range(2))
        return ["stem.0.w", "stem.1.w", *inside]

    found = Stars(names(2), names(3))
    assert "blocks." in found.growing and "stem." not in found.growing
    assert found.star("blocks.1.mlp.0.w") == found.star("blocks.0.mlp.0.w")
    assert found.star("stem.1.w") == "stem.1.w"
    assert found.is_repeated("blocks.0.mlp.0.w") and not found.is_repeated("stem.0.w")
    assert found.container("blocks.1.mlp.0.w") == "blocks.*"
    assert found.container("stem.1.w") == "stem.*"


def test_numbers_within_a_name_are_starred() -> None:
    found = Stars(*([f"layer_{i}.w" for i in range(depth)] for depth in (2, 3)))
    assert found.growing == {"layer_"}
    assert found.star("layer_1.w") == found.container("layer_0.w") + ".w" == "layer_*.w"


def test_nothing_is_starred_where_nothing_grows() -> None:
    names = [f"blocks.{i}.w" for i in range(3)]
    found = Stars(names, names)
    assert not found.growing and [found.star(name) for name in names] == names


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_only_prefixes_whose_numbers_differ_grow(a: int, b: int, c: int, d: int) -> None:
    def names(encoder: int, decoder: int) -> list[str]:
        return [
            *(f"encoder.{i}.w" for i in range(encoder)),
            *(f"decoder.{i}.w" for i in range(decoder)),
        ]

    growing = {name for name, differs in (("encoder.", a != c), ("decoder.", b != d)) if differs}
    assert Stars(names(a, b), names(c, d)).growing == growing


# A view, and its arguments, of a tensor of four dimensions.
@st.composite
def views(draw: st.DrawFn) -> tuple[str, tuple[Any, ...], tuple[int, ...]]:
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4)))
    n = len(shape)
    name = draw(
        st.sampled_from(["permute", "transpose", "view", "unsqueeze", "select", "expand", "slice"])
    )
    dim = st.integers(-n, n - 1)
    if name == "permute":
        return name, (tuple(draw(st.permutations(range(n)))),), shape
    if name == "transpose":
        return name, (draw(dim), draw(dim)), shape
    if name == "view":
        at = draw(st.integers(0, n - 1))
        merged = (*shape[:at], -1) if draw(st.booleans()) else (-1, *shape[at + 1 :])
        return name, (merged,), shape
    if name == "unsqueeze":
        return name, (draw(st.integers(-n - 1, n)),), shape
    if name == "select":
        return name, (draw(dim), 0), shape
    if name == "expand":
        return name, ((2, *shape),), shape
    return name, (draw(dim), 0, 1), shape


@given(views())
@settings(deadline=None, max_examples=150)
def test_sources_of_views_hold_every_dimension_along_which_numbers_vary(
    view: tuple[str, tuple[Any, ...], tuple[int, ...]],
) -> None:
    """A tensor that varies along one dimension, by its numbers before and after."""
    name, arguments, shape = view
    function = getattr(torch.ops.aten, name)
    for dim, size in enumerate(shape):
        x = torch.arange(size).view([-1 if k == dim else 1 for k in range(len(shape))])
        x = x.expand(shape).contiguous()
        try:
            after = function(x, *arguments)
        except RuntimeError:
            return
        found = sources(Operation(name, (Ref(0), *arguments), {}, (1,)), shape, after.shape)
        assert len(found) == after.dim()
        for k in range(after.dim()):
            varies = after.shape[k] > 1 and bool((after != after.narrow(k, 0, 1)).any())
            assert not varies or dim in found[k]
            assert after.shape[k] == 1 or found[k] or name in {"expand"}


def test_a_program_of_any_values_is_walked() -> None:
    """Operations without a rule, results that are no tensors, outputs that are parameters."""
    values = (Value((2, 8), "input"), Value((8,), "parameter", "w"), Value((2, 8)), Value((2,)))
    operations = (
        Operation("mystery", (Ref(0), Ref(1)), {}, (2, None)),
        Operation("sum", (Ref(2), (1,)), {}, (3,)),
    )
    base = Program(values=values, operations=operations, outputs=(3, 1))
    wide = (Value((2, 16), "input"), Value((16,), "parameter", "w"), Value((2, 16)), Value((2,)))
    other = Program(values=wide, operations=operations, outputs=(3, 1))
    walk = account(base, other, stars(base, other))
    assert [use.kind for use in walk.uses["w"]] == ["vector"]
    assert walk.unknown == []
    assert [f.ratio for f in walk.findings] == [pytest.approx(2.0)]


def test_experts_in_a_stack_do_not_change_the_pairs() -> None:
    found = growth(GatedMixture(16, 2), GatedMixture(32, 6))
    assert found.unpaired == []


def test_blocks_of_two_kinds_in_turn_are_paired_by_kind() -> None:
    def block(kind: bool) -> Any:
        return lambda n: Net(
            lambda m, x: m.b(torch.relu(m.a(x))) if kind else m.a(x),
            **({"a": nn.Linear(n, n), "b": nn.Linear(n, n)} if kind else {"a": nn.Linear(n, n)}),
        )

    def make(width: int, depth: int) -> nn.Module:
        model = Residual(width, 0)
        model.blocks = nn.ModuleList(block(i % 2 == 0)(width) for i in range(depth))
        return model

    found = growth(make(8, 2), make(16, 6), ROWS)
    assert found.unpaired == []


def test_a_function_of_weights_alone_keeps_its_dimensions() -> None:
    """Walks see through what is made of a parameter before it meets a signal."""
    walk = walked(
        of_weights(lambda x, w: x @ w.reshape(-1).view(w.shape).t().t().t(), w=lambda n: (n, n))
    )
    (use,) = (use for use in walk.uses["w"] if use.kind == "contraction")
    assert use.fan == (8, 16) and use.growing == {0, 1}
