"""Against microsoft/mup 1.0.0: the same rates, weight decays and initial values for every tensor, wherever mup is right.

mup keeps the multiplier 1/m of the logits in the forward pass of its readout (Tensor Programs V, 2203.03466, Table 8); a plan here
has no multipliers (Table 3). `plain` brings mup's numbers to the second form by the abc symmetry (Lemma J.1), and
`test_both_train_the_same_network` checks that form itself: networks prepared by the two libraries stay equal while they train.
Depth is not compared: mup has no rule for it.

Deliberate differences, each in a test of its own:

1. Tied embedding: mup's MuSharedReadout rescales the shared table by sqrt(m); here its initial scale is constant.
2. Adam's eps: mup never scales it; here it follows the gradient, which shrinks with the width.
3. A convolution as readout: mup silently leaves out 1/m; here it is a readout like any other.
4. ConvTranspose: mup reads the fan-in off the wrong axis, which shows once the two grow differently; here it is read by layer type.
5. Adam with L2 weight decay: mup scales it like AdamW's; here it is refused.
6. AdamW's default weight decay: 0 in mup; here torch's, 0.01.
7. A tensor as learning rate: mup divides the user's own tensor; here every group has its own.
8. Attention 1/d: mup leaves it to the user; here the queries carry it where the model does not.
9. A width that stays at its base size: mup goes by the delta model and calls it a width; here it is finite, what did not grow.
"""

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.plan import Plan
from mutransfer.tasks import gpt

mup = pytest.importorskip("mup", reason="the peer is not installed")

LR, DECAY = 3e-3, 0.1
OPTIMIZERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], Callable[..., torch.optim.Optimizer]]] = {
    "adam": (mup.MuAdam, torch.optim.Adam),
    "adamw": (mup.MuAdamW, torch.optim.AdamW),
    "sgd": (mup.MuSGD, torch.optim.SGD),
}


# Networks: functions of two widths that grow together or apart.


def mlp(first: int, second: int) -> nn.Module:
    layers = {"input": nn.Linear(6, first), "relu": nn.ReLU(), "hidden": nn.Linear(first, second), "again": nn.ReLU()}
    return nn.Sequential(OrderedDict(**layers, readout=nn.Linear(second, 10)))


def transformer(width: int, inner: int, *, tied: bool = False) -> nn.Module:
    model = gpt(width, 2, vocabulary=32, context=16, tied=tied)
    for block in model.blocks:
        block.up, block.down = nn.Linear(width, inner, bias=False), nn.Linear(inner, width, bias=False)
    return model


def tied_transformer(width: int, inner: int) -> nn.Module:
    return transformer(width, inner, tied=True)


class Block(nn.Module):
    def __init__(self, width: int, inner: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 3, padding=1)
        self.norm1 = norm(inner)
        self.conv2 = nn.Conv2d(inner, width, 3, padding=1, bias=False)
        self.norm2 = norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))


class ResNet(nn.Module):
    def __init__(self, width: int, inner: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(Block(width, inner, norm) for _ in range(2))
        self.readout = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.readout(x.mean((-2, -1)))


def group_normed(width: int, inner: int) -> nn.Module:
    return ResNet(width, inner, lambda channels: nn.GroupNorm(4, channels))


class OneHead(nn.Module):
    """Attention with one head, whose dimension is the width; its logits are divided by sqrt(d), or by d as muP wants it."""

    def __init__(self, width: int, inner: int, *, mup_scale: bool) -> None:
        super().__init__()
        self.token = nn.Embedding(32, width)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.up, self.readout = nn.Linear(width, inner), nn.Linear(inner, 10)
        self.scale = 1 / width if mup_scale else width**-0.5

    def forward(self, x: Tensor) -> Tensor:
        x = self.token(x)
        x = nn.functional.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x), scale=self.scale)
        return self.readout(torch.relu(self.up(x)))


