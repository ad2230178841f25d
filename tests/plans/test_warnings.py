"""Every warning has a plan that gets it, a clean twin, and a section in the docs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.rules import FAMILIES, Place
from mutransfer.tasks import gpt
from tests.factors import warning_ids
from tests.models import (
    Multiplied,
    Net,
    OneMatrix,
    Recurrent,
    Residual,
    RunningMean,
    additive_skips,
    framed,
    identity,
    last,
    lazy_convolution,
    looking_gpt,
    pair,
)

PAGE = (Path(__file__).parents[2] / "docs" / "warnings.md").read_text()
SECTIONS = re.findall(r"^## (\S+)$", PAGE, re.MULTILINE)

MATRIX_FAMILIES = {name for name, each in FAMILIES.items() if each.matrices}


def planned(
    wide: int = 256, deep: int = 4, wider: int = 2, deeper: int = 1, **options: Any
) -> mt.Plan:
    sizes = ((wide * wider, deep * deeper), (wide, deep))
    with torch.device("meta"):
        model, base = (gpt(width=width, depth=depth) for width, depth in sizes)
    return mt.plan(model, base, **options)


def recurrent(kind: type[nn.RNNBase] | None) -> mt.Plan:
    def make(width: int) -> nn.Module:
        if kind is None:
            return framed(width, nn.Linear(width, width))
        return Recurrent(width, kind, embedding=nn.Linear(5, width), end=last)

    return mt.plan(make(512), make(256), example_inputs=torch.zeros(2, 4, 5))


def scanned(name: str) -> mt.Plan:
    model, base = (framed(width, RunningMean(width, name)) for width in (512, 256))
    return mt.plan(model, base, example_inputs=torch.zeros(2, 4, 5))


def spared(spare: bool) -> mt.Plan:
    """Plan a model one of whose layers is unused or not."""

    def run(m: Any, x: Tensor) -> Tensor:
        return m.readout(m.stem(x) if spare else m.inner(m.stem(x)))

    def make(width: int) -> nn.Module:
        layers = {"stem": nn.Linear(5, width), "inner": nn.Linear(width, width)}
        return Net(run, **layers, readout=nn.Linear(width, 3))

    return mt.plan(make(512), make(256))


def squeezed(branch: bool) -> mt.Plan:
    """Plan a bottleneck of 4 features, in a residual branch or without one."""

    def run(m: Any, x: Tensor) -> Tensor:
        stream = m.stem(x)
        out = m.spread(torch.relu(m.squeeze(stream)))
        return m.readout(stream + out if branch else out)

    def make(width: int) -> nn.Module:
        inside = {"squeeze": nn.Linear(width, 4), "spread": nn.Linear(4, width)}
        return Net(run, stem=nn.Linear(5, width), **inside, readout=nn.Linear(width, 3))

    return mt.plan(make(512), make(256))


def multiplied(number: Callable[[int], float]) -> mt.Plan:
    """Plan a model that multiplies its outputs by a number."""

    def make(width: int) -> nn.Module:
        def times(x: Tensor) -> Tensor:
            return number(width) * x

        return pair(width, between=identity, after=times)

    return mt.plan(make(512), make(256))


def convolved(optimizer: Any) -> mt.Plan:
    def make(width: int) -> nn.Module:
        layers = {"a": nn.Conv2d(3, width, 3), "b": nn.Conv2d(width, width, 3)}
        ends = {"c": nn.Linear(width, 10)}
        return Net(lambda m, x: m.c(m.b(m.a(x).relu()).mean((2, 3))), **layers, **ends)

    return mt.plan(make(32), make(16), optimizer=optimizer)


def tied(optimizer: str) -> mt.Plan:
    """Plan a model with a tied head, whose multiplier a bias of zero carries."""
    model, base = (gpt(width, 2, tied=True, vocabulary=7) for width in (64, 32))
    return mt.plan(model, base, optimizer=optimizer)


DECLARED = {
    "blocks.*.out": (
        "blocks.*.attention_norm.*",
        "blocks.*.query.*",
        "blocks.*.key.*",
        "blocks.*.value.*",
    ),
    "blocks.*.down": ("blocks.*.mlp_norm.*", "blocks.*.up.*"),
}


def unreadable(x: Tensor) -> Tensor:
    raise RuntimeError("this model runs elsewhere")


def declared(look: Callable[[Tensor], Tensor]) -> mt.Plan:
    """Plan a model with declared branches, which may not run here."""
    branches = {
        f"gpt.{end}": tuple(f"gpt.{name}" for name in names) for end, names in DECLARED.items()
    }
    model, base = (looking_gpt(look, width, 2) for width in (32, 16))
    return mt.plan(model, base, branches=branches)


def beside(number: int) -> mt.Plan:
    """Plan a matrix over the width and a number of features of the data."""

    def make(width: int) -> nn.Module:
        return Net(
            lambda m, x: m.readout(torch.relu(m.mix(torch.cat([m.stem(x), x[:, :number]], 1)))),
            stem=nn.Linear(5, width),
            mix=nn.Linear(width + number, width),
            readout=nn.Linear(width, 3),
        )

    return mt.plan(make(512), make(256))


def cut(outputs: int) -> mt.Plan:
    """Plan a model whose hidden matrix makes outputs, too, as implicit surfaces have."""

    def build(width: int) -> nn.Module:
        made = nn.Linear(width, width + outputs)
        ends = {"stem": nn.Linear(5, width), "made": made, "head": nn.Linear(width, 3)}

        def forward(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
            y = m.made(m.stem(x))
            return y[:, :outputs], m.head(torch.relu(y[:, outputs:]))

        return Net(forward, **ends)

    return mt.plan(build(32), build(16), example_inputs=torch.randn(2, 5))


def sparse(kept: Callable[[int], int]) -> mt.Plan:
    """Plan an autoencoder that keeps the largest features."""

    def build(width: int) -> nn.Module:
        def forward(m: Any, x: Tensor) -> Tensor:
            h = m.stem(x)
            values, places = h.topk(kept(width), -1)
            return m.head(torch.zeros_like(h).scatter(-1, places, torch.relu(values)))

        return Net(forward, stem=nn.Linear(5, width), head=nn.Linear(width, 3))

    return mt.plan(build(32), build(16), example_inputs=torch.randn(2, 5))


def transformed(dim: int) -> mt.Plan:
    """Plan a model with a Fourier transform over one dimension."""

    def build(width: int) -> nn.Module:
        ends = {"stem": nn.Linear(5, width), "head": nn.Linear(width, 3)}
        return Net(lambda m, x: m.head(torch.fft.fft(m.stem(x), dim=dim).real), **ends)

    return mt.plan(build(32), build(16), example_inputs=torch.randn(2, 6, 5))


def unit_length(times: Callable[[int], float]) -> mt.Plan:
    """Plan a model that adds a vector of unit length, times a number, to its features."""

    def build(width: int) -> nn.Module:
        def forward(m: Any, x: Tensor) -> Tensor:
            h = m.stem(x)
            return m.head(h + times(width) * nn.functional.normalize(m.inner(h), dim=-1))

        inner = nn.Linear(width, width)
        return Net(forward, stem=nn.Linear(5, width), inner=inner, head=nn.Linear(width, 3))

    return mt.plan(build(32), build(16), example_inputs=torch.randn(2, 5))


CASES: dict[str, tuple[Callable[[], mt.Plan], Callable[[], mt.Plan]]] = {
    "small-width": (lambda: planned(wide=128), lambda: planned(wide=256)),
    "small-depth": (lambda: planned(deep=1, deeper=2), lambda: planned(deep=2, deeper=2)),
    "alpha-below-1": (lambda: planned(deeper=2, rule="depth-mup"), lambda: planned(deeper=2)),
    "no-depth-rule": (lambda: planned(deeper=2, rule="mup"), lambda: planned(deeper=1, rule="mup")),
    "width-regime": (lambda: planned(rule="ntk"), lambda: planned(rule="mup")),
    "depth-regime": (
        lambda: planned(deeper=2, rule="sqrt-depth"),
        lambda: planned(deeper=2, rule="sqrt-depth", optimizer="sgd"),
    ),
    "mixed-stream": (
        lambda: mt.plan(*(additive_skips(8, depth, OneMatrix) for depth in (4, 2))),
        lambda: mt.plan(*(Residual(8, depth, OneMatrix) for depth in (4, 2))),
    ),
    "unproven-key-value": (lambda: planned(roles={"*.key.weight": "key-value"}), lambda: planned()),
    "unproven-router": (lambda: planned(roles={"*.up.weight": "router"}), lambda: planned()),
    "unproven-expert": (lambda: planned(roles={"*.up.weight": "expert"}), lambda: planned()),
    "unproven-bottleneck": (lambda: squeezed(True), lambda: squeezed(False)),
    "unproven-recurrent": (lambda: recurrent(nn.GRU), lambda: recurrent(None)),
    "unproven-state-space": (lambda: scanned("A_log"), lambda: scanned("decay")),
    "unused": (lambda: spared(True), lambda: spared(False)),
    "declared-branches": (lambda: declared(unreadable), lambda: declared(identity)),
    "mixed-fan-in": (lambda: beside(3), lambda: beside(0)),
    "mixed-fan-out": (lambda: cut(1), lambda: cut(0)),
    "fixed-transform": (lambda: transformed(-1), lambda: transformed(-2)),
    "unit-length": (
        lambda: unit_length(lambda width: 1.0),
        lambda: unit_length(lambda width: width**0.5),
    ),
    "fixed-choice": (lambda: sparse(lambda width: 4), lambda: sparse(lambda width: width // 4)),
    "own-factor-left": (
        lambda: mt.plan(Multiplied(8, 4, {"layers": 1.0}), Multiplied(8, 2, {"layers": 1.0})),
        lambda: mt.plan(Multiplied(8, 4, {}), Multiplied(8, 2, {})),
    ),
    "own-factor": (
        lambda: multiplied(lambda width: width**-0.5),
        lambda: multiplied(lambda width: 3.0),
    ),
    "eps-floor": (lambda: planned(rule="mup, without eps"), lambda: planned(rule="mup")),
    "decay-mode": (
        lambda: planned(),
        lambda: planned(rule="mup, without decay", roles={"head.weight": "hidden"}),
    ),
    "muon-scale": (lambda: planned(optimizer={"hidden": "muon", "*": "adamw"}), lambda: planned()),
    "flat-kernels": (
        lambda: convolved({"hidden": "muon", "*": "adamw"}),
        lambda: convolved({"b.weight": "adamw", "*": "adamw"}),
    ),
    "relative-to-zero": (lambda: tied("lamb"), lambda: tied("adafactor")),
    "first-steps": (lambda: planned(optimizer="radam"), lambda: planned(optimizer="nadam")),
}


@pytest.mark.parametrize("name", CASES)
def test_a_warning_is_given_where_it_is_due_and_not_elsewhere(name: str) -> None:
    faulty, clean = (make() for make in CASES[name])
    assert name in warning_ids(faulty) and name not in warning_ids(clean)
    assert f"\nwarning [{name}]: " in str(faulty)
    assert mt.Plan.from_json(faulty.to_json()).warnings == faulty.warnings


@pytest.mark.parametrize("trains", [False, None])
def test_fixed_weights_over_the_width_are_warned_of(trains: bool | None) -> None:
    """A plan scales a frozen parameter; of a buffer it says that nobody does."""

    def build(width: int) -> nn.Module:
        net = Net(lambda m, x: m.stem(x) @ m.fixed, stem=nn.Linear(5, width))
        fixed = torch.randn(width, 3)
        if trains is None:
            net.register_buffer("fixed", fixed)
        else:
            net.fixed = nn.Parameter(fixed, requires_grad=trains)
        return net

    plan = mt.plan(build(32), build(16), example_inputs=torch.randn(2, 5))
    assert ("fixed-transform" in warning_ids(plan)) == (trains is None)


def test_alpha_below_1_is_right_for_branches_with_one_matrix() -> None:
    plan = mt.plan(Residual(256, 8, OneMatrix), Residual(256, 4, OneMatrix))
    assert plan.rule == "depth-mup" and "alpha-below-1" not in warning_ids(plan)


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_numbers_of_the_depth_in_all_layers_are_undone_in_all(power: float) -> None:
    """A branch has depth^-1/2 by the model's own number, or else by its plan."""

    def build(depth: int) -> nn.Module:
        number = (2 * depth) ** -power
        return Residual(8, depth, OneMatrix, join=lambda m, block, x: x + block(x) * number)

    plan = mt.plan(build(4), build(2))
    assert "own-factor-left" not in warning_ids(plan)
    ends = [tensor for tensor in plan.tensors.values() if tensor.place == Place.BRANCH_END]
    scales = [tensor.factor("init") for tensor in ends]
    assert len(ends) >= 4 and scales == pytest.approx([2 ** (power - 0.5)] * len(ends))


