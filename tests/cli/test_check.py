"""The verb `check`: exit codes, what it prints and what it writes."""

import json
from pathlib import Path
from typing import Any

import pytest

SIZES = ("mutransfer.tasks:mlp", "--width", 32, 64, 128, 256, "--seeds", 3, "--steps", 3)


@pytest.mark.parametrize(("rule", "code", "verdict"), [((), 0, "PASS"), (("--rule", "sp"), 1, "FAIL"), (("--lr", 1e-9), 3, "UNDECIDED")])
def test_the_exit_code_is_the_verdict(command: Any, rule: tuple[object, ...], code: int, verdict: str) -> None:
    answer = command("check", *SIZES, *rule)
    assert answer.code == code and f": {verdict}\n" in answer.out
    assert ("wrong: " in answer.out) == (code == 1) and ("lost in rounding" in answer.out) == (code == 3)


def test_json_and_files(command: Any, tmp_path: Path) -> None:
    answer = command("check", *SIZES, "--json", "--out", tmp_path / "found")
    found = json.loads(answer.out)
    assert found["verdict"] == "pass" and found["axes"] == {"width": [32, 64, 128, 256]}
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [f"check.{end}" for end in ("csv", "json", "png", "svg", "txt")]
    assert json.loads((tmp_path / "found" / "check.json").read_text()) == found


@pytest.mark.parametrize(
    ("sizes", "says"),
    [((), "give widths, depths or both"), (("--width", 32, 64), "less than 4 times"), (("--width", 32), "at least two different sizes")],
)
def test_bad_sizes_are_one_sentence(command: Any, sizes: tuple[object, ...], says: str) -> None:
    answer = command("check", "mutransfer.tasks:mlp", *sizes)
    assert answer.code == 2 and says in answer.err and answer.err.count("\n") == 1