class ConvReadout(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.hidden = nn.Conv2d(width, inner, 3, padding=1)
        self.readout = nn.Conv2d(inner, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(torch.relu(self.hidden(torch.relu(self.stem(x))))).mean((-2, -1))


class Upsampler(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.up = nn.ConvTranspose2d(width, inner, 2, stride=2)
        self.readout = nn.Linear(inner, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(torch.relu(self.up(torch.relu(self.stem(x)))).mean((-2, -1)))


Make = Callable[[int, int], nn.Module]
Sizes = tuple[tuple[int, int], tuple[int, int]]

CASES: dict[str, tuple[Make, Sizes]] = {  # base and target
    "mlp, 4x": (mlp, ((16, 16), (64, 64))),
    "mlp, 4x and 3x": (mlp, ((16, 16), (64, 48))),
    "gpt, 4x": (transformer, ((16, 64), (64, 256))),
    "gpt, d_ff 2x": (transformer, ((16, 64), (64, 128))),
    "gpt, tied, 4x": (tied_transformer, ((16, 64), (64, 256))),
    "gpt, tied, d_ff 6x": (tied_transformer, ((16, 32), (64, 192))),
    "resnet, 4x": (ResNet, ((8, 8), (32, 32))),
    "resnet, inner 3x": (ResNet, ((8, 8), (32, 24))),
    "resnet, group norm, 4x": (group_normed, ((8, 8), (32, 32))),
    "resnet, group norm, inner 5x": (group_normed, ((8, 8), (32, 40))),
}
every_case = pytest.mark.parametrize(("make", "sizes"), CASES.values(), ids=CASES)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


# The two libraries on copies of one network.


class Pair(NamedTuple):
    """One network prepared by each library.

    Attributes:
        own: The network of mutransfer.
        plan: Its plan.
        theirs: The network of mup, with mup's readout.
        theta: The multipliers of mup's forward pass, by the tensor that the plan folds them into.
    """

    own: nn.Module
    plan: Plan
    theirs: nn.Module
    theta: dict[str, float]


def rms(x: Tensor) -> float:
    return math.sqrt(x.detach().square().mean().item())


def drawn(make: Make, sizes: tuple[int, int], *, exactly: bool = True) -> nn.Module:
    """A network in double precision, drawn as torch draws it.

    With `exactly`, every draw has just the RMS of its law, 1/sqrt(fan_in) for layers and 1 for tables. mup rescales by the law and
    mutransfer by the measured RMS: then the two are the same, and values are comparable to rounding.
    """
    torch.manual_seed(0)
    model = make(*sizes).double()
    if not exactly:
        return model
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
    with torch.no_grad():
        for layer in (*layers, *tables):  # tables last: a tied one has the law of a table
            law = 1.0 if layer in tables else layer.weight[0].numel() ** -0.5
            for parameter in layer.parameters():
                parameter.mul_(law / rms(parameter))
    return model


def readout_for(linear: nn.Linear) -> nn.Module:
    """mup's readout with the tensors of a Linear."""
    readout = mup.MuReadout(linear.in_features, linear.out_features, bias=linear.bias is not None)
    readout.weight, readout.bias = linear.weight, linear.bias
    return readout


def with_readout(model: nn.Module) -> tuple[nn.Module, str | None]:
    """A copy with mup's readout in place of its last Linear, and that layer's name; as it is where it ends otherwise."""
    model = copy.deepcopy(model)
    name, last = list(model.named_children())[-1]
    if not isinstance(last, nn.Linear):
        return model, None
    if any(isinstance(m, nn.Embedding) and m.weight is last.weight for m in model.modules()):
        setattr(model, name, mup.MuSharedReadout(last.weight, bias=False))
    else:
        setattr(model, name, readout_for(last))
    return model, name


def mup_model(model: nn.Module, make: Make, base: tuple[int, int]) -> tuple[nn.Module, dict[str, float]]:
    theirs, name = with_readout(model)
    mup.set_base_shapes(theirs, make(*base), delta=make(2 * base[0], 2 * base[1]), rescale_params=True)
    if name is None:
        return theirs, {}
    readout = theirs.get_submodule(name)
    carriers = ("norm.weight", "norm.bias") if isinstance(readout, mup.MuSharedReadout) else (f"{name}.weight",)
    return theirs, dict.fromkeys(carriers, 1 / readout.width_mult())


def pair(make: Make, sizes: Sizes, optimizer: str = "adamw", *, rule: str | None = None, exactly: bool = True) -> Pair:
    base, own = (drawn(make, size, exactly=exactly) for size in sizes)
    theirs, theta = mup_model(own, make, sizes[0])
    plan = mt.plan(own, base, rule=rule, optimizer=optimizer, example_inputs=batch_for(own))
    plan.initialize(own)
    return Pair(own, plan, theirs, theta)


def batch_for(model: nn.Module) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    match next(m for m in model.modules() if isinstance(m, (nn.Embedding, nn.Linear, nn.Conv2d))):
        case nn.Embedding():
            return torch.randint(32, (4, 8), generator=draw)
        case nn.Linear():
            return torch.randn(16, 6, generator=draw, dtype=torch.float64)
        case _:
            return torch.randn(8, 3, 6, 6, generator=draw, dtype=torch.float64)


def by_name(model: nn.Module, groups: Iterable[dict[str, Any]], *keys: str) -> dict[str, tuple[float, ...]]:
    values = {id(p): tuple(float(group[key]) for key in keys) for group in groups for p in group["params"]}
    return {name: values[id(p)] for name, p in model.named_parameters()}


def plain(numbers: tuple[float, ...], theta: float, optimizer: str) -> tuple[float, ...]:
    """Rate and weight decay of the tensor theta W' for those of W' under the multiplier theta.

    Tensor Programs V, Lemma J.1: with W = theta W', the gradient of W' is theta times that of W and its update 1/theta times as large,
    so W' has the rate lr/theta^2 under SGD and lr/theta under Adam, whose update has no scale. Rate times decay is the
    fraction that W shrinks by in a step, the same for both: decay x theta^2 and decay x theta. This is the way back.
    """
    lr, decay = numbers
    power = theta**2 if optimizer == "sgd" else theta
    return lr * power, decay / power


def rates(both: Pair, optimizer: str) -> tuple[dict[str, tuple[float, ...]], dict[str, tuple[float, ...]]]:
    """(lr, weight decay) of every tensor, from mutransfer and, in the same form, from mup."""
    decay = 0.0 if optimizer == "adam" else DECAY  # Adam with L2 is difference 5
    groups = both.plan.param_groups(both.own, LR, weight_decay=decay)
    mup_groups = OPTIMIZERS[optimizer][0](both.theirs.parameters(), lr=LR, weight_decay=decay).param_groups
    theirs = by_name(both.theirs, mup_groups, "lr", "weight_decay")
    return by_name(both.own, groups, "lr", "weight_decay"), {
        name: plain(numbers, both.theta.get(name, 1.0), optimizer) for name, numbers in theirs.items()
    }


def values(both: Pair) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every tensor as it stands, from mutransfer and, in the same form, from mup."""
    theirs = {name: p.detach() * both.theta.get(name, 1.0) for name, p in both.theirs.named_parameters()}
    return {name: p.detach() for name, p in both.own.named_parameters()}, theirs


def other_rates(both: Pair, optimizer: str) -> dict[str, tuple[float, ...]]:
    """Where rates or decays differ: mup's numbers over mutransfer's."""
    own, theirs = rates(both, optimizer)
    assert own.keys() == theirs.keys() == both.plan.tensors.keys()
    return {
        name: tuple(a / b if b else 1.0 for a, b in zip(theirs[name], own[name], strict=True))
        for name in own
        if own[name] != pytest.approx(theirs[name], rel=1e-12, abs=0)
    }


def other_values(both: Pair) -> dict[str, float]:
    """Where initial values differ: mup's RMS over mutransfer's."""
    own, theirs = values(both)
    assert own.keys() == theirs.keys() == both.plan.tensors.keys()
    return {n: rms(theirs[n]) / rms(own[n]) for n in own if not torch.allclose(own[n], theirs[n], rtol=1e-12, atol=0)}


def expected_table(make: Make) -> set[str]:
    return {"token.weight"} if make is tied_transformer else set()  # difference 1


# Agreement.


@every_optimizer
@every_case
def test_rates_and_decays(make: Make, sizes: Sizes, optimizer: str) -> None:
    assert other_rates(pair(make, sizes, optimizer), optimizer) == {}


@every_case
def test_initial_values(make: Make, sizes: Sizes) -> None:
    assert other_values(pair(make, sizes)).keys() == expected_table(make)


@every_case
def test_initial_values_of_torchs_own_draw(make: Make, sizes: Sizes) -> None:
    """mutransfer takes over the base's measured RMS, so the two differ by no more than one draw from another."""
    own, theirs = values(pair(make, sizes, exactly=False))
    base = dict(drawn(make, sizes[0], exactly=False).named_parameters())
    for name in own.keys() - expected_table(make):
        ratio = (theirs[name] / own[name])[own[name] != 0]
        error = 3 * (own[name].numel() ** -0.5 + base[name].numel() ** -0.5)
        assert torch.allclose(ratio, ratio.mean(), rtol=1e-12) or not ratio.numel()
        assert rms(theirs[name]) == pytest.approx(rms(own[name]), rel=error)


@every_optimizer
@every_case
def test_both_train_the_same_network(make: Make, sizes: Sizes, optimizer: str) -> None:
    """Five steps with weight decay; SGD also with momentum. Adam's eps is difference 2 and out of the way here."""
    both = pair(make, sizes, optimizer)
    with torch.no_grad():
        for name in expected_table(make):
            both.theirs.get_parameter(name).div_((sizes[1][0] / sizes[0][0]) ** 0.5)
    assert trained_apart(both, optimizer) < 1e-10


def trained_apart(both: Pair, optimizer: str) -> float:
    """How far the logits of the two are apart in training, relative to how far they moved."""
    lr, eps, extra = (0.02, None, {"momentum": 0.9}) if optimizer == "sgd" else (LR, 1e-30, {"eps": 1e-30})
    decay = 0.0 if optimizer == "adam" else DECAY
    peer, torchs = OPTIMIZERS[optimizer]
    own = trajectory(both.own, torchs(both.plan.param_groups(both.own, lr, eps=eps, weight_decay=decay), **extra))
    theirs = trajectory(both.theirs, peer(both.theirs.parameters(), lr=lr, weight_decay=decay, **extra))
    assert rms(own[-1] - own[0]) > 1e-3
    return rms(theirs - own) / rms(own[-1] - own[0])


def trajectory(model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensor:
    """The logits on one batch before each of six steps."""
    batch, seen = batch_for(model), []
    for _ in range(6):
        optimizer.zero_grad()
        logits = model(batch)
        logits = logits.reshape(-1, logits.shape[-1])
        nn.functional.cross_entropy(logits, torch.arange(len(logits)) % 10).backward()
        optimizer.step()
        seen.append(logits.detach())
    return torch.stack(seen)


# The comparison can fail.


@every_optimizer
@every_case
def test_standard_parametrization_differs(make: Make, sizes: Sizes, optimizer: str) -> None:
    """By a factor in the readout (or what feeds a tied one) always, in the hidden matrices under Adam; and so do the networks."""
    both = pair(make, sizes, optimizer, rule="sp")
    found = other_rates(both, optimizer).keys()
    shapes = {name: (tensor.shape[:2], tensor.base_shape[:2]) for name, tensor in both.plan.tensors.items() if len(tensor.shape) > 1}
    hidden = {name for name, (own, base) in shapes.items() if own[0] != base[0] and own[1] != base[1]}
    assert hidden and both.theta.keys() <= found
    assert hidden <= found or optimizer == "sgd"
    assert both.theta.keys() & other_values(both).keys()
    assert trained_apart(both, optimizer) > 1e-2


def test_another_base_differs() -> None:
    both = pair(mlp, ((16, 16), (64, 64)))
    other = both._replace(plan=mt.plan(both.own, drawn(mlp, (32, 32))))
    assert other_rates(other, "adamw").keys() == {"hidden.weight", "readout.weight"}


# Differences.


def test_tied_embedding() -> None:
    """mup: MuSharedReadout is a MuReadout, and MuReadout._rescale_parameters multiplies the shared table by sqrt(m), although an
    embedding's initial scale is constant (Tensor Programs V, Table 8). mutransfer: the table stays as torch draws it, and the norm
    that feeds the head carries 1/m; rates and decays agree.
    """
    both = pair(tied_transformer, ((16, 64), (64, 256)))
    assert other_values(both) == {"token.weight": pytest.approx(2.0, rel=1e-12)}
    assert both.plan["token.weight"].factor("init") == 1
    assert rms(both.own.get_parameter("token.weight")) == pytest.approx(1.0, rel=1e-12)
    assert other_rates(both, "adamw") == {}


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_eps(optimizer: str) -> None:
    """mup: MuAdam never touches eps. mutransfer: eps follows the gradient's entries, which shrink like 1/fan_out, in the readout of
    Table 8 like 1/m (CompleteP, 2505.01618, Table 1; 2603.00541, Table 6); the next test measures that.
    """
    both = pair(mlp, ((16, 16), (64, 48)), optimizer)
    theirs = by_name(both.theirs, OPTIMIZERS[optimizer][0](both.theirs.parameters(), lr=LR, eps=1e-8).param_groups, "eps")
    assert set(theirs.values()) == {(1e-8,)}
    shares = {"input.weight": 4, "input.bias": 4, "hidden.weight": 3, "hidden.bias": 3, "readout.weight": 3, "readout.bias": 1}
    assert eps_in_their_form(both) == pytest.approx({name: 1e-8 / share for name, share in shares.items()}, rel=1e-12)


def test_gradients_shrink_like_eps() -> None:
    sizes = (128, 128), (1024, 1024)
    both = pair(mlp, sizes)
    small, _ = mup_model(drawn(mlp, sizes[0]), mlp, sizes[0])
    wide, narrow = gradients_of(both.theirs), gradients_of(small)
    shares = {name: eps / 1e-8 for name, eps in eps_in_their_form(both).items()}
    assert {name: wide[name] / narrow[name] for name in wide} == pytest.approx(shares, rel=0.3)


def eps_in_their_form(both: Pair) -> dict[str, float]:
    """mutransfer's eps for the tensors of mup's form: the gradient of W' is theta times that of W, and so is its eps."""
    own = by_name(both.own, both.plan.param_groups(both.own, LR, eps=1e-8), "eps")
    return {name: eps * both.theta.get(name, 1.0) for name, (eps,) in own.items()}


def gradients_of(model: nn.Module) -> dict[str, float]:
    """RMS of the gradients of a random sum of the logits."""
    logits = model(torch.randn(64, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = torch.autograd.grad((logits * weights).sum(), list(model.parameters()))
    return {name: rms(g) for (name, _), g in zip(model.named_parameters(), found, strict=True)}


@every_optimizer
def test_convolution_as_readout(optimizer: str) -> None:
    """mup: MuReadout is a Linear and the check for a missing one looks at Linear only, so a Conv2d onto the classes passes silently:
    no multiplier, yet the rates that Table 8 gives to a readout with one. mutransfer: a readout by its axes, init and rate 1/m.
    """
    both = pair(ConvReadout, ((8, 8), (32, 32)), optimizer)
    assert both.plan["readout.weight"].role == "readout"
    m = 4.0
    lr = m**2 if optimizer == "sgd" else m
    decay = 1.0 if optimizer == "adam" else 1 / lr
    assert other_rates(both, optimizer) == {"readout.weight": pytest.approx((lr, decay), rel=1e-12)}
    assert other_values(both) == {"readout.weight": pytest.approx(m**0.5, rel=1e-12)}  # 1/sqrt(fan_in), where 1/m is wanted


@every_optimizer
def test_transposed_convolution(optimizer: str) -> None:
    """mup: fan-in is the last dimension that grows (InfShape.main) and the second one (fanin_fanout), but ConvTranspose2d.weight
    is (in, out, kernel, kernel), and torch draws it by the same second dimension. mutransfer: fan-in by layer type, so Table 3 holds.
    """
    fan_in, fan_out = 4.0, 2.0
    both = pair(Upsampler, ((8, 8), (32, 16)), optimizer)
    lr = (fan_in / fan_out) ** 2 if optimizer == "sgd" else fan_in / fan_out
    decay = 1.0 if optimizer == "adam" else 1 / lr
    assert other_rates(both, optimizer) == {"up.weight": pytest.approx((lr, decay), rel=1e-12)}
    assert both.plan["up.weight"].factor("lr") == (fan_out / fan_in if optimizer == "sgd" else 1 / fan_in)
    assert both.plan["up.weight"].factor("init") == fan_in**-0.5
    assert other_values(both) == {"up.weight": pytest.approx((fan_in / fan_out) ** 0.5, rel=1e-12)}

    alike = pair(Upsampler, ((8, 8), (32, 32)), optimizer)
    assert other_rates(alike, optimizer) == {}
    assert other_values(alike) == {}


def test_adam_with_l2() -> None:
    """mup: MuAdam multiplies weight decay by m as for AdamW, although Adam adds it to a gradient that it then normalises.
    mutransfer: refused, since no rule makes it right (Tensor Programs V, Appendix B.3), with AdamW named as the way out.
    """
    both = pair(mlp, ((16, 16), (64, 64)), "adam")
    groups = mup.MuAdam(both.theirs.parameters(), lr=LR, weight_decay=DECAY).param_groups
    assert by_name(both.theirs, groups, "weight_decay")["hidden.weight"] == (4 * DECAY,)
    with pytest.raises(mt.MutransferError, match="use AdamW"):
        both.plan.param_groups(both.own, LR, weight_decay=DECAY)


def test_default_weight_decay() -> None:
    """mup: process_param_groups puts 0 where no weight decay is given, for AdamW too. mutransfer: torch's own default, 0.01."""
    both = pair(mlp, ((16, 16), (64, 64)))
    theirs = mup.MuAdamW(both.theirs.parameters(), lr=LR).param_groups
    assert {group["weight_decay"] for group in theirs} == {0.0}
    own = by_name(both.own, torch.optim.AdamW(both.plan.param_groups(both.own, LR)).param_groups, "weight_decay")
    default = torch.optim.AdamW(both.own.parameters()).defaults["weight_decay"]
    assert default == 0.01
    assert own == {name: (default * tensor.factor("decay"),) for name, tensor in both.plan.tensors.items()}


def test_tensor_as_learning_rate() -> None:
    """mup: MuAdam divides in place a tensor that all its groups share, the user's own. mutransfer: each group has its own tensor."""
    both = pair(mlp, ((16, 16), (64, 64)))
    lr = torch.tensor(LR, dtype=torch.float64)
    groups = both.plan.param_groups(both.own, lr)
    assert lr.item() == LR
    assert by_name(both.own, groups, "lr") == by_name(both.own, both.plan.param_groups(both.own, LR), "lr")
    assert len({id(group["lr"]) for group in groups} | {id(lr)}) == len(groups) + 1

    theirs = by_name(both.theirs, mup.MuAdam(both.theirs.parameters(), lr=lr).param_groups, "lr")
    assert lr.item() == LR / 4
    assert set(theirs.values()) == {(LR / 4,)}


@every_optimizer
def test_attention_scale(optimizer: str) -> None:
    """mup: a growing head needs 1/d for torch's 1/sqrt(d) (Tensor Programs V, Definition 4.1), and the user has to write that.
    mutransfer: reads the scale off the forward pass; the queries carry what it lacks, and nothing where the user wrote 1/d.
    """
    sizes = (16, 16), (64, 64)
    written = pair(lambda *size: OneHead(*size, mup_scale=True), sizes, optimizer)
    assert other_rates(written, optimizer) == {}
    assert other_values(written) == {}

    both = pair(lambda *size: OneHead(*size, mup_scale=False), sizes, optimizer)
    theta = 4.0**-0.5
    lr = theta**-2 if optimizer == "sgd" else 1 / theta
    decay = 1.0 if optimizer == "adam" else 1 / lr
    assert other_rates(both, optimizer) == {"query.weight": pytest.approx((lr, decay), rel=1e-12)}
    assert other_values(both) == {"query.weight": pytest.approx(1 / theta, rel=1e-12)}


def test_width_that_stays() -> None:
    """mup: the delta model says which dimensions are widths, also at a ratio of 1. mutransfer: what did not grow is finite, so a
    matrix onto it is a readout and starts at 1/m (Table 3). Rates and decays agree; mup with MuReadout there, which it asks for
    when the delta does not grow that width, agrees on the initial values too.
    """
    base, target = (16, 16), (64, 16)
    both = pair(mlp, (base, target))
    assert other_rates(both, "adamw") == {}
    assert both.plan["hidden.weight"].role == "readout"
    assert other_values(both) == {"hidden.weight": pytest.approx(2.0, rel=1e-12)}

    theirs, _ = with_readout(drawn(mlp, target))
    with pytest.raises(AssertionError, match="MuReadout"):
        mup.set_base_shapes(copy.deepcopy(theirs), mlp(*base), delta=mlp(32, 16))
    theirs.hidden = readout_for(theirs.hidden)
    mup.set_base_shapes(theirs, mlp(*base), delta=mlp(32, 16), rescale_params=True)
    asked = both._replace(theirs=theirs, theta={"hidden.weight": 1 / 4})
    assert other_rates(asked, "adamw") == {}
    assert other_values(asked) == {}
