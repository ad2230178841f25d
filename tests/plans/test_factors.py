"""Roles and factors of whole models, as exact powers of n, depth and head_dim."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import partial
from itertools import product

import pytest
from torch import nn

import mutransfer as mt
from mutransfer.plans import TensorPlan
from mutransfer.rules import Place, Powers, powers
from mutransfer.tasks import gpt, mlp
from tests.models import BarePatches, OneMatrix, Residual, TwoMatrices, resnet

QUANTITIES = ("init", "lr", "eps", "decay")
WIDER, DEEPER = 4, 2

Row = tuple[str, str, str, str, str, str]

# Names, role, then init, lr, eps, decay for AdamW. Width: Tensor Programs V, Table 3. Branches and
# eps: CompleteP (2505.01618), Table 1, with the branch's multiplier folded into its last tensors by
# the abc symmetry.
MLP: list[Row] = [
    ("input.weight", "input", "1", "1", "n^-1", "1"),
    ("input.bias", "bias", "1", "1", "n^-1", "1"),
    ("hidden.*.weight", "hidden", "n^-1/2", "n^-1", "n^-1", "n"),
    ("hidden.*.bias", "bias", "1", "1", "n^-1", "1"),
    ("readout.weight", "readout", "n^-1", "n^-1", "1", "n"),
    ("readout.bias", "bias", "1", "1", "1", "1"),
]
BLOCK: list[Row] = [
    ("blocks.*.norm.*", "gain|bias", "1", "1", "depth^-1 · n^-1", "1"),
    ("blocks.*.up.weight", "hidden", "n^-1/2", "n^-1", "depth^-1 · n^-1", "n"),
    ("blocks.*.up.bias", "bias", "1", "1", "depth^-1 · n^-1", "1"),
]
STACK: list[Row] = [
    ("stem.weight", "input", "1", "1", "n^-1", "1"),
    ("stem.bias", "bias", "1", "1", "n^-1", "1"),
    ("readout.weight", "readout", "n^-1", "n^-1", "1", "n"),
    ("readout.bias", "bias", "1", "1", "1", "1"),
]
RESIDUAL: list[Row] = [
    *STACK,
    *BLOCK,
    ("blocks.*.down.weight", "hidden", "depth^-1 · n^-1/2", "depth^-1 · n^-1", "n^-1", "depth · n"),
    ("blocks.*.down.bias", "bias", "depth^-1", "depth^-1", "n^-1", "depth"),
]
# Tensor Programs VI (2310.02244), Table 2: rate depth^-1/2 with the multiplier depth^-1/2 outside.
ONE_MATRIX: list[Row] = [
    *STACK,
    (
        "blocks.*.only.weight",
        "hidden",
        "depth^-1/2 · n^-1/2",
        "depth^-1 · n^-1",
        "n^-1",
        "depth^1/2 · n",
    ),
    ("blocks.*.only.bias", "bias", "depth^-1/2", "depth^-1", "n^-1", "depth^1/2"),
]
UNTIED: list[Row] = [
    ("token.weight", "embedding", "1", "1", "n^-1", "1"),
    ("position.weight", "embedding", "1", "1", "n^-1", "1"),
    ("blocks.*_norm.*", "gain|bias", "1", "1", "depth^-1 · n^-1", "1"),
    ("blocks.*.query.weight", "hidden", "n^-1/2", "n^-1", "depth^-1 · n^-1", "n"),
    ("blocks.*.[kvu][eap]*.weight", "hidden", "n^-1/2", "n^-1", "depth^-1 · n^-1", "n"),
    ("blocks.*.out.weight", "hidden", "depth^-1 · n^-1/2", "depth^-1 · n^-1", "n^-1", "depth · n"),
    ("blocks.*.down.weight", "hidden", "depth^-1 · n^-1/2", "depth^-1 · n^-1", "n^-1", "depth · n"),
    ("norm.*", "gain|bias", "1", "1", "n^-1", "1"),
    ("head.weight", "readout", "n^-1", "n^-1", "1", "n"),
]
# Table 8's logit multiplier 1/n, folded into the norm before the head.
TIED: list[Row] = [
    *[row for row in UNTIED if row[0] not in {"token.weight", "norm.*", "head.weight"}],
    ("token.weight", "tied", "1", "1", "n^-1", "1"),
    ("norm.*", "gain|bias", "n^-1", "n^-1", "1", "n"),
]
# Attention 1/d, Definition 4.1: torch divides by sqrt(d), the queries carry the rest.
HEAD_DIM: list[Row] = [
    *[row for row in UNTIED if row[0] != "blocks.*.query.weight"],
    (
        "blocks.*.query.weight",
        "hidden",
        "head_dim^-1/2 · n^-1/2",
        "head_dim^-1/2 · n^-1",
        "depth^-1 · head_dim^1/2 · n^-1",
        "head_dim^1/2 · n",
    ),
]
CONVOLUTIONS: list[Row] = [
    ("stem.weight", "input", "1", "1", "n^-1", "1"),
    ("blocks.*.convs.?.weight", "hidden", "n^-1/2", "n^-1", "depth^-1 · n^-1", "n"),
    ("blocks.*.norms.0.*", "gain|bias", "1", "1", "depth^-1 · n^-1", "1"),
    ("blocks.*.norms.1.*", "gain|bias", "depth^-1", "depth^-1", "n^-1", "depth"),
    *STACK[2:],
]
DEPTHWISE: list[Row] = [
    *[row for row in CONVOLUTIONS if row[0] != "blocks.*.convs.?.weight"],
    ("blocks.*.convs.0.weight", "depthwise", "1", "1", "depth^-1 · n^-1", "1"),
    ("blocks.*.convs.1.weight", "hidden", "n^-1/2", "n^-1", "depth^-1 · n^-1", "n"),
]
BARE: list[Row] = [
    ("token", "vector", "1", "1", "n^-1", "1"),
    ("position", "vector", "1", "1", "n^-1", "1"),
    ("temperature", "scalar|vector", "1", "1", "1", "1"),
    ("patch.weight", "input", "1", "1", "n^-1", "1"),
    ("patch.bias", "bias", "1", "1", "n^-1", "1"),
    *BLOCK,
    ("blocks.*.down.weight", "hidden", "n^-1/2", "n^-1", "depth^-1 · n^-1", "n"),
    ("blocks.*.down.bias", "bias", "1", "1", "depth^-1 · n^-1", "1"),
    ("scales.*", "vector", "depth^-1", "depth^-1", "n^-1", "depth"),
    *STACK[2:],
]
# Tensor Programs V, Table 3: rates n for vectors, 1 for hidden, 1/n for the readout; coupled decay
# is the inverse.
SGD: list[Row] = [
    ("input.weight", "input", "1", "n", "1", "n^-1"),
    ("input.bias", "bias", "1", "n", "1", "n^-1"),
    ("hidden.*.weight", "hidden", "n^-1/2", "1", "1", "1"),
    ("hidden.*.bias", "bias", "1", "n", "1", "n^-1"),
    ("readout.weight", "readout", "n^-1", "n^-1", "1", "n"),
    ("readout.bias", "bias", "1", "1", "1", "1"),
]
CASES: dict[str, tuple[Callable[[int, int], nn.Module], str, list[Row]]] = {
    "mlp": (lambda n, _: mlp(8 * n, 3), "mup", MLP),
    "residual mlp": (
        lambda n, d: Residual(8 * n, 2 * d, partial(TwoMatrices, inner=4)),
        "completep",
        RESIDUAL,
    ),
    "residual mlp, one matrix": (
        lambda n, d: Residual(8 * n, 2 * d, OneMatrix),
        "depth-mup",
        ONE_MATRIX,
    ),
    "gpt": (lambda n, d: gpt(16 * n, d), "completep", UNTIED),
    "gpt, tied": (lambda n, d: gpt(16 * n, d, tied=True), "completep", TIED),
    "gpt, head dimension grows": (lambda n, d: gpt(16 * n, d, heads=2), "completep", HEAD_DIM),
    "resnet": (lambda n, d: resnet(8 * n, 2 * d), "completep", CONVOLUTIONS),
    "resnet, depthwise": (lambda n, d: resnet(8 * n, 2 * d, groups=8 * n), "completep", DEPTHWISE),
    "bare parameters": (lambda n, d: BarePatches(8 * n, 2 * d), "completep", BARE),
}


def in_width(tensor: TensorPlan, quantity: str) -> Powers:
    """Return the power in n, depth and head_dim.

    An axis that grows with the width is n, and one that does not is 1.
    """
    planned: Powers = getattr(tensor, quantity)
    result = powers()
    for name, exponent in planned.exponents:
        ratio = tensor.ratios[name]
        if name in {"fan_in", "fan_out", "head_fan_in"}:
            assert ratio in {1, WIDER}
            name = "n"
        result *= powers(**{name: exponent}) if ratio != 1 else powers()
    return result


def compare(plan: mt.Plan, rows: list[Row]) -> None:
    for name, tensor in plan.tensors.items():
        (row,) = [row for row in rows if fnmatchcase(name, row[0])]
        powers_in_width = tuple(str(in_width(tensor, quantity)) for quantity in QUANTITIES)
        assert (name, *powers_in_width) == (name, *row[2:])
        assert tensor.role in row[1].split("|")
        assert (tensor.place != Place.OUTSIDE) == name.startswith(("blocks.", "scales."))
        for quantity in QUANTITIES:
            value = in_width(tensor, quantity).evaluate(
                {"n": WIDER, "depth": DEEPER, "head_dim": WIDER}
            )
            assert tensor.factor(quantity) == pytest.approx(value, rel=1e-12)
    assert all(any(fnmatchcase(name, row[0]) for name in plan.tensors) for row in rows)


@pytest.mark.parametrize(
    ("make", "rule", "rows"),
    CASES.values(),
    ids=CASES,
)
def test_roles_and_factors(
    make: Callable[[int, int], nn.Module], rule: str, rows: list[Row]
) -> None:
    plan = mt.plan(make(WIDER, DEEPER), make(1, 1))
    assert plan.rule == rule
    compare(plan, rows)


def test_roles_and_factors_of_sgd() -> None:
    compare(mt.plan(mlp(64, 3), mlp(16, 3), optimizer="sgd"), SGD)


def test_the_rule_asked_for_goes_before_the_default() -> None:
    make = CASES["gpt"][0]
    plan = mt.plan(make(WIDER, DEEPER), make(1, 1), rule="mup")
    width = [
        (
            *row[:2],
            *(
                " · ".join(p for p in cell.split(" · ") if "depth" not in p) or "1"
                for cell in row[2:]
            ),
        )
        for row in UNTIED
    ]
    compare(plan, width)


@pytest.mark.parametrize(("wider", "deeper"), [(2, 1), (4, 2), (3, 3)])
def test_few_groups(wider: int, deeper: int) -> None:
    for tied, growing_head in product([False, True], repeat=2):
        heads = 1 if growing_head else None
        target, base = (
            gpt(16 * n, d, tied=tied, heads=heads) for n, d in ((wider, deeper), (1, 1))
        )
        groups = mt.plan(target, base).param_groups(target, 0.1, weight_decay=0.1)
        assert sum(len(group["params"]) for group in groups) == len(list(target.parameters()))
        assert len(groups) <= 8


def test_width_alone_and_depth_alone_multiply() -> None:
    make = CASES["gpt, tied"][0]
    both, wider, deeper = (
        mt.plan(make(*size), make(1, 1), rule="completep") for size in ((4, 2), (4, 1), (1, 2))
    )
    for name in both.tensors:
        first = name.replace("blocks.1", "blocks.0")
        for quantity in QUANTITIES:
            assert both[name].factor(quantity) == wider[first].factor(quantity) * deeper[
                name
            ].factor(quantity)


def test_ratios_are_exact() -> None:
    plan = mt.plan(gpt(48, 3, heads=3), gpt(32, 2, heads=2))
    assert plan["blocks.2.down.weight"].ratios == {
        "fan_in": Fraction(3, 2),
        "fan_out": Fraction(3, 2),
        "depth": Fraction(3, 2),
    }
