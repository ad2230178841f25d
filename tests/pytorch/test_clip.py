"""Clipping by the norm that gradients have where every multiplier is explicit (Tensor Programs V, Table 8)."""

import math
from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import product

import numpy as np
import pytest
import torch
from mutransfer._errors import MutransferError
from mutransfer.plan import Plan, plan
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from mutransfer.tasks._models import gpt, mlp, resmlp

WIDER, DEEPER = 4, 4
TOKENS = torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def gpt_of(heads: int | None = None, tied: bool = False) -> Callable[[int, int], nn.Module]:
    return lambda n, d: gpt(16 * n, d, heads=heads, tied=tied, vocabulary=11, context=6).double()


# The explicit multipliers of CompleteP (2505.01618, Table 1) and Tensor Programs V (Table 8, Definition 4.1), by the tensors before them.
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
    """Norm of the gradients of tensors that are multiplied in the forward pass."""
    by_name = {
        name: next((m for p, m in multipliers.items() if fnmatchcase(name, p)), 1.0)
        for name, _ in model.named_parameters()
    }
    leaves = {
        name: (p.detach() / by_name[name]).requires_grad_() for name, p in model.named_parameters()
    }

    def run(inputs: Tensor) -> Tensor:
        return functional_call(
            model, {name: by_name[name] * leaf for name, leaf in leaves.items()}, (inputs,)
        )

    gradients = torch.autograd.grad(loss(run, x), list(leaves.values()))
    return math.sqrt(sum(float(g.square().sum()) for g in gradients))


def planned(name: str, rule: str | None = None) -> tuple[nn.Module, Plan, Tensor, dict[str, float]]:
    make, x, multipliers = CASES[name]
    model = make(WIDER, DEEPER)
    own = plan(model, make(1, 1), rule=rule, example_inputs=x)
    own.initialize(model)
    loss(model, x).backward()
    return model, own, x, multipliers


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("name", CASES)
def test_the_norm_is_that_of_explicit_multipliers(name: str) -> None:
    model, own, x, multipliers = planned(name)
    plain = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    total = own.clip_grad_norm_(model, math.inf)
    assert total.item() == pytest.approx(explicit_norm(model, x, multipliers), rel=1e-10)
    assert total.item() == pytest.approx(
        math.sqrt(
            sum(
                float((p.grad * own[name].factor("multiplier")).square().sum())
                for name, p in model.named_parameters()
            )
        )
    )
    assert abs(plain / total - 1) > 0.01  # the plain form's own norm is another one


@pytest.mark.parametrize("name", CASES)
def test_gradients_above_the_threshold_shrink_together(name: str) -> None:
    model, own, x, multipliers = planned(name)
    before, norm = gradients(model), explicit_norm(model, x, multipliers)
    threshold = norm / own.clip / 3
    total = own.clip_grad_norm_(model, threshold)
    assert total.item() == pytest.approx(norm, rel=1e-10)
    for old, new in zip(before, gradients(model), strict=True):
        torch.testing.assert_close(new, old / 3, rtol=1e-4, atol=0)
    assert own.clip_grad_norm_(model, math.inf).item() == pytest.approx(
        threshold * own.clip, rel=1e-4
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("above", [1.01, 10, math.inf])
def test_gradients_below_the_threshold_stay_as_they_are(name: str, above: float) -> None:
    model, own, x, multipliers = planned(name)
    before = gradients(model)
    own.clip_grad_norm_(model, above * explicit_norm(model, x, multipliers) / own.clip)
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(model), strict=True))


@pytest.mark.parametrize("rule", [None, "completep", "depth-mup", "sp", "u-mup"])
@pytest.mark.parametrize("max_norm", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("name", ["mlp", "gpt, tied"])
def test_at_base_it_is_torchs_function(name: str, max_norm: float, rule: str | None) -> None:
    make, x, _ = CASES[name]
    model = make(1, 2)
    own = plan(model, make(1, 2), rule=rule, example_inputs=x)
    loss(model, x).backward()
    before = gradients(model)
    total = own.clip_grad_norm_(model, max_norm)
    ours = gradients(model)
    for p, g in zip(model.parameters(), before, strict=True):
        p.grad = g
    assert own.clip == 1
    torch.testing.assert_close(
        total, nn.utils.clip_grad_norm_(model.parameters(), max_norm), rtol=1e-12, atol=0
    )
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
    model, own, _, _ = planned("gpt", rule)
    assert own.depth == ((0, 0) if rule == "sp" else (2, 8))
    assert own.clip == factor and Plan.from_json(own.to_json()).clip == factor
    norm = own.clip_grad_norm_(model, 1e-3).item()
    assert norm > 1e-3
    assert own.clip_grad_norm_(model, math.inf).item() == pytest.approx(1e-3 * factor, rel=1e-2)


@pytest.mark.parametrize("rule", ["completep", "depth-mup"])
def test_width_leaves_the_threshold(rule: str) -> None:
    assert plan(gpt(64, 2), gpt(16, 2), rule=rule).clip == 1


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, width, bias=False),
            nn.Linear(width, width, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(self.norm(x))))


