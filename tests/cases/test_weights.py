"""Reparametrised weights, own factors, mixed fan-ins, tied heads, adapters and experts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import spectral_norm as old_spectral_norm

from tests.cases.families import (
    HIDDEN,
    INPUT,
    READOUT,
    ROWS,
    SCALAR,
    VECTOR,
    WORDS,
    Factors,
    Family,
    cases,
    wrong,
)
from tests.models import Net, square


def old_weight_norm(layer: nn.Module) -> nn.Module:
    from torch.nn.utils import weight_norm

    return weight_norm(layer)


def network(
    layer: Callable[[int, int], nn.Module], right: dict[str, str | Factors], **kw: Any
) -> Family:
    """Three layers of one kind."""
    return Family(
        make=lambda w: nn.Sequential(layer(10, w), nn.ReLU(), layer(w, w), nn.ReLU(), layer(w, 5)),
        right=right,
        inputs=ROWS,
        **kw,
    )


class Standard(nn.Linear):
    """Weight standardisation, with a number of the fan-in and a gain."""

    def __init__(self, i: int, o: int, power: float = 0.0, gain: bool = True) -> None:
        super().__init__(i, o)
        self.power, self.gain = power, nn.Parameter(torch.ones(o, 1)) if gain else None

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        w = (w - w.mean(1, keepdim=True)) / (w.std(1, keepdim=True) + 1e-6)
        w = w * w.shape[1] ** self.power
        return F.linear(x, w if self.gain is None else w * self.gain, self.bias)


class Scaled(nn.Linear):
    """A linear layer whose weight is multiplied by a power of its fan-in."""

    def __init__(self, i: int, o: int, power: float = -0.5, bias: bool = True) -> None:
        super().__init__(i, o, bias)
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight.shape[1] ** self.power, self.bias)


def unit_rows(w: Tensor) -> Tensor:
    return (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True) * w.shape[1] ** -0.5


def scaled_variance(w: Tensor) -> Tensor:
    """Standardise as normaliser-free networks do."""
    var, mean = torch.var_mean(w, dim=1, keepdim=True)
    return (w - mean) * torch.rsqrt(torch.maximum(var * w.shape[1], torch.tensor(1e-4)))


ROWS_NORMED: dict[str, Callable[[Tensor], Tensor]] = {
    "std": unit_rows,
    "std and eps": lambda w: w / (w.std(1, keepdim=True) + 1e-5) * w.shape[1] ** -0.5,
    "scaled variance": scaled_variance,
    "layer norm": lambda w: F.layer_norm(w, (w.shape[1],)) * w.shape[1] ** -0.5,
    "unit length": lambda w: F.normalize(w, dim=1),
    "unit length and eps": lambda w: w / (w.norm(dim=1, keepdim=True) + 1e-6),
    "root mean square": lambda w: (
        w * torch.rsqrt(w.square().mean(1, keepdim=True) + 1e-6) * w.shape[1] ** -0.5
    ),
}


def normed_rows(norm: Callable[[Tensor], Tensor]) -> Family:
    """A hidden weight of normed rows, with a gain for each; lr over init falls as n^-1/2."""

    def run(m: Any, x: Tensor) -> Tensor:
        h = F.linear(torch.relu(m.a(x)), norm(m.w) * m.g)
        return m.c(torch.relu(h))

    return Family(
        make=lambda w: Net(
            run,
            a=nn.Linear(10, w),
            c=nn.Linear(w, 3),
            w=nn.Parameter(torch.randn(w, w) * w**-0.5),
            g=nn.Parameter(torch.ones(w, 1)),
        ),
        right={"w": HIDDEN, "g": VECTOR, "c.weight": READOUT},
        inputs=ROWS,
    )


class Centred(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w - w.mean(1, keepdim=True)


class Masked(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w * torch.ones_like(w).tril()


class Skew(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w.triu(1) - w.triu(1).mT


def parametrized(parametrization: Callable[[], nn.Module]) -> Callable[[int, int], nn.Module]:
    def layer(i: int, o: int) -> nn.Module:
        made = nn.Linear(i, o)
        parametrize.register_parametrization(made, "weight", parametrization())
        return made

    return layer


PLAIN = {"0.weight": INPUT, "2.weight": HIDDEN, "4.weight": READOUT}
G, V = "parametrizations.weight.original0", "parametrizations.weight.original1"
ORIGINAL = "parametrizations.weight.original"
REPARAMETRISED = {
    "weight norm": network(
        lambda i, o: parametrizations.weight_norm(nn.Linear(i, o)),
        # |v| grows as sqrt(fan_in): the gain of features is free, that of the readout not.
        {f"0.{G}": VECTOR, f"0.{V}": INPUT, f"2.{G}": (1.0, 1.0), f"4.{G}": (1 / 2, 1 / 2)},
    ),
    "weight norm, one gain": network(
        lambda i, o: parametrizations.weight_norm(nn.Linear(i, o), dim=None), {}, refuse=True
    ),
    "spectral norm": network(
        lambda i, o: parametrizations.spectral_norm(nn.Linear(i, o)), {}, refuse=True
    ),
    "spectral norm, before": network(
        lambda i, o: old_spectral_norm(nn.Linear(i, o)), {}, refuse=True
    ),
    "centred": network(parametrized(Centred), {f"2.{ORIGINAL}": HIDDEN, f"4.{ORIGINAL}": READOUT}),
    "masked": network(parametrized(Masked), {f"2.{ORIGINAL}": HIDDEN, f"4.{ORIGINAL}": READOUT}),
    "standardised, fan_in left out": Family(
        make=lambda w: nn.Sequential(
            nn.Linear(10, w), Standard(w, w), nn.ReLU(), Standard(w, w), nn.ReLU(), nn.Linear(w, 5)
        ),
        right={"1.gain": (1 / 2, 1 / 2), "3.gain": (1 / 2, 1 / 2), "5.weight": READOUT},
        inputs=ROWS,
    ),
    "standardised, 1/sqrt(fan_in)": Family(
        make=lambda w: nn.Sequential(
            nn.Linear(10, w), Standard(w, w, -0.5), nn.ReLU(), nn.Linear(w, 5)
        ),
        right={"1.gain": VECTOR, "3.weight": READOUT},
        inputs=ROWS,
    ),
    "standardised, no gain": Family(
        make=lambda w: nn.Sequential(
            nn.Linear(10, w), Standard(w, w, -0.5, gain=False), nn.ReLU(), nn.Linear(w, 5)
        ),
        right={"3.weight": READOUT},
        inputs=ROWS,
    ),
    "standardised, no gain, before a norm": Family(
        make=lambda w: nn.Sequential(
            nn.Linear(10, w), Standard(w, w, 0.0, gain=False), nn.LayerNorm(w), nn.Linear(w, 5)
        ),
        # The norm undoes sqrt(fan_in) for the matrix, but the bias has to grow along with it.
        right={"1.bias": (2.0, 2.0), "2.weight": VECTOR, "3.weight": READOUT},
        inputs=ROWS,
        refuse=True,
    ),
    "NTK": network(
        Scaled, {"0.weight": INPUT, "2.weight": (1.0, 1 / 2), "4.weight": (1 / 2, 1 / 2)}
    ),
    "1/fan_in": network(
        lambda i, o: Scaled(i, o, -1.0),
        {"0.weight": INPUT, "2.weight": (2.0, 1.0), "4.weight": (1.0, 1.0)},
    ),
    "gain of each output": Family(
        make=lambda w: Net(
            lambda m, x: m.c(torch.relu(F.linear(torch.relu(m.a(x)), m.w * m.g[:, None]))),
            a=nn.Linear(10, w),
            c=nn.Linear(w, 3),
            w=nn.Parameter(torch.randn(w, w) * w**-0.5),
            g=nn.Parameter(torch.ones(w)),
        ),
        right={"w": HIDDEN, "g": VECTOR, "c.weight": READOUT},
        inputs=ROWS,
    ),
    "gain of each input": Family(
        make=lambda w: Net(
            lambda m, x: m.c(torch.relu(F.linear(torch.relu(m.a(x)), m.w * m.g))),
            a=nn.Linear(10, w),
            c=nn.Linear(w, 3),
            w=nn.Parameter(torch.randn(w, w) * w**-0.5),
            g=nn.Parameter(torch.ones(w)),
        ),
        right={"w": HIDDEN, "g": VECTOR, "c.weight": READOUT},
        inputs=ROWS,
    ),
    "product of two matrices": Family(
        make=lambda w: Net(
            lambda m, x: m.c(torch.relu(F.linear(torch.relu(m.a(x)), m.w * m.v))),
            a=nn.Linear(10, w),
            c=nn.Linear(w, 3),
            w=nn.Parameter(torch.randn(w, w) * w**-0.5),
            v=nn.Parameter(torch.randn(w, w)),
        ),
        right=None,
        inputs=ROWS,
    ),
    "base plus update of finite rank": Family(
        make=lambda w: Net(
            lambda m, x: m.c(torch.relu(F.linear(torch.relu(m.a(x)), m.w + m.u @ m.v))),
            a=nn.Linear(10, w),
            c=nn.Linear(w, 3),
            w=nn.Parameter(torch.randn(w, w) * w**-0.5),
            u=nn.Parameter(torch.randn(w, 4)),
            v=nn.Parameter(torch.randn(4, w)),
        ),
        right={"w": HIDDEN, "u": INPUT, "v": READOUT, "c.weight": READOUT},
        inputs=ROWS,
    ),
    "kronecker factors": Family(
        make=lambda w: Net(
            lambda m, x: m.c(torch.relu(F.linear(torch.relu(m.a(x)), torch.kron(m.u, m.v)))),
            a=nn.Linear(10, w),
            c=nn.Linear(w, 3),
            u=nn.Parameter(torch.randn(w // 4, w // 4)),
            v=nn.Parameter(torch.randn(4, 4)),
        ),
        right={"u": HIDDEN},
        inputs=ROWS,
        refuse=True,
    ),
}


def own(
    step: Callable[[Any, Tensor], Tensor], right: dict[str, str | Factors], **kw: Any
) -> Family:
    """Two layers, with the model's own number after the first or before the last."""
    return Family(
        make=lambda w: Net(step, a=nn.Linear(10, w), b=square(w, False), c=nn.Linear(w, 3, False)),
        right=right,
        inputs=ROWS,
        **kw,
    )


