"""The figure of a coordinate check."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot, rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from mutransfer import MutransferError
from mutransfer.checks import CoordinateCheck, Finding, Row, Slope, coordinate_check
from mutransfer.figures import ACCENT, FAINT, INK
from mutransfer.rules import parametrization
from mutransfer.tasks import mlp

WIDTH = {"width": (64, 128, 256)}
DEPTH = {"depth": (4, 8, 16)}
EXPONENTS = {"embed": 0.0, "blocks.*.up": 0.9, "blocks.*.down": 0.35, "": -0.1}
VERDICTS = {"embed": "pass", "blocks.*.up": "fail", "blocks.*.down": "undecided", "": "pass"}
HALVES = (0.01, 0.02, 0.13, 0.05)
"""Halves of the 95% intervals."""


def planted_rows(
    name: str, exponent: float, axes: Mapping[str, Sequence[int]], seeds: int, steps: int
) -> list[Row]:
    """Changes of one module's output that are the same power of every axis."""
    base = {"width": 1, "depth": 1} | {axis: sizes[0] for axis, sizes in axes.items()}
    cross = (base | {axis: size} for axis, sizes in axes.items() for size in sizes)
    return [
        Row(
            rule="default",
            width=width,
            depth=depth,
            seed=seed,
            step=step,
            kind="module",
            name=name.replace("*", "0"),
            label=name,
            quantity="change",
            value=0.1 * step * (1 + 0.1 * seed) * (width * depth) ** exponent,
        )
        for width, depth in sorted({(size["width"], size["depth"]) for size in cross})
        for seed in range(seeds)
        for step in range(1, steps + 1)
    ]


def planted_check(
    axes: Mapping[str, tuple[int, ...]],
    exponents: Mapping[str, float] = EXPONENTS,
    verdicts: Mapping[str, str] = VERDICTS,
    expected: float = 0.0,
    seeds: int = 2,
    steps: int = 3,
) -> CoordinateCheck:
    """A check with planted exponents and verdicts, and a control with twice the changes."""
    rows = [
        row
        for name, exponent in exponents.items()
        for row in planted_rows(name, exponent, axes, seeds, steps)
    ]
    control = [row._replace(rule="sp", value=2 * row.value) for row in rows]
    slopes = [
        Slope(
            axis=axis,
            kind="module",
            name=name,
            quantity="change",
            step=step,
            slope=exponent,
            low=exponent - half,
            high=exponent + half,
            expected=expected,
            verdict=verdicts[name] if step == steps else "",
        )
        for (name, exponent), half in zip(exponents.items(), cycle(HALVES), strict=False)
        for step in range(1, steps + 1)
        for axis in axes
    ]
    return CoordinateCheck(
        parametrization=replace(parametrization("mup"), name="default"),
        why="asked for",
        axes=axes,
        seeds=seeds,
        steps=steps,
        verdict="fail",
        findings=(Finding(name="blocks.*.up.weight", text="is wrong"),),
        notes=(),
        slopes=tuple(slopes),
        rows=tuple(rows + control),
        spots=dict.fromkeys(exponents, "stream"),
    )


def many(wrong: Sequence[int], count: int = 30) -> CoordinateCheck:
    """A check of many modules, those in `wrong` failing."""
    names = [f"part{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(count)]
    exponents = {name: i / 100 for i, name in enumerate(names)}
    return planted_check(
        WIDTH, exponents, {name: "fail" if i in wrong else "pass" for i, name in enumerate(names)}
    )


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.lines]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def heading(figure: Figure, number: int) -> list[str]:
    return texts([axes for axes in figure.axes if not axes.axison][number])


def titles(figure: Figure) -> list[str]:
    return [texts(axes)[0] for axes in panels(figure)]


def marks(axes: Axes, label: str) -> list[Line2D]:
    return [line for line in axes.lines if str(line.get_label()).startswith(label)]