class One(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.only = nn.LayerNorm(width), nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.only(F.gelu(self.norm(x)))


class PreNorm(nn.Module):
    """A pre-norm network at whose base the hidden matrices already make nearly all of the gradient's norm.

    Its inputs are small and its input layer large, so that the input layer, whose norm falls with width, has a small share.
    """

    def __init__(self, width: int, depth: int, block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stem, self.readout = nn.Linear(8, width, bias=False), nn.Linear(width, 16, bias=False)
        self.blocks = nn.ModuleList(block(width) for _ in range(depth))
        nn.init.normal_(self.stem.weight, std=10 * 8**-0.5)
        nn.init.normal_(self.readout.weight)
        for parameter in self.blocks.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.readout(x)


def measured(
    width: int, depth: int, block: Callable[[int], nn.Module], rule: str, seed: int
) -> tuple[float, float]:
    """Norm of the explicit gradient of a linear loss at initialisation, and the plan's factor of its threshold."""
    torch.manual_seed(seed)
    model = PreNorm(width, depth, block)
    own = plan(model, PreNorm(32, 2, block), rule=rule)
    own.initialize(model)
    x, direction = torch.randn(64, 8) / 10, torch.randn(64, 16)
    (model(x) * direction).mean().backward()
    return own.clip_grad_norm_(model, math.inf).item(), own.clip


def slope(sizes: list[int], norms: list[float]) -> float:
    return float(np.polyfit(np.log2(sizes), np.log2(norms), 1)[0])


@pytest.mark.parametrize(
    ("rule", "block", "exponent"),
    [
        ("completep", Block, -1 / 2),
        ("completep, alpha=3/4", Block, -1 / 4),
        ("depth-mup", Block, 0),
        ("depth-mup", One, 0),
    ],
)
def test_the_norm_of_a_network_grows_as_the_threshold(
    rule: str, block: type[nn.Module], exponent: float
) -> None:
    """Over seeds, the norm grows as depth^(1/2 - alpha) and not with width."""
    depths, widths, seeds = [2, 4, 8, 16, 32], [32, 64, 128, 256], range(3)
    rule += ", clip=derived"
    deep = {(d, s): measured(128, d, block, rule, s) for d, s in product(depths, seeds)}
    wide = {(w, s): measured(w, 4, block, rule, s)[0] for w, s in product(widths, seeds)}
    in_depth = [slope(depths, [deep[d, s][0] for d in depths]) for s in seeds]
    in_width = [slope(widths, [wide[w, s] for w in widths]) for s in seeds]
    assert sum(in_depth) / len(seeds) == pytest.approx(exponent, abs=0.1), in_depth
    assert sum(in_width) / len(seeds) == pytest.approx(0, abs=0.1), in_width
    assert slope(depths, [deep[d, 0][1] for d in depths]) == pytest.approx(exponent, abs=1e-9)


def test_it_knows_the_model_behind_a_wrapper() -> None:
    model, own, x, multipliers = planned("gpt")
    wrapped = torch.nn.ModuleDict({"module": model})
    assert own.clip_grad_norm_(wrapped, math.inf).item() == pytest.approx(
        explicit_norm(model, x, multipliers), rel=1e-10
    )


def test_tensors_without_a_gradient_do_not_count() -> None:
    model, own, _, _ = planned("mlp")
    model.input.weight.grad = None
    others = [(p, name) for name, p in model.named_parameters() if p.grad is not None]
    expected = math.sqrt(
        sum(float((p.grad * own[name].factor("multiplier")).square().sum()) for p, name in others)
    )
    assert own.clip_grad_norm_(model, 1e-3).item() == pytest.approx(expected)
    assert model.input.weight.grad is None
    model.zero_grad()
    assert own.clip_grad_norm_(model, 1.0).item() == 0


def test_gradients_of_zero_stay_zero() -> None:
    model, own, _, _ = planned("mlp")
    for p in model.parameters():
        p.grad.zero_()
    assert own.clip_grad_norm_(model, 1.0).item() == 0
    assert all(not p.grad.any() for p in model.parameters())


def test_another_model_is_refused() -> None:
    _, own, _, _ = planned("mlp")
    with pytest.raises(MutransferError, match="plan this model"):
        own.clip_grad_norm_(mlp(64, 3), 1.0)
