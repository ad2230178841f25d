"""Products that are summed: which parameter is summed over what, in every spelling."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutransfer.analysis import Use, Walk
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


def contractions(walk: Walk, name: str = "w") -> list[Use]:
    return [use for use in walk.uses[name] if use.kind == "contraction"]


# A matrix (out, in), and one with the axes in the other order.
OUT_IN: dict[str, Run] = {
    "linear": F.linear,
    "matmul": lambda x, w: x @ w.t(),
    "einsum": lambda x, w: torch.einsum("bi,oi->bo", x, w),
    "einsum, broadcast": lambda x, w: torch.einsum("bi,boi->bo", x, w.expand(2, -1, -1)),
    "by hand": lambda x, w: (x[:, None] * w).sum(-1),
    "by hand, the other way": lambda x, w: (w * x[:, None]).sum(dim=2),
    "by hand, over a first dimension": lambda x, w: (x.t()[:, :, None] * w.t()[:, None]).sum(0),
    "bmm": lambda x, w: torch.bmm(x[:, None], w.t().expand(2, -1, -1))[:, 0],
    "addmm": lambda x, w: torch.addmm(torch.zeros(1), x, w.t(), alpha=2.0),
    "baddbmm": lambda x, w: torch.baddbmm(torch.zeros(1), x[None], w.t()[None])[0],
    "row by row": lambda x, w: torch.stack([w @ row for row in x]),
    "addmv": lambda x, w: torch.stack([torch.addmv(torch.zeros(1), w, row) for row in x]),
    "tensordot": lambda x, w: torch.tensordot(x, w, ([1], [1])),
    "transposed": lambda x, w: (w @ x.t()).t(),
    "in heads": lambda x, w: torch.einsum("bhi,ohi->bo", x.view(2, 4, -1), w.view(len(w), 4, -1)),
    "a kernel of one place": lambda x, w: F.conv1d(x[..., None], w[..., None])[..., 0],
    "halves": lambda x, w: sum(map(F.linear, x.chunk(2, 1), w.chunk(2, 1))),
    "tripled": lambda x, w: F.linear(x, 3 * w),
    "without its mean": lambda x, w: F.linear(x, w - w.mean(1, keepdim=True)),
    "masked": lambda x, w: F.linear(x, w * torch.ones(w.shape).tril()),
    "in single precision": lambda x, w: F.linear(x.double(), w.double()).float(),
}


@pytest.mark.parametrize("run", OUT_IN.values(), ids=OUT_IN)
def test_a_hidden_matrix_in_every_spelling(run: Run) -> None:
    walk = walked(of_weights(run, w=lambda n: (n, n)))
    assert contractions(walk) and not walk.findings
    for use in contractions(walk):
        assert use.fan is not None and use.fan[1] == 2 * use.fan[0]
        assert use.kept in ((GROWN,), ())
    assert any(use.kept == (GROWN,) for use in contractions(walk))


@pytest.mark.parametrize(
    "run", [run for name, run in OUT_IN.items() if name not in {"halves", "row by row", "addmv"}]
)
def test_axes_of_a_hidden_matrix(run: Run) -> None:
    (use,) = contractions(walked(of_weights(run, w=lambda n: (n, n))))
    assert (use.fan, use.summed, use.stays) == (GROWN, {1}, {0})
    assert use.growing == {0, 1}


@pytest.mark.parametrize("run", OUT_IN.values(), ids=OUT_IN)
def test_a_readout_in_every_spelling(run: Run) -> None:
    walk = walked(of_weights(run, w=lambda n: (4, n)))
    assert {use.kept for use in contractions(walk)} == {()}
    assert all(use.fan and use.fan[1] == 2 * use.fan[0] for use in contractions(walk))
    assert not walk.findings


def test_an_input_matrix_is_summed_over_what_does_not_grow() -> None:
    use = only_use(walked(of_weights(lambda x, w: F.linear(x[:, :4], w), w=lambda n: (n, 4))))
    assert (use.kind, use.fan, use.kept, use.summed) == ("contraction", None, (GROWN,), {1})


def test_the_inputs_of_the_stem_are_finite() -> None:
    walk = walked(of_weights(lambda x: x))
    assert [use.fan for use in walk.uses["stem.weight"]] == [None]
    assert [use.kind for use in walk.uses["stem.bias"]] == ["vector"]


VECTORS: dict[str, tuple[Run, bool]] = {
    "dot of each row": (lambda x, w: torch.stack([row @ w for row in x]), True),
    "matrix times vector": (lambda x, w: x @ w, True),
    "einsum": (lambda x, w: torch.einsum("bi,i->b", x, w), True),
    "product and sum": (lambda x, w: (x * w).sum(-1), True),
    "product and mean": (lambda x, w: (x * w).mean(-1), True),
    "gain": (lambda x, w: x * w, False),
    "bias": (lambda x, w: x + w, False),
    "gain of an activation": (lambda x, w: torch.tanh(x) * w, False),
    "quotient": (lambda x, w: x / w, False),
    "a norm's gain": (lambda x, w: F.layer_norm(x, (x.shape[-1],), w), False),
    "before a norm by hand": (
        lambda x, w: (x * w) * (x * w).square().mean(-1, keepdim=True).rsqrt(),
        False,
    ),
    "addcmul": (lambda x, w: torch.addcmul(x, x, w), False),
    "lerp": (lambda x, w: torch.lerp(x, torch.tanh(x), w), False),
    "prelu": (lambda x, w: F.prelu(x, w), False),
    "where": (lambda x, w: torch.where(x > 0, x, w), False),
}


@pytest.mark.parametrize(("run", "is_readout"), VECTORS.values(), ids=VECTORS)
def test_a_vector_is_a_readout_or_a_gain(run: Run, is_readout: bool) -> None:
    walk = walked(of_weights(run, w=lambda n: (n,)))
    assert bool(contractions(walk)) == is_readout
    assert all(use.fan == GROWN and use.kept == () for use in contractions(walk))


def test_a_mean_of_a_product_shrinks_and_is_noted() -> None:
    """The mean divides by the width once more than a readout's rate and scale do."""
    walk = walked(of_weights(lambda x, w: (x * w).mean(-1), w=lambda n: (n,)))
    assert output_ratio(walk) == pytest.approx(1 / 2)
    assert [use.fan for use in contractions(walk)] == [GROWN]


