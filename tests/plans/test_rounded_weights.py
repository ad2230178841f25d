"""Weights that are rounded, or of which the signs alone count."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer import MutransferError
from tests.factors import factors
from tests.models import Net

Weight = Callable[[nn.Parameter], Tensor]
Activation = Callable[[Tensor], Tensor]


class Signs(torch.autograd.Function):
    """Signs forward, the identity backward."""

    @staticmethod
    def forward(context: object, weight: Tensor) -> Tensor:
        return weight.sign()

    @staticmethod
    def backward(context: object, *gradients: Tensor) -> Tensor:
        return gradients[0]


def through(of: Weight) -> Weight:
    """Return a function that passes the gradient straight through."""
    return lambda w: w + (of(w) - w).detach()


def signs_by_choice(w: Tensor) -> Tensor:
    return torch.where(w >= 0, 1.0, -1.0) + w - w.detach()


def stepped(w: Tensor, step: float | Tensor = 0.1) -> Tensor:
    return (w / step).round() * step


def quantized(w: Tensor, step: float | Tensor = 0.1) -> Tensor:
    if isinstance(step, float):
        return torch.fake_quantize_per_tensor_affine(w, step, 0, -8, 7)
    return torch.fake_quantize_per_tensor_affine(w, step, torch.zeros(1, dtype=torch.int32), -8, 7)


def by_rows(w: Tensor, steps: Tensor | None = None) -> Tensor:
    steps = torch.full((len(w),), 0.1) if steps is None else steps
    zeros = torch.zeros(len(w), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(w, steps, zeros, 0, -8, 7)


def normalised(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def network(of: Weight, last: Weight = lambda w: w, after: Activation = torch.tanh) -> mt.Plan:
    def build(width: int) -> nn.Module:
        def forward(m: Net, x: Tensor) -> Tensor:
            hidden = F.linear(torch.tanh(m.stem(x)), of(m.w))
            return F.linear(after(hidden), last(m.v))

        model = Net(forward, stem=nn.Linear(5, width))
        model.w = nn.Parameter(torch.randn(width, width) * width**-0.5)
        model.v = nn.Parameter(torch.randn(3, width) * width**-0.5)
        return model

    return mt.plan(build(64), build(16), optimizer="adam", example_inputs=torch.randn(8, 5))


def plain(w: Tensor) -> Tensor:
    return w


SIGNS: dict[str, Weight] = {
    "plain": torch.sign,
    "function": Signs.apply,
    "straight through": through(torch.sign),
    "choice": signs_by_choice,
}


@pytest.mark.parametrize("of", SIGNS.values(), ids=SIGNS)
def test_signs_that_reach_an_activation_or_the_output_are_refused(of: Weight) -> None:
    with pytest.raises(MutransferError, match=r"2 times the base's size.*as a sign.*learned gain"):
        network(of)
    with pytest.raises(MutransferError, match="4 times the base's size"):
        network(plain, of)


@pytest.mark.parametrize("of", SIGNS.values(), ids=SIGNS)
def test_signs_before_a_norm_are_hidden(of: Weight) -> None:
    plans = [network(each, after=normalised) for each in (of, plain)]
    assert factors(plans[0], "w") == factors(plans[1], "w")


def test_the_next_matrix_undoes_signs_where_all_between_is_homogeneous() -> None:
    plan, usual = (network(each, after=torch.relu) for each in (torch.sign, plain))
    for quantity in ("init", "lr"):
        assert plan["v"].factor(quantity) == usual["v"].factor(quantity) / 2


@pytest.mark.parametrize(
    "of",
    [
        stepped,
        through(stepped),
        lambda w: (w / 0.1).floor() * 0.1,
        lambda w: w * (w.abs() > 0.01),
        lambda w: torch.where(w > 0.05, w, -w),
        quantized,
        lambda w: quantized(w, torch.tensor(0.1)),
        lambda w: quantized(w, (w / w.norm()).abs().max() / 7),
        by_rows,
    ],
    ids=[
        *("round", "straight through", "floor", "threshold", "choice"),
        *("fake", "fake of a tensor", "fake of a normalised step", "fake by rows"),
    ],
)
def test_steps_of_a_size_of_their_own_are_refused(of: Weight) -> None:
    for pair in ((of, plain), (plain, of)):
        with pytest.raises(MutransferError, match=r"passes \w+ before .* in steps .*roles="):
            network(*pair)


SCALED: dict[str, Weight] = {
    "signs by their size": lambda w: w.sign() * w.abs().mean(1, keepdim=True),
    "largest": lambda w: stepped(w, w.abs().max() / 127),
    "mean": lambda w: stepped(w, w.abs().mean()).clamp(-1, 1) * w.abs().mean(),
    "straight through": through(lambda w: stepped(w, w.abs().amax(1, keepdim=True) / 7)),
    "pruned": lambda w: w * (w.abs() >= w.abs().flatten().topk(20)[0][-1]),
    "pruned at the median": lambda w: torch.where(w.abs() > w.abs().median(), w, 0.0),
    "rectified": lambda w: torch.where(w > 0, w, 2 * w),
    "fake": lambda w: quantized(w, w.abs().max().detach() / 7),
    "fake by rows": lambda w: by_rows(w, w.abs().amax(1) / 7),
    "fake of a normalised weight": lambda w: quantized(w / w.norm()) * w.norm(),
}


@pytest.mark.parametrize("of", SCALED.values(), ids=SCALED)
def test_steps_in_proportion_to_the_weight_are_planned_as_it(of: Weight) -> None:
    assert factors(network(of), "w") == factors(network(plain), "w")
    assert factors(network(plain, of), "v") == factors(network(plain), "v")


def test_signs_over_the_root_of_their_number_are_hidden() -> None:
    of = through(lambda w: w.sign() / w.shape[1] ** 0.5)
    assert factors(network(of), "w") == factors(network(plain), "w")


def test_the_step_of_a_learned_size_is_refused() -> None:
    def build(width: int) -> nn.Module:
        def forward(m: Net, x: Tensor) -> Tensor:
            step = m.step * 0.3 + (m.step - m.step * 0.3).detach()
            rounded = (m.w / step).clamp(-7, 7)
            rounded = rounded + (rounded.round() - rounded).detach()
            return m.readout(torch.relu(F.linear(m.stem(x), rounded * step)))

        model = Net(forward, stem=nn.Linear(5, width), readout=nn.Linear(width, 3))
        model.w = nn.Parameter(torch.randn(width, width) * width**-0.5)
        model.step = nn.Parameter(torch.tensor(0.1))
        return model

    with pytest.raises(MutransferError, match="w passes round before"):
        mt.plan(build(64), build(16), optimizer="adam", example_inputs=torch.randn(8, 5))


def test_features_that_are_rounded_keep_the_plan() -> None:
    plan = network(plain, after=lambda x: quantized(torch.tanh(x)))
    assert factors(plan, "w") == factors(network(plain), "w")


def test_a_rounded_input_matrix_keeps_its_scale_and_is_planned() -> None:
    def build(width: int) -> nn.Module:
        model = Net(
            lambda m, x: m.readout(torch.relu(F.linear(x, stepped(m.w)))),
            readout=nn.Linear(width, 3),
        )
        model.w = nn.Parameter(torch.randn(width, 5))
        return model

    plan = mt.plan(build(64), build(16), optimizer="adam", example_inputs=torch.randn(8, 5))
    assert plan["w"].role == "input"
