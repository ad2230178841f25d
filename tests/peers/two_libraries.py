"""One network prepared by microsoft/mup 1.0.0 and by mutransfer, in one form.

mup keeps the multiplier 1/m of the logits in the forward pass of its readout (Tensor Programs V,
2203.03466, Table 8); a plan here has no multipliers (Table 3). `plain` brings mup's numbers to the
second form by the abc symmetry (Lemma J.1).
"""

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.tasks import gpt
from tests.models import resnet

mup = pytest.importorskip("mup", reason="the peer is not installed")

LR, DECAY = 3e-3, 0.1
Optimizer = Callable[..., torch.optim.Optimizer]
OPTIMIZERS: dict[str, tuple[Optimizer, Optimizer]] = {
    "adam": (mup.MuAdam, torch.optim.Adam),
    "adamw": (mup.MuAdamW, torch.optim.AdamW),
    "sgd": (mup.MuSGD, torch.optim.SGD),
}


Make = Callable[[int, int], nn.Module]
Sizes = tuple[tuple[int, int], tuple[int, int]]
Values = dict[str, tuple[float, ...]]


def mlp(first: int, second: int) -> nn.Module:
    layers = {
        "input": nn.Linear(6, first),
        "relu": nn.ReLU(),
        "hidden": nn.Linear(first, second),
        "again": nn.ReLU(),
    }
    return nn.Sequential(OrderedDict(**layers, readout=nn.Linear(second, 10)))


def transformer(width: int, inner: int, *, tied: bool = False) -> nn.Module:
    model = gpt(width, 2, vocabulary=32, context=16, tied=tied)
    for block in model.blocks:
        block.up, block.down = (
            nn.Linear(width, inner, bias=False),
            nn.Linear(inner, width, bias=False),
        )
    return model


def tied_transformer(width: int, inner: int) -> nn.Module:
    return transformer(width, inner, tied=True)


def convolutional(width: int, inner: int) -> nn.Module:
    return resnet(width, 2, inner, bias=True)


def group_normed(width: int, inner: int) -> nn.Module:
    return resnet(width, 2, inner, bias=True, norm=partial(nn.GroupNorm, 4))


# Networks of two widths that grow together or apart, with the sizes of base and target.
CASES: dict[str, tuple[Make, Sizes]] = {
    "mlp, 4x": (mlp, ((16, 16), (64, 64))),
    "mlp, 4x and 3x": (mlp, ((16, 16), (64, 48))),
    "gpt, 4x": (transformer, ((16, 64), (64, 256))),
    "gpt, d_ff 2x": (transformer, ((16, 64), (64, 128))),
    "gpt, tied, 4x": (tied_transformer, ((16, 64), (64, 256))),
    "gpt, tied, d_ff 6x": (tied_transformer, ((16, 32), (64, 192))),
    "resnet, 4x": (convolutional, ((8, 8), (32, 32))),
    "resnet, inner 3x": (convolutional, ((8, 8), (32, 24))),
    "resnet, group norm, 4x": (group_normed, ((8, 8), (32, 32))),
    "resnet, group norm, inner 5x": (group_normed, ((8, 8), (32, 40))),
}
every_case = pytest.mark.parametrize(("make", "sizes"), CASES.values(), ids=CASES)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


class Pair(NamedTuple):
    """One network prepared by each library.

    Attributes:
        ours: The network of mutransfer.
        plan: Its plan.
        theirs: The network of mup, with mup's readout.
        theta: The multipliers of mup's forward pass, by the tensor that the plan folds them into.
    """

    ours: nn.Module
    plan: mt.Plan
    theirs: nn.Module
    theta: dict[str, float]


def rms(x: Tensor) -> float:
    return math.sqrt(x.detach().square().mean().item())