OWN = {
    "times sqrt(d) of an embedding": Family(
        make=lambda w: Net(
            lambda m, x: m.c(torch.relu(m.b(m.e(x) * w**0.5))),
            e=nn.Embedding(12, w),
            b=square(w),
            c=nn.Linear(w, 3),
        ),
        right={"e.weight": (1 / 2, 1 / 2), "b.weight": HIDDEN},
        inputs=WORDS,
    ),
    "1/d on the logits": own(
        lambda m, x: m.c(torch.relu(m.b(torch.relu(m.a(x))))) / m.b.in_features,
        {"b.weight": HIDDEN, "c.weight": (1.0, 1.0)},
    ),
    "1/d on the features": own(
        lambda m, x: m.c(torch.relu(m.b(torch.relu(m.a(x)))) / m.b.in_features),
        {"b.weight": (2.0, 1.0), "c.weight": READOUT},
    ),
    "1/sqrt(d) under tanh": own(
        lambda m, x: m.c(torch.tanh(m.b(torch.relu(m.a(x))) / m.b.in_features**0.5)),
        {"b.weight": (1.0, 1 / 2), "c.weight": READOUT},
    ),
    "a number in a tensor": own(
        lambda m, x: m.c(
            torch.tanh(m.b(torch.relu(m.a(x))) / torch.tensor(m.b.in_features).sqrt())
        ),
        {"b.weight": (1.0, 1 / 2), "c.weight": READOUT},
    ),
    "a number by division of ones": own(
        lambda m, x: m.c(
            torch.tanh(m.b(torch.relu(m.a(x))) / torch.ones_like(x[0, 0] * m.b.weight[0]).sum())
        ),
        {"b.weight": (2.0, 1.0), "c.weight": READOUT},
        refuse=True,
    ),
    "drop path in training": Family(
        make=lambda w: Net(
            lambda m, x: m.c(m.a(x) + _dropped(m, m.b(torch.relu(m.a(x))), w)),
            a=nn.Linear(10, w),
            b=square(w),
            c=nn.Linear(w, 3),
        ),
        right={"b.weight": HIDDEN, "c.weight": READOUT},
        inputs=ROWS,
    ),
    "root of a sum of squares": own(
        lambda m, x: (lambda h: m.c(h / h.pow(2).sum(-1, keepdim=True).sqrt()))(
            m.b(torch.relu(m.a(x)))
        ),
        {"b.weight": HIDDEN, "c.weight": (1 / 2, 1 / 2)},
    ),
    "unit vectors times sqrt(d)": own(
        lambda m, x: m.c(F.normalize(m.b(torch.relu(m.a(x))), dim=-1) * m.b.in_features**0.5),
        {"b.weight": HIDDEN, "c.weight": READOUT},
    ),
    "softmax of features": own(
        lambda m, x: m.c(m.b(torch.relu(m.a(x))).softmax(-1)),
        {"b.weight": HIDDEN, "c.weight": (1.0, 1.0)},
    ),
    "mean of features": own(
        lambda m, x: m.c(torch.relu(m.b(torch.relu(m.a(x)))) - m.a(x).mean(-1, keepdim=True)),
        {"b.weight": HIDDEN, "c.weight": READOUT},
    ),
    "fourier features of a growing number": Family(
        make=lambda w: Net(
            lambda m, x: m.c(torch.relu(m.b((x @ torch.ones(10, w)).cos()))),
            b=square(w),
            c=nn.Linear(w, 3),
        ),
        right={"b.weight": HIDDEN, "c.weight": READOUT},
        inputs=ROWS,
    ),
    "sinusoids added": Family(
        make=lambda w: Net(
            lambda m, x: m.c(torch.relu(m.b(m.a(x) + torch.arange(w).float().sin()))),
            a=nn.Linear(10, w),
            b=square(w),
            c=nn.Linear(w, 3),
        ),
        right={"a.weight": INPUT, "b.weight": HIDDEN, "c.weight": READOUT},
        inputs=ROWS,
    ),
}


