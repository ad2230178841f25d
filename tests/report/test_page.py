"""The page, and the files in its folder."""

import base64
import csv
import gc
import html
import json
import math
import re
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError, Size
from mutransfer.checks import CoordinateCheck, Finding, Slope
from mutransfer.figures import Curve
from mutransfer.report import Page, Section, _page, transfer_table, write_report
from mutransfer.rules import parametrization
from mutransfer.studies import Runs
from tests.records import section_of

CURVES = [
    Curve(name="sp <large>", losses=[2.0, 3.0, math.inf]),
    Curve(name="default", losses=[2.0, 1.0, 0.5]),
]


@pytest.fixture(scope="module")
def sections(widths: Runs, unbracketed: Runs) -> list[Section]:
    coarse = Runs(
        header=unbracketed.header, rows=[row for row in unbracketed.rows if row["rule"] == "sp"]
    )
    return [section_of(widths), section_of(coarse, title="Coarse <grid>")]


@pytest.fixture(scope="module")
def page(sections: list[Section], tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    return write_report(
        folder,
        sections,
        title="T & <T>",
        about={"command": "mutransfer report <runs>", "limit": math.inf},
        curves=CURVES,
    )


def test_a_check_says_why_it_is_undecided(widths: Runs, tmp_path: Path) -> None:
    note = "one exponent is too uncertain to judge"
    slope = Slope(
        axis="width",
        kind="attention",
        name="*",
        quantity="logits",
        step=1,
        slope=0.0,
        low=-1.0,
        high=1.0,
        expected=0.0,
        verdict="undecided",
    )
    check = CoordinateCheck(
        parametrization=parametrization("mup"),
        why="asked for",
        axes={"width": (32, 128)},
        seeds=1,
        steps=1,
        verdict="undecided",
        findings=(Finding(name="head", text="is late"),),
        notes=(note,),
        slopes=(slope,),
        rows=(),
        spots={},
    )
    written = write_report(tmp_path, [section_of(widths)], checks=[check]).path.read_text()
    data = json.loads(re.findall(r'id="data">(.*?)</script>', written, re.DOTALL)[0])
    assert data["checks"][0]["remarks"] == ["wrong: head: is late", note]
    assert f"Coordinate check of mup: undecided. wrong: head: is late. {note}." in written


def test_the_page_needs_nothing_else(page: Page) -> None:
    scripted = page.path.read_text()
    text = re.sub("<script.*?</script>", "", scripted, flags=re.DOTALL)
    sources = re.findall(r"""\b(?:src|href|srcset|action|data)\s*=\s*["']?([^"'\s>]+)""", text)
    assert sources and not [source for source in sources if re.match("https?:|//", source)]
    assert "@import" not in text and "url(" not in text and "<script src" not in scripted
    # What scripts might load, the browser refuses.
    assert "default-src 'none'; script-src 'sha256-" in text
    local = [source for source in sources if not source.startswith("data:")]
    assert sorted(local) == sorted(
        file.name for file in page.path.parent.iterdir() if file != page.path
    )


def test_the_page_has_headline_tables_warnings_and_provenance(
    page: Page, sections: list[Section]
) -> None:
    text = html.unescape(page.path.read_text()).replace("\N{NO-BREAK SPACE}", " ")
    assert page.headline in text and page.headline.startswith(
        "From width 32 to 512 the best rate moves -3.2 octaves"
    )
    for section in sections:
        cells = [str(cell) for column in transfer_table(section).columns for cell in column.cells]
        assert not [cell for cell in cells if cell not in text]
        assert not [refusal for refusal in section.refusals if refusal.reason not in text]
    for fact in (
        "mutransfer sweep a.py:b --out <runs>",
        "x86_64, 2 threads",
        "2.13.0",
        "width 32, depth 4",
        "mutransfer report <runs>",
    ):
        assert fact in text


def test_names_from_users_are_escaped(page: Page) -> None:
    text = page.path.read_text()
    assert (
        "T &amp; &lt;T&gt;" in text and "Coarse &lt;grid&gt;" in text and "sp &lt;large&gt;" in text
    )
    assert "<T>" not in text and "<grid>" not in text and "<large>" not in text


def test_every_picture_has_an_alternative_text(page: Page) -> None:
    words = re.findall(r'<img [^>]*alt="([^"]*)"', page.path.read_text())
    assert len(words) == 3 and "Width, rule sp: lowest at 2^-5.3 at width 32" in words[0]
    assert "Width, rule sp, best learning rate against width: 5 optima from width 32" in words[1]
    assert "rule sp, best learning rate against width: refused; 3 optima were found" in words[1]
    assert "Training loss" in words[2]


def test_pictures_are_shortened_but_for_the_size_of_letters(page: Page) -> None:
    text = page.path.read_text()
    pictures = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", text)
    for picture in map(base64.b64decode, pictures):
        svg = picture.decode()
        assert "scale(0.015625)" in svg and "<metadata>" not in svg
        assert not re.search(r"\.\d{3}", re.sub(r"scale\([^)]*\)", "", svg))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_and_json_hold_the_numbers(page: Page, sections: list[Section]) -> None:
    folder = page.path.parent
    optima = read_csv(folder / "optima.csv")
    expected = [
        best.log2_lr
        for section in sections
        for made in section.transfers.outcomes
        for best in made.optima
    ]
    assert [float(row["log2_lr"]) for row in optima] == expected
    runs = read_csv(folder / "runs.csv")
    rows = [row for section in sections for row in section.runs.rows]
    assert [row["loss"] for row in runs] == [
        "" if row["loss"] is None else str(row["loss"]) for row in rows
    ]
    assert [row["rule"] for row in read_csv(folder / "summary.csv")] == ["sp", "default"]
    data = json.loads((folder / "report.json").read_text())
    assert data["headline"] == page.headline and data["about"]["limit"] == "inf"
    for section, written in zip(sections, data["sections"], strict=True):
        assert written["runs"] == section.runs.rows and written["header"] == section.runs.header
        assert written["transfers"] == [
            transfer.to_json() for transfer in section.transfers.granted
        ]
    assert data["curves"][0] == {
        "name": "sp <large>",
        "steps": [1.0, 2.0, 3.0],
        "losses": [2.0, 3.0, None],
    }


def test_the_law_is_shown_where_several_sizes_have_one(widths: Runs, tmp_path: Path) -> None:
    page = write_report(tmp_path / "all", [section_of(widths, {"width": 2048})])
    assert {"law.png", "law.svg"} <= {file.name for file in page.path.parent.iterdir()}
    assert "the optimum that is predicted at the target" in page.path.read_text()
    one = Runs(header={}, rows=[row for row in widths.rows if row["width"] == 32])
    alone = write_report(tmp_path / "one", [section_of(one)])
    assert not (tmp_path / "one" / "law.png").exists()
    assert "average of laws" not in alone.path.read_text()


def test_transfers_are_computed_once_for_a_report(
    unbracketed: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reading of each size for the transfer, one for pictures, one for the other metric."""
    calls: Counter[tuple[str, Size]] = Counter()
    grid = Runs.grid

    def counted(runs: Runs, rule: str, size: Size, over: str) -> Any:
        calls[rule, size] += 1
        return grid(runs, rule, size, over)

    monkeypatch.setattr(Runs, "grid", counted)
    write_report(tmp_path, [section_of(unbracketed)])
    assert len(calls) == 10 and set(calls.values()) <= {1, 2, 3}


def test_a_folder_that_cannot_be_written_is_an_error(
    sections: list[Section], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "report"):
        with pytest.raises(
            MutransferError, match=r"cannot write the report to .*; give another folder"
        ):
            write_report(folder, sections)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_garbage_is_collected_afterwards_as_before(
    sections: list[Section],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    enabled: bool,
    fails: bool,
) -> None:
    seen = []

    def numbers(*_: Any) -> None:
        seen.append(gc.isenabled())
        if fails:
            raise OSError("the disk is full")

    monkeypatch.setattr(_page, "write_numbers", numbers)
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(MutransferError) if fails else nullcontext():
            write_report(tmp_path, sections[1:])
        assert seen == [False] and gc.isenabled() == enabled
    finally:
        gc.enable()


def test_sections_are_needed_and_have_different_titles(
    sections: list[Section], tmp_path: Path
) -> None:
    with pytest.raises(MutransferError, match="no sections"):
        write_report(tmp_path, [])
    with pytest.raises(MutransferError, match="two sections of the report are called 'Width'"):
        write_report(tmp_path, [sections[0], sections[0]])


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_named_and_leaves_an_earlier_report(
    module: str, sections: list[Section], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("earlier")
    monkeypatch.setitem(sys.modules, module, None)
    says = rf"needs {module}: pip install 'mutransfer\[report\]'"
    with pytest.raises(MutransferError, match=says):
        write_report(tmp_path, sections)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["earlier"]


def test_importing_the_package_imports_no_extra() -> None:
    code = "import sys, mutransfer.report; assert not {'matplotlib', 'jinja2'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