def corner(axes: Axes) -> Annotation:
    """The exponent in the corner of a panel."""
    return axes.texts[2]


def inclination(line: Line2D) -> float:
    x, y = np.log(line.get_xdata()), np.log(line.get_ydata())
    return float((y[-1] - y[0]) / (x[-1] - x[0]))


@pytest.fixture(scope="module")
def check() -> CoordinateCheck:
    return planted_check({**WIDTH, **DEPTH}, expected=-1.0)


@pytest.fixture(scope="module")
def figure(check: CoordinateCheck) -> Figure:
    return check.figure()


def test_every_module_has_a_panel_in_each_axis_width_first(figure: Figure) -> None:
    assert titles(figure) == ["embed", "blocks.*.up", "blocks.*.down", "(output)"] * 2
    ticks = [[text.get_text() for text in axes.get_xticklabels()] for axes in panels(figure)]
    assert ticks == [["64", "128", "256"]] * 4 + [["4", "8", "16"]] * 4
    tops = [axes.get_position().y1 for axes in panels(figure)]
    assert min(tops[:4]) > max(tops[4:])


def test_headings_name_rule_verdict_axis_and_quantity(figure: Figure) -> None:
    assert heading(figure, 0) == [
        "Coordinate check of default: fail",
        "3 steps, 2 seeds; wrong: blocks.*.up.weight",
    ]
    assert heading(figure, 1) == [
        "Width: change of each module's output since initialisation",
        "at depth 4",
    ]
    assert heading(figure, 2) == [
        "Depth: change of each module's output since initialisation",
        "at width 64",
    ]


@pytest.mark.parametrize("axes", [WIDTH, DEPTH])
def test_one_axis_alone_can_be_drawn(axes: dict[str, tuple[int, ...]]) -> None:
    figure = planted_check(axes).figure()
    assert len(panels(figure)) == 4
    assert heading(figure, 1)[1] == ""
    (axis,) = axes
    assert {panel.get_xlabel() for panel in panels(figure)} == {axis}