@pytest.mark.parametrize(
    ("scale", "ratio"),
    [(lambda n: 1.0, 2.0), (lambda n: n**-0.5, 2**0.5), (lambda n: 1 / n, 1.0)],
    ids=["1", "1/sqrt(d)", "1/d"],
)
@pytest.mark.parametrize(
    "logits",
    [
        lambda q, k, s: q @ k.t() * s,
        lambda q, k, s: (q * s) @ k.t(),
        lambda q, k, s: torch.einsum("id,jd->ij", q, k * s),
        lambda q, k, s: torch.baddbmm(torch.zeros(1, 1, 1), q[None], k.t()[None], alpha=s)[0],
        lambda q, k, s: torch.addmm(torch.zeros(1), q, k.t(), alpha=s),
        lambda q, k, s: (q[:, None] * k[None]).sum(-1) * s,
        lambda q, k, s: (q * k).sum(-1) / (1 / s),
    ],
)
def test_two_signals_grow_by_the_summed_dimension(
    logits: Run, scale: Callable[[int], float], ratio: float
) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        q, k = m.query(x), m.key(x)
        return logits(q, k, scale(q.shape[-1])).softmax(-1)

    square = {name: (lambda n: nn.Linear(n, n)) for name in ("query", "key")}
    walk = walked(of_features(run, **square))
    if ratio == 1:
        assert not walk.findings
        return
    (finding,) = walk.findings
    assert finding.ratio == pytest.approx(ratio)
    assert finding.place == "_softmax" and "product" in causes(finding)
    sizes = [cause.sizes for cause in finding.causes if cause.kind == "product"]
    assert sizes == [GROWN]


@pytest.mark.parametrize("grows", [False, True])
def test_heads_that_grow_in_number_need_no_factor(grows: bool) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        shape = (2, -1, 4) if grows else (2, 2, -1)
        q, k = (layer(x).view(shape).transpose(0, 1) for layer in (m.query, m.key))
        return (q @ k.transpose(1, 2) / 2).softmax(-1)

    square = {name: (lambda n: nn.Linear(n, n)) for name in ("query", "key")}
    found = walked(of_features(run, **square)).findings
    assert [f.ratio for f in found] == ([] if grows else [pytest.approx(2.0)])


def test_signal_squared_and_summed_is_a_product() -> None:
    walk = walked(of_weights(lambda x: x.square().sum(-1)))
    (finding,) = walk.findings
    assert finding.ratio == pytest.approx(2) and causes(finding) == {"product"}


def test_a_constant_matrix_over_the_width_is_neutral() -> None:
    """A fixed mixing of features, such as a cosine transform."""
    walk = walked(of_weights(lambda x: x @ (torch.eye(x.shape[1]) + 0.1)))
    assert not walk.findings


