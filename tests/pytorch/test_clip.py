"""Clipping by the norm that gradients have where every multiplier is explicit.

That is Table 8 of Tensor Programs V (2203.03466).
"""

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import mutransfer as mt
from mutransfer.tasks import gpt, mlp, resmlp
from tests.laws.typical import typical
from tests.models import OneMatrix, Residual, TwoMatrices

WIDER, DEEPER = 4, 4
TOKENS = torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def gpt_of(heads: int | None = None, tied: bool = False) -> Callable[[int, int], nn.Module]:
    sizes = {"heads": heads, "vocabulary": 11, "context": 6}
    return lambda n, d: gpt(16 * n, d, tied=tied, **sizes).double()


# The explicit multipliers of CompleteP (2505.01618, Table 1) and Tensor Programs V (Table 8,
# Definition 4.1), by the tensors before them.
BRANCHES = {"blocks.*.out.*": 1 / DEEPER, "blocks.*.down.*": 1 / DEEPER}
CASES: dict[str, tuple[Callable[[int, int], nn.Module], Tensor, dict[str, float]]] = {
    "mlp": (lambda n, _: mlp(8 * n, 3).double(), ROWS.double(), {"readout.weight": 1 / WIDER}),
    "residual mlp": (
        lambda n, d: resmlp(8 * n, 2 * d).double(),
        ROWS.double(),
        {"readout.weight": 1 / WIDER, "down.*": 1 / DEEPER},
    ),
    "gpt": (gpt_of(), TOKENS, BRANCHES | {"head.weight": 1 / WIDER}),
    "gpt, tied": (gpt_of(tied=True), TOKENS, BRANCHES | {"norm.*": 1 / WIDER}),
    "gpt, head dimension grows": (
        gpt_of(heads=1),
        TOKENS,
        BRANCHES | {"head.weight": 1 / WIDER, "blocks.*.query.weight": WIDER**-0.5},
    ),
}


def loss(model: nn.Module, x: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        logits = model(x).flatten(0, -2)
    return F.cross_entropy(logits, torch.arange(len(logits)) % logits.shape[-1])


def explicit_norm(model: nn.Module, x: Tensor, multipliers: dict[str, float]) -> float:
    """Return the norm of gradients with the multipliers in the forward pass."""

    def multiplier(name: str) -> float:
        return next((m for pattern, m in multipliers.items() if fnmatchcase(name, pattern)), 1.0)

    leaves = {
        name: (tensor.detach() / multiplier(name)).requires_grad_()
        for name, tensor in model.named_parameters()
    }

    def run(inputs: Tensor) -> Tensor:
        tensors = {name: multiplier(name) * leaf for name, leaf in leaves.items()}
        return functional_call(model, tensors, (inputs,))

    gradients = torch.autograd.grad(loss(run, x), list(leaves.values()))
    return math.sqrt(sum(float(g.square().sum()) for g in gradients))


def planned(
    name: str, rule: str | None = None
) -> tuple[nn.Module, mt.Plan, Tensor, dict[str, float]]:
    make, x, multipliers = CASES[name]
    model = make(WIDER, DEEPER)
    plan = mt.plan(model, make(1, 1), rule=rule, example_inputs=x)
    plan.initialize(model)
    loss(model, x).backward()
    return model, plan, x, multipliers


def multiplied_norm(model: nn.Module, plan: mt.Plan) -> float:
    """Return the norm of the gradients times the multipliers that the tensors carry."""
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    squares = ((plan[n].factor("multiplier") * g).square().sum() for n, g in gradients.items())
    return math.sqrt(sum(map(float, squares)))


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("name", CASES)
def test_the_norm_is_that_of_explicit_multipliers(name: str) -> None:
    model, plan, x, multipliers = planned(name)
    plain = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    total = plan.clip_grad_norm_(model, math.inf)
    assert total.item() == pytest.approx(explicit_norm(model, x, multipliers), rel=1e-10)
    assert total.item() == pytest.approx(multiplied_norm(model, plan))
    assert abs(plain / total - 1) > 0.01  # the plain form's own norm is another one


@pytest.mark.parametrize("name", CASES)
def test_gradients_above_the_threshold_shrink_together(name: str) -> None:
    model, plan, x, multipliers = planned(name)
    before, norm = gradients(model), explicit_norm(model, x, multipliers)
    threshold = norm / plan.clip / 3
    total = plan.clip_grad_norm_(model, threshold)
    assert total.item() == pytest.approx(norm, rel=1e-10)
    for old, new in zip(before, gradients(model), strict=True):
        torch.testing.assert_close(new, old / 3, rtol=1e-4, atol=0)
    assert plan.clip_grad_norm_(model, math.inf).item() == pytest.approx(
        threshold * plan.clip, rel=1e-4
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("above", [1.01, 10, math.inf])
def test_gradients_below_the_threshold_stay_as_they_are(name: str, above: float) -> None:
    model, plan, x, multipliers = planned(name)
    before = gradients(model)
    plan.clip_grad_norm_(model, above * explicit_norm(model, x, multipliers) / plan.clip)
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(model), strict=True))


