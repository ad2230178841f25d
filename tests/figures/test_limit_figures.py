"""The figures of limits: landscapes, and laws of finite size."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mutransfer import MutransferError
from mutransfer.core import Estimate
from mutransfer.figures import INK, landscape_figure
from mutransfer.limits import Curve, FiniteSize, Landscape, Law, Points, Problem
from mutransfer.statistics import edge, vertex

RATES = np.array([2.0**power for power in range(-6, 1)])
DEPTHS = (2, 8, math.inf)
BEST = (-2.2, -2.8, -3.1)


def planted(
    depths: Sequence[float] = DEPTHS,
    best: Sequence[float] = BEST,
    *,
    alpha: float = 0.5,
    over: str = "lr",
    values: Any = RATES,
    widths: Sequence[int] = (),
    height: float = 1.0,
    errors: float = 0.0,
) -> Landscape:
    """Losses that are parabolas about the best values; the highest value diverges."""
    grid = np.log2(values) if over == "lr" else values

    def curve(width: float, depth: float, octave: float) -> Curve:
        losses = height * (0.1 + 0.05 * (grid - octave) ** 2)
        losses[-1] = math.inf
        best = optimum(values, losses, logarithmic=over == "lr")
        solved = {} if best is None or best in values else {best: (height * 0.1, errors)}
        return Curve(
            width=width,
            depth=depth,
            losses=losses,
            errors=np.full(len(grid), errors),
            optimum=best,
            further=Points.of(solved),
        )

    optima = list(zip(depths, best, strict=True))
    curves = [curve(math.inf, depth, octave) for depth, octave in optima]
    curves += [
        curve(width, depth, octave)
        for width in widths
        for depth, octave in optima
        if not math.isinf(depth)
    ]
    problem = Problem(inputs=np.eye(2), targets=[1.0, -1.0], lr=0.1, steps=1, alpha=alpha)
    return Landscape(
        problem=problem,
        over=over,
        values=np.array(values, dtype=float),
        metric="mean",
        curves=tuple(curves),
    )


def optimum(values: Any, losses: Any, *, logarithmic: bool = True) -> float | None:
    """The value of lowest loss, by a parabola; None at the edge of the values."""
    if edge(losses):
        return None
    best = float(vertex(np.log2(values) if logarithmic else values, losses))
    return 2.0**best if logarithmic else best


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_xlabel()]


def lines(axes: Axes) -> list[Line2D]:
    """The limit's curves, without the path of optima and marks."""
    return [
        line for line in axes.lines if len(line.get_xdata()) > 3 and line.get_linestyle() == "-"
    ]


def dots(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if line.get_marker() == "o"]


def note(axes: Axes) -> str:
    return str(axes.texts[0].get_text())


def names(legend: Any) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


@pytest.fixture(scope="module")
def figure() -> Figure:
    return planted().figure()


# Landscapes


def test_every_depth_has_a_line_darker_than_the_one_before(figure: Figure) -> None:
    (axes,) = panels(figure)
    drawn = lines(axes)
    assert len(drawn) == 3
    for line, curve in zip(drawn, planted().curves, strict=True):
        of_values = np.isin(line.get_xdata(), RATES)
        np.testing.assert_array_equal(line.get_xdata()[of_values], RATES)
        np.testing.assert_array_equal(line.get_ydata()[of_values][:-1], curve.losses[:-1])
        assert (~of_values).sum() == 1
        assert math.isnan(line.get_ydata()[-1])
    light = [sum(to_rgb(line.get_color())) for line in drawn]
    assert (
        all(later < earlier for earlier, later in pairwise(light))
        and to_hex(drawn[-1].get_color()) == INK
    )


