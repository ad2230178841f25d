"""The figure of loss curves."""

import math

import numpy as np
import pytest

from mutransfer import MutransferError
from mutransfer.figures import Curve, curves_figure


def names(*curves: Curve) -> dict[str, float]:
    """Names in the figure, with their heights."""
    (axes,) = curves_figure(curves).axes
    return {text.get_text(): text.xy[1] for text in axes.texts}


def test_every_curve_is_named_at_its_end() -> None:
    placed = names(Curve(name="low", losses=[3, 1, 0.1]), Curve(name="high", losses=[3, 2, 1]))
    assert placed["low"] < placed["high"]


def test_names_of_equal_ends_do_not_overlap() -> None:
    placed = sorted(names(*(Curve(name=str(i), losses=[3, 2, 1]) for i in range(4))).values())
    assert min(np.diff(placed)) > 0.1 and placed[-1] <= 1


@pytest.mark.parametrize("gone", [math.inf, math.nan, None])
def test_a_curve_that_diverged_ends_in_a_cross(gone: float | None) -> None:
    curve = Curve(name="sp", losses=[2.0, 3.0, gone, gone])
    (axes,) = curves_figure([curve, Curve(name="mup", losses=[2, 1, 1, 1])]).axes
    (cross,) = (line for line in axes.lines if line.get_label() == "_diverged")
    assert list(cross.get_xdata()) == [2]
    assert "sp\ndiverged" in {text.get_text() for text in axes.texts}


def test_a_spike_does_not_flatten_the_rest() -> None:
    (axes,) = curves_figure(
        [Curve(name="sp", losses=[2.0, 1e9, None]), Curve(name="mup", losses=[2, 1, 1])]
    ).axes
    assert axes.get_ylim()[1] < 10


def test_a_long_curve_has_its_running_mean() -> None:
    (axes,) = curves_figure(
        [Curve(name="$a", losses=list(2 + np.sin(np.arange(1000))), steps=range(0, 2000, 2))]
    ).axes
    raw, smooth = (line.get_ydata() for line in axes.lines)
    assert len(raw) == 1000 and len(smooth) < 60 and np.ptp(smooth[1:]) < 0.2


def test_losses_and_steps_must_match() -> None:
    with pytest.raises(MutransferError, match="2 losses at 3 steps"):
        Curve(name="x", losses=[1, 2], steps=[1, 2, 3])
    with pytest.raises(MutransferError, match="no losses"):
        Curve(name="x", losses=[])
    with pytest.raises(MutransferError, match="no curves"):
        curves_figure([])


def test_curves_without_any_loss_can_be_drawn() -> None:
    assert names(Curve(name="x", losses=[None, math.nan])) == {"x\ndiverged": 1.0}
