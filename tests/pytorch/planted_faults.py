"""Faults planted in a training, each with a harmless twin and the audit's finding."""

from collections.abc import Callable
from functools import partial

import torch

from tests.optimizers import Foreign
from tests.pytorch.planned_training import (
    HIDDEN,
    READOUT,
    Training,
    copied,
    drop,
    drop_frozen,
    mixed,
    nothing,
    of_width,
    optim,
    own_optimizer,
    reloaded,
    replaced,
    scale_in_place,
    set_all,
    set_one,
    share,
    split,
    stranger,
    stranger_apart,
    thaw,
    thaw_unasked,
    thaw_with_gradient,
    twice,
    twice_in_a_group,
    without,
)

Change = Callable[[Training], object]

FROZEN = partial(Training, roles={HIDDEN: "frozen"})
TENSOR = partial(Training, lr=torch.tensor(0.1))
SOPHIA = partial(Training, "sophia", Foreign, eps=1e-8, rho=0.04)
RMS_ADAFACTOR = partial(Training, "adafactor", optim.Adafactor)
# A training, a fault, a harmless twin of the fault, and what the audit says about the fault.
Case = tuple[Callable[[], Training], Change, Change, str]
FAULTS: dict[str, Case] = {
    "missing": (
        Training,
        drop,
        drop_frozen,
        rf"{HIDDEN}: planned to train, found in no group of AdamW; ",
    ),
    "missing with several optimizers": (
        mixed,
        lambda t: t.optimizers.pop(),
        nothing,
        "input.weight, .*: planned to train, found in no",
    ),
    "in two optimizers": (
        Training,
        twice,
        split,
        r"input.weight, .*: planned for one group, found in 2, so that each step",
    ),
    "twice in a group": (
        Training,
        twice_in_a_group,
        nothing,
        f"{HIDDEN}: planned for one group, found in 2",
    ),
    "frozen that trains": (
        FROZEN,
        thaw,
        nothing,
        f"{HIDDEN}: planned as frozen, found training; take",
    ),
    "frozen with a gradient left over": (
        FROZEN,
        thaw_with_gradient,
        thaw_unasked,
        f"{HIDDEN}: planned as frozen, found training",
    ),
    "not the model's": (
        Training,
        stranger,
        stranger_apart,
        r"AdamW: planned for this model's parameters, found 1 others \(of shape 7x5\)",
    ),
    "another copy's": (
        Training,
        copied,
        reloaded,
        r"AdamW: planned for this model's parameters, found 8 others",
    ),
    "replaced": (Training, replaced, reloaded, f"{READOUT}: planned to train, found in no group"),
    "torch's own groups": (
        Training,
        own_optimizer(optim.AdamW, lr=0.1),
        nothing,
        r"input.weight, .*: planned with lr_factor in their group, found without; "
        r".*adamw's learning rates .* planned 0.025 found 0.1",
    ),
    "lost lr_factor": (
        Training,
        without("lr_factor"),
        nothing,
        f"{HIDDEN}, .*planned with lr_factor in their group, found without",
    ),
    "lost eps": (
        Training,
        without("eps"),
        nothing,
        f"{HIDDEN}, .*planned with eps in their group, found without; make",
    ),
    "lost weight decay": (
        partial(Training, "lion", Foreign),
        without("weight_decay"),
        nothing,
        "planned with weight_decay in their group",
    ),
    "lost rate": (
        Training,
        without("lr"),
        nothing,
        "planned with lr in their group, found without",
    ),
    "lost rho": (SOPHIA, without("rho"), nothing, "planned with rho in their group"),
    "lr_factor edited": (
        Training,
        set_one(HIDDEN, "lr_factor", lambda f: 1.0),
        nothing,
        "planned with lr_factor 0.25, found 1, so",
    ),
    "state of another width": (
        Training,
        of_width(16),
        of_width(32),
        "planned with lr_factor 0.25, found 0.5, so the groups are another",
    ),
    "one rate of all": (
        Training,
        set_all("lr", lambda lr: 0.1),
        set_all("lr", lambda lr: 7 * lr),
        r"to a base rate of 0.1: .*0.weight, .* planned 0.025 found 0.1",
    ),
    "one rate a little off": (
        Training,
        set_one(HIDDEN, "lr", lambda lr: lr * 1.00001),
        nothing,
        "adamw's learning rates do not stand",
    ),
    "one rate zero": (
        Training,
        set_one(HIDDEN, "lr", lambda lr: 0.0),
        set_all("lr", lambda lr: 0.0),
        f"{HIDDEN}, .* planned 0.025 found 0;",
    ),
    "all but one rate zero": (
        Training,
        lambda t: [group.update(lr=0.0) for group in t.groups if HIDDEN not in group["names"]],
        set_all("lr", lambda lr: 0.0 * lr),
        "input.weight, .* planned 0.1 found 0",
    ),
    "not a number": (
        Training,
        set_one(HIDDEN, "lr", lambda lr: float("nan")),
        nothing,
        "planned 0.025 found nan",
    ),
    "negative rate": (
        Training,
        set_one(HIDDEN, "lr", lambda lr: -lr),
        nothing,
        "planned 0.025 found -0.025",
    ),
    "infinite rates": (Training, set_all("lr", lambda lr: float("inf")), nothing, "found inf"),
    "rate of a tensor": (
        TENSOR,
        lambda t: t.group(HIDDEN)["lr"].fill_(0.1),
        scale_in_place,
        "planned 0.025 found 0.1",
    ),
    "tensors shared": (
        TENSOR,
        share(),
        scale_in_place,
        r"input.weight, .*a rate for each group, found 2 groups that share one tensor",
    ),
    "tensors with one memory": (
        TENSOR,
        share(view=True),
        nothing,
        "found 2 groups that share one tensor",
    ),
    "eps": (
        Training,
        set_all("eps", lambda eps: 1e-8),
        set_all("eps", lambda eps: 1e-3 * eps),
        "adamw's eps do not stand .* found 1e-08",
    ),
    "eps zero in one": (
        Training,
        set_one(HIDDEN, "eps", lambda eps: 0.0),
        set_all("eps", lambda eps: 0.0),
        "found 0; .*eps=",
    ),
    "weight decay": (
        Training,
        set_all("weight_decay", lambda decay: 0.1),
        set_all("weight_decay", lambda decay: 2 * decay),
        r"adamw's weight decays do not stand in the planned ratios to a base weight decay of 0.1: "
        r"hidden.0.weight, .* planned 0.4 found 0.1",
    ),
    "weight decay in one": (
        Training,
        set_one(HIDDEN, "weight_decay", lambda decay: decay / 4),
        set_one(HIDDEN, "weight_decay", lambda decay: 0.0),
        "adamw's weight decays do not stand in the planned ratios to a base weight decay of 0.01: "
        "hidden.0.weight, .* planned 0.04 found 0.01",
    ),
    "undecayed and then decayed": (
        partial(Training, undecayed=["bias"]),
        set_one("input.bias", "weight_decay", lambda decay: 0.3),
        nothing,
        "input.bias, .* planned .* found 0.3",
    ),
    "rho": (
        SOPHIA,
        set_all("rho", lambda rho: 0.04),
        set_all("rho", lambda rho: 2 * rho),
        r"sophia's rho do not stand .*rho=",
    ),
    "first eps of Adafactor": (
        RMS_ADAFACTOR,
        set_all("eps", lambda eps: (1e-8, eps[1])),
        set_all("eps", lambda eps: (2 * eps[0], 3 * eps[1])),
        r"adafactor's eps \(the first, torch.float32\) do not stand",
    ),
    "second eps of Adafactor": (
        RMS_ADAFACTOR,
        set_all("eps", lambda eps: (eps[0], 1e-3)),
        nothing,
        r"adafactor's eps \(the second\) do",
    ),
    "first eps of Adafactor unscaled": (
        RMS_ADAFACTOR,
        set_all("eps", lambda eps: (None, eps[1])),
        nothing,
        r"adafactor's eps \(the first, torch.float32\) do not stand",
    ),
    "rates of one of two families": (
        mixed,
        set_one(READOUT, "lr", lambda lr: 2 * lr),
        lambda t: [g.update(lr=3 * g["lr"]) for g in t.optimizers[0].param_groups],
        "adamw's learning rates do not stand",
    ),
    "a family split over optimizers": (
        Training,
        lambda t: (split(t), t.optimizers[1].param_groups[0].update(lr=0.7)),
        split,
        "adamw's learning rates do not stand",
    ),
}
