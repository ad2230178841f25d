"""The data of the page, and that it says what the record and the certificates say."""

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mutransfer.certificates import transfer
from mutransfer.figures import panels, sections
from mutransfer.report._charts import charts
from mutransfer.report._data import _short, curves_data, record_data, short, thinned
from mutransfer.report._embedded import page_data
from mutransfer.report._found import surface_data, surfaces
from mutransfer.studies import Runs
from tests.report.test_browser import two_hyperparameters


def column(data: dict[str, Any], name: str) -> list[Any]:
    values = data["columns"][name]
    if isinstance(values, dict):
        return [values["names"][code] for code in values["codes"]]
    return list(values)


def test_columns_hold_every_run(widths: Runs) -> None:
    data = record_data(sections(transfer(widths)))
    for number, row in enumerate(widths.rows):
        assert data["rules"][data["columns"]["rule"][number]] == row["rule"]
        size = data["sizes"][data["columns"]["size"][number]]
        assert dict(zip(data["sizeAxes"], size, strict=True)) == {
            "width": row["width"],
            "depth": row["depth"],
        }
        assert column(data, "at lr")[number] == row["lr"], "powers of two are exact"
        loss = column(data, "by mean")[number]
        assert (loss is None) == (row["loss"] is None)
        assert loss is None or math.isclose(loss, row["loss"], rel_tol=1e-5)
    assert set(column(data, "status")) == {"finished", "diverged"}
    assert data["axes"] == ["width"]


def test_lines_are_those_of_the_figure(several: Runs) -> None:
    """Means of the runs that the page puts on a line are those of the static figure."""
    own = sections(transfer(several))
    data = record_data(own)
    for section in own:
        over = section.transfers.over
        places = data["lines"][over]["mean"]
        for panel in panels([section]):
            for line in panel.lines:
                rows = [
                    run
                    for run in places
                    if data["rules"][data["columns"]["rule"][run]] == panel.rule
                    and data["sizes"][data["columns"]["size"][run]] == list(line.size.values())
                ]
                assert len(rows) == np.isfinite(line.losses).sum() + np.isinf(line.losses).sum()
                losses = [column(data, "by mean")[run] for run in rows]
                finite = sorted(loss for loss in losses if loss is not None)
                expected = np.sort(line.losses[np.isfinite(line.losses)])
                np.testing.assert_allclose(finite, expected, rtol=1e-5)


def test_optima_by_other_metrics_are_found_too(widths: Runs) -> None:
    data = record_data(sections(transfer(widths)))
    metrics = {row["metric"] for row in data["optima"]}
    assert metrics == {"mean", "final"}
    found = {(row["metric"], row["rule"], row["size"]): row["place"] for row in data["optima"]}
    certificate = transfer(widths)["default"].optima  # type: ignore[union-attr]
    for number, best in enumerate(certificate):
        assert math.isclose(found["mean", "default", number], best.position, rel_tol=1e-5)
    final = transfer(widths.with_metric("final"))["default"].optima  # type: ignore[union-attr]
    for number, best in enumerate(final):
        assert math.isclose(found["final", "default", number], best.position, rel_tol=1e-5)


def test_curves_are_thinned_to_means_of_stretches() -> None:
    curve = [10.0, *np.linspace(1, 2, 999)]
    losses, steps = thinned(curve, 50), thinned(range(1, 1001), 50)
    assert len(steps) == len(losses) == 50 and (steps[0], losses[0]) == (1.0, 10.0)
    assert all(a < b for a, b in pairwise(steps))
    assert abs(losses[-1] - np.mean(curve[-20:])) < 1e-3
    assert np.array_equal(thinned([2.0, None, np.inf], 50), [2.0, np.nan, np.inf], equal_nan=True)
    assert not len(thinned([], 50))


@given(st.lists(st.floats()))
def test_losses_are_shortened_as_other_numbers_are(losses: list[float]) -> None:
    for value, shown in zip(losses, _short(np.array(losses, dtype=np.float64)), strict=True):
        if 1e-18 < abs(value) < 1e25:
            # Of two that are as near, either is right.
            assert shown == short(shown, 4)
            assert abs(shown - value) <= abs(short(value, 4) - value) * (1 + 1e-9)
        elif math.isfinite(value):
            assert shown is not None and math.isclose(shown, value, rel_tol=1e-3)
        else:
            assert shown is None


def test_curves_of_the_same_steps_share_them() -> None:
    rows = [
        {"rule": "default", "width": 8, "lr": 1.0, "seed": seed, "loss": 1.0, "steps": steps}
        | {"curve": [3.0, None, "inf"]}
        for seed, steps in enumerate([30, 30, 60])
    ]
    data = curves_data(Runs(header={}, rows=rows))
    assert data is not None and data["of"] == [0, 0, 1]
    assert data["steps"] == [[10.0, 20.0, 30.0], [20.0, 40.0, 60.0]]
    assert data["losses"] == [[3.0, None, None]] * 3
    rows[0] |= {"reported_at": [5, 15]}
    rows[1] |= {"diverged_at": 15}
    data = curves_data(Runs(header={}, rows=rows))
    assert data is not None and data["steps"] == [[5, 10, 15], [5, 10, 15], [20, 40, 60]]


def test_contours_lie_on_the_fitted_surface() -> None:
    (found, *_) = surfaces(sections(transfer(two_hyperparameters())))
    data = surface_data(found, [found.size])
    hessian, best = np.array(found.hessian), np.array(data["optimum"])
    excess = [
        {round(float(d @ hessian @ d) / 2, 3) for d in np.array(ring) - best}
        for ring in data["contours"]
    ]
    assert all(max(each) - min(each) < 0.02 * max(each) + 2e-3 for each in excess)
    tops = [max(each) for each in excess]
    assert all(1.9 < a / b < 2.1 for a, b in pairwise(tops[:5]))


def test_the_data_are_json_and_every_chart_has_its_layers(widths: Runs) -> None:
    data = page_data(sections(transfer(widths)), {}, [])
    text = json.dumps(data, allow_nan=False)
    assert len(text) < 120_000, "360 runs of three steps"
    assert data["charts"] == charts()
    for spec in charts().values():
        assert spec["layer"] and spec["data"] == {"name": "marks"}
