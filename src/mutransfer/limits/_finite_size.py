"""What finite networks miss: errors against the limit, their powers of width and depth, and how small a proxy may therefore be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, Size, about, write_csv
from ..statistics import diverged_at
from ..studies import Study, members, recipe
from ..training import train
from ._activations import Array
from ._error_laws import Cell, Curves, Fit, against, against_extrapolated, fits, sizes
from ._nonlinear import Report
from ._problem import Problem
from ._simulate import simulate
from ._solve import solve

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn


_ROUNDING = 1e-12
_DEEPEST = 10_000
"""A proxy deeper than this is none."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """An error that falls as a power of a size: error = constant size^-power.

    Attributes:
        name: "one network", the typical distance of one network from the limit; "mean over networks", what remains of it in the mean over
            infinitely many; "depth", the distance of finite depth from infinite depth.
        axis: "width" or "depth".
        power: What theory says: 1/2, 1 and, in depth, 1, or 2 alpha - 1 where alpha lies between 1/2 and 1.
        sizes: The sizes that were measured.
        errors: The root mean square error at each, over all points of a curve; 0 where it cannot be told from noise, or where only the
            constant is fitted.
        slope: Fitted exponent of the size, negative where errors fall; None where fewer than two errors can be told from noise.
        slope_low: Lower end of its 95% interval; None for a depth law between limits, where nothing is resampled.
        slope_high: Upper end.
        constant: The constant, with the power held at theory's.
        low: Lower end of its 95% interval over resampled networks; for a depth law between limits the range over depths.
        high: Upper end.
    """

    name: str
    axis: Literal["width", "depth"]
    power: float
    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    slope: float | None
    slope_low: float | None
    slope_high: float | None
    constant: float
    low: float
    high: float

    @property
    def fitted(self) -> str:
        """The fitted power with its interval, in words; empty where there is none."""
        if self.slope is None:
            return ""
        return f"{self.slope:.2f}" + (
            "" if self.slope_low is None else f" [{self.slope_low:.2f}, {self.slope_high:.2f}]"
        )


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """The smallest network that is close enough to the limit.

    Attributes:
        width: Width.
        depth: Depth; that of the measured networks where depth was not varied.
        error: Its error by the laws, with the upper ends of their constants.
        parts: The share of each law in it, by name.
        extrapolated: Whether it lies outside the sizes that were measured.
    """

    width: int
    depth: int
    error: float
    parts: dict[str, float]
    extrapolated: bool

    def __str__(self) -> str:
        parts = " + ".join(f"{part:.2g} {name}" for name, part in self.parts.items())
        beyond = "; beyond the sizes that were measured" if self.extrapolated else ""
        return f"width {self.width}, depth {self.depth}: error {self.error:.2g} = {parts}{beyond}"


@dataclass(frozen=True, kw_only=True, eq=False)
class FiniteSize:
    """Errors of finite networks.

    Attributes:
        of: What is compared: "outputs" or "losses".
        limit: Where the limit comes from: "theory", "given", or "extrapolated" from the networks themselves.
        widths: Widths that were trained.
        depths: Depths.
        seeds: Networks of each size.
        laws: The laws, by name.
        scale: Root mean square of the limit, for comparison.
    """

    of: Literal["outputs", "losses"]
    limit: Literal["theory", "given", "extrapolated"]
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    seeds: int
    laws: dict[str, Law]
    scale: float

    def __str__(self) -> str:
        lines = [
            f"error of {self.of} against the limit ({self.limit}); {self.seeds} networks of each size; limit's rms {self.scale:.3g}"
        ]
        for law in self.laws.values():
            size = "N" if law.axis == "width" else "L"
            power = {0.5: f"{size}^-1/2", 1.0: f"1/{size}"}.get(law.power, f"{size}^-{law.power:g}")
            fitted = f"fitted {size}^{law.fitted}" if law.fitted else "not told from noise"
            lines.append(
                f"  {law.name:19} {law.constant:.3g} [{law.low:.3g}, {law.high:.3g}] × {power:6}  {fitted}"
            )
        return "\n".join(lines)

    def rows(self) -> list[dict[str, Any]]:
        """One plain row for every law and size."""
        return [
            {"law": law.name, "axis": law.axis, "size": size, "error": error}
            for law in self.laws.values()
            for size, error in zip(law.sizes, law.errors, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything that was found, and what made it, as plain data."""
        return asdict(self) | {"about": about()}

    def figure(self) -> Figure:
        """Errors over size on logarithmic scales, a panel for each law.

        Raises:
            MutransferError: matplotlib is missing.
        """
        from ._figures import finite_size_figure

        return finite_size_figure(self)

    def save(self, out: str | Path) -> None:
        """Write finite-size.json, finite-size.csv and the figure, finite-size.png and finite-size.svg, into this folder.

        Raises:
            MutransferError: the folder cannot be written, or matplotlib is missing.
        """
        from ..report import save

        folder = Path(out)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "finite-size.json").write_text(json.dumps(self.to_json(), indent=1) + "\n")
        except OSError as error:
            raise MutransferError(
                f"cannot write to {folder}: {error.strerror}; give another folder"
            ) from None
        write_csv(folder / "finite-size.csv", self.rows())
        save(self.figure(), folder / "finite-size")


