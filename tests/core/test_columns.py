"""Rows of text in columns."""

from mutransfer.core import columns


def test_columns_are_as_wide_as_their_widest_cells() -> None:
    rows = [["", "init", "lr"], ["hidden weights", "1", "1/√fan_in"], ["bias", "", "1"]]
    lines = columns(rows).splitlines()
    assert [line.split() for line in lines] == [" ".join(row).split() for row in rows]
    assert [line.find("l") for line in lines[:1]] == [len("hidden weights  init  ")]
    assert lines[1].index("1/√") == lines[2].index("1") == lines[0].index("lr")
    assert all(line == line.rstrip() for line in lines)


def test_no_rows_are_no_text() -> None:
    assert columns([]) == ""
