"""Roles and factors of whole models, as exact powers of width n, depth and head dimension."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from mutransfer.plan import Plan, TensorPlan, plan
from mutransfer.rules import Place, Powers, powers
from mutransfer.tasks._models import gpt, mlp

QUANTITIES = ("init", "lr", "eps", "decay")
WIDER, DEEPER = 4, 2


class Stack(nn.Module):
    """Residual blocks between a stem and a readout."""

    def __init__(self, width: int, depth: int, block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Linear(5, width)
        self.blocks = nn.ModuleList(block(width) for _ in range(depth))
        self.readout = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.readout(x)


class TwoMatrices(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(nn.functional.gelu(self.up(self.norm(x))))


class OneMatrix(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.only = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.only(torch.relu(x))


class ResNet(nn.Module):
    """BatchNorm residual blocks; the last convolution has one channel a group (a depthwise one) where `depthwise` is set."""

    def __init__(self, width: int, depth: int, depthwise: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList(ConvBlock(width, width if depthwise else 1) for _ in range(depth))
        self.readout = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.readout(x.mean((-2, -1)))


class ConvBlock(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, groups=groups, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))


class Bare(nn.Module):
    """A class token, positions, layer scales and a temperature, all bare parameters."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 7, width))
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.patch = nn.Conv2d(3, width, 4, stride=4)
        self.blocks = nn.ModuleList(TwoMatrices(width) for _ in range(depth))
        self.scales = nn.ParameterList(1e-2 * torch.ones(width) for _ in range(depth))
        self.readout = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)[:, :6]
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
        for block, scale in zip(self.blocks, self.scales, strict=True):
            x = x + scale * block(x)
        return self.readout(x[:, 0]) * self.temperature


Row = tuple[str, str, str, str, str, str]

