"""Certificates of searched records, which have few seeds at most values."""

import math
from dataclasses import replace

import numpy as np
import pytest

import mutransfer as mt
from mutransfer import Runs, Size
from tests.records import drifting_runs


def searched(drift: float = 0.0) -> Runs:
    """A record with three seeds near the best rate of each size, and one elsewhere."""
    runs = drifting_runs({"mup": drift}, sizes=(32, 64, 128), powers=range(-10, -2), noise=0.003)
    ranks = {width: rank for rank, width in enumerate((32, 64, 128))}
    rows = [
        row
        for row in runs.rows
        if not row["seed"] or abs(math.log2(row["lr"]) - (-5.3 + drift * ranks[row["width"]])) < 1.6
    ]
    assert len(rows) < len(runs.rows) / 1.5
    return Runs(header={**runs.header, "search": "Refine"}, rows=rows)


def test_a_searched_record_has_a_certificate() -> None:
    found = mt.transfer(searched())["mup"]
    assert isinstance(found, mt.Transfer)
    assert not [warning for warning in found.warnings if "lacks" in warning]
    for best in found.optima:
        assert best.low <= -5.3 <= best.high and best.status == "inside"
    whole = drifting_runs({"mup": 0.0}, sizes=(32, 64, 128), powers=range(-10, -2), noise=0.003)
    for few, all_seeds in zip(found.optima, mt.transfer(whole)["mup"].optima, strict=True):
        assert few.position == pytest.approx(all_seeds.position, abs=0.25)


def test_a_drift_is_seen_in_a_searched_record() -> None:
    found = mt.transfer(searched(-0.9))["mup"]
    positions = [best.position for best in found.optima]
    assert np.diff(positions) == pytest.approx([-0.9, -0.9], abs=0.35)


def test_seeds_that_are_lost_are_still_said() -> None:
    lost = searched()
    header = {name: value for name, value in lost.header.items() if name != "search"}
    found = mt.transfer(replace(lost, header=header))["mup"]
    assert any("lacks seeds at lr" in warning for warning in found.warnings)


def test_the_best_point_of_a_search_is_not_the_luckiest() -> None:
    rows = [
        {"rule": "mup", "width": 8, "lr": lr, "seed": seed, "loss": loss, "id": f"{lr}-{seed}"}
        for lr, seed, loss in [(0.1, 0, 1.0), (0.1, 1, 2.0), (0.2, 0, 1.1)]
    ]
    lucky = Runs(header={"axes": ["width"]}, rows=rows)
    assert lucky.best_rate("mup", Size(width=8)) == 0.2
    sought = replace(lucky, header={**lucky.header, "search": "Refine"})
    assert sought.best_rate("mup", Size(width=8)) == 0.1


def test_lines_go_through_the_lowest_point_that_has_some() -> None:
    """A single point next to a line is lower by luck, and shows nothing along either direction."""
    points = {(lr, 1.0): (lr - 2) ** 2 for lr in (1.0, 2.0, 3.0)}
    points |= {(2.0, readout): abs(readout - 1) for readout in (0.5, 2.0)}
    points |= {(2.2, 1.1): -1.0}
    rows = [
        {"rule": "mup", "width": 8, "lr": lr, "readout": readout, "seed": 0, "loss": 5 + loss}
        for (lr, readout), loss in points.items()
    ]
    header = {"axes": ["width"], "hyperparameters": ["lr", "readout"], "search": "Refine"}
    runs = Runs(header=header, rows=rows)
    assert runs.losses("mup", Size(width=8), "lr")[0] == [1.0, 2.0, 3.0]
    assert runs.losses("mup", Size(width=8), "readout")[0] == [0.5, 1.0, 2.0]
    grid = replace(runs, header={name: v for name, v in header.items() if name != "search"})
    assert grid.losses("mup", Size(width=8), "lr")[0] == [2.2]
