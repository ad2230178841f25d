"""Sections of a figure: the transfers of one record, and its panels."""

import numpy as np
import pytest

from mutransfer import MutransferError
from mutransfer.certificates import Transfers, transfer
from mutransfer.core import Size
from mutransfer.figures import Section, panels
from mutransfer.studies import Runs
from tests.records import bare_section, section_of


def test_a_section_is_named_by_the_axis_that_varies(widths: Runs, depths: Runs) -> None:
    assert [
        (section.title, section.axis) for section in (section_of(widths), section_of(depths))
    ] == [
        ("Width", "width"),
        ("Depth", "depth"),
    ]
    assert section_of(widths, title="Mine").title == "Mine"


def test_transfers_are_those_of_the_record(widths: Runs) -> None:
    assert section_of(widths).transfers == transfer(widths)


def test_a_rule_that_is_refused_leaves_the_others(unbracketed: Runs) -> None:
    section = section_of(unbracketed)
    assert [transfer.rule for transfer in section.transfers.granted] == ["default"]
    (refusal,) = section.refusals
    assert refusal.rule == "sp" and "not bracketed" in refusal.reason


def test_unknown_axes_and_empty_records_are_refused(widths: Runs) -> None:
    with pytest.raises(MutransferError, match="choose width or depth"):
        bare_section(widths, axis="heads")
    with pytest.raises(MutransferError, match="is empty"):
        Section.of(Transfers(runs=Runs(header={}, rows=[]), outcomes=()))


def test_the_lines_hold_the_losses(widths: Runs) -> None:
    sp, _ = panels([section_of(widths)])
    for line in sp.lines:
        rates, losses = widths.losses("sp", line.size)
        assert np.array_equal(2**line.places, rates) and np.array_equal(line.losses, losses)
        assert np.array_equal(line.mean, losses.mean(0)) and np.array_equal(
            line.diverged, np.isinf(losses).mean(0)
        )


def test_runs_that_are_not_in_the_record_are_nan(widths: Runs) -> None:
    lost = [row for row in widths.rows if (row["lr"], row["seed"]) != (2**-9, 1)]
    line = panels([bare_section(Runs(header={}, rows=lost))])[0].lines[0]
    rate = line.places == -9
    assert np.isnan(line.losses[1, rate]).all() and np.isfinite(line.losses[[0, 2]][:, rate]).all()
    assert np.isfinite(line.mean[rate]).all()


def test_a_grid_of_widths_and_depths_has_a_row_of_panels_for_each_depth(widths: Runs) -> None:
    deeper = [{**row, "depth": 8} for row in widths.rows if row["rule"] == "default"]
    made = panels([section_of(Runs(header={}, rows=widths.rows + deeper))])
    assert [(panel.row, panel.rule) for panel in made] == [
        ("Width, depth 4", "sp"),
        ("Width, depth 4", "default"),
        ("Width, depth 8", "default"),
    ]
    assert [line.size for line in made[-1].lines] == [
        Size(width=width, depth=8) for width in (32, 64, 128, 256, 512)
    ]