def finite_size(
    build: Problem | Callable[..., nn.Module],
    *,
    widths: Sequence[int],
    depths: Sequence[int],
    seeds: int = 16,
    of: Literal["outputs", "losses"] = "outputs",
    limit: Mapping[int, Array] | None = None,
    accuracy: float = 0.005,
    report: Report | None = None,
    **study: Any,
) -> FiniteSize:
    """Train finite networks, compare them with the limit, and fit how their error falls with size.

    One network is off by about N^-1/2, because its initial weights are one draw; the mean over networks by 1/N; finite depth by 1/L,
    proven for linear networks (2310.02244, Proposition 4.4). Powers are fitted beside the constants, which hold theory's.

    Args:
        build: A Problem, whose limit is solved; or a builder, called with width= and depth=, whose networks are trained by the library's
            ensembles. They all see the same batches, and their limit is extrapolated: losses are fitted by a + b / N + c / L at every step.
        widths: At least two widths, ascending.
        depths: Depths, ascending.
        seeds: Networks of each size, at least 2.
        of: What is compared for a problem, "outputs" or "losses"; for a builder it is the losses.
        limit: The limit's curve for every depth, where it is known otherwise: outputs (times * examples,) or losses (times,).
        accuracy: Of a nonlinear problem's limit.
        report: Called as report(what, done, total) after every size.
        study: For a builder: what else mutransfer.Study takes, such as task, lr (one rate), steps, rules (one rule).

    Raises:
        MutransferError: sizes or seeds are too few, a network diverged, or the study has several rates or rules.
    """
    _check_sizes(widths, depths, seeds)
    if of not in ("outputs", "losses"):
        raise MutransferError(f"of is {of!r}: give 'outputs' or 'losses'")
    cells = [(width, depth) for width in widths for depth in depths]
    if isinstance(build, Problem):
        if study:
            raise MutransferError(
                f"{', '.join(study)}: a problem knows its own training; leave these out"
            )
        curves = {cell: _simulated(build, cell, seeds, of) for cell in _told(cells, report)}
    else:
        of, curves = "losses", _trained(build, widths, depths, seeds, study, report)
    _check_curves(curves)
    if limit is not None:
        known: dict[float, Array] = {
            depth: np.asarray(limit[depth], dtype=np.float64).ravel()
            for depth in depths
            if depth in limit
        }
        shape = curves[cells[0]].shape[1:]
        if len(known) < len(depths) or any(
            curve.shape != shape or not np.isfinite(curve).all() for curve in known.values()
        ):
            raise MutransferError(
                f"limit must have a curve of {shape[0]} points for every depth, all finite"
            )
        found, scale = (
            fits(curves, against(known, {depth: np.zeros(1) for depth in known})),
            known[depths[-1]],
        )
        laws = _laws(found, curves)
    elif isinstance(build, Problem):
        laws, scale = _against_theory(build, curves, of, accuracy)
    else:
        laws, scale = _laws(fits(curves, against_extrapolated), curves), curves[cells[-1]].mean(0)
    source: Any = (
        "given" if limit is not None else "theory" if isinstance(build, Problem) else "extrapolated"
    )
    return FiniteSize(
        of=of,
        limit=source,
        widths=tuple(map(int, widths)),
        depths=tuple(map(int, depths)),
        seeds=int(seeds),
        laws=laws,
        scale=float(np.sqrt(np.mean(scale**2))),
    )


