"""Feature diversity, and its trend as networks become deeper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..core import Drawn, MutransferError, Result, number, parsed, parsing, plain, save_folder
from ..statistics import diversity_exponent
from ._json import fields_of

FEWEST_LAYERS = 16
"""Fewest branches: two distances lie within 1/8 of their depth."""


def feature_diversity(features: ArrayLike) -> float:
    """Return the feature diversity exponent kappa of a residual stream.

    Features a share eps of the depth apart differ by eps^(1 - kappa), Definition 7.6 of Tensor
    Programs VI (2310.02244); `statistics.diversity_exponent` says how it is fitted. 1/2 is the most
    that a stable network reaches, 0 means that nearby layers repeat each other. Before training,
    and for a few steps after, every network looks diverse, because the initial weights do. So
    measure after training, at several depths, and look at the trend (`diversity_trend`).

    Args:
        features: The stream before the first branch and after every branch,
            (branches + 1, ..., coordinates); all other axes are averaged over.

    Raises:
        MutransferError: there are fewer than 16 branches, a feature is not finite, or layers do not
            differ at all.
    """
    stream = np.asarray(features, dtype=np.float64)
    if stream.ndim < 2 or len(stream) <= FEWEST_LAYERS:
        raise MutransferError(
            f"features have the shape {stream.shape}: give (branches + 1, ..., coordinates) "
            f"with at least {FEWEST_LAYERS} branches"
        )
    if not np.isfinite(stream).all():
        raise MutransferError("features hold a number that is not finite: the network has diverged")
    exponent = diversity_exponent(stream)
    if math.isnan(exponent):
        raise MutransferError("layers do not differ: all branches end in zero")
    return exponent


@dataclass(frozen=True, kw_only=True, repr=False)
class DiversityTrend(Result, Drawn):
    """Diversity exponents of ever deeper networks.

    Attributes:
        depth: Numbers of branches, ascending.
        exponents: Mean exponent over networks at each depth.
        errors: Standard error of the mean over networks; not a number for one network.
        per_doubling: Change of the exponent as the depth doubles. Near 0, at an exponent near 1/2,
            networks are diverse; below 0, layers become redundant with depth.
    """

    depth: tuple[int, ...]
    exponents: tuple[float, ...]
    errors: tuple[float, ...]
    per_doubling: float

    def __str__(self) -> str:
        lines = [f"feature diversity exponent: {self.per_doubling:+.3f} as the depth doubles"]
        for depth, exponent, error in zip(self.depth, self.exponents, self.errors, strict=True):
            spread = "" if math.isnan(error) else f" +- {error:.3f}"
            lines.append(f"  depth {depth:<5} {exponent:.3f}{spread}")
        return "\n".join(lines)

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain row for every depth."""
        columns = zip(self.depth, self.exponents, self.errors, strict=True)
        return [
            {"depth": depth, "exponent": exponent, "standard_error": plain(error)}
            for depth, exponent, error in columns
        ]

    def save(self, out: str | Path) -> Path:
        """Write diversity.txt, .json, .csv, .png and .svg into this folder.

        Raises:
            MutransferError: the folder cannot be written, or matplotlib is missing.
        """
        return save_folder(self, self.rows(), out, name="diversity")

    def to_json(self) -> dict[str, Any]:
        """Return the trend as plain data."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the trend that `to_json` wrote.

        Raises:
            MutransferError: the data is no trend.
        """
        with parsing("a trend written by DiversityTrend.to_json"):
            given = parsed(data)
            return cls(
                depth=tuple(map(int, given["depth"])),
                exponents=tuple(map(number, given["exponents"])),
                errors=tuple(map(number, given["errors"])),
                per_doubling=number(given["per_doubling"]),
            )


def diversity_trend(features: Mapping[int, Sequence[ArrayLike]]) -> DiversityTrend:
    """Return the diversity exponent as a trend in depth.

    Args:
        features: For every depth the features of one or several networks, each as
            `feature_diversity` takes it.

    Raises:
        MutransferError: there are fewer than two depths, or features that cannot be measured.
    """
    if len(features) < 2:
        raise MutransferError(f"a trend needs at least two depths, not {len(features)}")
    depth = sorted(features)
    exponents = [[feature_diversity(stream) for stream in features[size]] for size in depth]
    means = [float(np.mean(each)) for each in exponents]
    # A straight line over octaves: exponents approach their limit slowly, as no known power.
    per_doubling = float(np.polyfit(np.log2(depth), means, 1)[0])
    return DiversityTrend(
        depth=tuple(depth),
        exponents=tuple(means),
        errors=tuple(map(_standard_error, exponents)),
        per_doubling=per_doubling,
    )


def _standard_error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else math.nan