def test_each_step_is_a_line_of_geometric_means_darker_than_the_last(
    check: CoordinateCheck, figure: Figure
) -> None:
    for number, axes in enumerate(panels(figure)):
        name, axis = list(EXPONENTS)[number % 4], list(check.axes)[number // 4]
        lines = marks(axes, "step ")
        drawn = {line.get_label(): line.get_xydata() for line in lines}
        wanted = {f"step {step}": points for step, points in check.series(name, "change", axis)}
        assert list(drawn) == list(wanted) == ["step 1", "step 2", "step 3"]
        assert all(drawn[step] == pytest.approx(np.array(wanted[step])) for step in wanted)
        light = [sum(to_rgb(line.get_color())) for line in lines]
        assert all(later < earlier for earlier, later in pairwise(light))


def test_the_control_is_not_drawn(figure: Figure) -> None:
    last = marks(panels(figure)[0], "step 3")[0]
    assert last.get_ydata() == pytest.approx(0.3 * np.sqrt(1.1))


def test_single_seeds_are_dots_at_the_last_step(figure: Figure) -> None:
    (dots,) = marks(panels(figure)[4], "_seeds")
    drawn = np.array(sorted(map(tuple, dots.get_xydata())))
    assert drawn == pytest.approx(
        np.array([(size, 0.3 * (1 + 0.1 * seed)) for size in (4, 8, 16) for seed in (0, 1)])
    )
    assert not marks(panels(planted_check(WIDTH, seeds=1).figure())[0], "_seeds")


def test_the_reference_has_the_expected_exponent_and_goes_through_the_mean(figure: Figure) -> None:
    for axes in panels(figure):
        (reference,), (last,) = marks(axes, "_reference"), marks(axes, "step 3")
        assert inclination(reference) == pytest.approx(-1)
        x, y = np.log(reference.get_xdata()), np.log(reference.get_ydata())
        middle = np.log(last.get_xydata()).mean(axis=0)
        assert np.interp(middle[0], x, y) == pytest.approx(middle[1])


def test_the_exponent_stands_in_the_corner_with_its_verdict(figure: Figure) -> None:
    corners = [corner(axes) for axes in panels(figure)[:4]]
    assert [text.get_text() for text in corners] == [
        "+0.00 ± 0.01",
        "+0.90 ± 0.02 wrong",
        "+0.35 ± 0.13 undecided",
        "\N{MINUS SIGN}0.10 ± 0.05",
    ]
    assert [to_hex(text.get_color()) for text in corners] == [INK, ACCENT, FAINT, INK]
    assert [text.get_fontweight() for text in corners] == ["normal", "bold", "normal", "normal"]


def test_the_heading_of_an_undecided_check_names_what_is_not_drawn() -> None:
    passing = planted_check(WIDTH, verdicts=dict.fromkeys(EXPONENTS, "pass"))
    logits = replace(passing.slopes[0], kind="attention", name="*", verdict="undecided")
    slopes = (*passing.slopes, logits)
    check = replace(passing, verdict="undecided", findings=(), slopes=slopes)
    assert heading(check.figure(), 0)[1] == "3 steps, 2 seeds; undecided: the attention logits"
    failing = replace(planted_check(WIDTH), slopes=slopes)
    assert heading(failing.figure(), 0)[1] == "3 steps, 2 seeds; wrong: blocks.*.up.weight"


def test_the_expected_exponent_follows_the_spot(figure: Figure) -> None:
    assert texts(panels(figure)[0])[1] == "stream, expected \N{MINUS SIGN}1"
    assert texts(panels(planted_check(WIDTH).figure())[0])[1] == "stream"


def test_panels_of_an_axis_span_the_same_and_hold_their_lines(figure: Figure) -> None:
    for group in (panels(figure)[:4], panels(figure)[4:]):
        spans = [np.log10(high / low) for low, high in (axes.get_ylim() for axes in group)]
        assert spans == pytest.approx([spans[0]] * 4)
    for axes in panels(figure):
        values = np.concatenate([line.get_ydata() for line in axes.lines])
        assert axes.get_ylim()[0] < values.min() and values.max() < axes.get_ylim()[1]


def test_a_module_that_explodes_does_not_flatten_the_others() -> None:
    first, second = panels(
        planted_check(WIDTH, {"calm": 0.0, "wild": 9.0}, {"calm": "pass", "wild": "fail"}).figure()
    )
    spans = [np.log10(high / low) for low, high in (first.get_ylim(), second.get_ylim())]
    assert spans[0] < 4 < spans[1]


def test_of_many_modules_failing_ones_are_shown_and_others_spread() -> None:
    check = many(wrong=(13, 14, 20))
    figure = check.figure()
    shown = titles(figure)
    names = list(dict.fromkeys(slope.name for slope in check.slopes))
    places = [names.index(name) for name in shown]
    assert len(places) == 12 and places == sorted(places) and {0, 13, 14, 20, 29} <= set(places)
    assert max(np.diff(places)) < 6
    assert heading(figure, 1)[1] == "18 modules not shown"


def test_hidden_failing_modules_are_counted() -> None:
    check = many(wrong=range(10, 24))
    figure = check.figure()
    assert titles(figure) == [slope.name for slope in check.slopes if slope.verdict == "fail"][:12]
    assert heading(figure, 1)[1] == "18 modules not shown, 2 of them wrong"


def test_modules_with_other_faults_are_shown_and_repetitions_left_out() -> None:
    check = many(wrong=())
    judged = [slope for slope in check.slopes if slope.verdict]
    own = [replace(slope, quantity="own", verdict="fail") for slope in judged[7:9]]
    again = replace(judged[-1], name="again")
    shown = titles(replace(check, slopes=(*check.slopes, *own, again)).figure())
    assert {slope.name for slope in own} <= set(shown) and "again" not in shown


def test_titles_do_not_overlap_and_long_ones_lose_their_middle() -> None:
    names = [
        f"{letter}WWWWWWWWWWWWWWWW.transformer.layers.*.attention.{letter}" for letter in "abcdefg"
    ]
    figure = planted_check(WIDTH, dict.fromkeys(names, 0.1), dict.fromkeys(names, "pass")).figure()
    FigureCanvasAgg(figure).draw()
    boxes = [axes.texts[0].get_window_extent() for axes in panels(figure)]
    assert all(not one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)
    assert [(title[0], title[-1], "…" in title) for title in titles(figure)] == [
        (letter, letter, True) for letter in "abcdefg"
    ]


def test_headings_stay_in_the_figure() -> None:
    findings = tuple(
        Finding(name=f"{letter}.a.long.name.of.a.tensor.weight", text="") for letter in "abcde"
    )
    figure = replace(planted_check(WIDTH), findings=findings).figure()
    FigureCanvasAgg(figure).draw()
    top = figure.axes[0]
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in top.texts)
    assert texts(top)[1].endswith("and 2 more")


