"""The demo, at a size that takes seconds."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from mutransfer import MutransferError, Progress, Runs, Size, Study, log2
from mutransfer.experiments import RULES, Demo, Proof, demo, prove, studies
from mutransfer.figures import Section
from mutransfer.tasks import mlp, resmlp


def small(seed: int = 0) -> Mapping[str, Study]:
    """The studies of the demo with networks of 20 steps."""
    shared = {
        **{"seeds": range(seed, seed + 2), "rules": RULES},
        **{"optimizer": "adam", "steps": 20},
    }
    return {
        "width": Study(mlp, width=[8, 32], depth=[2], lr=log2(-6, -4), **shared),
        "depth": Study(resmlp, width=[8], depth=[2, 4], lr=log2(-6, -4), **shared),
    }


@dataclass(frozen=True)
class Finished:
    """A demo, all that it showed, and its progress."""

    folder: Path
    findings: Demo
    shown: list[str | Section]
    progress: list[Progress]


def run(folder: Path) -> Finished:
    shown: list[str | Section] = []
    progress: list[Progress] = []
    findings = demo(folder, sweeps=small(), progress=progress.append, show=shown.append)
    return Finished(folder, findings, shown, progress)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run(tmp_path_factory.mktemp("demo") / "new" / "folder")


def test_findings_are_shown_as_they_come(finished: Finished) -> None:
    kinds = [type(finding).__name__ for finding in finished.shown]
    assert kinds == ["str", "Section", "Section", *["str"] * 6]
    sections = [finding for finding in finished.shown if isinstance(finding, Section)]
    texts = [finding for finding in finished.shown if isinstance(finding, str)]
    assert texts[0].startswith("Training 48 networks on handwritten digits; about ")
    assert texts[0].endswith(" s on this machine.\n")
    assert tuple(sections) == finished.findings.sections
    assert [section.title for section in sections] == ["Width", "Depth"]
    for text, rule, best in zip(
        texts[1:], RULES, [each.optima[0] for each in sections[1].transfers.outcomes], strict=False
    ):
        assert text == (
            f"Training width 32, depth 8 under {rule} at 2^{best.log2_lr:.2f}, "
            "the rate found at width 8, depth 2 ..."
        )
    assert texts[3] == f"\n{finished.findings.page.headline}\n"
    assert texts[4:6] == [f"  {proof}" for proof in finished.findings.proofs]
    assert texts[6].startswith("\nFinished in ") and str(finished.folder) in texts[6]


def test_every_rule_is_proven_on_a_larger_network(finished: Finished) -> None:
    sections, proofs = finished.findings.sections, finished.findings.proofs
    smallest = [transfer.optima[0] for transfer in sections[1].transfers.outcomes]
    assert [proof.rule for proof in proofs] == list(RULES)
    assert [proof.log2_lr for proof in proofs] == [best.log2_lr for best in smallest]
    for proof in proofs:
        assert proof.size == Size(width=32, depth=8) and len(proof.losses) == 20
        assert f"{proof.rule}, width 32, depth 8, rate 2^" in str(proof)


def test_progress_is_that_of_the_sweeps(finished: Finished) -> None:
    assert finished.progress
    whats = {progress.what for progress in finished.progress}
    assert whats <= {f"width {width}, depth 2" for width in (8, 32)} | {
        f"width 8, depth {depth}" for depth in (2, 4)
    }
    assert all(isinstance(progress.result, Runs) for progress in finished.progress)


def test_records_and_report_are_in_the_folder(finished: Finished) -> None:
    written = {path.name for path in finished.folder.iterdir()}
    report = {"report.html", "transfer.png", "transfer.svg", "curves.png", "runs.csv"}
    assert report | {"report.json", "width", "depth"} <= written
    data = json.loads((finished.folder / "report.json").read_text())
    assert [curve["name"] for curve in data["curves"]] == [
        proof.curve.name for proof in finished.findings.proofs
    ]


def test_a_demo_that_is_repeated_trains_nothing_again(finished: Finished) -> None:
    before = [Runs.read(finished.folder / axis).rows for axis in ("width", "depth")]
    again = run(finished.folder)
    assert isinstance(again.shown[0], str) and again.shown[0].startswith("Training 0 networks")
    assert [Runs.read(finished.folder / axis).rows for axis in ("width", "depth")] == before
    pairs = zip(again.findings.proofs, finished.findings.proofs, strict=True)
    assert all(np.array_equal(new.losses, old.losses) for new, old in pairs)


def test_a_proof_is_a_network_of_the_first_seed(finished: Finished) -> None:
    transfer = finished.findings.sections[1].transfers.outcomes[0]
    proof = prove(small()["depth"], transfer, Size(width=32, depth=8))
    assert torch.equal(proof.losses, finished.findings.proofs[0].losses)


def test_a_proof_that_diverged_says_when() -> None:
    losses = torch.tensor([2.0, 3.0, math.nan, math.nan])
    proof = Proof(rule="sp", size=Size(width=8, depth=2), log2_lr=-3.0, losses=losses)
    assert str(proof) == "sp, width 8, depth 2, rate 2^-3.00: diverged at step 2"
    assert proof.curve.diverged


def test_the_studies_are_those_of_the_readme() -> None:
    width, depth = studies(7).values()
    assert (width.width, width.depth) == ((32, 64, 128, 256, 512), (3,))
    assert (depth.width, depth.depth) == ((32,), (4, 8, 16, 32, 64))
    assert width.seeds == depth.seeds == (7, 8, 9) and width.rules == ("sp", "default")


def test_a_missing_extra_is_refused_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    sentence = r"the report needs jinja2: pip install 'mutransfer\[report\]'"
    with pytest.raises(MutransferError, match=sentence):
        demo(tmp_path / "demo", sweeps=small())
    assert not (tmp_path / "demo").exists()