@pytest.mark.parametrize("rule", [None, "completep", "depth-mup", "sp", "u-mup"])
@pytest.mark.parametrize("max_norm", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("name", ["mlp", "gpt, tied"])
def test_at_base_it_is_torchs_function(name: str, max_norm: float, rule: str | None) -> None:
    make, x, _ = CASES[name]
    model = make(1, 2)
    plan = mt.plan(model, make(1, 2), rule=rule, example_inputs=x)
    loss(model, x).backward()
    before = gradients(model)
    total = plan.clip_grad_norm_(model, max_norm)
    ours = gradients(model)
    for p, g in zip(model.parameters(), before, strict=True):
        p.grad = g
    assert plan.clip == 1
    expected = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=0)
    for a, b in zip(ours, gradients(model), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


RULES = {
    "completep": 1,
    "completep, clip=derived": 1 / 2,
    "completep, alpha=3/4, clip=derived": 4**-0.25,
    "completep, alpha=1/2, clip=derived": 1,
    "depth-mup, clip=derived": 1,
    "u-mup": 1,
    "sqrt-depth": 1,
    "mup": 1,
    "spectral": 1,
    "sp": 1,
    "default": 1,
    "default, clip=derived": 1 / 2,
}


@pytest.mark.parametrize(("rule", "factor"), RULES.items())
def test_the_threshold_scales_as_the_norm(rule: str, factor: float) -> None:
    model, plan, _, _ = planned("gpt", rule)
    assert plan.depth == ((0, 0) if rule == "sp" else (2, 8))
    assert plan.clip == factor and mt.Plan.from_json(plan.to_json()).clip == factor
    norm = plan.clip_grad_norm_(model, 1e-3).item()
    assert norm > 1e-3
    assert plan.clip_grad_norm_(model, math.inf).item() == pytest.approx(1e-3 * factor, rel=1e-2)


@pytest.mark.parametrize("rule", ["completep", "depth-mup"])
def test_width_leaves_the_threshold(rule: str) -> None:
    assert mt.plan(gpt(64, 2), gpt(16, 2), rule=rule).clip == 1


def two_matrices(width: int) -> nn.Module:
    return TwoMatrices(width, bias=False)


def one_matrix(width: int) -> nn.Module:
    return OneMatrix(width, norm=nn.LayerNorm, activation=F.gelu, bias=False)


def drawn(width: int, depth: int, block: Callable[[int], nn.Module]) -> nn.Module:
    """Build a network whose hidden matrices make nearly all of the gradient's norm.

    Its inputs are small and its input layer large, so that the input layer, whose norm falls with
    width, has a small share.
    """
    stem, readout = nn.Linear(8, width, bias=False), nn.Linear(width, 16, bias=False)
    model = Residual(width, depth, block, stem=stem, readout=readout)
    nn.init.normal_(stem.weight, std=10 * 8**-0.5)
    nn.init.normal_(readout.weight)
    for parameter in model.blocks.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=width**-0.5)
    return model


def measured(
    width: int, depth: int, block: Callable[[int], nn.Module], rule: str
) -> tuple[list[float], float]:
    """Return the norms of a linear loss's gradient over seeds, and the threshold's factor."""
    base = typical(lambda: drawn(32, 2, block))
    plan = mt.plan(drawn(width, depth, block), base, rule=rule)
    norms = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = drawn(width, depth, block)
        plan.initialize(model)
        x, direction = torch.randn(64, 8) / 10, torch.randn(64, 16)
        (model(x) * direction).mean().backward()
        norms.append(plan.clip_grad_norm_(model, math.inf).item())
    return norms, plan.clip


def slope(sizes: Sequence[int], norms: Sequence[float]) -> float:
    return float(np.polyfit(np.log2(sizes), np.log2(norms), 1)[0])


@pytest.mark.parametrize(
    ("rule", "block", "exponent"),
    [
        ("completep", two_matrices, -1 / 2),
        ("completep, alpha=3/4", two_matrices, -1 / 4),
        ("depth-mup", two_matrices, 0),
        ("depth-mup", one_matrix, 0),
    ],
)
def test_the_norm_of_a_network_grows_as_the_threshold(
    rule: str, block: Callable[[int], nn.Module], exponent: float
) -> None:
    """Over seeds, the norm is a power 1/2 - alpha of the depth and constant in width."""
    depths, widths = [2, 4, 8, 16, 32], [32, 64, 128, 256]
    rule += ", clip=derived"
    deep, factors = zip(*(measured(128, depth, block, rule) for depth in depths), strict=True)
    wide, _ = zip(*(measured(width, 4, block, rule) for width in widths), strict=True)
    in_depth = [slope(depths, norms) for norms in zip(*deep, strict=True)]
    in_width = [slope(widths, norms) for norms in zip(*wide, strict=True)]
    assert sum(in_depth) / len(in_depth) == pytest.approx(exponent, abs=0.1), in_depth
    assert sum(in_width) / len(in_width) == pytest.approx(0, abs=0.1), in_width
    assert slope(depths, factors) == pytest.approx(exponent, abs=1e-9)


def test_the_model_behind_a_wrapper_is_clipped() -> None:
    model, plan, x, multipliers = planned("gpt")
    wrapped = torch.nn.ModuleDict({"module": model})
    assert plan.clip_grad_norm_(wrapped, math.inf).item() == pytest.approx(
        explicit_norm(model, x, multipliers), rel=1e-10
    )


def test_tensors_without_a_gradient_do_not_count() -> None:
    model, plan, _, _ = planned("mlp")
    model.input.weight.grad = None
    expected = multiplied_norm(model, plan)
    assert plan.clip_grad_norm_(model, 1e-3).item() == pytest.approx(expected)
    assert model.input.weight.grad is None
    model.zero_grad()
    assert plan.clip_grad_norm_(model, 1.0).item() == 0


def test_gradients_of_zero_stay_zero() -> None:
    model, plan, _, _ = planned("mlp")
    for p in model.parameters():
        p.grad.zero_()
    assert plan.clip_grad_norm_(model, 1.0).item() == 0
    assert all(not p.grad.any() for p in model.parameters())


def test_another_model_is_refused() -> None:
    _, plan, _, _ = planned("mlp")
    with pytest.raises(mt.MutransferError, match="plan this model"):
        plan.clip_grad_norm_(mlp(64, 3), 1.0)
