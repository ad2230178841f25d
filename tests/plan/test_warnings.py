"""Every warning has a plan that it is for, a twin that it is not for, and a section in the documentation."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mutransfer.plan import Plan, plan
from mutransfer.tasks._models import gpt

PAGE = (Path(__file__).parents[2] / "docs" / "warnings.md").read_text()
SECTIONS = re.findall(r"^## (\S+)$", PAGE, re.MULTILINE)


def meta(make: Callable[..., nn.Module], **sizes: Any) -> nn.Module:
    with torch.device("meta"):
        return make(**sizes)


def planned(wide: int = 256, deep: int = 4, wider: int = 2, deeper: int = 1, **options: Any) -> Plan:
    model, base = meta(gpt, width=wide * wider, depth=deep * deeper), meta(gpt, width=wide, depth=deep)
    return plan(model, base, **options)


class Last(nn.Module):
    """What a recurrent layer says at the end."""

    def forward(self, x: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return x[0][:, -1]


def recurrent(kind: type[nn.RNNBase] | None) -> Plan:
    def make(width: int) -> nn.Module:
        layers = [nn.Linear(width, width)] if kind is None else [kind(width, width, batch_first=True), Last()]
        return nn.Sequential(nn.Linear(5, width), *layers, nn.Linear(width, 3))

    return plan(make(512), make(256), example_inputs=torch.zeros(2, 4, 5))


class Scan(nn.Module):
    """A running mean over time with a rate for each feature, as the transitions of a state-space layer."""

    def __init__(self, width: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.register_parameter(name, nn.Parameter(torch.zeros(width)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        decay = getattr(self, self.name).sigmoid()
        state, states = torch.zeros_like(x[:, 0]), []
        for step in x.unbind(1):
            state = decay * state + step
            states.append(state)
        return torch.stack(states, 1)


def scanned(name: str) -> Plan:
    def make(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(5, width), Scan(width, name), nn.Linear(width, 3))

    return plan(make(512), make(256), example_inputs=torch.zeros(2, 4, 5))


class Spared(nn.Module):
    def __init__(self, width: int, spare: bool) -> None:
        super().__init__()
        self.spare = spare
        self.stem, self.inner, self.head = nn.Linear(5, width), nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(x if self.spare else self.inner(x))


def spared(spare: bool) -> Plan:
    return plan(Spared(512, spare), Spared(256, spare))


class Scaled(nn.Module):
    def __init__(self, width: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.stem, self.head = nn.Linear(5, width), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.head(self.stem(x))


def scaled(factor: Callable[[int], float]) -> Plan:
    return plan(Scaled(512, factor(512)), Scaled(256, factor(256)))


class Squashed(Scaled):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.factor * self.stem(x).tanh())


def squashed(factor: Callable[[int], float]) -> Plan:
    return plan(Squashed(512, factor(512)), Squashed(256, factor(256)))


DECLARED = {
    "blocks.*.out": ("blocks.*.attention_norm.*", "blocks.*.query.*", "blocks.*.key.*", "blocks.*.value.*"),
    "blocks.*.down": ("blocks.*.mlp_norm.*", "blocks.*.up.*"),
}
CASES: dict[str, tuple[Callable[[], Plan], Callable[[], Plan]]] = {
    "small-width": (lambda: planned(wide=128), lambda: planned(wide=256)),
    "small-depth": (lambda: planned(deep=1, deeper=2), lambda: planned(deep=2, deeper=2)),
    "alpha-below-1": (lambda: planned(deeper=2, rule="depth-mup"), lambda: planned(deeper=2)),
    "no-depth-rule": (lambda: planned(deeper=2, rule="mup"), lambda: planned(deeper=1, rule="mup")),
    "unproven-key-value": (lambda: planned(roles={"*.key.weight": "key-value"}), lambda: planned()),
    "unproven-router": (lambda: planned(roles={"*.up.weight": "router"}), lambda: planned()),
    "unproven-expert": (lambda: planned(roles={"*.up.weight": "expert"}), lambda: planned()),
    "unproven-recurrent": (lambda: recurrent(nn.GRU), lambda: recurrent(None)),
    "unproven-state-space": (lambda: scanned("A_log"), lambda: scanned("decay")),
    "unused": (lambda: spared(True), lambda: spared(False)),
    "declared-branches": (lambda: planned(branches=DECLARED), lambda: planned()),
    "own-factor": (lambda: scaled(lambda width: width**-0.5), lambda: scaled(lambda width: 3.0)),
    "own-factor-left": (lambda: squashed(lambda width: width**-0.5), lambda: squashed(lambda width: 3.0)),
    "eps-floor": (lambda: planned(rule="mup, without eps"), lambda: planned(rule="mup")),
    "decay-mode": (lambda: planned(), lambda: planned(rule="mup, without decay", roles={"head.weight": "hidden"})),
    "muon-scale": (lambda: planned(optimizer={"hidden": "muon", "*": "adamw"}), lambda: planned()),
}


def ids(own: Plan) -> set[str]:
    return {warning.id for warning in own.warnings}


@pytest.mark.parametrize("name", CASES)
def test_a_warning_is_given_where_it_is_due_and_not_elsewhere(name: str) -> None:
    faulty, clean = (make() for make in CASES[name])
    assert name in ids(faulty) and name not in ids(clean)
    assert f"\nwarning [{name}]: " in str(faulty)
    assert Plan.from_json(faulty.to_json()).warnings == faulty.warnings


class Shallow(nn.Module):
    """Residual branches with one matrix each."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem, self.readout = nn.Linear(5, 256), nn.Linear(256, 3)
        self.branches = nn.ModuleList(nn.Linear(256, 256) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for branch in self.branches:
            x = x + branch(x.relu())
        return self.readout(x)


def test_alpha_below_1_is_right_for_branches_with_one_matrix() -> None:
    own = plan(Shallow(8), Shallow(4))
    assert own.rule == "depth-mup" and "alpha-below-1" not in ids(own)


def test_a_kernel_is_no_width() -> None:
    def make(width: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, width, 3), nn.Conv2d(width, width, 3), nn.Flatten(), nn.LazyLinear(2))

    model, base = make(16), make(8)
    for each in (model, base):
        each(torch.zeros(1, 3, 32, 32))
    (warning,) = [each for each in plan(model, base).warnings if each.id == "small-width"]
    assert "the base is 8 wide" in warning.text


def test_every_warning_has_its_section() -> None:
    assert list(CASES) == SECTIONS


@pytest.mark.parametrize("make", [lambda: planned(wide=16, wider=1), lambda: planned(wide=16, rule="sp")], ids=["base", "sp"])
def test_there_is_nothing_to_warn_of(make: Callable[[], Plan]) -> None:
    assert make().warnings == ()
