"""Numbers, sums, products, functions, norms and look-ups: the size of entries."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.analysis import Walk, fate
from tests.analysis.walking import (
    GROWN,
    causes,
    of_features,
    of_weights,
    only_use,
    output_ratio,
    walked,
)

Run = Callable[..., Any]


def width(x: Tensor) -> int:
    return x.shape[-1]


# What a function of features grows by when the width doubles.
RATIOS: dict[str, tuple[Run, float]] = {
    "nothing": (lambda x: x, 1),
    "one number at all sizes": (lambda x: x * 0.3, 1),
    "root of the width": (lambda x: x * width(x) ** 0.5, 2**0.5),
    "divided by the width": (lambda x: x / width(x), 1 / 2),
    "a reciprocal": (lambda x: 1 / (x * width(x)), 1 / 2),
    "a constant": (lambda x: x * torch.full((1,), 1.0 * width(x)), 2),
    "constants that are alike": (lambda x: x * torch.arange(1, 4).repeat(2, 1)[:, :1] * 1.0, 1),
    "a constant divides": (lambda x: x / torch.full((1,), 1.0 * width(x)), 1 / 2),
    "added": (lambda x: x * width(x) + x * width(x), 2),
    "added with a factor": (lambda x: torch.add(x / width(x), x, alpha=1 / width(x)), 1 / 2),
    "a product of both": (lambda x: (x * width(x)) * (x / width(x)), 1),
    "a quotient of both": (lambda x: (x * width(x)) / (x * width(x)), 1),
    "squared": (lambda x: (x * width(x)).square(), 4),
    "a power": (lambda x: (x * width(x)).abs() ** 0.5, 2**0.5),
    "inverse root": (lambda x: (x * width(x)).abs().rsqrt(), 2**-0.5),
    "relu": (lambda x: F.relu(x * width(x)), 2),
    "leaky relu": (lambda x: F.leaky_relu(x * width(x)), 2),
    "dropout": (lambda x: F.dropout(x * width(x), 0.5, False), 2),
    "mean": (lambda x: x.mean(-1), 1),
    "sum": (lambda x: x.sum(-1), 2),
    "sum over all": (lambda x: x.sum(), 2),
    "sum over the batch": (lambda x: x.sum(0), 1),
    "maximum": (lambda x: x.amax(-1), 1),
    "variance": (lambda x: (x * width(x)).var(-1), 4),
    "standard deviation": (lambda x: (x * width(x)).std(-1), 2),
    "length": (lambda x: torch.linalg.vector_norm(x, dim=-1), 2**0.5),
    "sum of magnitudes": (lambda x: torch.linalg.vector_norm(x, 1, dim=-1), 2),
    "largest magnitude": (lambda x: torch.linalg.vector_norm(x, float("inf"), dim=-1), 1),
    "cut off": (lambda x: (x * width(x)).clamp(min=0), 2),
    "moved": (lambda x: (x * width(x)).t().reshape(2, -1).flip(-1), 2),
    "picked": (lambda x: (x * width(x))[:, torch.arange(3)], 2),
    "placed": (lambda x: torch.zeros(2, 5).index_put((torch.arange(2),), x[:, :5]), 1),
    "side by side": (lambda x: torch.cat([x * width(x), x * width(x)], -1), 2),
    "layer norm": (lambda x: F.layer_norm(x * width(x), (width(x),)), 1),
    "root mean square by hand": (
        lambda x: (x * width(x)) * (x * width(x)).square().mean(-1, keepdim=True).rsqrt(),
        1,
    ),
    "unit length": (lambda x: F.normalize(x * width(x), dim=-1), 2**-0.5),
    "in place": (lambda x: x.clone().mul_(width(x)), 2),
    "a complex rotation": (
        lambda x: torch.view_as_real(torch.view_as_complex(x.view(2, -1, 2)) * 1j),
        1,
    ),
}


@pytest.mark.parametrize(("run", "ratio"), RATIOS.values(), ids=RATIOS)
def test_growth_of_entries(run: Run, ratio: float) -> None:
    walk = walked(of_weights(run))
    last = walk.program.outputs[0]
    found = output_ratio(walk) if walk.findings else walk.fact(last).ratio
    meant = ratio if walk.findings or walk.fact(last).ratio == ratio else 1.0
    assert found == pytest.approx(meant)


# Means of features that are alike keep their size; those of independent ones shrink.
MEASURED = sorted(
    set(RATIOS) - {"maximum", "largest magnitude", "picked", "mean", "a reciprocal", "placed"}
)


@pytest.mark.parametrize("name", MEASURED)
def test_growth_of_entries_is_that_of_numbers(name: str) -> None:
    """Sums count features that are alike, as those of trained networks are."""
    run, ratio = RATIOS[name]
    generator = torch.Generator().manual_seed(0)
    x = [torch.randn(2, n, generator=generator) for n in (2**14, 2**15)]
    if name.startswith("sum"):
        x = [torch.ones(2, n) for n in (2**14, 2**15)]
    small, large = (float(run(each).square().mean().sqrt()) for each in x)
    assert large / small == pytest.approx(ratio, rel=0.1)


@given(
    st.lists(
        st.sampled_from(
            ["times", "by", "root", "square", "relu", "negative", "view", "add", "norm"]
        ),
        max_size=6,
    )
)
@settings(max_examples=30, deadline=None)
def test_numbers_multiply_along_a_chain(steps: list[str]) -> None:
    expected = 1.0
    for step in steps:
        match step:
            case "times":
                expected *= 2
            case "by":
                expected /= 2
            case "root":
                expected **= 0.5
            case "square":
                expected **= 2
            case "norm":
                expected = 1.0

    def run(x: Tensor) -> Tensor:
        for step in steps:
            match step:
                case "times":
                    x = x * x.shape[-1]
                case "by":
                    x = x / x.shape[-1]
                case "root":
                    x = x.abs().sqrt()
                case "square":
                    x = x.square()
                case "relu":
                    x = torch.relu(x) + 0.0
                case "negative":
                    x = -x
                case "view":
                    x = x[None, :, None].transpose(0, 1).flatten(0, 2)
                case "add":
                    x = x + x
                case "norm":
                    x = F.layer_norm(x, (x.shape[-1],))
        return x

    assert output_ratio(walked(of_weights(run))) == pytest.approx(expected)


PLACES: dict[str, tuple[Run, str]] = {
    "tanh": (lambda x: torch.tanh(x * width(x)), "tanh"),
    "gelu": (lambda x: F.gelu(x / width(x)), "gelu"),
    "exponential": (lambda x: torch.exp(x / width(x)), "exp"),
    "softmax": (lambda x: F.softmax(x[:, :3] * width(x), -1), "_softmax"),
    "a sum of two": (lambda x: torch.relu(x) + x * width(x), "a sum with another signal"),
    "a sum with a factor": (
        lambda x: torch.add(torch.relu(x), x, alpha=width(x)),
        "a sum with another signal",
    ),
    "side by side": (lambda x: torch.cat([x, x * width(x)], 0), "a concatenation"),
    "maximum": (lambda x: torch.maximum(x, x * width(x)), "a sum with another signal"),
    "addcmul": (lambda x: torch.addcmul(x, x, x * width(x)), "a sum with another signal"),
    "output": (lambda x: x * width(x), "output"),
}


@pytest.mark.parametrize(("run", "place"), PLACES.values(), ids=PLACES)
def test_places_where_the_size_matters(run: Run, place: str) -> None:
    walk = walked(of_weights(run))
    assert [finding.place for finding in walk.findings] == [place]
    assert causes(walk.findings[0]) == {"number"}


def test_a_finding_is_noted_once() -> None:
    walk = walked(of_weights(lambda x: torch.tanh(torch.tanh(x * width(x)) * 3).exp()))
    assert len(walk.findings) == 1


def test_a_finding_names_the_numbers_of_both() -> None:
    (finding,) = walked(of_weights(lambda x: x * width(x) ** 0.5)).findings
    (cause,) = finding.causes
    assert cause.numbers == (8**0.5, 4.0)


def test_a_number_that_changes_its_sign_is_refused() -> None:
    with pytest.raises(mt.MutransferError, match=r"by -4, the base by 4.*nothing learned can undo"):
        walked(of_weights(lambda x: x * (12 - width(x))))


@pytest.mark.parametrize("zero", [0, 0.0])
def test_a_number_that_vanishes_is_no_factor(zero: float) -> None:
    assert not walked(of_weights(lambda x: x * (zero if width(x) == 8 else 1.0))).findings


VANISHING: dict[str, Run] = {
    "small numbers of a norm": lambda x: x / (x.std(-1, keepdim=True) + 1 / width(x)),
    "a mask": lambda x: x.masked_fill(x > 0, -1e9 / width(x)),
    "a comparison": lambda x: torch.relu(x) * (x * width(x) > 1),
    "one hot": lambda x: F.one_hot((x * width(x)).argmax(-1), width(x)).float(),
    "fresh": lambda x: x + torch.zeros_like(x * width(x)),
}


@pytest.mark.parametrize("run", VANISHING.values(), ids=VANISHING)
def test_numbers_that_do_not_matter(run: Run) -> None:
    assert not walked(of_weights(run)).findings


def test_softmax_over_the_width_sums_to_one() -> None:
    """Mixing by it is neutral: its entries shrink as their number grows."""
    assert not walked(of_weights(lambda x: x.softmax(-1).sum(-1))).findings
    assert not walked(of_weights(lambda x: (x.softmax(-1) * x).sum(-1))).findings
    walk = walked(of_weights(lambda x: x.softmax(-1)))
    assert not walk.findings
    value = next(op for op in walk.program.operations if op.name == "_softmax").results[0]
    assert walk.fact(value).ratio in (pytest.approx(1 / 2), pytest.approx(1.0))


def uses(walk: Walk, name: str = "w") -> list[str]:
    return [use.kind for use in walk.uses[name]]


LOOKUPS: dict[str, tuple[Run, Callable[[int], tuple[int, ...]]]] = {
    "embedding": (lambda x, w: x + F.embedding(torch.zeros(2).long(), w), lambda n: (5, n)),
    "index": (lambda x, w: x + w[torch.tensor([0, 1])], lambda n: (5, n)),
    "index_select": (lambda x, w: x + w.index_select(0, torch.tensor([0, 1])), lambda n: (5, n)),
    "gather": (
        lambda x, w: x + w.gather(0, torch.zeros(2, width(x)).long()),
        lambda n: (5, n),
    ),
    "rows that data pick": (lambda x, w: w[x.argmax(-1) % 5], lambda n: (5, n)),
    "bag": (
        lambda x, w: x + F.embedding_bag(torch.zeros(2, 2).long(), w, mode="sum"),
        lambda n: (5, n),
    ),
}


@pytest.mark.parametrize(("run", "shape"), LOOKUPS.values(), ids=LOOKUPS)
def test_rows_of_a_table_are_looked_up(run: Run, shape: Any) -> None:
    walk = walked(of_weights(run, w=shape))
    assert "lookup" in uses(walk) and not walk.findings
    looked_up = [use for use in walk.uses["w"] if use.kind == "lookup"]
    assert {use.kept for use in looked_up} == {(GROWN,)}
    assert all(use.stays == {1} for use in looked_up)


def test_a_table_that_is_the_head_has_both_uses() -> None:
    walk = walked(
        of_weights(
            lambda x, w: (x + F.embedding(torch.zeros(2).long(), w)) @ w.t(), w=lambda n: (5, n)
        )
    )
    found = {use.kind: use.fan for use in walk.uses["w"]}
    assert found == {"lookup": None, "vector": None, "contraction": GROWN} or found == {
        "lookup": None,
        "contraction": GROWN,
    }


def test_a_layer_that_is_picked_from_a_stack_of_layers() -> None:
    walk = walked(of_weights(lambda x, w: x @ w[0].t() + x @ w[1].t(), w=lambda n: (2, n, n)))
    assert walk.picked == {"w": {0}}
    assert [(use.fan, use.kept, use.summed) for use in walk.uses["w"]] == [
        (GROWN, (GROWN,), {2})
    ] * 2


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "layer norm": nn.LayerNorm,
    "root mean square": nn.RMSNorm,
    "batch norm": nn.BatchNorm1d,
    "group norm": lambda n: nn.GroupNorm(2, n),
    "instance norm": lambda n: nn.InstanceNorm1d(n, affine=True),
}


def over_places(x: Tensor, layer: nn.Module) -> Tensor:
    """Return features at three places, where the layer looks for them."""
    x = x[..., None].expand(-1, -1, 3)
    return x.transpose(1, 2) if isinstance(layer, nn.LayerNorm | nn.RMSNorm) else x


@pytest.mark.parametrize("layer", NORMS.values(), ids=NORMS)
def test_norms_reset_the_size_and_use_their_gain_entry_by_entry(layer: Any) -> None:
    walk = walked(
        of_features(lambda m, x: torch.tanh(m.norm(over_places(x * width(x), m.norm))), norm=layer)
    )
    assert not walk.findings
    for use in walk.uses["norm.weight"]:
        assert (use.kind, use.fan) == ("vector", None)
        assert [there / here for here, there in use.kept] == [2]


def test_pieces_of_a_concatenation_are_told_apart() -> None:
    """Width beside fixed features: the sum has both."""
    walk = walked(
        of_features(
            lambda m, x: m.mix(torch.cat([x, x[:, :4]], -1)), mix=lambda n: nn.Linear(n + 4, n)
        )
    )
    use = only_use(walk, "mix.weight")
    assert use.parts == (GROWN, (4, 4)) and use.fan == (12, 20)


def test_pieces_that_grow_alike_are_one_width() -> None:
    walk = walked(
        of_features(lambda m, x: m.mix(torch.cat([x, x], -1)), mix=lambda n: nn.Linear(2 * n, n))
    )
    assert only_use(walk, "mix.weight").parts == ()
    assert only_use(walk, "mix.weight").fan == (16, 32)


def test_an_unknown_operation_that_swallows_a_growing_dimension_is_noted() -> None:
    walk = walked(of_weights(lambda x: torch.trace(x.t() @ x)))
    assert [name for _, name in walk.unknown] == ["trace"]
    assert walked(of_weights(lambda x: torch.special.i0(x))).unknown == []


def test_a_fourier_transform_over_the_width_is_noted() -> None:
    walk = walked(of_weights(lambda x: torch.fft.fft(x).real))
    assert len(walk.fixed) == 1
    assert walked(of_weights(lambda x: torch.fft.fft(x, dim=0).real)).fixed == []


FATES: dict[str, tuple[Run, set[str]]] = {
    "output": (lambda y, x: y, {"output"}),
    "softmax": (lambda y, x: y.softmax(-1), {"softmax"}),
    "log softmax": (lambda y, x: y.log_softmax(-1), {"output"}),
    "exponential": (lambda y, x: y.exp(), {"softmax"}),
    "sorted": (lambda y, x: y.topk(2).values, {"topk"}),
    "norm": (lambda y, x: F.layer_norm(y, (4,)), {"norm"}),
    "matrix": (lambda y, x: y @ torch.ones(4, 2), {"matrix"}),
    "function and matrix": (lambda y, x: torch.tanh(y) @ torch.ones(4, 2), {"matrix"}),
    "gate": (lambda y, x: torch.sigmoid(y[:, :1]) * x, {"factor"}),
    "two": (lambda y, x: (y, y.softmax(-1)), {"output", "softmax"}),
}


@pytest.mark.parametrize(("run", "expected"), FATES.values(), ids=FATES)
def test_what_becomes_of_a_value(run: Run, expected: set[str]) -> None:
    walk = walked(of_weights(lambda x, w: run(x @ w.t(), x), w=lambda n: (4, n)))
    (use,) = (use for use in walk.uses["w"] if use.kind == "contraction")
    found = fate(walk, use.result)
    assert expected <= found
