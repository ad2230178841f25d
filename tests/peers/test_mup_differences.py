"""Deliberate differences from microsoft/mup 1.0.0, each in a test of its own.

1. Tied embedding: mup rescales the shared table by sqrt(m); here its initial scale is constant.
2. Adam's eps: mup never scales it; here it follows the gradient, which shrinks with the width.
3. A convolution as readout: mup silently leaves out 1/m; here it is a readout like any other.
4. ConvTranspose: mup reads the fan-in off the wrong axis; here it is read by layer type.
5. Adam with L2 weight decay: mup scales it like AdamW's; here it is refused.
6. AdamW's default weight decay: 0 in mup; here torch's, 0.01.
7. A tensor as learning rate: mup divides the user's own tensor; here every group has its own.
8. Attention 1/d: mup leaves it to the user; here the queries carry it where the model does not.
9. A width that stays at its base size: mup calls it a width; here it is finite.
"""

import copy

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from tests.models import conv_readout, one_head, upsampler
from tests.peers.two_libraries import (
    DECAY,
    LR,
    OPTIMIZERS,
    Pair,
    by_name,
    drawn,
    every_optimizer,
    mlp,
    mup,
    mup_model,
    other_rates,
    other_values,
    pair,
    readout_for,
    rms,
    tied_transformer,
    with_readout,
)


def test_tied_embedding() -> None:
    """1. mup's MuSharedReadout rescales the shared table by sqrt(m).

    Its MuReadout._rescale_parameters does so, although an embedding's initial scale is constant
    (Tensor Programs V, Table 8). mutransfer: the table stays as torch draws it, and the norm before
    the head carries 1/m; rates and decays agree.
    """
    both = pair(tied_transformer, ((16, 64), (64, 256)))
    assert other_values(both) == {"token.weight": pytest.approx(2.0, rel=1e-12)}
    assert both.plan["token.weight"].factor("init") == 1
    assert rms(both.ours.get_parameter("token.weight")) == pytest.approx(1.0, rel=1e-12)
    assert other_rates(both, "adamw") == {}


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_eps(optimizer: str) -> None:
    """2. mup never scales Adam's eps.

    mutransfer: eps follows the gradient's entries, which shrink like 1/fan_out, in the readout of
    Table 8 like 1/m (CompleteP, 2505.01618, Table 1; 2603.00541, Table 6). The next test measures
    that.
    """
    both = pair(mlp, ((16, 16), (64, 48)), optimizer)
    peer = OPTIMIZERS[optimizer][0](both.theirs.parameters(), lr=LR, eps=1e-8)
    assert set(by_name(both.theirs, peer.param_groups, "eps").values()) == {(1e-8,)}
    shares = {
        "input.weight": 4,
        "input.bias": 4,
        "hidden.weight": 3,
        "hidden.bias": 3,
        "readout.weight": 3,
        "readout.bias": 1,
    }
    expected = {name: 1e-8 / share for name, share in shares.items()}
    assert eps_in_their_form(both) == pytest.approx(expected, rel=1e-12)


def test_gradients_shrink_like_eps() -> None:
    sizes = (128, 128), (1024, 1024)
    both = pair(mlp, sizes)
    small, _ = mup_model(drawn(mlp, sizes[0]), mlp, sizes[0])
    wide, narrow = gradients_of(both.theirs), gradients_of(small)
    shares = {name: eps / 1e-8 for name, eps in eps_in_their_form(both).items()}
    measured = {name: wide[name] / narrow[name] for name in wide}
    assert measured == pytest.approx(shares, rel=0.3)


def eps_in_their_form(both: Pair) -> dict[str, float]:
    """Return mutransfer's eps in mup's form, theta times as large as its gradient."""
    ours = by_name(both.ours, both.plan.param_groups(both.ours, LR, eps=1e-8), "eps")
    return {name: eps * both.theta.get(name, 1.0) for name, (eps,) in ours.items()}


def gradients_of(model: nn.Module) -> dict[str, float]:
    """Return the RMS of the gradients of a random sum of the logits."""
    logits = model(random(2, 64, 6))
    gradients = torch.autograd.grad(
        (logits * random(3, *logits.shape)).sum(), [*model.parameters()]
    )
    named = zip(model.named_parameters(), gradients, strict=True)
    return {name: rms(gradient) for (name, _), gradient in named}