def _dropped(m: Any, x: Tensor, width: int) -> Tensor:
    keep = 1 - 0.1 * width / 64
    return x * torch.bernoulli(torch.full((len(x), 1), keep)) / keep if m.training else x


def tied(run: Callable[..., Any], right: dict[str, str | Factors], **parts: Any) -> Family:
    def make(w: int) -> nn.Module:
        made = {n: part(w) for n, part in parts.items()}
        return Net(
            lambda m, ids: run(m, m.norm(torch.relu(m.b(m.e(ids))))),
            e=nn.Embedding(12, w),
            b=square(w),
            norm=nn.LayerNorm(w),
            **made,
        )

    return Family(make=make, right={"e.weight": (1.0, 1.0)} | right, inputs=WORDS)


CARRIED = {"norm.weight": (1 / 4, 1 / 4), "norm.bias": (1 / 4, 1 / 4)}
TIED = {
    "linear": tied(lambda m, h: F.linear(h, m.e.weight), CARRIED),
    "matmul": tied(lambda m, h: h @ m.e.weight.t(), CARRIED),
    "einsum": tied(lambda m, h: torch.einsum("btd,vd->btv", h, m.e.weight), CARRIED),
    "with a bias": tied(
        lambda m, h: F.linear(h, m.e.weight, m.v),
        CARRIED | {"v": SCALAR},
        v=lambda w: nn.Parameter(torch.zeros(12)),
    ),
    "times 1/sqrt(d)": tied(
        lambda m, h: F.linear(h * h.shape[-1] ** -0.5, m.e.weight), {"norm.weight": (1 / 2, 1 / 2)}
    ),
    "times 1/d": tied(lambda m, h: F.linear(h, m.e.weight) / h.shape[-1], {"norm.weight": VECTOR}),
    "through a projection": tied(
        lambda m, h: F.linear(m.p(h), m.e.weight),
        {"p.weight": (1 / 8, 1 / 16), "norm.weight": VECTOR},
        p=square,
    ),
    "and rescaled": tied(
        lambda m, h: F.linear(h, m.e.weight) * m.s,
        CARRIED | {"s": SCALAR},
        s=lambda w: nn.Parameter(torch.ones(())),
    ),
    "logits times a multiplier": tied(
        lambda m, h: F.linear(h, m.e.weight) * (16 / h.shape[-1]), {"norm.weight": VECTOR}
    ),
    "of part of the rows": tied(lambda m, h: F.linear(h, m.e.weight[:6]), CARRIED),
}


FAMILIES = {
    **{f"normed rows, {k}": normed_rows(norm) for k, norm in ROWS_NORMED.items()},
    **{f"reparametrised, {k}": v for k, v in REPARAMETRISED.items()},
    **{f"own number, {k}": v for k, v in OWN.items()},
    **{f"tied, {k}": v for k, v in TIED.items()},
}


FAULTS = {
    "reparametrised, base plus update of finite rank": "a product of weights hides the bottleneck",
}


@pytest.mark.parametrize(("name", "optimizer"), cases(FAMILIES, FAULTS))
def test_weights_of_every_form_scale_as_theory_has_it(name: str, optimizer: str) -> None:
    assert wrong(FAMILIES[name], optimizer) == {}