def test_two_matrices_of_one_weight_are_both_summed() -> None:
    """A composed adapter: x (A B)^T, with a finite rank."""
    walk = walked(
        of_weights(lambda x, a, b: x @ (b @ a).t(), a=lambda n: (2, n), b=lambda n: (n, 2))
    )
    a, b = (walk.uses[name][-1] for name in "ab")
    assert (a.fan, a.kept, a.others_grow) == (GROWN, (), True)
    assert (b.fan, b.kept) == (None, (GROWN,))


def test_an_adapter_that_is_applied_in_turn() -> None:
    walk = walked(
        of_weights(lambda x, a, b: (x @ a.t()) @ b.t(), a=lambda n: (2, n), b=lambda n: (n, 2))
    )
    assert (only_use(walk, "a").fan, only_use(walk, "a").kept) == (GROWN, ())
    assert (only_use(walk, "b").fan, only_use(walk, "b").kept) == (None, (GROWN,))


def test_a_merged_adapter_is_added_to_the_weight() -> None:
    walk = walked(
        of_weights(
            lambda x, w, a, b: x @ (w + b @ a / 2).t(),
            w=lambda n: (n, n),
            a=lambda n: (2, n),
            b=lambda n: (n, 2),
        )
    )
    assert (walk.uses["w"][-1].fan, walk.uses["w"][-1].kept) == (GROWN, (GROWN,))
    assert walk.uses["a"][-1].fan == GROWN and walk.uses["b"][-1].kept == (GROWN,)


def test_matrices_that_are_multiplied_entry_by_entry_are_joint() -> None:
    walk = walked(
        of_weights(lambda x, w, v: x @ (w * v).t(), w=lambda n: (n, n), v=lambda n: (n, n))
    )
    assert (only_use(walk, "w").joint, only_use(walk, "v").joint) == ({"v"}, {"w"})


def test_a_gain_in_a_weight_is_no_matrix() -> None:
    walk = walked(of_weights(lambda x, w, g: x @ (w * g).t(), w=lambda n: (n, n), g=lambda n: (n,)))
    assert only_use(walk, "w").kind == "contraction" and not only_use(walk, "w").joint
    assert (only_use(walk, "g").kind, only_use(walk, "g").fan) == ("vector", None)


def test_a_set_of_latents_is_a_signal_to_a_matrix() -> None:
    walk = walked(
        of_weights(
            lambda x, latents, w: x + (latents @ w.t()).sum(0),
            latents=lambda n: (3, n),
            w=lambda n: (n, n),
        )
    )
    assert (only_use(walk, "w").fan, only_use(walk, "w").kept) == (GROWN, (GROWN,))
    assert only_use(walk, "latents").kind == "vector"


def test_latents_that_are_compared_with_a_signal_are_a_readout() -> None:
    walk = walked(of_weights(lambda x, latents: x @ latents.t(), latents=lambda n: (3, n)))
    assert (only_use(walk, "latents").fan, only_use(walk, "latents").kept) == (GROWN, ())


def test_experts_in_one_tensor() -> None:
    walk = walked(
        of_weights(lambda x, w: torch.einsum("bi,eoi->beo", x, w).sum(1), w=lambda n: (3, n, n))
    )
    use = only_use(walk)
    assert (use.fan, use.kept, use.summed) == (GROWN, ((24, 48),), {2})


def test_grouped_products_of_matrices() -> None:
    def run(x: Tensor, w: Tensor) -> Tensor:
        ends = torch.tensor([1, 2], dtype=torch.int32)
        return torch._grouped_mm(x.bfloat16(), w.bfloat16().transpose(1, 2), offs=ends)

    walk = walked(of_weights(run, w=lambda n: (2, n, n)))
    assert (only_use(walk).fan, only_use(walk).kept) == (GROWN, (GROWN,))
    assert only_use(walk).summed == {2}


def test_bilinear_sums_over_both_inputs() -> None:
    walk = walked(of_features(lambda m, x: m.both(x, x), both=lambda n: nn.Bilinear(n, n, n)))
    fans = [use.fan for use in contractions(walk, "both.weight") if use.fan]
    assert fans and all(there == 4 * here for here, there in fans)
    assert not walk.unknown


