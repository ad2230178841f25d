"""One way to draw: every drawn result is registered, and results import no figure."""

import subprocess
import sys

import pytest
from matplotlib.figure import Figure

from mutransfer import MutransferError, Runs, transfer
from mutransfer.core import Drawn
from mutransfer.figures import Curve, Section, draw, panels, save, transfer_figure
from mutransfer.limits import DiversityTrend


def kinds(base: type) -> list[type]:
    """Return all classes below this one."""
    return [kind for below in base.__subclasses__() for kind in (below, *kinds(below))]


def texts(figure: Figure) -> set[str]:
    return {text.get_text() for axes in figure.axes for text in axes.texts}


@pytest.mark.parametrize("kind", kinds(Drawn), ids=lambda kind: kind.__name__)
def test_every_drawn_result_is_registered(kind: type) -> None:
    assert draw.dispatch(kind) is not draw.dispatch(object)


def test_there_are_results_to_draw() -> None:
    assert {"CoordinateCheck", "Landscape", "FiniteSize", "Transfers"} <= {
        kind.__name__ for kind in kinds(Drawn)
    }


def test_results_import_no_figure() -> None:
    code = (
        "import sys, mutransfer.certificates, mutransfer.checks, mutransfer.limits;"
        "assert not {'mutransfer.figures', 'mutransfer.report', 'matplotlib'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_transfers_draw_themselves(widths: Runs) -> None:
    transfers = transfer(widths)
    figure = transfers.figure()
    assert texts(figure) == texts(transfer_figure(panels([Section.of(transfers)])))
    assert len([axes for axes in figure.axes if axes.get_xlabel()]) == 2


def test_runs_are_drawn_with_their_optima(widths: Runs) -> None:
    assert texts(draw(widths)) == texts(transfer(widths).figure())


def test_a_single_curve_can_be_drawn() -> None:
    assert texts(draw(Curve(name="loss", losses=[3.0, 2.0]))) == {"loss"}


def test_a_diversity_trend_is_a_line_over_depth() -> None:
    trend = DiversityTrend(
        depth=(16, 32, 64),
        exponents=(0.45, 0.43, 0.4),
        errors=(0.01, float("nan"), 0.02),
        per_doubling=-0.025,
    )
    (axes,) = trend.figure().axes
    half, line = axes.lines
    assert set(half.get_ydata()) == {0.5}
    assert list(zip(*line.get_data(), strict=True)) == [(16, 0.45), (32, 0.43), (64, 0.4)]
    assert texts(trend.figure()) == {"\N{MINUS SIGN}0.025 per doubling of depth"}


def test_a_drawn_result_saves_its_figure(widths: Runs, tmp_path: pytest.TempPathFactory) -> None:
    transfers = transfer(widths)
    png, svg = transfers.save_figure(f"{tmp_path}/figure")
    other = save(transfers.figure(), f"{tmp_path}/other")
    assert png.stat().st_size > 1000 and svg.read_text() == other[1].read_text()


def test_other_objects_have_no_figure() -> None:
    with pytest.raises(MutransferError, match="there is no figure for int"):
        draw(3)
