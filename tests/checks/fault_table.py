"""Clean trainings that a coordinate check passes, and faults that it finds in them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from mutransfer.tasks import gpt, mlp, resmlp
from tests.checks.planting import (
    RATE,
    Edit,
    OneRate,
    drawn_again,
    left_out,
    no_gradient,
    no_multiplier,
    rate,
    scale,
    setting,
    stronger_branches,
    swapped,
    training,
)
from tests.models import LowRank, attention_branch, scaled_branches, tied_words


def deep(build: Callable[..., nn.Module], **options: Any) -> Callable[..., nn.Module]:
    return lambda depth: build(32, depth, **options)


WIDTHS, ATTENTION_WIDTHS = (64, 128, 256, 512), (32, 64, 128, 256)
GPT_WIDTHS, DEPTHS = (64, 128, 256), (2, 4, 8, 16)
small_gpt = partial(gpt, depth=1, vocabulary=64)
tamed = partial(attention_branch, scale=4)


def grouped(width: int) -> nn.Module:
    """Attention whose heads of queries grow in number."""
    return attention_branch(width, width // 8)


CLEAN: dict[str, dict[str, Any]] = {
    "mlp": {"build": mlp, "width": WIDTHS},
    "mlp, eps": {"build": mlp, "width": WIDTHS, "eps": 0.1},
    "mlp, decay": {"build": mlp, "width": WIDTHS, "weight_decay": 16.0},
    "gpt": {"build": small_gpt, "width": GPT_WIDTHS},
    "gpt, eps": {"build": small_gpt, "width": GPT_WIDTHS, "eps": 1e-3},
    "attention": {"build": tamed, "width": ATTENTION_WIDTHS, "lr": 2**-5, "steps": 8},
    "grouped": {"build": grouped, "width": ATTENTION_WIDTHS},
    "deep gpt": {"build": deep(gpt, vocabulary=64), "depth": (2, 4, 8)},
    "deep mlp": {"build": deep(resmlp), "depth": DEPTHS},
    "pre-norm": {"build": scaled_branches, "depth": DEPTHS},
    "tied": {"build": tied_words, "width": ATTENTION_WIDTHS},
    "attention, default scale": {"build": attention_branch, "width": ATTENTION_WIDTHS},
    "branches times 1/depth": {"build": partial(scaled_branches, power=-1.0), "depth": DEPTHS},
    "low rank": {"build": LowRank, "width": WIDTHS, "lr": 2**-5},
    "shrinking readout": {"build": gpt, "width": (32, 64, 128), "eps": 1e-3},
}
"""Settings of clean trainings, which have to pass; faults are planted into most of them."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A planted fault.

    Attributes:
        clean: The settings of its clean twin.
        check: The settings that differ where it is planted.
        names: Expressions of the names that have to be found.
        text: An expression that has to be in the finding of each name.
        others: An expression of further names that may be found: consequences of the fault.
        missed: Why the check does not find it yet.
    """

    clean: str
    check: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...]
    text: str
    others: str = ""
    missed: str = ""


def one_cycle(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=8)


def cosine(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8, eta_min=RATE / 4)


def planted(*edits: Edit, **options: Any) -> dict[str, Any]:
    return {"train": training(*edits, **options)}


HIDDEN, READOUT = r"hidden\.\*\.weight", r"readout\.weight"
UP, DOWN = r"blocks\.\*\.up\.weight", r"down\.\*\.weight"
GPT_MATRICES = (
    *(rf"blocks\.\*\.{name}\.weight" for name in ("query", "key", "value", "out", "up", "down")),
    r"head\.weight",
)
ENDS = r"blocks\.\*\.out\.weight", r"blocks\.\*\.down\.weight"
LOGITS = r"\*|attention"
UNDIVIDED = r"learning rate goes as width\^-?0\.[012]\d, and should go as width\^-1\.00"
WIRING = (
    "the optimizer does not train as planned: "
    r"adamw's learning rates do not stand in the planned ratios to a base rate of \S+: "
)
EPS = (
    r"shrinks as width\^-0\.\d\d .*expected width\^0: "
    r"its eps goes as width\^-?0\.00, and should go as width\^-1\.00"
)
DECAY = r"rate times weight decay goes as width\^-1\.00, and should go as width\^0\.00"
DOWN_BIAS = r"down\.\*\.bias"
BRANCH = (
    r"learning rate goes as depth\^-?0\.0\d, "
    r".*initial scale goes as depth\^-?0\.0\d, and should go as depth\^-1\.00"
)
STANDARD_INIT = r"initial scale goes as width\^-0\.\d\d, and should go as width\^-1\.00"
UNSCALED_INIT = r"initial scale .*should go as depth\^-1\.00"
DIVIDED_TWICE = r"learning rate goes as width\^-2\.00, and should go as width\^-1\.00"
ONE_RATE = r"learning rate goes as width\^-?0\.0\d from step 1, and should go as width\^-1\.00"

GROWS = r"output at initialisation grows .*initial scale goes as width\^"
HALF_INIT = r"\.\d\d, and should go as width\^-0\.50"

FAULTS = {
    "standard, width, mlp": Fault(
        clean="mlp", check={"rule": "sp"}, names=(HIDDEN, READOUT), text=UNDIVIDED
    ),
    "standard, width, gpt": Fault(
        clean="gpt", check={"rule": "sp"}, names=GPT_MATRICES, text=UNDIVIDED, others=LOGITS
    ),
    "standard, depth, gpt": Fault(
        clean="deep gpt", check={"rule": "sp"}, names=ENDS, text=UNSCALED_INIT
    ),
    "standard, depth, mlp": Fault(
        clean="deep mlp",
        check={"rule": "sp"},
        names=(DOWN,),
        others=r"up\.\*\.weight",
        text=UNSCALED_INIT,
    ),
    "hidden rate undivided, mlp": Fault(
        clean="mlp",
        check=planted(rate("hidden.0.weight", "fan_in", 1)),
        names=(HIDDEN,),
        text=UNDIVIDED,
        others=READOUT,
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
        check=planted(
            rate("readout.weight", "fan_in", 1), scale("readout.weight", "fan_in", 1 / 2)
        ),
        names=(READOUT,),
        text=f"{UNDIVIDED}.*{STANDARD_INIT}",
    ),
    "readout's rate and init standard, gpt": Fault(
        clean="gpt",
        check=planted(rate("head.weight", "fan_in", 1), scale("head.weight", "fan_in", 1 / 2)),
        names=(r"head\.weight",),
        text=f"{UNDIVIDED}.*{STANDARD_INIT}",
    ),
    "readout without its rule": Fault(
        clean="mlp",
        check={"rule": "mup, without readout"},
        names=(READOUT,),
        text=f"{UNDIVIDED}.*{STANDARD_INIT}",
    ),
    "readout's init standard": Fault(
        clean="mlp",
        check=planted(scale("readout.weight", "fan_in", 1 / 2)),
        names=(READOUT,),
        text=STANDARD_INIT,
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
        text=DIVIDED_TWICE,
    ),
    "one hidden init undivided, mlp": Fault(
        clean="mlp",
        check=planted(scale("hidden.0.weight", "fan_in", 1 / 2)),
        names=(HIDDEN,),
        text=f"{GROWS}-0" + HALF_INIT,
        others=READOUT,
    ),
    "one hidden init undivided, gpt": Fault(
        clean="gpt",
        check=planted(scale("blocks.*.up.weight", "fan_in", 1 / 2)),
        names=(UP,),
        text=f"{GROWS}-?0" + HALF_INIT,
        others=r"blocks\.\*\.down\.weight",
    ),
    "eps unscaled, mlp": Fault(
        clean="mlp, eps",
        check={"rule": "mup, without eps"},
        names=(r"input\.weight",),
        text=EPS,
        others=f"{HIDDEN}|{READOUT}",
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
        text="weight decays do not stand in the planned ratios to a base weight decay of 0.1: "
        "hidden.0.weight, hidden.1.weight, readout.weight",
        others=f"{HIDDEN}|{READOUT}",
    ),
    "loop of one rate, features": Fault(
        clean="mlp",
        check=planted(schedule=OneRate),
        names=(HIDDEN, READOUT),
        text=ONE_RATE,
    ),
    "loop of one rate, audit": Fault(
        clean="mlp",
        check=planted(schedule=OneRate, audited=True),
        names=("",),
        text=f"{WIRING}hidden.0.weight",
        others=f"{HIDDEN}|{READOUT}",
    ),
    "a low rank's rate divided twice": Fault(
        clean="low rank",
        check=planted(rate("down", "fan_in", -1)),
        names=("down",),
        text=DIVIDED_TWICE,
    ),
    "OneCycleLR of one rate": Fault(
        clean="mlp",
        check=planted(schedule=one_cycle, audited=True),
        names=("",),
        text=f"{WIRING}.*per_group",
        others=f"{HIDDEN}|{READOUT}",
    ),
    "eta_min of one rate": Fault(
        clean="mlp",
        check=planted(schedule=cosine, audited=True),
        names=("",),
        text=f"{WIRING}.*eta_min",
        others=f"{HIDDEN}|{READOUT}",
    ),
    "attention over sqrt of a growing head": Fault(
        clean="attention",
        check={"build": attention_branch, "rule": "mup, without attention"},
        names=(LOGITS,),
        text=r"attention's scale lacks a factor width\^-0\.\d+: is it 1/sqrt\(head_dim\)",
        others=r"query\.weight",
    ),
    "no branch multiplier, gpt": Fault(
        clean="deep gpt", check={"rule": "completep, without branch"}, names=ENDS, text=BRANCH
    ),
    "no branch multiplier, pre-norm": Fault(
        clean="pre-norm",
        check={"rule": "completep, without branch"},
        names=(DOWN, DOWN_BIAS),
        text=BRANCH,
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
        clean="tied",
        check=planted(no_multiplier),
        names=(r"norm\.weight", r"norm\.bias"),
        text=UNDIVIDED,
    ),
    "rates of input and output swapped": Fault(
        clean="mlp",
        check=planted(swapped("input.weight", "readout.weight")),
        names=(r"input\.weight", READOUT),
        text=r"learning rate goes as width\^-?[01]\.00, and should go as width\^-?[01]\.00",
    ),
    "post-norm in depth": Fault(
        clean="pre-norm",
        check={"build": partial(scaled_branches, post_norm=True), "rule": "mup"},
        names=("",),
        text="post-norm.*no rule is known",
        others=DOWN,
    ),
    "post-norm in depth, default rule": Fault(
        clean="pre-norm",
        check={"build": partial(scaled_branches, post_norm=True)},
        names=("",),
        text="post-norm.*no rule is known",
    ),
    "no depth rule": Fault(
        clean="pre-norm",
        check={"rule": "mup"},
        names=(DOWN,),
        text=r"multiplier of the branch lacks a factor depth\^-1",
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
        text=DIVIDED_TWICE,
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
        text=STANDARD_INIT,
    ),
    "readout's rate divided by depth": Fault(
        clean="deep mlp",
        check=planted(rate("readout.weight", "depth", -1)),
        names=(READOUT,),
        text=r"learning rate goes as depth\^-1\.00, and should go as depth\^-?0\.00",
    ),
    "branches times depth": Fault(
        clean="pre-norm",
        check=planted(stronger_branches(1)),
        names=(DOWN,),
        text="the residual stream grows",
    ),
    "branches times sqrt(depth)": Fault(
        clean="pre-norm",
        check=planted(stronger_branches(1 / 2)),
        names=(DOWN,),
        text="residual|branch",
        missed="the change of the norms' input grows as depth^0.2, and 0.3 is allowed",
    ),
}
