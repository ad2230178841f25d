"""Sums over layers in other spellings, and with a learned number for each layer.

Where each stream is taken k times, a mixture of all copies is that of the streams, so that it has
to train as they do: the exact value of each factor.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from tests.factors import factors, warning_ids

Forward = Callable[["Mixing", list[Tensor]], Tensor]


class Mixing(nn.Module):
    """Residual layers, the stem's stream among theirs, with a number for each stream."""

    def __init__(
        self, forward: Forward, width: int, depth: int, copies: int = 1, number: float = 1.0
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(8, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 3, bias=False)
        self.g = nn.Parameter(torch.full((copies * (depth + 1),), number))
        self._forward, self._copies = forward, copies

    def forward(self, x: Tensor) -> Tensor:
        streams = [self.stem(x)]
        for layer in self.layers:
            streams.append(streams[-1] + torch.relu(layer(streams[-1])))
        return self._forward(self, streams * self._copies)


def shares(model: Mixing) -> Tensor:
    return torch.softmax(model.g, 0)


def heads(model: Mixing, streams: Sequence[Tensor]) -> list[Tensor]:
    return [model.head(stream) for stream in streams]


def weighted(numbers: Tensor, terms: Sequence[Tensor]) -> Tensor:
    return sum(number * term for number, term in zip(numbers, terms, strict=True))


def column(numbers: Tensor) -> Tensor:
    return numbers[:, None, None]


SHARES: dict[str, Forward] = {
    "stack": lambda m, s: m.head((column(shares(m)) * torch.stack(s)).sum(0)),
    "stack in the middle": lambda m, s: m.head((torch.stack(s, 1) * shares(m).view(-1, 1)).sum(1)),
    "sum": lambda m, s: m.head(weighted(shares(m), s)),
    "einsum": lambda m, s: m.head(torch.einsum("l,lbw->bw", shares(m), torch.stack(s))),
    "tensordot": lambda m, s: m.head(torch.tensordot(shares(m), torch.stack(s), 1)),
    "matmul": lambda m, s: m.head(torch.stack(s, -1) @ shares(m)),
    "of readouts": lambda m, s: weighted(shares(m), heads(m, s)),
    "of stacked readouts": lambda m, s: (column(shares(m)) * m.head(torch.stack(s))).sum(0),
    "with a temperature": lambda m, s: m.head(torch.stack(s, -1) @ torch.softmax(m.g / 2, 0)),
    "by their sum": lambda m, s: m.head(
        torch.stack(s, -1) @ (m.g.add(1).exp() / m.g.add(1).exp().sum())
    ),
}
NUMBERS: dict[str, Forward] = {
    "sum": lambda m, s: m.head(weighted(m.g, s)),
    "of readouts": lambda m, s: weighted(m.g, heads(m, s)),
    "before the head": lambda m, s: sum(heads(m, [g * x for g, x in zip(m.g, s, strict=True)])),
    "mean": lambda m, s: m.head(weighted(m.g, s) / len(s)),
    "stack": lambda m, s: m.head((column(m.g) * torch.stack(s)).sum(0)),
    "einsum": lambda m, s: m.head(torch.einsum("l,lbw->bw", m.g, torch.stack(s))),
    "sigmoid": lambda m, s: m.head(weighted(torch.sigmoid(m.g), s)),
    "stacked sigmoid": lambda m, s: m.head((column(torch.sigmoid(m.g)) * torch.stack(s)).sum(0)),
}
SUMS: dict[str, Forward] = {
    "einsum": lambda m, s: m.head(torch.einsum("lbw->bw", torch.stack(s))),
    "permuted": lambda m, s: m.head(torch.stack(s).permute(1, 2, 0).sum(-1)),
    "last": lambda m, s: m.head(torch.stack(s, -1).sum(dim=-1)),
    "batch": lambda m, s: m.head(torch.cat(s).view(len(s), *s[0].shape).sum(0)),
    "features": lambda m, s: m.head(torch.cat(s, -1).view(len(s[0]), len(s), -1).sum(1)),
    "of stacked readouts": lambda m, s: m.head(torch.stack(s)).sum(0),
    "of readouts": lambda m, s: sum(heads(m, s)),
}
SIZES = [(256, 4, 2), (128, 3, 1), (128, 8, 2), (64, 8, 2)]


def planned(forward: Forward, width: int, depth: int, base_depth: int, **options: str) -> mt.Plan:
    x = torch.randn(4, 8)
    model, base = Mixing(forward, width, depth), Mixing(forward, 64, base_depth)
    return mt.plan(model, base, example_inputs=x, **options)


def last(model: Mixing, streams: list[Tensor]) -> Tensor:
    return model.head(streams[-1] * model.g[0])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SHARES)