# Names, role, then init, lr, eps, decay for AdamW. Width: Tensor Programs V, Table 3. Branches and eps: CompleteP
# (2505.01618), Table 1, with the branch's multiplier folded into its last tensors by the abc symmetry.
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
ONE_MATRIX: list[Row] = [  # Tensor Programs VI (2310.02244), Table 2: rate depth^-1/2 with the multiplier depth^-1/2 outside
    *STACK,
    ("blocks.*.only.weight", "hidden", "depth^-1/2 · n^-1/2", "depth^-1 · n^-1", "n^-1", "depth^1/2 · n"),
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
TIED: list[Row] = [  # Table 8's logit multiplier 1/n, folded into the norm before the head
    *[row for row in UNTIED if row[0] not in {"token.weight", "norm.*", "head.weight"}],
    ("token.weight", "tied", "1", "1", "n^-1", "1"),
    ("norm.*", "gain|bias", "n^-1", "n^-1", "1", "n"),
]
HEAD_DIM: list[Row] = [  # attention 1/d, Definition 4.1: torch divides by sqrt(d), the queries carry the rest
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
    ("blocks.*.conv?.weight", "hidden", "n^-1/2", "n^-1", "depth^-1 · n^-1", "n"),
    ("blocks.*.norm1.*", "gain|bias", "1", "1", "depth^-1 · n^-1", "1"),
    ("blocks.*.norm2.*", "gain|bias", "depth^-1", "depth^-1", "n^-1", "depth"),
    *STACK[2:],
]
DEPTHWISE: list[Row] = [
    *[row for row in CONVOLUTIONS if row[0] != "blocks.*.conv?.weight"],
    ("blocks.*.conv1.weight", "depthwise", "1", "1", "depth^-1 · n^-1", "1"),
    ("blocks.*.conv2.weight", "hidden", "n^-1/2", "n^-1", "depth^-1 · n^-1", "n"),
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
SGD: list[Row] = [  # Tensor Programs V, Table 3: rates n for vectors, 1 for hidden, 1/n for the readout; coupled decay is its inverse
    ("input.weight", "input", "1", "n", "1", "n^-1"),
    ("input.bias", "bias", "1", "n", "1", "n^-1"),
    ("hidden.*.weight", "hidden", "n^-1/2", "1", "1", "1"),
    ("hidden.*.bias", "bias", "1", "n", "1", "n^-1"),
    ("readout.weight", "readout", "n^-1", "n^-1", "1", "n"),
    ("readout.bias", "bias", "1", "1", "1", "1"),
]
CASES: dict[str, tuple[Callable[[int, int], nn.Module], str, list[Row]]] = {
    "mlp": (lambda n, _: mlp(8 * n, 3), "mup", MLP),
    "residual mlp": (lambda n, d: Stack(8 * n, 2 * d, TwoMatrices), "completep", RESIDUAL),
    "residual mlp, one matrix": (lambda n, d: Stack(8 * n, 2 * d, OneMatrix), "depth-mup", ONE_MATRIX),
    "gpt": (lambda n, d: gpt(16 * n, d), "completep", UNTIED),
    "gpt, tied": (lambda n, d: gpt(16 * n, d, tied=True), "completep", TIED),
    "gpt, head dimension grows": (lambda n, d: gpt(16 * n, d, heads=2), "completep", HEAD_DIM),
    "resnet": (lambda n, d: ResNet(8 * n, 2 * d), "completep", CONVOLUTIONS),
    "resnet, depthwise": (lambda n, d: ResNet(8 * n, 2 * d, depthwise=True), "completep", DEPTHWISE),
    "bare parameters": (lambda n, d: Bare(8 * n, 2 * d), "completep", BARE),
}


def in_width(tensor: TensorPlan, quantity: str) -> Powers:
    """The power in terms of n, depth and head_dim: an axis that grows with width is n, one that does not is 1."""
    own: Powers = getattr(tensor, quantity)
    result = powers()
    for name, exponent in own.exponents:
        ratio = tensor.ratios[name]
        if name in {"fan_in", "fan_out", "head_fan_in"}:
            assert ratio in {1, WIDER}
            name = "n"
        result *= powers(**{name: exponent}) if ratio != 1 else powers()
    return result


def compare(own: Plan, rows: list[Row]) -> None:
    for name, tensor in own.tensors.items():
        (row,) = [row for row in rows if fnmatchcase(name, row[0])]
        found = tuple(str(in_width(tensor, quantity)) for quantity in QUANTITIES)
        assert (name, *found) == (name, *row[2:])
        assert tensor.role in row[1].split("|")
        assert (tensor.place != Place.OUTSIDE) == name.startswith(("blocks.", "scales."))
        for quantity in QUANTITIES:
            value = in_width(tensor, quantity).evaluate({"n": WIDER, "depth": DEEPER, "head_dim": WIDER})
            assert tensor.factor(quantity) == pytest.approx(value, rel=1e-12)
    assert all(any(fnmatchcase(name, row[0]) for name in own.tensors) for row in rows)


@pytest.mark.parametrize(("make", "rule", "rows"), CASES.values(), ids=CASES)
def test_roles_and_factors(make: Callable[[int, int], nn.Module], rule: str, rows: list[Row]) -> None:
    own = plan(make(WIDER, DEEPER), make(1, 1))
    assert own.rule == rule
    compare(own, rows)


def test_roles_and_factors_of_sgd() -> None:
    compare(plan(mlp(64, 3), mlp(16, 3), optimizer="sgd"), SGD)


def test_the_rule_asked_for_goes_before_the_default() -> None:
    make = CASES["gpt"][0]
    own = plan(make(WIDER, DEEPER), make(1, 1), rule="mup")
    width = [(*row[:2], *(" · ".join(p for p in cell.split(" · ") if "depth" not in p) or "1" for cell in row[2:])) for row in UNTIED]
    compare(own, width)


@pytest.mark.parametrize(("wider", "deeper"), [(2, 1), (4, 2), (3, 3)])
def test_few_groups(wider: int, deeper: int) -> None:
    for tied, growing_head in product([False, True], repeat=2):
        heads = 1 if growing_head else None
        target, base = (gpt(16 * n, d, tied=tied, heads=heads) for n, d in ((wider, deeper), (1, 1)))
        groups = plan(target, base).param_groups(target, 0.1, weight_decay=0.1)
        assert sum(len(group["params"]) for group in groups) == len(list(target.parameters()))
        assert len(groups) <= 8


def test_width_alone_and_depth_alone_multiply() -> None:
    make = CASES["gpt, tied"][0]
    both, wider, deeper = (plan(make(*size), make(1, 1), rule="completep") for size in ((4, 2), (4, 1), (1, 2)))
    for name in both.tensors:
        first = name.replace("blocks.1", "blocks.0")
        for quantity in QUANTITIES:
            assert both[name].factor(quantity) == wider[first].factor(quantity) * deeper[name].factor(quantity)


def test_ratios_are_exact() -> None:
    own = plan(gpt(48, 3, heads=3), gpt(32, 2, heads=2))
    assert own["blocks.2.down.weight"].ratios == {"fan_in": Fraction(3, 2), "fan_out": Fraction(3, 2), "depth": Fraction(3, 2)}
