"""Tables of transfers, as text and as plain rows."""

import io
import json

from rich.console import Console

from mutransfer.certificates import transfer
from mutransfer.report import Section, optima_rows, summary_rows, transfer_table
from mutransfer.studies import Runs
from tests.records import section_of


def printed(section: Section, width: int = 80) -> str:
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(transfer_table(section))
    return text.getvalue()


def test_the_table_has_every_optimum_and_the_drift(widths: Runs) -> None:
    section = section_of(widths)
    text = printed(section, 120)
    for moved in section.transfers.granted:
        assert str(moved.drift["width"]) in text and f"{moved.total:+.2f}" in text
        for best in moved.optima:
            (row,) = (
                line
                for line in text.splitlines()
                if line.startswith(f"width {best.size['width']} ")
            )
            assert f"{best.log2_lr:.2f} [{best.low:.2f}, {best.high:.2f}]" in row
    assert "beyond" in text and "regret expected at width 512" in text


def test_a_regret_that_was_not_run_is_not_called_a_divergence(widths: Runs) -> None:
    rows = [
        row
        for row in widths.rows
        if row["rule"] == "sp" and not (row["width"] == 512 and row["lr"] > 2**-7)
    ]
    assert "not run" in printed(section_of(Runs(header={}, rows=rows)))


def test_a_prediction_is_printed_only_with_a_target(widths: Runs) -> None:
    assert "predicted" not in printed(section_of(widths))
    section = section_of(widths, {"width": 1024})
    (row,) = (line for line in printed(section, 120).splitlines() if "predicted" in line)
    rate = section.transfers["sp"].place.value
    assert row.startswith("predicted for width 1024") and f"{rate:.2f} [" in row
    assert f"{2**rate:.2g}" in row
    (use,) = (line for line in printed(section, 120).splitlines() if "to use at" in line)
    assert use.startswith("to use at width 1024") and f"lr={2**rate:.2g}" in use


def test_markup_in_names_is_left_alone(widths: Runs) -> None:
    rows = [{**row, "rule": f"[red]{row['rule']}[/red]"} for row in widths.rows]
    assert "[red]sp[/red]" in printed(
        section_of(Runs(header={}, rows=rows), title="[b]"), width=120
    )


def test_the_rows_hold_the_numbers_as_they_are(widths: Runs) -> None:
    transfers = transfer(widths)
    optima = [best for moved in transfers.granted for best in moved.optima]
    rows = optima_rows(transfers.outcomes)
    assert [(row["log2_lr"], row["low"], row["high"], row["loss"]) for row in rows] == [
        (best.log2_lr, best.low, best.high, best.loss) for best in optima
    ]
    sp, default = json.loads(json.dumps(summary_rows(transfers.outcomes), allow_nan=False))
    assert (sp["drift_width"], sp["carried"]) == (transfers["sp"].drift["width"].value, "inf")
    assert (default["total"], default["regret_high"]) == (
        transfers["default"].total,
        transfers["default"].regret.high,
    )
