"""The coordinate check finds each planted fault and names it, and passes its clean twin."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutransfer.check import CoordinateCheck, coordinate_check
from mutransfer.plan import Plan
from mutransfer.tasks._models import gpt, mlp, resmlp

RATE = 2**-6
Groups = dict[str, dict[str, Any]]
Edit = Callable[[Plan, nn.Module, Groups], None]


class Attention(nn.Module):
    """One attention branch: two heads whose dimension grows, and with scale 4/head_dim, unless told otherwise."""

    def __init__(self, width: int, heads: int = 2, key_heads: int = 2, own_scale: bool = True) -> None:
        super().__init__()
        self.heads, self.key_heads = heads, key_heads
        dimension = width // heads
        self.scale = 4 / dimension if own_scale else None
        self.token = nn.Embedding(64, width)
        self.branch_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, dimension * key_heads, bias=False)
        self.value = nn.Linear(width, dimension * key_heads, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 64, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens)
        normed = self.branch_norm(x)
        layers = {self.query: self.heads, self.key: self.key_heads, self.value: self.key_heads}
        query, key, value = (layer(normed).unflatten(-1, (heads, -1)).transpose(-3, -2) for layer, heads in layers.items())
        grouped = self.key_heads != self.heads
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=self.scale, enable_gqa=grouped)
        return self.head(self.norm(x + self.out(mixed.transpose(-3, -2).flatten(-2))))


class Residual(nn.Module):
    """Residual branches of two matrices with a LayerNorm before or after the join, multiplied by depth^power in the forward pass."""

    def __init__(self, depth: int, *, post_norm: bool = False, power: float = 0.0, width: int = 32) -> None:
        super().__init__()
        self.post_norm, self.factor = post_norm, depth**power
        self.input = nn.Linear(64, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.readout = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            x = norm(x + self.factor * down(F.relu(up(x)))) if self.post_norm else x + self.factor * down(F.relu(up(norm(x))))
        return self.readout(x)


class Tied(nn.Module):
    """An embedding, a hidden layer, a norm, and the embedding again as readout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(64, width)
        self.hidden = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 64, bias=False)
        self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(F.relu(self.hidden(self.token(tokens)))))


def training(*edits: Edit, audited: bool = False, schedule: Callable[[Any], Any] | None = None, **settings: Any) -> Any:
    """AdamW on the plan's groups, one for each tensor, with faults planted; unaudited, the features alone have to show them."""

    def train(plan: Plan, model: nn.Module) -> Any:
        planned = plan.param_groups(model, RATE, **settings)
        groups = {
            name: group | {"params": [p], "names": [name]}
            for group in planned
            for name, p in zip(group["names"], group["params"], strict=True)
        }
        with torch.no_grad():
            for edit in edits:
                edit(plan, model, groups)
        optimizer = torch.optim.AdamW([group if audited else without_factor(group) for group in groups.values()])
        return (optimizer, schedule(optimizer)) if schedule else optimizer

    return train


def without_factor(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "lr_factor"}


def chosen(plan: Plan, pattern: str) -> list[str]:
    found = [name for name in plan.tensors if fnmatchcase(name, pattern)]
    assert found, pattern
    return found


def rate(pattern: str, ratio: str, power: float) -> Edit:
    """Multiply rates by a power of fan_in, fan_out or depth over the base's."""

    def edit(plan: Plan, model: nn.Module, groups: Groups) -> None:
        for name in chosen(plan, pattern):
            groups[name]["lr"] *= float(plan[name].ratios[ratio]) ** power

    return edit


def scale(pattern: str, ratio: str, power: float) -> Edit:
    """Multiply initial values by a power."""

    def edit(plan: Plan, model: nn.Module, groups: Groups) -> None:
        for name in chosen(plan, pattern):
            model.get_parameter(name).mul_(float(plan[name].ratios[ratio]) ** power)

    return edit


def setting(pattern: str, **values: float) -> Edit:
    """Overwrite settings of the optimizer."""

    def edit(plan: Plan, model: nn.Module, groups: Groups) -> None:
        for name in chosen(plan, pattern):
            groups[name].update(values)

    return edit


def swapped(one: str, other: str) -> Edit:
    def edit(plan: Plan, model: nn.Module, groups: Groups) -> None:
        groups[one]["lr"], groups[other]["lr"] = groups[other]["lr"], groups[one]["lr"]

    return edit


