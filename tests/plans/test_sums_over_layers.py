"""Readouts, and streams, that are added up over all layers."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from tests.factors import factors

Forward = Callable[["Deep", list[Tensor]], Tensor]


class Deep(nn.Module):
    """Residual layers whose streams a forward pass may read one by one."""

    def __init__(self, forward: Forward, width: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Linear(8, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 3, bias=False)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        streams, stream = [], self.stem(x)
        for layer in self.layers:
            stream = stream + torch.relu(layer(stream))
            streams.append(stream)
        return self._forward(self, streams)


def heads(model: Deep, streams: Sequence[Tensor]) -> list[Tensor]:
    return [model.head(stream) for stream in streams]


def last(model: Deep, streams: list[Tensor]) -> Tensor:
    return heads(model, streams)[-1]


def running(model: Deep, streams: list[Tensor]) -> Tensor:
    total = torch.zeros(())
    for stream in streams:
        total = total + model.head(stream) / len(streams)
    return total


def average(model: Deep, streams: list[Tensor]) -> Tensor:
    total = heads(model, streams)[0]
    for each in heads(model, streams)[1:]:
        total = 0.5 * total + 0.5 * each
    return total


MEANS: dict[str, Forward] = {
    "sum over depth": lambda m, s: sum(heads(m, s)) / len(s),
    "running": running,
    "stack": lambda m, s: torch.stack(heads(m, s)).mean(0),
    "stack summed": lambda m, s: torch.stack(heads(m, s), 1).sum(1) / len(s),
    "concatenation": lambda m, s: torch.cat([h[None] for h in heads(m, s)]).mean(0),
    "of streams": lambda m, s: m.head(sum(s) / len(s)),
    "of stacked streams": lambda m, s: m.head(torch.stack(s).mean(0)),
    "exponential": average,
}
SUMS: dict[str, Forward] = {
    "sum": lambda m, s: sum(heads(m, s)),
    "stack": lambda m, s: torch.stack(heads(m, s)).sum(0),
    "of streams": lambda m, s: m.head(sum(s)),
    "with the last twice": lambda m, s: sum(heads(m, s)) + m.head(s[-1]),
}
SIZES = [(256, 4, 2), (128, 4, 2), (64, 8, 2), (128, 2, 1), (128, 3, 2)]


def planned(forward: Forward, width: int, depth: int, base_depth: int) -> mt.Plan:
    x = torch.randn(4, 8)
    return mt.plan(Deep(forward, width, depth), Deep(forward, 64, base_depth), example_inputs=x)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MEANS)
def test_a_mean_of_readouts_is_a_readout(name: str, size: tuple[int, int, int]) -> None:
    usual, plan = planned(last, *size), planned(MEANS[name], *size)
    for tensor in usual.tensors:
        assert factors(plan, tensor) == pytest.approx(factors(usual, tensor)), tensor


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SUMS)
def test_a_sum_of_readouts_counts_its_terms(name: str, size: tuple[int, int, int]) -> None:
    _, depth, base_depth = size
    usual, plan = planned(last, *size), planned(SUMS[name], *size)
    twice = name == "with the last twice"
    terms = (depth + twice) / (base_depth + twice)
    for tensor in usual.tensors:
        init, lr, eps, decay = factors(usual, tensor)
        if tensor == "head.weight":
            init, lr, eps, decay = init / terms, lr / terms, eps * terms, decay * terms
        assert factors(plan, tensor) == pytest.approx((init, lr, eps, decay)), tensor


def test_a_sum_of_readouts_trains_as_their_mean() -> None:
    """The mean, times the base's depth, is the same network with another scale of its head."""
    x, y = torch.randn(16, 8), torch.randn(16, 3)
    outputs = []
    for forward in (SUMS["sum"], lambda m, s: torch.stack(heads(m, s)).mean(0) * 2):
        torch.manual_seed(0)
        model = Deep(forward, 256, 8).double()
        base = Deep(forward, 64, 2).double()
        plan = mt.plan(model, base, optimizer="adam", example_inputs=x.double())
        plan.initialize(model)
        groups = plan.param_groups(model, lr=1e-2, eps=1e-3)
        optimizer = torch.optim.Adam(groups)
        for _ in range(5):
            optimizer.zero_grad()
            (model(x.double()) - y.double()).square().mean().backward()
            optimizer.step()
        outputs.append(model(x.double()))
    assert torch.allclose(outputs[0], outputs[1], rtol=1e-10, atol=1e-12)


def test_a_sum_of_readouts_beside_another_is_refused() -> None:
    """No one tensor carries the factor of one term of a sum, and another's is right."""

    def forward(model: Deep, streams: list[Tensor]) -> Tensor:
        return sum(heads(model, streams)) + streams[-1][:, :3]

    with pytest.raises(mt.MutransferError, match=r"head.weight.*take the mean of the terms"):
        planned(forward, 256, 4, 2)


def test_a_sum_that_nothing_learned_carries_is_refused_with_its_mean() -> None:
    def bent(average: bool) -> Forward:
        def forward(model: Deep, streams: list[Tensor]) -> Tensor:
            terms = torch.stack([torch.tanh(stream) for stream in streams])
            together = terms.mean(0) if average else terms.sum(0)
            return model.head(streams[-1] + torch.tanh(together))

        return forward

    with pytest.raises(mt.MutransferError, match=r"adds up a signal.*take the mean of the terms"):
        planned(bent(average=False), 256, 4, 2)
    usual, plan = planned(last, 256, 4, 2), planned(bent(average=True), 256, 4, 2)
    assert factors(plan, "head.weight") == factors(usual, "head.weight")


def test_heads_of_their_own_are_still_refused_in_a_sum() -> None:
    def build(width: int, depth: int) -> nn.Module:
        model = Deep(lambda m, s: sum(h(x) for h, x in zip(m.heads, s, strict=True)), width, depth)
        model.heads = nn.ModuleList(nn.Linear(width, 3) for _ in range(depth))
        del model.head
        return model

    with pytest.raises(mt.MutransferError, match="act on each other's results, or are summed"):
        mt.plan(build(256, 4), build(64, 2), example_inputs=torch.randn(4, 8))