def test_optima_are_dots_on_their_lines_joined_by_a_path(figure: Figure) -> None:
    (axes,) = panels(figure)
    at = [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in dots(axes)]
    assert [math.log2(x) for x, _ in at] == pytest.approx(BEST, abs=1e-9)
    # The losses are parabolas, and a dot is the lowest point of its line.
    for (x, y), line in zip(at, lines(axes), strict=True):
        assert y == pytest.approx(0.1) == np.nanmin(line.get_ydata())
        assert line.get_xdata()[np.nanargmin(line.get_ydata())] == pytest.approx(x)
    assert [to_hex(dot.get_color()) for dot in dots(axes)] == [
        to_hex(line.get_color()) for line in lines(axes)
    ]
    (path,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(path.get_xydata(), at)


def test_infinite_depth_is_told_from_the_largest_finite_one(figure: Figure) -> None:
    (axes,) = panels(figure)
    *_, deepest, infinite = (np.array(to_rgb(line.get_color())) for line in lines(axes))
    assert np.abs(deepest - infinite).max() > 0.3


def test_sampled_losses_have_intervals_and_crosses_where_not_reached() -> None:
    landscape = planted(errors=0.01)
    first, *others = landscape.curves
    first = replace(first, interval=(0.2, 0.25), unsettled=(RATES[0], RATES[-1]))
    figure = replace(landscape, curves=(first, *others), accuracy=0.02).figure()
    (axes,) = panels(figure)
    (crosses,) = [line for line in axes.lines if line.get_marker() == "x"]
    # The highest value diverged, and has no place.
    np.testing.assert_array_equal(crosses.get_xydata(), [(RATES[0], first.losses[0])])
    assert names(figure.legends[0])[-1] == "accuracy not reached"
    bars = [each for each in axes.collections if type(each).__name__ == "LineCollection"]
    lengths = [np.ptp(each.get_segments()[0], axis=0) for each in bars]
    vertical = [length[1] for length in lengths if not length[0]]
    np.testing.assert_allclose(vertical, [2 * 1.96 * 0.01] * 3)
    (across,) = [
        each.get_segments()[0] for each, size in zip(bars, lengths, strict=True) if size[0]
    ]
    np.testing.assert_allclose(across[:, 0], [0.2, 0.25])


def test_titles_labels_and_legends_name_what_is_drawn(figure: Figure) -> None:
    (axes,) = panels(figure)
    assert axes.get_title(loc="left") == "branches × 1/√depth"
    assert note(axes) == "optimum moves \N{MINUS SIGN}0.90 octaves, depth 2 to ∞"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "mean training loss")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (
        names(axes.get_legend()) == ["2", "8", "∞"]
        and axes.get_legend().get_title().get_text() == "depth"
    )
    assert names(figure.legends[0]) == ["infinite width", "its optimum", "its drift"]


def test_the_legends_colours_are_the_lines(figure: Figure) -> None:
    (axes,) = panels(figure)
    assert [line.get_color() for line in axes.get_legend().get_lines()] == [
        line.get_color() for line in lines(axes)
    ]


def test_finite_networks_are_open_marks_of_their_own() -> None:
    figure = planted(widths=(64, 256), errors=0.01).figure()
    (axes,) = panels(figure)
    marks = [line for line in axes.lines if line.get_marker() in ("s", "D")]
    assert [line.get_marker() for line in marks] == ["s", "s", "D", "D"]
    assert all(line.get_markerfacecolor() == "none" for line in marks)
    assert [to_hex(line.get_color()) for line in marks] == [
        to_hex(line.get_color()) for line in lines(axes)[:2]
    ] * 2
    assert names(figure.legends[0]) == [
        "infinite width",
        "its optimum",
        "its drift",
        "width 64",
        "width 256",
    ]
    assert [handle.get_marker() for handle in figure.legends[0].get_lines()[3:]] == ["s", "D"]
    assert len(dots(axes)) == 3


