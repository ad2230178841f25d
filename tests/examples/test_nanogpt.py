"""A script in the style of nanoGPT: ten lines changed, and then the rate for a wider network."""

import csv
import dataclasses
import difflib
import sys

import pytest

from mutransfer.studies import missing, sweep
from tests.examples.loading import EXAMPLES, load, write_text

SOURCES = {name: (EXAMPLES / "nanogpt" / name).read_text() for name in ("before.py", "train.py")}
SIZE = {"width": 32, "depth": 2, "context": 16, "batch": 4}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a version of the script in this process, and returns its losses by step."""
    write_text(tmp_path / "input.txt")

    def losses(name, folder, stop=None, **changes):
        script = load(f"nanogpt/{name}")
        options = {**SIZE, "lr": 2**-6, "steps": 20, "save": 8, "out": tmp_path / folder, **changes}
        given = [part for key, value in options.items() for part in (f"--{key}", str(value))]
        monkeypatch.setattr(sys, "argv", [name, str(tmp_path / "input.txt"), *given])
        rate_at = script.rate_at

        def rate_until(step, args):
            if step == stop:
                raise KeyboardInterrupt
            return rate_at(step, args)

        script.rate_at = rate_until
        if stop is None:
            script.main()
        else:
            with pytest.raises(KeyboardInterrupt):
                script.main()
        with (tmp_path / folder / "log.csv").open() as log:
            return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(log)]

    return losses


def test_at_most_ten_lines_are_changed():
    before, after = (text.splitlines() for text in SOURCES.values())
    changed = [
        line
        for line in difflib.unified_diff(before, after, n=0)
        if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))
    ]
    assert 0 < len(changed) <= 10
    assert "mutransfer" not in SOURCES["before.py"]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_both_versions_train_alike_at_base_size(run, accumulate):
    before, after = (run(name, name, accumulate=accumulate, clip=0.5) for name in SOURCES)
    assert [step for step, _ in after] == list(range(1, 21))
    assert dict(after) == pytest.approx(dict(before), rel=1e-3)
    assert after[-1][1] < after[0][1] - 0.1


def test_a_wide_network_trains_otherwise(run):
    before, after = (run(name, name, width=64) for name in SOURCES)
    assert dict(after) != pytest.approx(dict(before), rel=1e-3)


def test_a_run_that_was_killed_goes_on_with_the_same_losses(run):
    whole = run("train.py", "whole")
    half = run("train.py", "half", stop=13)
    assert half == whole[:13]
    both = run("train.py", "half")
    assert [step for step, _ in both] == [*range(1, 14), *range(9, 21)]
    assert set(both) == set(whole)


def test_a_sweep_goes_on_from_the_checkpoint_of_a_killed_run(run, folder_of, tmp_path):
    folder = folder_of("nanogpt")
    write_text(folder / "input.txt")
    study = load("nanogpt/study.py").study
    small = " --depth 2 --context 16 --batch 4 --save 8"
    train = dataclasses.replace(study.train, template=study.train.template + small)
    changes = {"width": [32], "lr": 2**-6, "steps": 20, "seeds": 1, "rules": ("default",)}
    study = dataclasses.replace(study, train=train, **changes)
    (left,) = missing(study, tmp_path / "runs")
    trial = tmp_path / "runs" / "trials" / study.run_id(left)
    run("train.py", trial, stop=13)
    (row,) = sweep(study, tmp_path / "runs").rows
    whole = run("train.py", "whole")
    assert (row["status"], row["reported_at"]) == ("finished", [1, 20])
    assert row["curve"] == pytest.approx([loss for _, loss in whole], rel=1e-5)
    assert 0 < row["validation"] < row["curve"][0]