def no_multiplier(plan: Plan, model: nn.Module, groups: Groups) -> None:
    """Undo what is folded into tensors, such as the tied readout's multiplier in the gain before it."""
    for name in chosen(plan, "norm.*"):
        model.get_parameter(name).div_(plan[name].factor("multiplier"))
        groups[name]["lr"] /= plan[name].factor("multiplier")


def no_gradient(plan: Plan, model: nn.Module, groups: Groups) -> None:
    model.get_parameter("hidden.0.weight").requires_grad_(False)


def left_out(plan: Plan, model: nn.Module, groups: Groups) -> None:
    del groups["hidden.0.weight"]


def stronger_branches(power: float) -> Edit:
    """Give the branches a factor that the plan has not seen."""

    def edit(plan: Plan, model: nn.Module, groups: Groups) -> None:
        model.factor = len(model.up) ** power  # type: ignore[assignment, arg-type]

    return edit


def drawn_again(model: nn.Module) -> nn.Module:
    """What some trainers do after the plan has initialised the model."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    return model


class OneRate:
    """A loop that writes one rate to all groups."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = RATE


def deep(build: Callable[..., nn.Module], **options: Any) -> Callable[..., nn.Module]:
    return lambda depth: build(32, depth, **options)


WIDTHS, ATTENTION_WIDTHS, GPT_WIDTHS, DEPTHS = (64, 128, 256, 512), (32, 64, 128, 256), (64, 128, 256), (2, 4, 8, 16)
small_gpt = partial(gpt, depth=1, vocabulary=64)

