"""Laws of the errors of finite networks, and the smallest proxy by them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from ..core import (
    Drawn,
    Estimate,
    FrozenDict,
    MutransferError,
    Result,
    about,
    number,
    parsed,
    parsing,
    save_folder,
)
from ._json import fields_of

# Proxies deeper than this are not considered.
_DEEPEST = 10_000

# Share by which a solved width may be too large from rounding, and be rounded up by one.
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True, repr=False)
class Law(Result):
    """An error that falls as a power of a size: error = constant size^-power.

    Attributes:
        name: "one network", the typical distance of one network from the limit; "mean over
            networks", the rest of it in the mean over infinitely many; "depth", the distance of
            finite depth from infinite depth.
        axis: "width" or "depth".
        power: Theory's power: 1/2, 1 and, in depth, 1, or 2 alpha - 1 where alpha lies between 1/2
            and 1.
        sizes: Sizes that were measured.
        errors: Root mean square error at each, over all points of a curve; 0 where noise is larger,
            or where the constant alone is fitted.
        slope: Fitted exponent of the size, negative where errors fall; None where fewer than two
            errors are above noise. Its interval is over resampled networks. A depth law between
            limits has none, its ends are not numbers.
        constant: Constant, with the power held at theory's. Its interval is over resampled
            networks; for a depth law between limits it is the range over depths.
    """

    name: str
    axis: Literal["width", "depth"]
    power: float
    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    slope: Estimate | None
    constant: Estimate

    @property
    def fitted(self) -> str:
        """The fitted exponent with its interval, in words; empty where there is none."""
        if self.slope is None:
            return ""
        value, low, high = self.slope.value, self.slope.low, self.slope.high
        return f"{value:.2f}" + ("" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]")

    def __str__(self) -> str:
        size = "N" if self.axis == "width" else "L"
        powers = {0.5: f"{size}^-1/2", 1.0: f"1/{size}"}
        power = powers.get(self.power, f"{size}^-{self.power:g}")
        constant = self.constant
        fitted = f"fitted {size}^{self.fitted}" if self.fitted else "no power above noise"
        return (
            f"{self.name:19} {constant.value:.3g} [{constant.low:.3g}, {constant.high:.3g}] "
            f"× {power:6}  {fitted}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the law as plain data."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the law that `to_json` wrote.

        Raises:
            MutransferError: the data is no law.
        """
        with parsing("a law written by Law.to_json"):
            given = parsed(data)
            slope = given.pop("slope")
            return cls(
                sizes=tuple(map(int, given.pop("sizes"))),
                errors=tuple(map(number, given.pop("errors"))),
                slope=None if slope is None else Estimate.from_json(slope),
                constant=Estimate.from_json(given.pop("constant")),
                **given,
            )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FiniteSize(Result, Drawn):
    """Errors of finite networks.

    Attributes:
        of: Compared quantity: "outputs", "losses", "features" or "kernel".
        limit: Origin of the limit: "theory", "given", or "extrapolated" from the networks.
        width: Widths that were trained.
        depth: Depths that were trained.
        seeds: Networks of each size.
        laws: The laws, by name.
        scale: Root mean square of the limit, for comparison.
        about: Versions, device, command and date.
    """

    of: Literal["outputs", "losses", "features", "kernel"]
    limit: Literal["theory", "given", "extrapolated"]
    width: tuple[int, ...]
    depth: tuple[int, ...]
    seeds: int
    laws: Mapping[str, Law]
    scale: float
    about: Mapping[str, Any] = field(default_factory=about)

    def __post_init__(self) -> None:
        object.__setattr__(self, "laws", FrozenDict(self.laws))

    def __str__(self) -> str:
        title = (
            f"error of {self.of} against the limit ({self.limit}); "
            f"{self.seeds} networks of each size; limit's rms {self.scale:.3g}"
        )
        return "\n".join([title, *(f"  {law}" for law in self.laws.values())])

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain row for every law and size."""
        return [
            {"law": law.name, "axis": law.axis, "size": size, "error": error}
            for law in self.laws.values()
            for size, error in zip(law.sizes, law.errors, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the errors that `to_json` wrote.

        Raises:
            MutransferError: the data is no such errors.
        """
        with parsing("a result written by FiniteSize.to_json"):
            given = parsed(data)
            laws = {name: Law.from_json(law) for name, law in given.pop("laws").items()}
            width, depth = (tuple(map(int, given.pop(name))) for name in ("width", "depth"))
            return cls(laws=laws, width=width, depth=depth, **given)

    def save(self, out: str | Path) -> Path:
        """Write finite-size.txt, .json, .csv, .png and .svg into this folder.

        Raises:
            MutransferError: the folder cannot be written, or matplotlib is missing.
        """
        return save_folder(self, self.rows(), out, name="finite-size")


