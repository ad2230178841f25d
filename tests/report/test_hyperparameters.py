"""The page of several hyperparameters: each is shown, and what to do with all of them."""

import csv
import html
import json
import re
from pathlib import Path

import pytest

from mutransfer import Runs, transfer
from mutransfer.report import Page, sections, write_report


@pytest.fixture(scope="module")
def page(several: Runs, tmp_path_factory: pytest.TempPathFactory) -> Page:
    found = transfer(several, at={"width": 512})
    return write_report(tmp_path_factory.mktemp("page"), sections(found))


def text(page: Page) -> str:
    return html.unescape(page.path.read_text()).replace("\N{NO-BREAK SPACE}", " ")


def test_the_headline_has_every_hyperparameter(page: Page) -> None:
    for sentence in (
        "the best rate moves -1.2 octaves under sp and 0.0 under default.",
        "the best readout moves -1.2 octaves under sp and 0.0 under default.",
        "default: schedule cosine is best at every size.",
    ):
        assert sentence in page.headline


def test_the_page_says_what_to_do_once(page: Page, several: Runs) -> None:
    advice = transfer(several, at={"width": 512})["default"].advice
    assert text(page).count(f"default: {advice}") == 1
    assert text(page).count("train at width 512, depth 2") == 2, "once a rule"


def test_the_page_names_the_metric_and_decimals(page: Page) -> None:
    assert "The loss is the mean training loss, averaged over the whole run" in text(page)
    assert "Loss against learning rate, readout, beta2 and schedule:" in text(page)
    assert re.search(r"-[56]\.\d\d \[-6\.\d\d, -5\.\d\d\] 0\.01\d", text(page))


def test_the_files_hold_every_hyperparameter_and_the_runs_once(page: Page, several: Runs) -> None:
    folder = page.path.parent
    with (folder / "optima.csv").open(newline="") as file:
        optima = list(csv.DictReader(file))
    assert {row["hyperparameter"] for row in optima} == {"lr", "readout", "beta2", "schedule"}
    rate = next(row for row in optima if row["hyperparameter"] == "lr")
    assert float(rate["lr"]) == pytest.approx(2 ** float(rate["log2_lr"]))
    assert len((folder / "runs.csv").read_text().splitlines()) == len(several.rows) + 1
    data = json.loads((folder / "report.json").read_text())
    assert ["runs" in section for section in data["sections"]] == [True, False, False, False]


def test_the_caption_of_one_seed_says_that_intervals_are_wider(
    several: Runs, tmp_path: Path
) -> None:
    one = Runs(header=several.header, rows=[row for row in several.rows if row["seed"] == 0])
    written = text(write_report(tmp_path, sections(transfer(one, over="lr"))))
    assert "the noise of 1 seed" in written
    assert "one seed cannot show how far the optimum moves from seed to seed" in written