CLEAN: dict[str, dict[str, Any]] = {
    "mlp": {"build": mlp, "width": WIDTHS},
    "mlp, eps": {"build": mlp, "width": WIDTHS, "eps": 0.1},
    "mlp, decay": {"build": mlp, "width": WIDTHS, "weight_decay": 16.0},
    "gpt": {"build": small_gpt, "width": GPT_WIDTHS},
    "gpt, eps": {"build": small_gpt, "width": GPT_WIDTHS, "eps": 1e-3},
    "attention": {"build": Attention, "width": ATTENTION_WIDTHS, "lr": 2**-5, "steps": 8},
    "grouped": {"build": lambda width: Attention(width, width // 8, 2, own_scale=False), "width": ATTENTION_WIDTHS},
    "deep gpt": {"build": deep(gpt, vocabulary=64), "depth": (2, 4, 8)},
    "deep mlp": {"build": deep(resmlp), "depth": DEPTHS},
    "pre-norm": {"build": Residual, "depth": DEPTHS},
    "tied": {"build": Tied, "width": ATTENTION_WIDTHS},
    "attention, default scale": {"build": partial(Attention, own_scale=False), "width": ATTENTION_WIDTHS},
    "branches times 1/depth": {"build": partial(Residual, power=-1.0), "depth": DEPTHS},
    "shrinking readout": {"build": gpt, "width": (32, 64, 128), "eps": 1e-3},
}
"""The settings of right trainings, which have to pass; a fault is planted into most of them."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A planted fault.

    Attributes:
        clean: The settings of its clean twin.
        check: What is different where it is planted.
        names: Expressions of the names that have to be found.
        text: An expression that has to be in what is said of each of these.
        others: An expression of further names that may be found: what follows from the fault.
        missed: Why the check does not find it yet.
    """

    clean: str
    check: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...]
    text: str
    others: str = ""
    missed: str = ""


def planted(*edits: Edit, **options: Any) -> dict[str, Any]:
    return {"train": training(*edits, **options)}


HIDDEN, READOUT, UP, DOWN = r"hidden\.\*\.weight", r"readout\.weight", r"blocks\.\*\.up\.weight", r"down\.\*\.weight"
GPT_MATRICES = *(rf"blocks\.\*\.{name}\.weight" for name in ("query", "key", "value", "out", "up", "down")), r"head\.weight"
ENDS = r"blocks\.\*\.out\.weight", r"blocks\.\*\.down\.weight"
LOGITS = r"\*|attention"
UNDIVIDED = r"learning rate goes as width\^-?0\.[012]\d, and should go as width\^-1\.00"
WIRING = "the optimizer does not train as planned: adamw's learning rates do not stand in the planned ratios: "
EPS = r"shrinks as width\^-0\.\d\d .*expected width\^0: its eps goes as width\^-?0\.00, and should go as width\^-1\.00"
DECAY = r"rate times weight decay goes as width\^-1\.00, and should go as width\^0\.00"
DOWN_BIAS = r"down\.\*\.bias"
BRANCH = r"learning rate goes as depth\^-?0\.0\d, .*initial scale goes as depth\^-?0\.0\d, and should go as depth\^-1\.00"

FAULTS = {
    "standard, width, mlp": Fault(clean="mlp", check={"rule": "sp"}, names=(HIDDEN, READOUT), text=UNDIVIDED),
    "standard, width, gpt": Fault(clean="gpt", check={"rule": "sp"}, names=GPT_MATRICES, text=UNDIVIDED, others=LOGITS),
    "standard, depth, gpt": Fault(clean="deep gpt", check={"rule": "sp"}, names=ENDS, text=r"initial scale .*should go as depth\^-1\.00"),
    "standard, depth, mlp": Fault(
        clean="deep mlp", check={"rule": "sp"}, names=(DOWN,), others=r"up\.\*\.weight", text=r"initial scale .*should go as depth\^-1\.00"
    ),
    "hidden rate undivided, mlp": Fault(
        clean="mlp", check=planted(rate("hidden.0.weight", "fan_in", 1)), names=(HIDDEN,), text=UNDIVIDED, others=READOUT
    ),
    "hidden rate undivided, gpt": Fault(
        clean="gpt",
        check=planted(rate("blocks.*.up.weight", "fan_in", 1)),
        names=(UP,),
        text=UNDIVIDED,
        others=r"blocks\.\*\.down\.weight",
    ),
    "readout's rate and init standard, mlp": Fault(
        clean="mlp",
        check=planted(rate("readout.weight", "fan_in", 1), scale("readout.weight", "fan_in", 1 / 2)),
        names=(READOUT,),
        text=UNDIVIDED + r".*initial scale goes as width\^-0\.\d\d, and should go as width\^-1\.00",
    ),
    "readout's rate and init standard, gpt": Fault(
        clean="gpt",
        check=planted(rate("head.weight", "fan_in", 1), scale("head.weight", "fan_in", 1 / 2)),
        names=(r"head\.weight",),
        text=UNDIVIDED + r".*initial scale goes as width\^-0\.\d\d, and should go as width\^-1\.00",
    ),
    "readout without its rule": Fault(
        clean="mlp",
        check={"rule": "mup, without readout"},
        names=(READOUT,),
        text=UNDIVIDED + r".*initial scale goes as width\^-0\.\d\d, and should go as width\^-1\.00",
    ),
    "readout's init standard": Fault(
        clean="mlp",
        check=planted(scale("readout.weight", "fan_in", 1 / 2)),
        names=(READOUT,),
        text=r"initial scale goes as width\^-0\.\d\d, and should go as width\^-1\.00",
    ),
    "input's rate divided": Fault(
        clean="mlp",
        check=planted(rate("input.weight", "fan_out", -1)),
        names=(r"input\.weight",),
        text=r"learning rate goes as width\^-1\.00, and should go as width\^0\.00",
    ),
    "embedding's rate divided": Fault(
        clean="gpt",
        check=planted(rate("token.weight", "fan_out", -1)),
        names=(r"token\.weight",),
        text=r"learning rate goes as width\^-1\.00, and should go as width\^0\.00",
    ),
    "hidden rate divided twice": Fault(
        clean="mlp",
        check=planted(rate("hidden.*.weight", "fan_in", -1)),
        names=(HIDDEN,),
        text=r"learning rate goes as width\^-2\.00, and should go as width\^-1\.00",
    ),
    "one hidden init undivided, mlp": Fault(
        clean="mlp",
        check=planted(scale("hidden.0.weight", "fan_in", 1 / 2)),
        names=(HIDDEN,),
        text=r"output at initialisation grows .*initial scale goes as width\^-0\.\d\d, and should go as width\^-0\.50",
        others=READOUT,
    ),
    "one hidden init undivided, gpt": Fault(
        clean="gpt",
        check=planted(scale("blocks.*.up.weight", "fan_in", 1 / 2)),
        names=(UP,),
        text=r"output at initialisation grows .*initial scale goes as width\^-?0\.\d\d, and should go as width\^-0\.50",
        others=r"blocks\.\*\.down\.weight",
    ),
    "eps unscaled, mlp": Fault(
        clean="mlp, eps", check={"rule": "mup, without eps"}, names=(r"input\.weight",), text=EPS, others=f"{HIDDEN}|{READOUT}"
    ),
    "eps unscaled, gpt": Fault(
        clean="gpt, eps",
        check={"rule": "mup, without eps"},
        names=GPT_MATRICES[:2],
        text=EPS,
        others="|".join((r"token\.weight", r"position\.weight", *GPT_MATRICES[2:], LOGITS)),
    ),
    "decay unscaled, features": Fault(
        clean="mlp, decay",
        check=planted(setting("*", weight_decay=16.0), weight_decay=16.0),
        names=(HIDDEN, READOUT),
        text=DECAY,
    ),
    "decay unscaled, audit": Fault(
        clean="mlp",
        check=planted(setting("*", weight_decay=0.1), weight_decay=0.1, audited=True),
        names=("",),
        text="weight decays do not stand in the planned ratios: hidden.0.weight, hidden.1.weight, readout.weight",
        others=f"{HIDDEN}|{READOUT}",
    ),
    "loop of one rate, features": Fault(
        clean="mlp",
        check=planted(schedule=OneRate),
        names=(HIDDEN, READOUT),
        text=r"learning rate goes as width\^-?0\.0\d from step 1, and should go as width\^-1\.00",
    ),
    "loop of one rate, audit": Fault(
        clean="mlp",
        check=planted(schedule=OneRate, audited=True),
        names=("",),
        text=f"{WIRING}hidden.0.weight",
        others=f"{HIDDEN}|{READOUT}",
    ),
    "OneCycleLR of one rate": Fault(
        clean="mlp",
        check=planted(schedule=lambda each: torch.optim.lr_scheduler.OneCycleLR(each, RATE, total_steps=8), audited=True),
        names=("",),
        text=f"{WIRING}.*per_group",
        others=f"{HIDDEN}|{READOUT}",
    ),
    "eta_min of one rate": Fault(
        clean="mlp",
        check=planted(schedule=lambda each: torch.optim.lr_scheduler.CosineAnnealingLR(each, 8, eta_min=RATE / 4), audited=True),
        names=("",),
        text=f"{WIRING}.*eta_min",
        others=f"{HIDDEN}|{READOUT}",
    ),
    "attention over sqrt of a growing head": Fault(
        clean="attention",
        check={"build": partial(Attention, own_scale=False), "rule": "mup, without attention"},
        names=(LOGITS,),
        text=r"attention's scale lacks a factor width\^-0\.\d+: is it 1/sqrt\(head_dim\)",
        others=r"query\.weight",
    ),
    "no branch multiplier, gpt": Fault(clean="deep gpt", check={"rule": "completep, without branch"}, names=ENDS, text=BRANCH),
    "no branch multiplier, pre-norm": Fault(
        clean="pre-norm", check={"rule": "completep, without branch"}, names=(DOWN, DOWN_BIAS), text=BRANCH
    ),
    "no branch multiplier, by hand": Fault(
        clean="pre-norm",
        check=planted(scale("down.*", "depth", 1), rate("down.*", "depth", 1)),
        names=(DOWN, DOWN_BIAS),
        text=BRANCH,
    ),
    "branch's init without its multiplier": Fault(
        clean="pre-norm",
        check=planted(scale("down.*", "depth", 1)),
        names=(DOWN, DOWN_BIAS),
        text=r"initial scale goes as depth\^-?0\.0\d, and should go as depth\^-1\.00",
    ),
    "tied head without multiplier": Fault(
        clean="tied", check=planted(no_multiplier), names=(r"norm\.weight", r"norm\.bias"), text=UNDIVIDED
    ),
    "rates of input and output swapped": Fault(
        clean="mlp",
        check=planted(swapped("input.weight", "readout.weight")),
        names=(r"input\.weight", READOUT),
        text=r"learning rate goes as width\^-?[01]\.00, and should go as width\^-?[01]\.00",
    ),
    "post-norm in depth": Fault(
        clean="pre-norm",
        check={"build": partial(Residual, post_norm=True), "rule": "mup"},
        names=("",),
        text="post-norm.*no rule is known",
        others=DOWN,
    ),
    "post-norm in depth, default rule": Fault(
        clean="pre-norm",
        check={"build": partial(Residual, post_norm=True)},
        names=("",),
        text="post-norm.*no rule is known",
    ),
    "no depth rule": Fault(
        clean="pre-norm", check={"rule": "mup"}, names=(DOWN,), text=r"multiplier of the branch lacks a factor depth\^-1"
    ),
    "grouped keys' and values' rate undivided": Fault(
        clean="grouped",
        check=planted(rate("key.weight", "fan_in", 1), rate("value.weight", "fan_in", 1)),
        names=(r"key\.weight", r"value\.weight"),
        text=UNDIVIDED,
        others=LOGITS,
    ),
    "grouped values' rate divided twice": Fault(
        clean="grouped",
        check=planted(rate("value.weight", "fan_in", -1)),
        names=(r"value\.weight",),
        text=r"learning rate goes as width\^-2\.00, and should go as width\^-1\.00",
    ),
    "frozen layer, audit": Fault(
        clean="mlp",
        check=planted(setting("hidden.0.weight", lr=0.0), audited=True),
        names=("",),
        text="hidden.0.weight planned .* found 0;",
        others=HIDDEN,
    ),
    "layer left out of the optimizer, audit": Fault(
        clean="mlp",
        check=planted(left_out, audited=True),
        names=("",),
        text="hidden.0.weight: planned to train, found in no group",
        others=HIDDEN,
    ),
    "frozen layer, features": Fault(
        clean="mlp",
        check=planted(setting("hidden.*.weight", lr=0.0)),
        names=(HIDDEN,),
        text="it does not train",
    ),
    "layer without gradient": Fault(
        clean="mlp",
        check=planted(no_gradient, audited=True),
        names=(HIDDEN,),
        text="it does not train",
    ),
    "biases' rate divided, audit": Fault(
        clean="mlp",
        check=planted(rate("*.bias", "fan_out", -1), audited=True),
        names=("",),
        text=f"{WIRING}input.bias, hidden.0.bias",
        others=r"input\.bias|hidden\.\*\.bias",
    ),
    "biases' rate divided, features": Fault(
        clean="mlp",
        check=planted(rate("*.bias", "fan_out", -1)),
        names=(r"input\.bias", r"hidden\.\*\.bias"),
        text=r"learning rate goes as width\^-1\.00, and should go as width\^-?0\.00",
    ),
    "model drawn again after initialize": Fault(
        clean="mlp",
        check={"prepare": drawn_again},
        names=(READOUT,),
        text=r"initial scale goes as width\^-0\.\d\d, and should go as width\^-1\.00",
    ),
    "readout's rate divided by depth": Fault(
        clean="deep mlp",
        check=planted(rate("readout.weight", "depth", -1)),
        names=(READOUT,),
        text=r"learning rate goes as depth\^-1\.00, and should go as depth\^-?0\.00",
    ),
    "branches times depth": Fault(clean="pre-norm", check=planted(stronger_branches(1)), names=(DOWN,), text="own part of the change"),
    "branches times sqrt(depth)": Fault(
        clean="pre-norm",
        check=planted(stronger_branches(1 / 2)),
        names=(DOWN,),
        text="residual|branch",
        missed="the change of the input of the norms grows as depth^0.2, less than the 0.3 that is allowed",
    ),
}


def checked(**settings: Any) -> CoordinateCheck:
    return coordinate_check(**{"seeds": 2, "control": False} | settings)


MARKS = {name: [pytest.mark.xfail(reason=fault.missed)] if fault.missed else [] for name, fault in FAULTS.items()}


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS[name], id=name) for name in FAULTS])
def test_a_fault_is_found_and_named(name: str) -> None:
    fault = FAULTS[name]
    check = checked(**CLEAN[fault.clean] | fault.check)
    assert check.verdict == "fail"
    for wanted in fault.names:
        assert any(re.fullmatch(wanted, each.name) and re.search(fault.text, each.text) for each in check.findings), (
            wanted,
            check.findings,
        )
    allowed = "|".join((*fault.names, fault.others or "(?!)"))
    assert not [each for each in check.findings if not re.fullmatch(allowed, each.name)]