def drawn(make: Make, sizes: tuple[int, int], *, exactly: bool = True) -> nn.Module:
    """Build a network in double precision, drawn by torch.

    With `exactly`, every draw has the RMS of its law, 1/sqrt(fan_in) for layers and 1 for tables.
    mup rescales by the law and mutransfer by the measured RMS: then the two are the same, and
    values are comparable to rounding.
    """
    torch.manual_seed(0)
    model = make(*sizes).double()
    if not exactly:
        return model
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    layers = [m for m in model.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        # Tables come last: a tied one has the law of a table.
        for layer in (*layers, *tables):
            law = 1.0 if layer in tables else layer.weight[0].numel() ** -0.5
            for parameter in layer.parameters():
                parameter.mul_(law / rms(parameter))
    return model


def readout_for(linear: nn.Linear) -> nn.Module:
    """Return mup's readout with the tensors of a linear layer."""
    sizes = linear.in_features, linear.out_features
    readout = mup.MuReadout(*sizes, bias=linear.bias is not None)
    readout.weight, readout.bias = linear.weight, linear.bias
    return readout


def with_readout(model: nn.Module) -> tuple[nn.Module, str | None]:
    """Return a copy whose last linear layer is mup's readout, and the layer's name."""
    model = copy.deepcopy(model)
    name, last = list(model.named_children())[-1]
    if not isinstance(last, nn.Linear):
        return model, None
    if any(isinstance(m, nn.Embedding) and m.weight is last.weight for m in model.modules()):
        setattr(model, name, mup.MuSharedReadout(last.weight, bias=False))
    else:
        setattr(model, name, readout_for(last))
    return model, name


def mup_model(
    model: nn.Module, make: Make, base: tuple[int, int]
) -> tuple[nn.Module, dict[str, float]]:
    """Return mup's network, and its multipliers by the tensors that carry them here."""
    theirs, name = with_readout(model)
    delta = make(2 * base[0], 2 * base[1])
    mup.set_base_shapes(theirs, make(*base), delta=delta, rescale_params=True)
    if name is None:
        return theirs, {}
    readout = theirs.get_submodule(name)
    shared = isinstance(readout, mup.MuSharedReadout)
    carriers = ("norm.weight", "norm.bias") if shared else (f"{name}.weight",)
    return theirs, dict.fromkeys(carriers, 1 / readout.width_mult())


def pair(
    make: Make,
    sizes: Sizes,
    optimizer: str = "adamw",
    *,
    rule: str | None = None,
    exactly: bool = True,
) -> Pair:
    """Prepare one network by each library."""
    base, ours = (drawn(make, size, exactly=exactly) for size in sizes)
    theirs, theta = mup_model(ours, make, sizes[0])
    plan = mt.plan(ours, base, rule=rule, optimizer=optimizer, example_inputs=batch_for(ours))
    plan.initialize(ours)
    return Pair(ours, plan, theirs, theta)


def batch_for(model: nn.Module) -> Tensor:
    """Return a batch for the first layer."""
    draw = torch.Generator().manual_seed(1)
    kinds = (nn.Embedding, nn.Linear, nn.Conv2d)
    match next(m for m in model.modules() if isinstance(m, kinds)):
        case nn.Embedding():
            return torch.randint(32, (4, 8), generator=draw)
        case nn.Linear():
            return torch.randn(16, 6, generator=draw, dtype=torch.float64)
        case _:
            return torch.randn(8, 3, 6, 6, generator=draw, dtype=torch.float64)


def by_name(
    model: nn.Module, groups: Iterable[dict[str, Any]], *keys: str
) -> dict[str, tuple[float, ...]]:
    """Return values of the groups by the names of their tensors."""
    values = {
        id(parameter): tuple(float(group[key]) for key in keys)
        for group in groups
        for parameter in group["params"]
    }
    return {name: values[id(p)] for name, p in model.named_parameters()}


def plain(numbers: tuple[float, ...], theta: float, optimizer: str) -> tuple[float, ...]:
    """Return rate and decay of theta W' for those of W' under the multiplier theta.

    Tensor Programs V, Lemma J.1: with W = theta W', the gradient of W' is theta times that of W and
    its update 1/theta times as large. So W' has the rate lr/theta^2 under SGD and lr/theta under
    Adam, whose update has no scale. Rate times decay is the fraction by which W shrinks in a step,
    the same for both: decay x theta^2 and decay x theta. This is the way back.
    """
    lr, decay = numbers
    power = theta**2 if optimizer == "sgd" else theta
    return lr * power, decay / power


def rates(both: Pair, optimizer: str) -> tuple[Values, Values]:
    """Return (lr, weight decay) by tensor, from mutransfer and, in its form, from mup."""
    # Adam with L2 is difference 5.
    decay = 0.0 if optimizer == "adam" else DECAY
    groups = both.plan.param_groups(both.ours, LR, weight_decay=decay)
    peer = OPTIMIZERS[optimizer][0](both.theirs.parameters(), lr=LR, weight_decay=decay)
    theirs = by_name(both.theirs, peer.param_groups, "lr", "weight_decay")
    return by_name(both.ours, groups, "lr", "weight_decay"), {
        name: plain(numbers, both.theta.get(name, 1.0), optimizer)
        for name, numbers in theirs.items()
    }


def values(both: Pair) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return every tensor, from mutransfer and, in its form, from mup."""
    theirs = {
        name: parameter.detach() * both.theta.get(name, 1.0)
        for name, parameter in both.theirs.named_parameters()
    }
    return {name: p.detach() for name, p in both.ours.named_parameters()}, theirs


def other_rates(both: Pair, optimizer: str) -> dict[str, tuple[float, ...]]:
    """Return mup's numbers over mutransfer's where rates or decays differ."""
    ours, theirs = rates(both, optimizer)
    assert ours.keys() == theirs.keys() == both.plan.tensors.keys()
    return {
        name: tuple(a / b if b else 1.0 for a, b in zip(theirs[name], ours[name], strict=True))
        for name in ours
        if ours[name] != pytest.approx(theirs[name], rel=1e-12, abs=0)
    }


def other_values(both: Pair) -> dict[str, float]:
    """Return mup's RMS over mutransfer's where initial values differ."""
    ours, theirs = values(both)
    assert ours.keys() == theirs.keys() == both.plan.tensors.keys()
    return {
        name: rms(theirs[name]) / rms(ours[name])
        for name in ours
        if not torch.allclose(ours[name], theirs[name], rtol=1e-12, atol=0)
    }


def expected_table(make: Make) -> set[str]:
    """Return the tensors of difference 1."""
    return {"token.weight"} if make is tied_transformer else set()


def trained_apart(both: Pair, optimizer: str) -> float:
    """Return the distance of the libraries' logits in training over their change."""
    sgd = optimizer == "sgd"
    lr, eps, extra = (0.02, None, {"momentum": 0.9}) if sgd else (LR, 1e-30, {"eps": 1e-30})
    decay = 0.0 if optimizer == "adam" else DECAY
    peer, torchs = OPTIMIZERS[optimizer]
    groups = both.plan.param_groups(both.ours, lr, eps=eps, weight_decay=decay)
    ours = trajectory(both.ours, torchs(groups, **extra))
    peers = peer(both.theirs.parameters(), lr=lr, weight_decay=decay, **extra)
    theirs = trajectory(both.theirs, peers)
    assert rms(ours[-1] - ours[0]) > 1e-3
    return rms(theirs - ours) / rms(ours[-1] - ours[0])


def trajectory(model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensor:
    """Return the logits on one batch before each of six steps."""
    batch, outputs = batch_for(model), []
    for _ in range(6):
        optimizer.zero_grad()
        logits = model(batch)
        logits = logits.reshape(-1, logits.shape[-1])
        nn.functional.cross_entropy(logits, torch.arange(len(logits)) % 10).backward()
        optimizer.step()
        outputs.append(logits.detach())
    return torch.stack(outputs)