def random(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@every_optimizer
def test_convolution_as_readout(optimizer: str) -> None:
    """3. mup silently leaves out 1/m in a convolution onto the classes.

    MuReadout is a Linear, and the check for a missing one looks at Linear only: no multiplier, yet
    the rates that Table 8 gives to a readout with one. mutransfer: a readout by its axes, init and
    rate 1/m.
    """
    both = pair(conv_readout, ((8, 8), (32, 32)), optimizer)
    assert both.plan["readout.weight"].role == "readout"
    m = 4.0
    lr = m**2 if optimizer == "sgd" else m
    decay = 1.0 if optimizer == "adam" else 1 / lr
    assert other_rates(both, optimizer) == {"readout.weight": pytest.approx((lr, decay), rel=1e-12)}
    # mup starts at 1/sqrt(fan_in), where 1/m is wanted.
    assert other_values(both) == {"readout.weight": pytest.approx(m**0.5, rel=1e-12)}


@every_optimizer
def test_transposed_convolution(optimizer: str) -> None:
    """4. mup reads the fan-in of a transposed convolution off the wrong axis.

    It is the last dimension that grows (InfShape.main) and the second one (fanin_fanout), but
    ConvTranspose2d.weight is (in, out, kernel, kernel), and torch draws it by the same second
    dimension. The error shows where the two grow differently. mutransfer: fan-in by layer type, so
    Table 3 holds.
    """
    fan_in, fan_out = 4.0, 2.0
    both = pair(upsampler, ((8, 8), (32, 16)), optimizer)
    lr = (fan_in / fan_out) ** 2 if optimizer == "sgd" else fan_in / fan_out
    decay = 1.0 if optimizer == "adam" else 1 / lr
    assert other_rates(both, optimizer) == {"up.weight": pytest.approx((lr, decay), rel=1e-12)}
    assert both.plan["up.weight"].factor("lr") == (
        fan_out / fan_in if optimizer == "sgd" else 1 / fan_in
    )
    assert both.plan["up.weight"].factor("init") == fan_in**-0.5
    assert other_values(both) == {"up.weight": pytest.approx((fan_in / fan_out) ** 0.5, rel=1e-12)}

    alike = pair(upsampler, ((8, 8), (32, 32)), optimizer)
    assert other_rates(alike, optimizer) == {}
    assert other_values(alike) == {}


def test_adam_with_l2() -> None:
    """5. mup scales Adam's L2 weight decay as AdamW's.

    Adam adds it to a gradient that it then normalises. mutransfer: refused, since no rule makes it
    right (Tensor Programs V, Appendix B.3), with AdamW named as the remedy.
    """
    both = pair(mlp, ((16, 16), (64, 64)), "adam")
    groups = mup.MuAdam(both.theirs.parameters(), lr=LR, weight_decay=DECAY).param_groups
    assert by_name(both.theirs, groups, "weight_decay")["hidden.weight"] == (4 * DECAY,)
    with pytest.raises(mt.MutransferError, match="use AdamW"):
        both.plan.param_groups(both.ours, LR, weight_decay=DECAY)


def test_default_weight_decay() -> None:
    """6. mup's AdamW has no weight decay by default, torch's has 0.01."""
    both = pair(mlp, ((16, 16), (64, 64)))
    theirs = mup.MuAdamW(both.theirs.parameters(), lr=LR).param_groups
    assert {group["weight_decay"] for group in theirs} == {0.0}
    optimizer = torch.optim.AdamW(both.plan.param_groups(both.ours, LR))
    ours = by_name(both.ours, optimizer.param_groups, "weight_decay")
    default = torch.optim.AdamW(both.ours.parameters()).defaults["weight_decay"]
    assert default == 0.01
    tensors = both.plan.tensors.items()
    assert ours == {name: (default * tensor.factor("decay"),) for name, tensor in tensors}


def test_tensor_as_learning_rate() -> None:
    """7. mup divides the user's own tensor; mutransfer gives each group a tensor."""
    both = pair(mlp, ((16, 16), (64, 64)))
    lr = torch.tensor(LR, dtype=torch.float64)
    groups = both.plan.param_groups(both.ours, lr)
    assert lr.item() == LR
    assert by_name(both.ours, groups, "lr") == by_name(
        both.ours, both.plan.param_groups(both.ours, LR), "lr"
    )
    assert len({id(group["lr"]) for group in groups} | {id(lr)}) == len(groups) + 1

    theirs = by_name(both.theirs, mup.MuAdam(both.theirs.parameters(), lr=lr).param_groups, "lr")
    assert lr.item() == LR / 4
    assert set(theirs.values()) == {(LR / 4,)}


@every_optimizer
def test_attention_scale(optimizer: str) -> None:
    """8. mup leaves 1/d in attention to the user.

    A growing head needs 1/d for torch's 1/sqrt(d) (Tensor Programs V, Definition 4.1). mutransfer
    reads the scale off the forward pass; the queries carry the rest, and nothing where the user
    wrote 1/d.
    """
    sizes = (16, 16), (64, 64)
    written = pair(lambda width, inner: one_head(width, inner, 1 / width), sizes, optimizer)
    assert other_rates(written, optimizer) == {}
    assert other_values(written) == {}

    both = pair(lambda width, inner: one_head(width, inner, width**-0.5), sizes, optimizer)
    theta = 4.0**-0.5
    lr = theta**-2 if optimizer == "sgd" else 1 / theta
    decay = 1.0 if optimizer == "adam" else 1 / lr
    assert other_rates(both, optimizer) == {"query.weight": pytest.approx((lr, decay), rel=1e-12)}
    assert other_values(both) == {"query.weight": pytest.approx(1 / theta, rel=1e-12)}


def test_width_that_stays() -> None:
    """9. mup calls a width that stays at its base size a width, by the delta model.

    mutransfer: a dimension that did not grow is finite, so a matrix onto it is a readout and starts
    at 1/m (Table 3). Rates and decays agree; mup with MuReadout there, which it asks for when the
    delta does not grow that width, agrees on the initial values too.
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