@pytest.mark.parametrize("name", CLEAN)
def test_the_clean_twin_passes(name: str) -> None:
    check = checked(**CLEAN[name])
    assert check.verdict == "pass", check


@pytest.mark.parametrize("widths", [WIDTHS, (64, 256)])
def test_with_its_control_a_clean_check_passes(widths: tuple[int, ...]) -> None:
    check = checked(build=mlp, width=widths, seeds=3, control=True)
    assert check.verdict == "pass", check.notes


def test_without_a_rate_nothing_trains() -> None:
    check = checked(build=mlp, width=WIDTHS, lr=0.0, control=True)
    assert check.verdict == "fail"
    assert {each.name for each in check.findings} >= {"input.weight", "hidden.*.weight", "readout.weight"}
    assert all(each.text.startswith("it does not train") for each in check.findings)


@pytest.mark.parametrize(("lr", "verdict"), [(2**-20, "pass"), (2**-28, "undecided"), (2**-32, "undecided")])
def test_a_tiny_rate_is_no_fault_but_one_that_is_lost_in_rounding_tells_nothing(lr: float, verdict: str) -> None:
    check = checked(build=mlp, width=WIDTHS, lr=lr, control=True)
    assert check.verdict == verdict, check
    assert any("lost in rounding" in note for note in check.notes) == (verdict == "undecided")
