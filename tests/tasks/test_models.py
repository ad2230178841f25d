"""Builders of proxies: shapes, and the effect of their arguments."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mutransfer import MutransferError
from mutransfer.tasks import ACTIVATIONS, gpt, mlp, resmlp

Builder = Callable[..., nn.Module]
BUILDERS: dict[str, tuple[Builder, Tensor]] = {
    "mlp": (mlp, torch.linspace(-2, 2, 5 * 64).view(5, 64)),
    "resmlp": (resmlp, torch.linspace(-2, 2, 5 * 64).view(5, 64)),
    "gpt": (gpt, torch.arange(3 * 7).view(3, 7)),
}


@pytest.fixture(params=BUILDERS.values(), ids=BUILDERS)
def built(request: pytest.FixtureRequest) -> tuple[Builder, Tensor]:
    return request.param


def drawn(build: Builder, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return build(**options)


@pytest.mark.parametrize(("width", "depth"), [(16, 1), (48, 3)])
def test_outputs_have_the_tasks_shape_at_every_size(
    built: tuple[Builder, Tensor], width: int, depth: int
) -> None:
    build, x = built
    output = drawn(build, width=width, depth=depth)(x)
    assert output.shape == (*x.shape, 256) if build is gpt else (len(x), 10)
    assert output.isfinite().all() and output.std() > 0


@pytest.mark.parametrize(
    ("build", "options", "x", "shape"),
    [
        (mlp, {"inputs": 3, "outputs": 2}, torch.ones(4, 3), (4, 2)),
        (resmlp, {"inputs": 3, "outputs": 2}, torch.ones(4, 3), (4, 2)),
        (gpt, {"vocabulary": 9, "context": 5}, torch.zeros(2, 5).long(), (2, 5, 9)),
    ],
)
def test_outputs_have_the_shape_asked_for(
    build: Builder, options: dict[str, int], x: Tensor, shape: tuple[int, ...]
) -> None:
    assert drawn(build, width=16, **options)(x).shape == shape


@pytest.mark.parametrize(
    ("build", "counted"),
    [
        (mlp, lambda model: 1 + len(model.hidden)),
        (resmlp, lambda model: len(model.up)),
        (gpt, lambda model: len(model.blocks)),
    ],
)
def test_depth_counts_hidden_layers_branches_or_blocks(
    build: Builder, counted: Callable[[nn.Module], int]
) -> None:
    assert [counted(drawn(build, width=16, depth=depth)) for depth in (1, 2, 5)] == [1, 2, 5]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_activation_is_the_one_named(name: str) -> None:
    x, function = torch.linspace(-2, 2, 128).view(2, 64), ACTIVATIONS[name]
    plain = drawn(mlp, depth=1, activation=name)
    torch.testing.assert_close(plain(x), plain.readout(function(plain.input(x))))
    residual = drawn(resmlp, depth=1, activation=name)
    stream = residual.input(x)
    branch = residual.down[0](function(residual.up[0](stream)))
    torch.testing.assert_close(residual(x), residual.readout(stream + branch))


def test_every_activation_gives_another_function(built: tuple[Builder, Tensor]) -> None:
    build, x = built
    outputs = [drawn(build, width=16, depth=2, activation=name)(x) for name in ACTIVATIONS]
    assert not any(torch.allclose(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


def test_a_gpt_sees_only_the_past() -> None:
    model, tokens = drawn(gpt, width=32), torch.arange(8).view(1, 8)
    changed = tokens.clone()
    changed[0, 5] = 99
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.isclose(before[:, 5:], after[:, 5:]).all(-1).any()


@pytest.mark.parametrize(("width", "heads"), [(8, 1), (16, 1), (32, 2), (64, 4)])
def test_heads_grow_in_number(width: int, heads: int) -> None:
    assert {block.heads for block in drawn(gpt, width=width).blocks} == {heads}


@pytest.mark.parametrize("tied", [False, True])
def test_a_tied_head_is_the_embedding(tied: bool) -> None:
    model = drawn(gpt, width=16, tied=tied)
    assert (model.head.weight.data_ptr() == model.token.weight.data_ptr()) is tied
    assert ("head.weight" in dict(model.named_parameters())) is not tied


def test_an_unknown_activation_is_refused(built: tuple[Builder, Tensor]) -> None:
    with pytest.raises(
        MutransferError, match="unknown activation 'relu6'; choose one of relu, gelu"
    ):
        built[0](activation="relu6")


def test_a_width_that_no_heads_divide_is_refused() -> None:
    with pytest.raises(MutransferError, match="width 30 is not a multiple of 4 heads"):
        gpt(30, heads=4)