def test_many_steps_and_sizes_are_named_in_part() -> None:
    figure = planted_check({"width": (32, 48, 64, 96, 128, 192, 256, 384, 512)}, steps=20).figure()
    (legend,) = figure.legends
    steps = [text.get_text() for text in legend.get_texts() if text.get_text().startswith("step")]
    assert (steps[0], steps[-1], len(steps)) == ("step 1", "step 20", 6)
    assert len(marks(panels(figure)[0], "step ")) == 20
    names = [text.get_text() for text in panels(figure)[0].get_xticklabels()]
    assert len(names) == 9 and names[-1] == "512" and "" in names


def test_values_that_vanish_or_are_not_finite_are_left_out() -> None:
    check = planted_check(WIDTH)
    spoiled = {(64, 1): 0.0, (128, 1): np.inf, (64, 2): 0.0, (128, 2): 0.0, (256, 2): 0.0}
    rows = tuple(
        row._replace(value=spoiled.get((row.width, row.step), row.value)) for row in check.rows
    )
    lines = marks(panels(replace(check, rows=rows).figure())[0], "step ")
    assert [(line.get_label(), list(line.get_xdata())) for line in lines] == [
        ("step 1", [256]),
        ("step 3", [64, 128, 256]),
    ]


def test_a_figure_without_judged_slopes_says_so() -> None:
    figure = replace(planted_check(WIDTH), slopes=()).figure()
    assert not panels(figure)
    assert heading(figure, 1)[1] == "none could be judged"


def test_the_callers_figures_and_settings_are_left_and_without_effect(
    check: CoordinateCheck, svg: Callable[[Figure], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = svg(check.figure())
    pyplot.switch_backend("agg")
    foreign = pyplot.figure()
    monkeypatch.setitem(rcParams, "font.size", 20.0)
    before = dict(rcParams)
    assert svg(check.figure()) == plain
    assert dict(rcParams) == before
    assert pyplot.get_fignums() == [foreign.number]
    pyplot.close(foreign)


def test_without_matplotlib_the_error_names_the_extra(
    check: CoordinateCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MutransferError, match=r"the figure needs matplotlib: pip install 'mutransfer\[plot\]'"
    ):
        check.figure()


def test_a_real_check_is_drawn_and_saved(tmp_path: Path) -> None:
    check = coordinate_check(mlp, width=[16, 64], steps=2, seeds=2, task="digits", control=False)
    folder = check.save(tmp_path / "new" / "check")
    assert sorted(path.name for path in folder.iterdir()) == [
        f"check.{kind}" for kind in ("csv", "json", "png", "svg", "txt")
    ]
    assert all(path.stat().st_size > 100 for path in folder.iterdir())
    assert titles(check.figure()) == ["input", "hidden.*", "readout", "(output)"]