def test_shares_of_layers_leave_the_readout_as_it_is(name: str, size: tuple[int, int, int]) -> None:
    usual, plan = planned(last, *size), planned(SHARES[name], *size)
    for tensor in set(usual.tensors) - {"g"}:
        assert factors(plan, tensor) == pytest.approx(factors(usual, tensor)), tensor
    assert "own-factor" not in warning_ids(plan)


@pytest.mark.parametrize("name", SHARES)
def test_logits_of_shares_have_gradients_that_fall_with_depth(name: str) -> None:
    for size in SIZES:
        terms = (size[1] + 1) / (size[2] + 1)
        adam, sgd = (planned(SHARES[name], *size, optimizer=each) for each in ("adam", "sgd"))
        assert adam["g"].role == sgd["g"].role == "vector"
        assert factors(adam, "g", ("init", "lr", "eps")) == pytest.approx((1, 1, 1 / terms))
        assert factors(sgd, "g", ("init", "lr")) == pytest.approx((1, terms))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SUMS)
def test_every_spelling_of_a_sum_counts_its_terms(name: str, size: tuple[int, int, int]) -> None:
    terms = (size[1] + 1) / (size[2] + 1)
    usual, plan = planned(last, *size), planned(SUMS[name], *size)
    for tensor in set(usual.tensors) - {"g"}:
        init, lr, eps, decay = factors(usual, tensor)
        if tensor == "head.weight":
            init, lr, eps, decay = init / terms, lr / terms, eps * terms, decay * terms
        assert factors(plan, tensor) == pytest.approx((init, lr, eps, decay)), tensor


def trained(forward: Forward, copies: int, optimizer: str, number: float) -> Tensor:
    """Return the outputs after training, planned from the model without copies."""
    torch.manual_seed(0)
    x, y = torch.randn(16, 8).double(), torch.randn(16, 3).double()
    both = []
    for each in (copies, 1):
        torch.manual_seed(1)
        both.append(Mixing(forward, 64, 2, each, number).double())
    model, base = both
    plan = mt.plan(model, base, optimizer=optimizer, example_inputs=x)
    plan.initialize(model)
    adam = optimizer == "adam"
    groups = plan.param_groups(model, lr=1e-2, **({"eps": 1e-3} if adam else {}))
    steps = (torch.optim.Adam if adam else torch.optim.SGD)(groups)
    for _ in range(5):
        steps.zero_grad()
        (model(x) - y).square().mean().backward()
        steps.step()
    return model(x)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("name", [*SHARES, *(f"numbers: {name}" for name in NUMBERS)])
