"""The example of the guide to certificates: its studies, and the pictures that it writes."""

from pathlib import Path

import pytest

import mutransfer as mt
from tests.examples.loading import load
from tests.records import drifting_runs


def test_the_target_is_trained_on_the_same_rates_and_base() -> None:
    example = load("certificate.py")
    study, afterwards = example.study, example.afterwards
    assert study.base == afterwards.base and study.lr == afterwards.lr
    assert [size["width"] for size in afterwards.sizes()] == [example.TARGET["width"]]
    assert max(size["width"] for size in study.sizes()) * 4 == example.TARGET["width"]


def test_it_prints_certificates_and_draws_both_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = drifting_runs({"sp": -0.8, "default": 0.0}, sizes=(32, 64, 128, 256))
    monkeypatch.setattr(mt, "sweep", lambda *_, **__: runs)
    monkeypatch.setattr("sys.argv", ["certificate.py", "--out", str(tmp_path)])
    load("certificate.py").main()
    assert "default at width 1024" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        f"certificate-{name}.{kind}" for name in ("losses", "law") for kind in ("png", "svg")
    }