def how_small(found: FiniteSize, tolerance: float, *, networks: int = 1) -> Proxy:
    """The smallest proxy whose error is below a tolerance.

    Its error is sqrt(variance of one network / networks) + bias of the mean + error of finite depth, each by its law with the upper end
    of the constant's interval. Of all widths and depths that reach the tolerance it has the fewest hidden weights, width^2 depth.

    Args:
        found: The laws.
        tolerance: Root mean square error, in units of what was compared (`found.scale` is the limit's own).
        networks: How many proxies are averaged.

    Raises:
        MutransferError: the tolerance is not positive, there are no networks, or only depths above 10,000 reach it.
    """
    if not 0 < tolerance < math.inf or networks < 1:
        raise MutransferError(
            f"tolerance {tolerance}, networks {networks}: give a positive tolerance and at least one network"
        )
    one, mean = (
        found.laws["one network"].high / math.sqrt(networks),
        found.laws["mean over networks"].high,
    )
    depths, deep = np.array([found.depths[-1]]), np.zeros(1)
    if law := found.laws.get("depth"):
        first = (law.high / tolerance) ** (1 / law.power)
        if first > _DEEPEST:
            raise MutransferError(
                f"an error of {tolerance:g} needs a depth above {_DEEPEST:,}: give a larger tolerance"
            )
        depths = np.arange(math.floor(first) + 1, 64 * math.floor(first + 1) + 1)
        deep = law.high * depths**-law.power
    # Of one x + mean x^2 = room, with x = width^-1/2, the positive root, without cancellation.
    room = tolerance - deep
    widths = np.ceil(
        ((one + np.sqrt(one**2 + 4 * mean * room)) / (2 * room)) ** 2 * (1 - _ROUNDING)
    ).clip(1)
    best = int(np.argmin(widths**2 * depths))
    width, depth = int(widths[best]), int(depths[best])
    parts = {"one network": one / math.sqrt(width), "mean over networks": mean / width} | (
        {"depth": float(deep[best])} if law else {}
    )
    outside = not (found.widths[0] <= width <= found.widths[-1]) or not (
        found.depths[0] <= depth <= found.depths[-1]
    )
    return Proxy(
        width=width, depth=depth, error=sum(parts.values()), parts=parts, extrapolated=outside
    )


def _check_sizes(widths: Sequence[int], depths: Sequence[int], seeds: int) -> None:
    ascending = all(
        list(given) == sorted(set(given)) and given[0] > 0
        for given in (widths, depths)
        if len(given)
    )
    if len(widths) < 2 or not len(depths) or not ascending:
        raise MutransferError(
            f"widths {list(widths)}, depths {list(depths)}: give at least two widths and one depth, positive, ascending"
        )
    if seeds < 2:
        raise MutransferError(f"seeds is {seeds}: errors need at least 2 networks of each size")


def _told(cells: Sequence[Cell], report: Report | None) -> Any:
    for number, cell in enumerate(cells):
        yield cell
        if report is not None:
            report(f"width {cell[0]}, depth {cell[1]}", number + 1, len(cells))


def _simulated(problem: Problem, cell: Cell, seeds: int, of: str) -> Float[Array, "seeds points"]:
    outputs = simulate(problem, *cell, seeds)
    return outputs.reshape(seeds, -1) if of == "outputs" else problem.losses(outputs)


