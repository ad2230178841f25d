"""The demo, at a size that takes seconds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mutransfer import Study, _demo, log2
from mutransfer.sweep import Runs
from mutransfer.tasks import mlp, resmlp


def small_studies(seed: int) -> dict[str, Study]:
    shared = {
        "seeds": range(seed, seed + 2),
        "rules": _demo.RULES,
        "optimizer": "adam",
        "steps": 20,
    }
    return {
        "width": Study(mlp, width=[8, 32], depth=[2], lr=log2(-6, -4), **shared),
        "depth": Study(resmlp, width=[8], depth=[2, 4], lr=log2(-6, -4), **shared),
    }


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]) -> Callable[..., str]:
    monkeypatch.setattr(_demo, "studies", small_studies)

    def run(*arguments: object) -> str:
        answer = command("demo", "--out", "demo", *arguments)
        assert (answer.code, answer.err) == (0, "")
        return answer.out

    return run


def test_the_demo_prints_proves_and_writes(demo: Callable[..., str], tmp_path: Path) -> None:
    out = demo()
    assert out.startswith("Training 48 networks on handwritten digits; about ")
    assert "log2 of the best rate" in out and "regret at the largest size" in out
    assert "drift per doubling of width" in out and "drift per doubling of depth" in out
    for rule in _demo.RULES:
        assert f"  {rule}, width 32, depth 8, rate 2^" in out
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"report.html", "report.json", "runs.csv", "width", "depth"} <= written
    assert {"transfer.png", "transfer.svg", "curves.png"} <= written
    assert json.loads((tmp_path / "demo" / "report.json").read_text())


def test_a_repeated_demo_trains_nothing_again(demo: Callable[..., str], tmp_path: Path) -> None:
    demo()
    before = [Runs.read(tmp_path / "demo" / axis).rows for axis in ("width", "depth")]
    assert demo().startswith("Training 0 networks")
    assert [Runs.read(tmp_path / "demo" / axis).rows for axis in ("width", "depth")] == before


def test_the_seed_of_the_demo_is_the_first_of_its_runs(
    demo: Callable[..., str], tmp_path: Path
) -> None:
    demo("--seed", 7)
    assert {row["seed"] for row in Runs.read(tmp_path / "demo" / "width").rows} == {7, 8}
