"""Grids of rates that grow until they bracket the optimum."""

import math
from pathlib import Path

import pytest

from mutransfer import Size, log2, sweep
from tests.studies.small_study import planted, study


@pytest.mark.parametrize(
    ("best", "extend", "powers"),
    [
        (-4, 4, [-5, -4, -3]),
        (-4, 0, [-5, -4, -3]),
        (-7, 0, [-5, -4, -3]),
        (-7, 4, [-9, -8, -7, -6, -5, -4, -3]),
        (-9, 2, [-7, -6, -5, -4, -3]),
        (-5, 1, [-6, -5, -4, -3]),
        (-5, 4, [-7, -6, -5, -4, -3]),
        (-1, 4, [-5, -4, -3, -2, -1, 0, 1]),
        (5, 3, [-5, -4, -3, -2, -1, 0]),
        (math.nan, 2, [-7, -6, -5, -4, -3]),
    ],
)
def test_a_grid_is_extended_until_it_brackets_the_optimum(
    tmp_path: Path, best: float, extend: int, powers: list[int]
) -> None:
    wanted = planted(lambda _: best, width=[8])
    runs = sweep(wanted, tmp_path / "a", extend=extend)
    rates, losses = runs.losses("sp", Size(width=8, depth=2))
    assert rates == [2.0**power for power in powers] and losses.shape[0] == 2
    assert sweep(wanted, tmp_path / "a", extend=extend).rows == runs.rows


def test_every_size_is_extended_by_itself(tmp_path: Path) -> None:
    runs = sweep(planted(lambda width: -4 if width == 8 else -6), tmp_path / "a", extend=4)
    rates = [runs.losses("sp", Size(width=width, depth=2))[0] for width in (8, 16)]
    assert list(map(len, rates)) == [3, 5]


@pytest.mark.parametrize("kept", range(5))
def test_a_torn_extension_is_finished_as_an_undisturbed_one(tmp_path: Path, kept: int) -> None:
    """Two rates with two seeds lie beyond the grid; a crash left this many of their rows."""
    wanted, out = planted(lambda _: -5.8, width=[8]), tmp_path / "a"
    whole = sweep(wanted, out, extend=4).rows
    (shard,) = out.glob("rows-*.jsonl")
    lines = shard.read_text().splitlines(keepends=True)
    assert len(lines) == len(whole) == 10
    torn = "" if kept == 4 else lines[6 + kept][:30]
    shard.write_text("".join(lines[: 6 + kept]) + torn)
    again = sweep(wanted, out, extend=4).rows
    assert sorted(row["id"] for row in again) == sorted(row["id"] for row in whole)


def test_a_real_grid_is_extended_both_ways(tmp_path: Path) -> None:
    high = sweep(study(width=[8], rules=["sp"], lr=log2(4, 6)), tmp_path / "high", extend=2)
    low = sweep(study(width=[8], rules=["sp"], lr=log2(-20, -18)), tmp_path / "low", extend=2)
    assert sorted({row["lr"] for row in high.rows}) == log2(2, 6)
    assert sorted({row["lr"] for row in low.rows}) == log2(-20, -16)