def _trained(
    build: Callable[..., nn.Module],
    widths: Sequence[int],
    depths: Sequence[int],
    seeds: int,
    options: Mapping[str, Any],
    report: Report | None,
) -> dict[Cell, Float[Array, "seeds points"]]:
    if "lr" not in options:
        raise MutransferError(
            "a builder's networks need a learning rate: give lr=[rate], and what else mutransfer.Study takes"
        )
    study = Study(build, width=widths, depth=depths, seeds=seeds, **options)
    if len(study.lr) > 1 or len(study.rules) > 1:
        raise MutransferError(
            "finite_size trains at one rate under one rule: give lr=[rate] and rules=[rule]"
        )
    curves = {}
    for cell in _told([(width, depth) for width in widths for depth in depths], report):
        size = Size(width=cell[0], depth=cell[1])
        runs = [run for run in study.runs() if run.size == size]
        drawn = [
            replace(member, seed=study.seeds[0])
            for member in members(study, study.rules[0], size, runs)
        ]
        losses = train(drawn, recipe(study, study.steps))
        curves[cell] = np.where(
            np.array([end is not None for end in diverged_at(losses)])[:, None],
            np.nan,
            losses.numpy(),
        )
    return curves


def _check_curves(curves: Mapping[Cell, Float[Array, "seeds points"]]) -> None:
    for (width, depth), own in curves.items():
        if bad := int((~np.isfinite(own).all(1)).sum()):
            raise MutransferError(
                f"{bad} of {len(own)} networks of width {width} and depth {depth} diverged; give a smaller lr"
            )


def _laws(found: Mapping[str, Fit], curves: Curves) -> dict[str, Law]:
    widths, depths = sizes(curves)
    laws = {}
    for name, fit in found.items():
        slope, low, high = fit.slope or (None, None, None)
        constant, constant_low, constant_high = fit.constant
        laws[name] = Law(
            name=name,
            axis="depth" if name == "depth" else "width",
            power=0.5 if name == "one network" else 1.0,
            sizes=tuple(depths if name == "depth" else widths),
            errors=fit.errors or (0.0,) * len(depths),
            slope=slope,
            slope_low=low,
            slope_high=high,
            constant=constant,
            low=constant_low,
            high=constant_high,
        )
    return laws


def _against_theory(
    problem: Problem, curves: Curves, of: str, accuracy: float
) -> tuple[dict[str, Law], Array]:
    _, depths = sizes(curves)
    infinite = problem.alpha in (0.5, 1) or (problem.is_linear and problem.alpha > 0)
    found = {
        depth: solve(problem, depth, accuracy=accuracy)
        for depth in [*depths, *([math.inf] if infinite else [])]
    }
    known: dict[float, Array] = {depth: getattr(each, of).ravel() for depth, each in found.items()}
    errors = {
        depth: np.broadcast_to(getattr(each, f"{of}_error"), getattr(each, of).shape).ravel()
        for depth, each in found.items()
    }
    laws = _laws(fits(curves, against(known, errors)), curves)
    if infinite:
        power = min(1.0, 2 * problem.alpha - 1) if problem.alpha > 0.5 else 1.0
        laws["depth"] = _depth_law(known, errors, depths, power)
    return laws, known[depths[-1]]


def _depth_law(
    known: Mapping[float, Array], errors: Mapping[float, Array], depths: Sequence[int], power: float
) -> Law:
    noise = [float(np.mean(errors[depth] ** 2 + errors[math.inf] ** 2)) for depth in depths]
    squares = [
        float(np.mean((known[depth] - known[math.inf]) ** 2)) - each
        for depth, each in zip(depths, noise, strict=True)
    ]
    found = np.sqrt(np.maximum(squares, 0.0))
    scale = np.array(depths, dtype=np.float64) ** power
    constants, spread = found * scale, np.sqrt(np.array(noise)) * scale
    clear = [
        i for i, (square, each) in enumerate(zip(squares, noise, strict=True)) if square > 4 * each
    ]
    slope = _slope([depths[i] for i in clear], found[clear]) if len(clear) > 1 else None
    return Law(
        name="depth",
        axis="depth",
        power=power,
        sizes=tuple(depths),
        errors=tuple(map(float, found)),
        slope=slope,
        slope_low=None,
        slope_high=None,
        constant=float(constants[-1]),
        low=float((constants - spread).min()),
        high=float((constants + spread).max()),
    )


def _slope(sizes: Sequence[int], errors: Array) -> float:
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])