def test_a_mixture_of_copies_trains_as_one_of_single_streams(name: str, optimizer: str) -> None:
    known = name.startswith("numbers: ")
    forward = NUMBERS[name.removeprefix("numbers: ")] if known else SHARES[name]
    one, three = (trained(forward, copies, optimizer, float(known)) for copies in (1, 3))
    assert torch.allclose(one, three, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_of_copies_trains_as_one_of_single_streams(name: str) -> None:
    one, three = (trained(SUMS[name], copies, "adam", 1.0) for copies in (1, 3))
    assert torch.allclose(one, three, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_over_one_layer_has_one_term(name: str) -> None:
    def without_stem(forward: Forward) -> Forward:
        return lambda model, streams: forward(model, streams[1:])

    usual, plan = (planned(without_stem(each), 256, 4, 1) for each in (last, SUMS[name]))
    init, lr = factors(usual, "head.weight", ("init", "lr"))
    assert factors(plan, "head.weight", ("init", "lr")) == pytest.approx((init / 4, lr / 4))


def test_logits_of_their_own_names_are_shares_too() -> None:
    """ELMo's scalar mix has a parameter for each layer."""

    def build(width: int, depth: int) -> nn.Module:
        def forward(model: Mixing, streams: list[Tensor]) -> Tensor:
            logits = torch.softmax(torch.cat(list(model.logits)), 0)
            return model.head(model.gamma * weighted(torch.split(logits, 1), streams))

        model = Mixing(forward, width, depth)
        model.logits = nn.ParameterList(torch.zeros(1) for _ in range(depth + 1))
        model.gamma = nn.Parameter(torch.ones(1))
        del model.g
        return model

    x, usual = torch.randn(4, 8), planned(last, 256, 7, 1, optimizer="sgd")
    plan = mt.plan(build(256, 7), build(64, 1), optimizer="sgd", example_inputs=x)
    assert factors(plan, "head.weight") == factors(usual, "head.weight")
    assert factors(plan, "logits.0", ("init", "lr")) == pytest.approx((1, 4))


@pytest.mark.parametrize("size", SIZES)
def test_a_mean_of_readouts_from_the_stem_on_is_a_readout(size: tuple[int, int, int]) -> None:
    """The stem's readout beside those of the layers is no shortcut around them."""
    usual = planned(last, *size)
    for forward in (
        lambda m, s: sum(heads(m, s)) / len(s),
        lambda m, s: torch.stack(heads(m, s)).mean(0),
    ):
        plan = planned(forward, *size)
        for tensor in set(usual.tensors) - {"g"}:
            assert factors(plan, tensor) == pytest.approx(factors(usual, tensor)), tensor


def test_a_shared_matrix_before_another_is_still_a_shortcut() -> None:
    def build(width: int, depth: int) -> nn.Module:
        model = Mixing(lambda m, s: m.mix(torch.relu(sum(heads(m, s)))), width, depth)
        model.mix = nn.Linear(3, 3)
        return model

    with pytest.raises(mt.MutransferError, match="residual branch 1 of"):
        mt.plan(build(256, 4), build(64, 2), example_inputs=torch.randn(4, 8))


CONSTANTS: dict[str, Forward] = {
    "matmul": lambda m, s: m.head(torch.stack(s, -1) @ torch.ones(len(s))),
    "einsum": lambda m, s: m.head(torch.einsum("l,lbw->bw", torch.ones(len(s)), torch.stack(s))),
    "product": lambda m, s: m.head((column(torch.arange(len(s)) + 1.0) * torch.stack(s)).sum(0)),
    "alternating": lambda m, s: m.head(
        (column((-1.0) ** torch.arange(len(s))) * torch.stack(s)).sum(0)
    ),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constant_weights_of_more_layers_are_refused(name: str) -> None:
    """Their mean magnitude does not show how their sum grows."""
    with pytest.raises(mt.MutransferError, match=r"constant weight.*take the mean of the terms"):
        planned(CONSTANTS[name], 256, 5, 2)
    usual, plan = planned(last, 256, 2, 2), planned(CONSTANTS[name], 256, 2, 2)
    assert factors(plan, "head.weight") == factors(usual, "head.weight")


def test_a_learned_vector_for_each_layer_is_refused_in_their_sum() -> None:
    def build(width: int, depth: int) -> nn.Module:
        def forward(model: Mixing, streams: list[Tensor]) -> Tensor:
            return model.head((model.gains[:, None] * torch.stack(streams)).sum(0))

        model = Mixing(forward, width, depth)
        model.gains = nn.Parameter(torch.ones(depth + 1, width))
        return model

    with pytest.raises(mt.MutransferError, match=r"learned vector for each.*take the mean"):
        mt.plan(build(256, 4), build(64, 2), example_inputs=torch.randn(4, 8))
    same = mt.plan(build(256, 2), build(64, 2), example_inputs=torch.randn(4, 8))
    assert same["head.weight"].role == "readout"


def test_copies_in_every_layer_are_no_sum_over_layers() -> None:
    """A gain on features and their negatives (concatenated ReLU) belongs to its layer."""

    class Layer(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(2 * width))
            self.map = nn.Linear(2 * width, width)

        def forward(self, x: Tensor) -> Tensor:
            return self.map(torch.cat([torch.relu(x), torch.relu(-x)], -1) * self.gain)

    def build(width: int, depth: int) -> nn.Module:
        model = Mixing(lambda m, s: m.head(s[-1] * m.g[0]), width, depth)
        model.layers = nn.ModuleList(Layer(width) for _ in range(depth))
        return model

    plan = mt.plan(build(256, 4), build(64, 2), example_inputs=torch.randn(4, 8))
    assert plan["layers.0.map.weight"].role == "hidden"
    assert plan["layers.0.gain"].factor("lr") == pytest.approx(2**-0.5)


def test_shares_of_unlike_terms_are_refused_with_what_to_do() -> None:
    def forward(model: Mixing, streams: list[Tensor]) -> Tensor:
        streams = [*streams[:-1], torch.tanh(streams[-1])]
        return model.head(weighted(shares(model), streams))

    def apart(model: Mixing, streams: list[Tensor]) -> Tensor:
        return model.head(torch.stack(streams[:-1]).mean(0) + torch.tanh(streams[-1]))

    with pytest.raises(mt.MutransferError, match=r"take the mean of the terms .*add the others"):
        planned(forward, 256, 5, 2)
    usual, plan = planned(last, 256, 5, 2), planned(apart, 256, 5, 2)
    assert factors(plan, "head.weight") == pytest.approx(factors(usual, "head.weight"))