# Channels that grow, groups, a transposed convolution or not: fan-in, what is kept.
CONVOLUTIONS: dict[str, tuple[Callable[[int], nn.Module], Any, tuple[Any, ...]]] = {
    "dense": (lambda n: nn.Conv2d(n, n, 3, padding=1), (72, 144), (GROWN,)),
    "finite outputs": (lambda n: nn.Conv2d(n, 4, 1), GROWN, ()),
    "two groups": (lambda n: nn.Conv2d(n, n, 3, padding=1, groups=2), (36, 72), (GROWN,)),
    "growing groups": (lambda n: nn.Conv2d(n, n, 3, padding=1, groups=n // 4), None, (GROWN,)),
    "depthwise": (lambda n: nn.Conv2d(n, n, 3, padding=1, groups=n), None, (GROWN,)),
    "depthwise, twice as many": (lambda n: nn.Conv2d(n, 2 * n, 3, groups=n), None, ((16, 32),)),
    "transposed": (lambda n: nn.ConvTranspose2d(n, n, 2), (32, 64), (GROWN,)),
    "transposed, depthwise": (lambda n: nn.ConvTranspose2d(n, n, 2, groups=n), None, (GROWN,)),
}


@pytest.mark.parametrize(("layer", "fan", "kept"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions(layer: Callable[[int], nn.Module], fan: Any, kept: tuple[Any, ...]) -> None:
    walk = walked(
        of_features(lambda m, x: m.layer(x[:, :, None, None].expand(-1, -1, 4, 4)), layer=layer)
    )
    use = only_use(walk, "layer.weight")
    assert use.fan == fan or (fan and use.fan and use.fan[1] * fan[0] == use.fan[0] * fan[1])
    assert use.kept == kept
    assert only_use(walk, "layer.bias").kind == "vector"
    assert not walk.findings


def test_distances_to_a_code_book_grow_as_the_root_of_the_width() -> None:
    walk = walked(of_weights(lambda x, w: torch.cdist(x, w), w=lambda n: (4, n)))
    assert output_ratio(walk) == pytest.approx(2**0.5)
    assert only_use(walk).kind == "vector"


# x @ (w / length(w)): the scale of w does not matter.
NORMALISED: dict[str, Run] = {
    "normalize": lambda w: F.normalize(w, dim=1),
    "by hand": lambda w: w / w.square().sum(1, keepdim=True).sqrt(),
    "by the root mean square": lambda w: w * w.square().mean(1, keepdim=True).rsqrt(),
    "vector norm": lambda w: w / torch.linalg.vector_norm(w, dim=1, keepdim=True),
    "standard deviation": lambda w: (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True),
    "variance": lambda w: w * (w.var(1, keepdim=True) + 1e-6).rsqrt(),
    "layer norm": lambda w: F.layer_norm(w, w.shape[1:]),
    "batch norm": lambda w: F.batch_norm(w[None].transpose(1, 2), None, None, training=True)[0].t(),
}


@pytest.mark.parametrize("normalised", NORMALISED.values(), ids=NORMALISED)
def test_a_normalised_weight_is_noted(normalised: Run) -> None:
    walk = walked(of_weights(lambda x, w: x @ normalised(w).t(), w=lambda n: (n, n)))
    contracted = [use for use in walk.uses["w"] if use.kind == "contraction" and use.fan]
    assert contracted and all(use.is_normalised for use in contracted)


@pytest.mark.parametrize("name", ["normalize", "by hand", "vector norm"])
def test_rows_of_unit_length_keep_the_size_of_features(name: str) -> None:
    """A unit row sums n entries of 1/sqrt(n) each: features of the same size, by chance."""
    walk = walked(of_weights(lambda x, w: x @ NORMALISED[name](w).t(), w=lambda n: (n, n)))
    assert not walk.findings


@pytest.mark.parametrize("name", ["standard deviation", "layer norm"])
def test_standardised_rows_before_a_nonlinearity_are_noted(name: str) -> None:
    walk = walked(
        of_weights(lambda x, w: torch.tanh(x @ NORMALISED[name](w).t()), w=lambda n: (n, n))
    )
    assert [finding.place for finding in walk.findings] == ["tanh"]


@pytest.mark.parametrize("hooked", [False, True])
def test_weight_norm(hooked: bool) -> None:
    def layer(n: int) -> nn.Module:
        linear = nn.Linear(n, n, bias=False)
        if hooked:
            return nn.utils.parametrizations.weight_norm(linear)
        linear.weight = nn.Parameter(torch.randn(n, n))
        return linear

    def run(m: Any, x: Tensor) -> Tensor:
        if hooked:
            return m.layer(x)
        length = torch.linalg.vector_norm(m.layer.weight, dim=1, keepdim=True)
        return x @ (m.g * m.layer.weight / length).t()

    parts = {} if hooked else {"g": lambda n: (n, 1)}
    walk = walked(of_features(run, layer=layer, **parts))
    prefix = "layer.parametrizations.weight.original"
    v, g = (f"{prefix}1", f"{prefix}0") if hooked else ("layer.weight", "g")
    direction = [use for use in walk.uses[v] if use.fan]
    assert direction and all(use.is_normalised for use in direction)
    assert all(use.fan is None for use in walk.uses[g])
    assert not walk.findings