def test_several_landscapes_share_their_limits() -> None:
    figure = landscape_figure([planted(), planted(DEPTHS[:2], BEST[:2], alpha=0.0, height=3.0)])
    first, second = panels(figure)
    assert first.get_ylim() == second.get_ylim()
    assert [axes.get_title(loc="left") for axes in (first, second)] == [
        "branches × 1/√depth",
        "no depth scaling",
    ]
    assert (first.get_ylabel(), second.get_ylabel()) == ("mean training loss", "")
    low, high = first.get_ylim()
    shown = np.concatenate(
        [line.get_ydata()[:-1] for axes in (first, second) for line in lines(axes)]
    )
    assert low < shown.min() and shown.max() < high
    assert first.get_legend() is None and names(second.get_legend()) == ["2", "8", "∞"]


def test_a_loss_far_above_the_others_does_not_flatten_them() -> None:
    landscape = planted()
    first, *others = landscape.curves
    losses = first.losses.copy()
    losses[-2] = 1e5
    curves = (replace(first, losses=losses), *others)
    (axes,) = panels(replace(landscape, curves=curves).figure())
    assert axes.get_ylim()[1] < 10


def test_other_hyperparameters_have_a_linear_scale() -> None:
    figure = planted(
        over="weight_decay", values=np.array([0.0, 0.5, 1.0, 1.5, 2.0]), best=(0.8, 0.9, 1.1)
    ).figure()
    (axes,) = panels(figure)
    assert (axes.get_xlabel(), axes.get_xscale()) == ("weight decay", "linear")
    assert [float(dot.get_xdata()[0]) for dot in dots(axes)] == pytest.approx([0.8, 0.9, 1.1])
    assert note(axes) == "optimum moves +0.30, depth 2 to ∞"


def test_an_optimum_beyond_the_values_has_no_dot() -> None:
    (axes,) = panels(planted(best=(-2.0, -3.0, -9.0)).figure())
    assert len(lines(axes)) == 3 and len(dots(axes)) == 2
    assert note(axes) == "an optimum lies beyond the values"


def test_one_depth_has_no_path() -> None:
    (axes,) = panels(planted((4,), (-2.0,)).figure())
    assert note(axes) == "" and not [line for line in axes.lines if line.get_linestyle() == "--"]


def diverged(landscape: Landscape) -> Landscape:
    """The same landscape, with every value diverged."""
    losses = np.full(len(RATES), math.inf)
    gone = {"losses": losses, "optimum": None, "further": Points()}
    curves = [replace(curve, **gone) for curve in landscape.curves]
    return replace(landscape, curves=tuple(curves))


def one_left(kept: int) -> Landscape:
    """Only one value of one depth did not diverge."""
    landscape = diverged(planted(widths=(64,)))
    first, *others = landscape.curves
    losses = first.losses.copy()
    losses[kept] = 0.4
    first = replace(first, losses=losses, optimum=optimum(RATES, losses))
    return replace(landscape, curves=(first, *others))


@pytest.mark.parametrize("kept", [0, 3, 6], ids=["lowest", "inside", "highest"])
def test_all_but_one_value_may_have_diverged(kept: int, svg: Callable[[Figure], str]) -> None:
    figure = one_left(kept).figure()
    (axes,) = panels(figure)
    low, high = axes.get_ylim()
    assert low < 0.4 < high and len(dots(axes)) == (kept == 3)
    assert svg(figure)


def test_where_all_diverged_the_figure_is_refused() -> None:
    with pytest.raises(
        MutransferError, match="every value diverged at every depth: give smaller ones"
    ):
        diverged(planted(widths=(64,))).figure()


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(MutransferError, match="no panels: give at least one landscape"):
        landscape_figure([])


# Laws


def fitted_law(
    name: str, constant: float, low: float | None = None, high: float | None = None, **changes: Any
) -> Law:
    sizes = (2, 4) if name == "depth" else (16, 32, 64)
    power = 0.5 if name == "one network" else 1.0
    fields: dict[str, Any] = {
        "name": name,
        "axis": "depth" if name == "depth" else "width",
        "power": power,
        "sizes": sizes,
        "errors": tuple(constant * size**-power for size in sizes),
        "slope": Estimate(value=-power - 0.03, low=-power - 0.1, high=-power + 0.1),
        "constant": Estimate(
            value=constant,
            low=0.8 * constant if low is None else low,
            high=1.2 * constant if high is None else high,
        ),
    }
    return Law(**{**fields, **changes})


