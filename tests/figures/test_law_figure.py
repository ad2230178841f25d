"""The figure of laws: the optimum of each size, the law across them, and the target."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mutransfer import MutransferError
from mutransfer.certificates import Transfer, Transfers, transfer
from mutransfer.figures import law_figure, law_panels, sections
from mutransfer.studies import Runs
from tests.records import drifting_runs, section_of


@pytest.fixture(scope="module")
def found(widths: Runs) -> Transfers:
    return transfer(widths, at={"width": 2048})


@pytest.fixture(scope="module")
def figure(found: Transfers) -> Figure:
    return law_figure(found)


@pytest.fixture(scope="module")
def square() -> Runs:
    """Three widths at each of three depths; the best rate moves along the depths alone."""
    rows: list[dict[str, Any]] = []
    for depth, rank in ((2, 0), (4, 1), (8, 2)):
        each = drifting_runs({"default": 0.0}, sizes=(32, 64, 128), noise=0.002)
        moved = [{**row, "lr": row["lr"] * 2.0**-rank, "depth": depth} for row in each.rows]
        rows += moved
    return Runs(header={}, rows=rows)


def marks(axes: Axes, label: str) -> list[Line2D]:
    return [line for line in axes.lines if line.get_label() == label]


def band(axes: Axes) -> np.ndarray:
    (area,) = axes.collections
    return np.asarray(area.get_paths()[0].vertices)


def test_every_rule_has_its_optima_with_intervals(found: Transfers, figure: Figure) -> None:
    for axes, each in zip(figure.axes, found.granted, strict=True):
        assert [tuple(*line.get_xydata()) for line in marks(axes, "_optimum")] == [
            (best.size["width"], best.position) for best in each.optima
        ]
        assert [tuple(line.get_ydata()) for line in marks(axes, "_interval")] == [
            (best.low, best.high) for best in each.optima
        ]


def test_the_law_reaches_the_target_with_its_interval(found: Transfers, figure: Figure) -> None:
    for axes, each in zip(figure.axes, found.granted, strict=True):
        (law,), (target,) = marks(axes, "_law"), marks(axes, "_target")
        (bar,) = marks(axes, "_interval of the target")
        assert tuple(*target.get_xydata()) == (2048, each.place.value)
        assert list(bar.get_ydata()) == [each.place.low, each.place.high]
        assert tuple(law.get_xydata()[0]) == (32, each.bands["width"][0][1].value)
        assert law.get_xydata()[-1] == pytest.approx([2048, each.place.value])
        ends = band(axes)[np.isclose(band(axes)[:, 0], 2048), 1]
        assert (ends.min(), ends.max()) == pytest.approx((each.place.low, each.place.high))


def test_panels_of_a_row_share_their_scales(figure: Figure) -> None:
    left, right = figure.axes
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    low, high = left.get_xlim()
    assert low < 32 and high > 2048


def test_a_target_that_was_run_has_no_mark_of_its_own(widths: Runs) -> None:
    axes = law_figure(transfer(widths)).axes[0]
    assert marks(axes, "_law") and not marks(axes, "_target")


def test_refused_rules_show_the_optima_that_were_found(widths: Runs) -> None:
    found = transfer(widths, at={"width": 2**13})
    sp, default = law_figure(found).axes
    assert found.refusals[0].rule == "sp" and len(marks(sp, "_optimum")) == 5
    assert not marks(sp, "_law") and not marks(sp, "_target") and marks(default, "_target")
    assert "refused" in " ".join(text.get_text() for text in sp.texts)


def test_a_rule_without_any_optimum_says_so(unbracketed: Runs) -> None:
    high = [row for row in unbracketed.rows if row["rule"] == "default" or row["lr"] > 2**-4]
    sp, default = law_figure(transfer(replace(unbracketed, rows=high))).axes
    texts = " ".join(text.get_text() for text in sp.texts)
    assert not marks(sp, "_optimum") and "no optimum is known" in texts
    assert len(marks(default, "_optimum")) == 5


def test_every_axis_is_a_row_shaded_by_the_other(square: Runs) -> None:
    found = transfer(square, at={"width": 512})
    by_width, by_depth = law_figure(found).axes
    assert [axes.get_xlabel() for axes in (by_width, by_depth)] == ["width", "depth"]
    assert by_width.get_legend().get_title().get_text() == "depth"
    assert [text.get_text() for text in by_depth.get_legend().get_texts()] == ["32", "64", "128"]
    dots = marks(by_width, "_optimum")
    depths = [best.size["depth"] for best in found["default"].optima]
    colours = {(depth, dot.get_color()) for depth, dot in zip(depths, dots, strict=True)}
    assert len(dots) == 9 and len(colours) == 3
    # Optima of one width stand side by side, in the order of their depths.
    places = np.array([dot.get_xdata()[0] for dot in dots]).reshape(3, 3)
    assert (np.diff(places.ravel()) > 0).all() and np.log2(places.T / [32, 64, 128]).max() < 0.5


def test_optima_beside_the_outermost_sizes_are_inside_the_axes(square: Runs) -> None:
    figure = law_figure(transfer(square))
    assert len(figure.axes) == 2
    for axes in figure.axes:
        low, high = axes.get_xlim()
        places = [x for mark in marks(axes, "_optimum") for x in mark.get_xdata()]
        assert len(places) == 9 and low < min(places) and max(places) < high


def test_hyperparameters_have_rows_on_their_scales(several: Runs) -> None:
    found = transfer(several)
    panels = law_panels(found)
    assert [(panel.section, panel.rule) for panel in panels] == [
        (name, rule) for name in ("Width", "readout", "beta2") for rule in ("sp", "default")
    ]
    beta = "best beta2, logarithmic in 1 - beta2"
    labels = [axes.get_ylabel() for axes in law_figure(sections(found)).axes]
    assert labels[::2] == ["best learning rate", "best readout", beta]


def test_the_figure_is_the_same_every_time(
    found: Transfers, svg: Callable[[Figure], str], figure: Figure
) -> None:
    assert svg(law_figure(found)) == svg(figure)


def test_one_size_has_no_law(widths: Runs) -> None:
    rows = [row for row in widths.rows if row["width"] == 32]
    with pytest.raises(MutransferError, match="no law to draw"):
        law_figure([section_of(Runs(header={}, rows=rows))])


def test_panels_hold_what_the_certificate_found(found: Transfers) -> None:
    for panel in law_panels(found):
        outcome = found[panel.rule]
        assert isinstance(outcome, Transfer) and not panel.refused
        assert panel.drift == outcome.drift["width"] and panel.band == outcome.bands["width"]


def test_what_is_said_of_a_beta_fits_into_a_figure_of_one_panel() -> None:
    noise = np.random.default_rng(1)
    rows = [
        {"rule": "default", "width": width, "beta2": 1 - 2.0**-octave, "seed": seed}
        | {"loss": 3 + 0.03 * (octave - 8 - place) ** 2 + 0.01 * noise.standard_normal()}
        for octave in (3, 5, 7, 8, 10, 12)
        for place, width in ((0.0, 64), (0.2, 128), (0.4, 256))
        for seed in range(3)
    ]
    runs = Runs(header={"axes": ["width"], "hyperparameters": ["beta2"]}, rows=rows)
    figure = law_figure([section_of(runs)])
    FigureCanvasAgg(figure).draw()
    texts = [text for axes in figure.axes for text in axes.texts if "octaves" in text.get_text()]
    assert texts and "cannot tell" in texts[0].get_text()
    assert all(each.get_window_extent().x1 <= figure.bbox.x1 for each in texts)
