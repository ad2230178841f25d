"""A section: the transfers and the panels of one record."""

import numpy as np
import pytest

from mutransfer import MutransferError
from mutransfer.report import Section, panels
from mutransfer.sweep import Runs, Size
from mutransfer.transfer import transfer


def test_a_section_is_named_by_the_axis_that_varies(widths: Runs, depths: Runs) -> None:
    assert [
        (section.title, section.axis) for section in (Section.of(widths), Section.of(depths))
    ] == [
        ("Width", "width"),
        ("Depth", "depth"),
    ]
    assert Section.of(widths, title="Mine").title == "Mine"


def test_transfers_are_those_of_the_record(widths: Runs) -> None:
    assert list(Section.of(widths).transfers) == transfer(widths)


def test_a_rule_that_is_refused_leaves_the_others(unbracketed: Runs) -> None:
    section = Section.of(unbracketed)
    assert [transfer.rule for transfer in section.transfers] == ["default"]
    (refusal,) = section.refusals()
    assert "rule 'sp' at width " in refusal and "not bracketed" in refusal


def test_unknown_axes_and_empty_records_are_refused(widths: Runs) -> None:
    with pytest.raises(MutransferError, match="choose width or depth"):
        Section(title="x", runs=widths, transfers=[], axis="heads")
    with pytest.raises(MutransferError, match="is empty"):
        Section.of(Runs(header={}, rows=[]))


def test_the_lines_hold_the_losses(widths: Runs) -> None:
    sp, _ = panels([Section.of(widths)])
    for line in sp.lines:
        rates, losses = widths.losses("sp", line.size)
        assert np.array_equal(2**line.log2_lr, rates) and np.array_equal(line.losses, losses)
        assert np.array_equal(line.mean, losses.mean(0)) and np.array_equal(
            line.diverged, np.isinf(losses).mean(0)
        )


def test_runs_that_are_not_in_the_record_are_nan(widths: Runs) -> None:
    lost = [row for row in widths.rows if (row["lr"], row["seed"]) != (2**-9, 1)]
    line = panels(
        [Section(title="x", runs=Runs(header={}, rows=lost), transfers=[], axis="width")]
    )[0].lines[0]
    rate = line.log2_lr == -9
    assert np.isnan(line.losses[1, rate]).all() and np.isfinite(line.losses[[0, 2]][:, rate]).all()
    assert np.isfinite(line.mean[rate]).all()


def test_a_grid_of_widths_and_depths_has_a_row_of_panels_for_each_depth(widths: Runs) -> None:
    deeper = [{**row, "depth": 8} for row in widths.rows if row["rule"] == "default"]
    made = panels([Section.of(Runs(header={}, rows=widths.rows + deeper))])
    assert [(panel.row, panel.rule) for panel in made] == [
        ("Width, depth 4", "sp"),
        ("Width, depth 4", "default"),
        ("Width, depth 8", "default"),
    ]
    assert [line.size for line in made[-1].lines] == [
        Size(width=width, depth=8) for width in (32, 64, 128, 256, 512)
    ]
