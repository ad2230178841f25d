"""What every public result can do."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError
from mutransfer.core import Result, about, csv_text, needs, write_csv, writing


class Long(Result):
    """A result with a long text."""

    def __init__(self, shown: str) -> None:
        self.shown = shown

    def __str__(self) -> str:
        return self.shown

    def to_json(self) -> dict[str, Any]:
        return {"shown": self.shown}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> "Long":
        return cls(dict(data)["shown"])  # type: ignore[arg-type]


def test_a_repr_is_short() -> None:
    assert repr(Long("one line")) == "<Long: one line>"
    assert repr(Long("first\nsecond")) == "<Long: first ...>"
    assert len(repr(Long("x" * 10_000))) == 500


def test_html_shows_text_as_it_is() -> None:
    assert "a &lt; b" in Long("a < b")._repr_html_()


def test_a_missing_module_is_a_sentence() -> None:
    says = r"the figure needs none: pip install 'mutransfer\[plot\]'"
    with pytest.raises(MutransferError, match=says), needs("the figure", "none", "plot"):
        import no_such_module_at_all  # noqa: F401


def test_a_refused_write_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "inside"
    says = r"cannot write the table to .*inside: Not a directory"
    with pytest.raises(MutransferError, match=says), writing("the table", target):
        target.write_text("x")


def test_rows_become_csv_without_their_lists(tmp_path: Path) -> None:
    rows = [{"a": 1, "curve": [1, 2]}, {"a": 2, "b": "x, y"}]
    write_csv(tmp_path / "rows.csv", rows)
    assert (tmp_path / "rows.csv").read_bytes().decode() == 'a,b\r\n1,\r\n2,"x, y"\r\n'
    assert csv_text(rows) == 'a,b\r\n1,\r\n2,"x, y"\r\n' and csv_text([]) == ""


def test_provenance_names_versions_device_command_and_date() -> None:
    import torch

    facts = about()
    count = torch.get_num_threads()
    threads = "1 thread" if count == 1 else f"{count} threads"
    assert facts["torch"] == torch.__version__ and facts["device"].endswith(f", {threads}")
    assert set(facts) == {"mutransfer", "torch", "python", "device", "command", "date"}


@pytest.mark.parametrize(
    ("program", "command"),
    [("/a/mutransfer/__main__.py", "python -m mutransfer"), ("/bin/mutransfer", "mutransfer")],
)
def test_the_command_can_be_run_again(
    program: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "report", "runs"])
    assert about()["command"] == f"{command} report runs"