@dataclass(frozen=True, kw_only=True, repr=False)
class Proxy(Result):
    """The smallest network that is close enough to the limit.

    Attributes:
        width: Width.
        depth: Depth; that of the measured networks where depth was not varied.
        error: Its error by the laws, with the upper ends of their constants.
        parts: Share of each law in the error, by name.
        extrapolated: True if it lies outside the sizes that were measured.
    """

    width: int
    depth: int
    error: float
    parts: Mapping[str, float]
    extrapolated: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", FrozenDict(self.parts))

    def __str__(self) -> str:
        parts = " + ".join(f"{part:.2g} {name}" for name, part in self.parts.items())
        beyond = "; beyond the sizes that were measured" if self.extrapolated else ""
        return f"width {self.width}, depth {self.depth}: error {self.error:.2g} = {parts}{beyond}"

    def to_json(self) -> dict[str, Any]:
        """Return the proxy as plain data."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the proxy that `to_json` wrote.

        Raises:
            MutransferError: the data is no proxy.
        """
        with parsing("a proxy written by Proxy.to_json"):
            return cls(**parsed(data))


def how_small(result: FiniteSize, tolerance: float, *, networks: int = 1) -> Proxy:
    """Return the smallest proxy whose error is below a tolerance.

    Its error is sqrt(variance of one network / networks) + bias of the mean + error of finite
    depth. Each follows from its law, with the upper end of the constant's interval. Of all widths
    and depths that reach the tolerance it has the fewest hidden weights, width^2 depth.

    Args:
        result: Errors of finite networks, with their laws.
        tolerance: Root mean square error, in units of what was compared (`result.scale` is the
            limit's own).
        networks: Number of proxies that are averaged.

    Raises:
        MutransferError: the tolerance is not positive, there are no networks, or only depths above
            10,000 reach it.
    """
    if not 0 < tolerance < math.inf or networks < 1:
        raise MutransferError(
            f"tolerance {tolerance}, networks {networks}: "
            "give a positive tolerance and at least one network"
        )
    one = result.laws["one network"].constant.high / math.sqrt(networks)
    mean = result.laws["mean over networks"].constant.high
    depths, deep = np.array([result.depth[-1]]), np.zeros(1)
    if law := result.laws.get("depth"):
        first = (law.constant.high / tolerance) ** (1 / law.power)
        if first > _DEEPEST:
            raise MutransferError(
                f"an error of {tolerance:g} needs a depth above {_DEEPEST:,}: "
                "give a larger tolerance"
            )
        # At depth `first` the width is infinite; far beyond it a deeper proxy only costs more.
        depths = np.arange(math.floor(first) + 1, 64 * math.floor(first + 1) + 1)
        deep = law.constant.high * depths**-law.power
    # one x + mean x^2 = room, with x = width^-1/2: the positive root, without cancellation.
    room = tolerance - deep
    root = (one + np.sqrt(one**2 + 4 * mean * room)) / (2 * room)
    widths = np.ceil(root**2 * (1 - _ROUNDING)).clip(1)
    best = int(np.argmin(widths**2 * depths))
    width, depth = int(widths[best]), int(depths[best])
    parts = {"one network": one / math.sqrt(width), "mean over networks": mean / width}
    if law:
        parts["depth"] = float(deep[best])
    inside = (
        result.width[0] <= width <= result.width[-1]
        and result.depth[0] <= depth <= result.depth[-1]
    )
    error = sum(parts.values())
    return Proxy(width=width, depth=depth, error=error, parts=parts, extrapolated=not inside)