def test_a_kernel_is_no_width() -> None:
    model, base = (lazy_convolution(width, 2, 2) for width in (16, 8))
    (warning,) = [w for w in mt.plan(model, base).warnings if w.id == "small-width"]
    assert "the base is 8 wide" in warning.text


@pytest.mark.parametrize("optimizer", sorted(FAMILIES.keys() - MATRIX_FAMILIES))
def test_decay_is_warned_of_where_it_can_be_given(optimizer: str) -> None:
    plan = planned(wide=32, optimizer=optimizer)
    model = gpt(width=64, depth=4)
    needed = {"eps": 1e-8} if plan.family().eps is not None and optimizer != "adafactor" else {}
    needed |= {"rho": 0.1} if optimizer == "sophia" else {}
    try:
        groups = plan.param_groups(model, 0.1, weight_decay=0.1, **needed)
    except mt.MutransferError:
        groups = []
    decays = {group["weight_decay"] for group in groups}
    assert ("decay-mode" in warning_ids(plan)) == (len(decays) > 1)


def test_every_warning_has_its_section() -> None:
    assert list(CASES) == SECTIONS


@pytest.mark.parametrize(
    "make",
    [lambda: planned(wide=16, wider=1), lambda: planned(wide=16, rule="sp")],
    ids=["base", "sp"],
)
def test_there_is_nothing_to_warn_of(make: Callable[[], mt.Plan]) -> None:
    assert make().warnings == ()
