"""Plans of networks whose layers have no modules of their own, at several depths."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.tasks import gpt
from tests.factors import factors, table
from tests.models import FlatResidual, FlatStack, FlatTensors, Net, Residual, normalised, numbered

ROWS = torch.linspace(-1, 1, 20).view(4, 5)
TOKENS = torch.arange(16).view(2, 8) % 7
SIZES = {
    "wider and deeper": ((32, 2), (128, 4)),
    "deeper than one layer": ((32, 1), (64, 3)),
    "wider and shallower": ((32, 4), (128, 2)),
    "deeper alone": ((32, 2), (32, 4)),
}
Size = tuple[int, int]
sizes = pytest.mark.parametrize(("base", "target"), SIZES.values(), ids=SIZES)


def modular(width: int, depth: int) -> nn.Module:
    return Residual(width, depth, pool=normalised)


def flat(width: int, depth: int) -> nn.Module:
    return FlatResidual(width, depth, pool=normalised)


def exported(width: int, depth: int) -> nn.Module:
    return torch.export.export(modular(width, depth), (ROWS,)).module()


def traced(width: int, depth: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.trace(modular(width, depth), ROWS)  # type: ignore[no-any-return]


def plan_of(make: Callable[..., nn.Module], target: Size, base: Size, **options: Any) -> mt.Plan:
    return mt.plan(make(*target), make(*base), example_inputs=ROWS, **options)


@sizes
@pytest.mark.parametrize("make", [flat, exported, traced])
def test_a_network_is_planned_alike_with_and_without_modules(
    make: Callable[..., nn.Module], base: Size, target: Size
) -> None:
    plan, reference = (plan_of(each, target, base, optimizer="sgd") for each in (make, modular))
    assert table(plan) == table(reference)
    assert plan["readout.weight"].role == "readout"


@sizes
@pytest.mark.parametrize("make", [FlatStack, numbered])
def test_a_head_behind_layers_of_its_operations_is_a_readout(
    make: Callable[..., nn.Module], base: Size, target: Size
) -> None:
    """A readout and its bias under SGD: Tensor Programs V (2203.03466), Table 3."""
    model = make(*target)
    plan = mt.plan(model, make(*base), example_inputs=ROWS, optimizer="sgd")
    n = target[0] / base[0]
    heads = [name for name, p in model.named_parameters() if len(p) == 3 and p.dim() == 2]
    assert heads
    for name in heads:
        assert factors(plan, name, ("init", "lr")) == (1 / n, 1 / n)
        assert plan[name].ratios["fan_out"] == 1
    biases = [name for name, p in model.named_parameters() if tuple(p.shape) == (3,)]
    assert all(factors(plan, name, ("init", "lr")) == (1, 1) for name in biases)


@pytest.mark.parametrize(("base", "target"), [((16, 2), (64, 4)), ((32, 4), (64, 2))])
def test_one_tensor_for_all_layers_is_planned_as_one_for_each(base: Size, target: Size) -> None:
    stacked, single = (plan_of(each, target, base) for each in (FlatTensors, FlatStack))
    for name in stacked.tensors:
        alike = name if name in single.tensors else f"{name}.0"
        assert factors(stacked, name, ("init", "lr")) == factors(single, alike, ("init", "lr"))


def test_an_exported_gpt_is_planned_as_the_original() -> None:
    def made(width: int, depth: int) -> nn.Module:
        return gpt(width, depth, vocabulary=7, heads=2, tied=False)

    def program(width: int, depth: int) -> nn.Module:
        return torch.export.export(made(width, depth), (TOKENS,)).module()

    plans = [
        mt.plan(make(64, 3), make(16, 2), example_inputs=TOKENS, optimizer="sgd")
        for make in (program, made)
    ]
    assert table(plans[0]) == table(plans[1])


def first_change(width: int, depth: int) -> float:
    """Return the RMS change of the output by one planned step of SGD."""
    torch.manual_seed(0)
    model = FlatStack(width, depth)
    plan = mt.plan(model, FlatStack(32, 2), example_inputs=ROWS, optimizer="sgd")
    plan.initialize(model)
    x, y = torch.randn(64, 5), torch.randn(64, 3)
    optimizer = torch.optim.SGD(plan.param_groups(model, lr=0.05))
    before = model(x)
    F.mse_loss(before, y).backward()
    optimizer.step()
    change: Tensor = model(x) - before
    return change.square().mean().sqrt().item()


def test_the_first_step_changes_the_output_alike_at_all_sizes() -> None:
    changes = [first_change(width, depth) for width, depth in ((32, 2), (128, 4), (256, 8))]
    assert max(changes) < 2 * changes[0] and min(changes) > changes[0] / 4


def test_tensors_used_in_another_order_are_refused() -> None:
    """Both passes have the same operations, and each would pair a head with a matrix."""

    def make(width: int) -> nn.Module:
        def run(m: Any, x: Tensor) -> tuple[Tensor, ...]:
            x = torch.relu(x @ m.stem.T)
            names = ("head", "mix") if width == 8 else ("mix", "head")
            return tuple(torch.relu(x @ getattr(m, name).T) for name in names)

        shapes = {"stem": (width, 5), "head": (3, width), "mix": (width, width)}
        return Net(
            run, **{name: nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}
        )

    for base, target in ((8, 16), (16, 8)):
        with pytest.raises(
            mt.MutransferError, match=r"uses (mix|head).* shape .*in the same order"
        ):
            mt.plan(make(target), make(base), example_inputs=ROWS)