def finite_size(*laws: Law) -> FiniteSize:
    return FiniteSize(
        of="losses",
        limit="theory",
        width=(16, 32, 64),
        depth=(2, 4),
        seeds=4,
        laws={law.name: law for law in laws},
        scale=1.0,
    )


@pytest.fixture(scope="module")
def sizes() -> FiniteSize:
    errors = (0.125, 0.0, 0.03)
    mean = fitted_law("mean over networks", 2.0, low=0.0, errors=errors, slope=None)
    slope = Estimate(value=-1.03, low=math.nan, high=math.nan)
    depth = fitted_law("depth", 0.5, slope=slope)
    return finite_size(fitted_law("one network", 1.0), mean, depth)


def test_every_law_has_a_panel_with_its_errors_and_its_line(sizes: FiniteSize) -> None:
    drawn = panels(sizes.figure())
    assert [axes.get_title(loc="left") for axes in drawn] == [
        "one network",
        "mean over networks",
        "depth",
    ]
    assert [axes.get_xlabel() for axes in drawn] == ["width", "width", "depth"]
    assert [axes.get_ylabel() for axes in drawn] == ["rms error of losses", "", ""]
    for axes, law in zip(drawn, sizes.laws.values(), strict=True):
        (measured,) = dots(axes)
        nonzero = [pair for pair in zip(law.sizes, law.errors, strict=True) if pair[1]]
        np.testing.assert_allclose(measured.get_xydata(), nonzero)
        (theory,) = [line for line in axes.lines if line.get_linestyle() == "--"]
        x, y = theory.get_data()
        np.testing.assert_allclose(y, law.constant.value * np.asarray(x) ** -law.power)
        assert x[0] < law.sizes[0] and x[1] > law.sizes[-1]
        assert [text.get_text() for text in axes.get_xticklabels()] == [
            str(size) for size in law.sizes
        ]
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_fitted_powers_stand_in_the_panels(sizes: FiniteSize) -> None:
    one, mean, depth = map(note, panels(sizes.figure()))
    assert one == "fitted power \N{MINUS SIGN}0.53 [\N{MINUS SIGN}0.60, \N{MINUS SIGN}0.40]"
    assert mean == "no power above noise" and depth == "fitted power \N{MINUS SIGN}1.03"
    (key,) = sizes.figure().legends
    assert names(key) == ["measured", "theory's power, fitted constant"]


@pytest.mark.parametrize("constant", [0.0, 1.0], ids=["no constant", "constant"])
def test_a_law_within_noise_is_drawn_without_dots(
    constant: float, svg: Callable[[Figure], str]
) -> None:
    errors = (0.0,) * 3
    noise = fitted_law("mean over networks", constant, low=0.0, high=2.0, errors=errors, slope=None)
    figure = finite_size(fitted_law("one network", 1.0), noise).figure()
    assert not dots(panels(figure)[1]) and svg(figure)


# Both


BOTH = pytest.mark.parametrize(
    "draw",
    [
        lambda: planted(widths=(64,)).figure(),
        lambda: finite_size(fitted_law("one network", 1.0)).figure(),
    ],
    ids=["landscape", "laws"],
)


@BOTH
def test_the_callers_figures_and_settings_are_left_and_without_effect(
    draw: Any, svg: Callable[[Figure], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = svg(draw())
    pyplot.switch_backend("agg")
    foreign = pyplot.figure()
    monkeypatch.setitem(rcParams, "font.size", 20.0)
    before = dict(rcParams)
    assert svg(draw()) == plain
    assert dict(rcParams) == before
    assert pyplot.get_fignums() == [foreign.number]
    pyplot.close(foreign)


@BOTH
def test_without_matplotlib_the_error_names_the_extra(
    draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MutransferError, match=r"the figure needs matplotlib: pip install 'mutransfer\[plot\]'"
    ):
        draw()
