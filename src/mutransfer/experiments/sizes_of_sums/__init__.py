"""Tensor Programs V, Table 14: growth of sums over n coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...core import Estimate
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import exponent

EXPONENT = "exponent of n in an entry of the product"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"sizes": [16, 32, 64], "draws": 4},
    "small": {"sizes": [64, 128, 256, 512, 1024, 2048], "draws": 40},
    "full": {"sizes": [64, 256, 1024, 4096, 16384], "draws": 100},
}

Product = Callable[[int, torch.Generator], Tensor]


def _gaussian(n: int, generator: torch.Generator) -> Tensor:
    """Return A v for a Gaussian A and a v that A helped to make, with a mean."""
    matrix = torch.randn(n, n, generator=generator)
    signal = torch.randn(n, generator=generator)
    return torch.mv(matrix, torch.relu(matrix.T @ signal / math.sqrt(n)))


def _outer(mean: float) -> Product:
    def product(n: int, generator: torch.Generator) -> Tensor:
        left, right, later = torch.randn(3, n, generator=generator)
        return torch.mv(torch.outer(left, mean + right), mean + later)

    return product


def _nonlinear(n: int, generator: torch.Generator) -> Tensor:
    """Return A v for the entries tanh(x_i y_j) of Adam's update, and v like y."""
    left, right, noise = torch.randn(3, n, generator=generator)
    return torch.mv(torch.tanh(torch.outer(left, right)), right + noise)


def _vector(mean: float) -> Product:
    def product(n: int, generator: torch.Generator) -> Tensor:
        one, other = torch.randn(2, n, generator=generator)
        return torch.dot(mean + one, mean + other)[None]

    return product


PRODUCTS: dict[str, Product] = {
    "Gaussian matrix": _gaussian,
    "outer product": _outer(1.0),
    "outer product, uncorrelated": _outer(0.0),
    "nonlinear outer product": _nonlinear,
    "vector": _vector(1.0),
    "vector, uncorrelated": _vector(0.0),
}


KINDS = ("Gaussian matrix", "outer product", "vector")
"""The kinds of tensors in the table: a panel each."""


def _rms(product: Product, n: int, draws: int) -> float:
    generator = torch.Generator().manual_seed(n)
    squares = [product(n, generator).square().mean() for _ in range(draws)]
    return float(torch.stack(squares).mean().sqrt())


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    sizes = setting["sizes"]
    values: dict[str, dict[str, Estimate]] = {}
    lines = {}
    for name, product in PRODUCTS.items():
        entries = [_rms(product, n, setting["draws"]) for n in sizes]
        values[name] = {EXPONENT: exponent(sizes, entries)}
        lines[name] = Series(name=name, x=sizes, y=entries)
    panels = [
        Plot(
            title=kind,
            x="n",
            y="RMS entry of the product",
            lines=[*(line for name, line in lines.items() if kind in name), *_guides(sizes)],
            log="xy",
        )
        for kind in KINDS
    ]
    return Measured(values=values, figure=plot(panels))


def _guides(sizes: Sequence[int]) -> list[Series]:
    powers = {"√n": 0.5, "n": 1.0}
    return [
        Series(name=name, x=sizes, y=[n**power for n in sizes], style="dashed")
        for name, power in powers.items()
    ]


def _claim(rule: str, wrong: str, expected: float, says: str) -> Claim:
    return Claim(
        says=says,
        quantity=EXPONENT,
        rule=rule,
        wrong=wrong,
        expected=expected,
        tolerance=0.1,
    )


EXPERIMENT = Experiment(
    title="Three kinds of tensors, and how their products grow",
    source="Tensor Programs V, Table 14",
    shows=(
        "A tensor A with entries of size 1 is multiplied by a vector v with entries of size 1 that "
        "is correlated with it, as features are with the weights that were trained on them. An "
        "entry of the product grows as √n for a Gaussian matrix, and as n for an outer product, "
        "for a nonlinear one as in Adam's update, and for a vector. Without correlation, sums have "
        "no mean, and grow as √n alone: every factor of muP follows from this table."
    ),
    claims=(
        _claim(
            "Gaussian matrix",
            "outer product",
            0.5,
            "A Gaussian matrix times a vector grows as √n, even if the matrix made the vector.",
        ),
        _claim(
            "outer product",
            "outer product, uncorrelated",
            1.0,
            "An outer product times a correlated vector grows as n.",
        ),
        _claim(
            "nonlinear outer product",
            "outer product, uncorrelated",
            1.0,
            "A nonlinear outer product, such as Adam's update, grows as n, too.",
        ),
        _claim(
            "vector",
            "vector, uncorrelated",
            1.0,
            "A vector times a correlated vector grows as n.",
        ),
    ),
    measure=_measure,
    minutes=0.5,
)
