"""The verb `check`: exit codes, output and files."""

import json
from pathlib import Path
from typing import Any

import pytest

SIZES = ("mutransfer.tasks:mlp", "--width", 32, 64, 128, 256, "--seeds", 3, "--steps", 3)


@pytest.mark.parametrize(
    ("rule", "code", "verdict"),
    [((), 0, "PASS"), (("--rule", "sp"), 1, "FAIL"), (("--lr", 1e-9), 3, "UNDECIDED")],
)
def test_the_exit_code_is_the_verdict(
    command: Any, rule: tuple[object, ...], code: int, verdict: str
) -> None:
    answer = command("check", *SIZES, *rule)
    assert answer.code == code and f": {verdict}\n" in answer.out
    assert ("wrong: " in answer.out) == (code == 1)
    assert ("lost in rounding" in answer.out) == (code == 3)


def test_json_and_files(command: Any, tmp_path: Path) -> None:
    answer, folder = command("check", *SIZES, "--json", "--out", tmp_path / "a"), tmp_path / "a"
    plain = json.loads(answer.out)
    assert plain["verdict"] == "pass" and plain["axes"] == {"width": [32, 64, 128, 256]}
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"check.{kind}" for kind in ("csv", "json", "png", "svg", "txt")]
    assert json.loads((folder / "check.json").read_text()) == plain


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((), "give widths, depths or both"),
        (("--width", 32, 64), "less than 4 times"),
        (("--width", 32), "at least two different sizes"),
    ],
)
def test_bad_sizes_are_one_sentence(command: Any, sizes: tuple[object, ...], message: str) -> None:
    answer = command("check", "mutransfer.tasks:mlp", *sizes)
    assert answer.code == 2 and message in answer.err and answer.err.count("\n") == 1


def test_advice_that_needs_python_says_how(command: Any, tmp_path: Path) -> None:
    """Digits have 64 features, and the model takes 3."""
    file = tmp_path / "narrow.py"
    file.write_text(
        "from torch import nn\n"
        "def build(width):\n"
        "    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 10))\n"
    )
    answer = command("check", f"{file}:build", "--width", 16, 64, "--task", "digits")
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert "example_inputs=" in answer.err and "name a partial of it" in answer.err
