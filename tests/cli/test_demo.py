"""The demo on the command line, at a size that takes seconds."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mutransfer import Runs, Study, experiments, log2
from mutransfer.experiments import RULES
from mutransfer.tasks import mlp, resmlp

HEADERS = (
    "log2 of the best rate",
    "drift per doubling of width",
    "drift per doubling of depth",
    "regret at the largest size",
)
FILES = {
    *("report.html", "transfer.png", "transfer.svg", "curves.png", "runs.csv", "report.json"),
    *("width", "depth"),
}


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]) -> Callable[[], str]:
    """Runs the demo with networks of 20 steps."""
    shared: dict[str, Any] = {"seeds": 2, "rules": RULES, "optimizer": "adam", "steps": 20}
    sweeps = {
        "width": Study(mlp, width=[8, 32], depth=[2], lr=log2(-6, -4), **shared),
        "depth": Study(resmlp, width=[8], depth=[2, 4], lr=log2(-6, -4), **shared),
    }
    monkeypatch.setattr(experiments, "demo", partial(experiments.demo, sweeps=sweeps))

    def run() -> str:
        answer = command("demo", "--out", "demo")
        assert (answer.code, answer.err) == (0, "")
        return str(answer.out)

    return run


def test_the_demo_shows_proves_and_writes(demo: Callable[[], str], tmp_path: Path) -> None:
    out = demo()
    assert out.startswith("Training 48 networks on handwritten digits; about ")
    assert [header for header in HEADERS if header not in out] == []
    for depth in (2, 4):
        assert f"\n  width 8, depth {depth}: " in out, "progress"
    for rule in RULES:
        assert f"  {rule}, width 32, depth 8, rate 2^" in out
    assert {path.name for path in (tmp_path / "demo").iterdir()} >= FILES


def test_a_repeated_demo_trains_nothing_again(demo: Callable[[], str], tmp_path: Path) -> None:
    demo()
    before = [Runs.read(tmp_path / "demo" / axis).rows for axis in ("width", "depth")]
    assert demo().startswith("Training 0 networks")
    assert [Runs.read(tmp_path / "demo" / axis).rows for axis in ("width", "depth")] == before
