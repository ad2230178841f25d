"""Every experiment: its claims, its committed result, a run of seconds; the page about them."""

import json
import runpy
from pathlib import Path

import pytest

from mutransfer import MutransferError
from mutransfer.experiments import committed, experiment, names, run_experiment
from mutransfer.experiments._bench import Bench

ROOT = Path(__file__).resolve().parents[2]

THREE_PAPERS = ("Tensor Programs V,", "Tensor Programs VI,", "2309.16620,")


def test_each_paper_has_experiments_and_enough_are_as_stated() -> None:
    sources = [experiment(name).source for name in names()]
    for paper in THREE_PAPERS:
        assert any(source.startswith(paper) for source in sources)
    results = [committed(name) for name in names()]
    assert sum(result is not None and result.is_as_stated for result in results) >= 15
    assert len(results) >= 25


@pytest.mark.parametrize("name", names())
def test_a_committed_result_is_of_the_claims_that_stand(name: str) -> None:
    one, result = experiment(name), committed(name)
    assert result is not None and result.scale == "small"
    assert one.claims and result.claims == one.claims
    assert (result.title, result.source) == (one.title, one.source)
    assert all(each.claim.rule != each.claim.wrong for each in result.findings)
    # A result that differs says why; one that is as stated was seen to fail where it must.
    assert result.is_as_stated or result.remarks
    assert f"experiment run {name}" in result.about["command"]
    assert (ROOT / "docs" / "experiments" / f"{name}.png").is_file()


@pytest.mark.parametrize("name", names())
def test_an_experiment_runs(name: str, tmp_path: Path) -> None:
    outcome = run_experiment(name, tmp_path, scale="tiny")
    assert outcome.claims == experiment(name).claims
    written = json.loads((tmp_path / name / "result.json").read_text(encoding="utf-8"))
    assert written["status"] == outcome.status and written["scale"] == "tiny"
    assert (tmp_path / name / "figure.png").stat().st_size > 1000
    assert (tmp_path / name / "figure.svg").is_file()


def test_the_page_shows_the_committed_results() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "experiments.py"))["page"]()
    assert page == (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")


def test_bad_names_scales_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MutransferError, match="did you mean width_mlp"):
        experiment("width_mpl")
    with pytest.raises(MutransferError, match="unknown scale 'huge'; choose one of tiny"):
        run_experiment("width_mlp", tmp_path, scale="huge")
    with pytest.raises(MutransferError, match="there is no folder"):
        run_experiment("width_mlp", tmp_path, data=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_settings_of_a_scale_fall_back_to_smaller_ones(tmp_path: Path) -> None:
    bench = Bench(scale="full", folder=tmp_path)
    assert bench.pick({"tiny": 1, "small": 2}) == 2
    with pytest.raises(MutransferError, match="no setting of scale 'tiny'"):
        Bench(scale="tiny", folder=tmp_path).pick({"small": 2})


def test_data_that_is_at_hand_stands_in_and_is_named(tmp_path: Path) -> None:
    bench = Bench(scale="tiny", folder=tmp_path, data=tmp_path)
    assert bench.images().name.startswith("digits") and bench.text(16).name.startswith("pydocs")
    assert bench.used == ["digits", "pydocs"]
