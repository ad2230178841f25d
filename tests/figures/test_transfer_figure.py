"""The figure of transfer: losses against rates, a panel for each study and rule."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mutransfer import MutransferError, transfer
from mutransfer.figures import panels, save, transfer_figure
from mutransfer.studies import Runs
from tests.records import bare_section, section_of


@pytest.fixture(scope="module")
def figure(widths: Runs) -> Figure:
    return transfer_figure(panels([section_of(widths)]))


def axes_of(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_xlabel()]


def marks(axes: Axes, label: str) -> list[Line2D]:
    return [line for line in axes.lines if line.get_label() == label]


def crosses(axes: Axes) -> set[tuple[float, float]]:
    """Rate and rank of every cross in the strip above."""
    (strip,) = axes.child_axes
    return {
        (float(x), float(y)) for line in marks(strip, "_diverged") for x, y in line.get_xydata()
    }


def test_there_is_a_panel_for_every_study_and_rule(widths: Runs, depths: Runs) -> None:
    figure = transfer_figure(panels([section_of(widths), section_of(depths)]))
    texts = [text.get_text() for axes in axes_of(figure) for text in axes.child_axes[0].texts]
    assert texts == ["Width: sp", "Width: default", "Depth: sp", "Depth: default"]
    limits = [axes.get_ylim() for axes in axes_of(figure)]
    assert limits[0] == limits[1] and limits[2] == limits[3]


def test_every_size_has_a_line_and_a_mark_at_its_optimum(widths: Runs, figure: Figure) -> None:
    for axes, moved in zip(axes_of(figure), section_of(widths).transfers.granted, strict=True):
        names = [str(line.get_label()) for line in axes.lines]
        rates = [best.log2_lr for best in moved.optima]
        intervals = [(best.low, best.high) for best in moved.optima]
        assert [name for name in names if name[0] != "_"] == [
            str(best.size) for best in moved.optima
        ]
        assert [line.get_xdata()[0] for line in marks(axes, "_optimum")] == rates
        assert [tuple(line.get_xdata()) for line in marks(axes, "_interval")] == intervals
        (path,) = marks(axes, "_drift")
        assert list(path.get_xdata()) == rates


def test_the_marks_lie_on_their_lines(figure: Figure) -> None:
    for axes in axes_of(figure):
        lines = [line for line in axes.lines if str(line.get_label())[0] != "_"]
        for line, dot in zip(lines, marks(axes, "_optimum"), strict=True):
            (x,), (y,) = dot.get_data()
            shown = np.isfinite(line.get_ydata())
            assert np.log(y) == pytest.approx(
                np.interp(x, line.get_xdata()[shown], np.log(line.get_ydata()[shown]))
            )


def test_every_diverged_run_is_a_cross(widths: Runs, figure: Figure) -> None:
    sizes = [32, 64, 128, 256, 512]
    for axes, rule in zip(axes_of(figure), widths.rules, strict=True):
        diverged = {
            (np.log2(row["lr"]), sizes.index(row["width"]))
            for row in widths.rows
            if row["rule"] == rule and row["loss"] is None
        }
        assert diverged and crosses(axes) == diverged


def test_a_refused_rule_is_drawn_with_the_optima_it_has(unbracketed: Runs) -> None:
    sp, default = axes_of(transfer_figure(panels([section_of(unbracketed)])))
    found = transfer(unbracketed)["sp"].optima
    assert 0 < len(marks(sp, "_optimum")) == len(found) < 5
    assert len(marks(default, "_optimum")) == 5
    assert len([line for line in sp.lines if str(line.get_label()).startswith("width")]) == 5


@pytest.mark.parametrize("loss", [None, 0.0])
def test_degenerate_losses_can_be_drawn(depths: Runs, loss: float | None) -> None:
    rows = [{**row, "loss": loss} for row in depths.rows if row["seed"] == 0]
    transfer_figure(panels([bare_section(Runs(header={}, rows=rows))]))


def test_the_callers_settings_are_left_and_without_effect(
    depths: Runs, svg: Callable[[Figure], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = panels([section_of(depths)])[:1]
    plain = svg(transfer_figure(first))
    monkeypatch.setitem(rcParams, "font.size", 20.0)
    assert svg(transfer_figure(first)) == plain
    assert rcParams["font.size"] == 20.0


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(MutransferError, match="no panels"):
        transfer_figure([])


def test_without_matplotlib_the_error_names_the_extra(
    widths: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MutransferError, match=r"the figure needs matplotlib: pip install 'mutransfer\[plot\]'"
    ):
        transfer_figure(panels([section_of(widths)]))


def test_a_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MutransferError, match="cannot write the figure"):
        save(Figure(), tmp_path / "file" / "figure")


def test_labels_of_betas_do_not_overlap() -> None:
    rows = [
        {"rule": "default", "width": width, "beta2": 1 - 2.0**-octave, "seed": 0}
        | {"loss": 3 + 0.03 * (octave - 8) ** 2}
        for octave in (3.4, 5.0, 6.6, 8.4, 10.0, 11.7)
        for width in (32, 64, 128)
    ]
    runs = Runs(header={"axes": ["width"], "hyperparameters": ["beta2"]}, rows=rows)
    figure = transfer_figure(panels([section_of(runs)]))
    FigureCanvasAgg(figure).draw()
    labels = [label for axes in axes_of(figure) for label in axes.get_xticklabels()]
    boxes = [label.get_window_extent() for label in labels if label.get_text()]
    assert len(boxes) >= 3
    assert all(not one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
