"""Terminals and pipes of every kind, and what a verb may ask."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pytest
from tyro.conf import Positional

from mutransfer.cli import VERBS
from mutransfer.rules import DISAGREEMENTS, FAMILIES, PARAMETRIZATIONS

Command = Callable[..., Any]
MOST_FLAGS = 10
"""Flags of a verb, but for `sweep`, which says what runs and where."""

MOST_OF_A_SWEEP = 13
CHECK = """
from functools import partial
from mutransfer import coordinate_check
from mutransfer.tasks import resmlp

check = partial(coordinate_check, resmlp, width=[8, 32], depth=[2, 8], joint=True, seeds=1, steps=1)
"""
TIED = """
from functools import partial
from mutransfer.tasks import gpt

build = partial(gpt, tied=True)
"""
SIZES = ("--width", 32, "--base-width", 16, "--depth", 4, "--base-depth", 2)


def run(
    *arguments: object, encoding: str = "utf-8", **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, on a terminal of some encoding."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "200"}
    command = [sys.executable, "-m", "mutransfer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=200, env=environment, **options)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_character_that_a_terminal_lacks_has_a_stand_in(encoding: str) -> None:
    arguments = ("rules", "mup", "--optimizer", "adam", "--form", "table9")
    answer = run(*arguments, encoding=encoding)
    assert (answer.returncode, answer.stderr) == (0, b"")
    shown, whole = answer.stdout.decode(encoding), run(*arguments).stdout.decode()
    assert "1/sqrt fan_in" in shown and "√" in whole
    assert len(shown.splitlines()) == len(whole.splitlines())


def test_a_check_is_written_before_it_is_printed(tmp_path: Path) -> None:
    """A reader of the output, such as `head`, may go away before the first line."""
    build = ("mutransfer.tasks:mlp", "--width", 8, 32, "--seeds", 1, "--steps", 1)
    arguments = " ".join(map(str, ("check", *build, "--out", "here")))
    script = f"{sys.executable} -m mutransfer {arguments} | true"
    subprocess.run(script, shell=True, cwd=tmp_path, timeout=200, capture_output=True)
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == [f"check.{ending}" for ending in ("csv", "json", "png", "svg", "txt")]


def test_a_check_can_be_named_with_all_of_its_arguments(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CHECK)
    answer = command("check", "mine.py:check", "--seeds", 2, "--json")
    rows = json.loads(answer.out)["rows"]
    sizes = set(zip(rows["width"], rows["depth"], strict=True))
    assert sizes == {(8, 2), (8, 8), (32, 2), (32, 8)} and set(rows["seed"]) == {0, 1}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_few_flags(verb: str) -> None:
    parameters = signature(VERBS[verb], eval_str=True).parameters.values()
    # The folder of a sweep has to be named; the others are choices.
    flags = [p for p in parameters if not is_positional(p) and p.default is not Parameter.empty]
    assert len(flags) <= (MOST_OF_A_SWEEP if verb == "sweep" else MOST_FLAGS)


def is_positional(parameter: Parameter) -> bool:
    """Whether an argument of a verb is given without its name."""
    return parameter.annotation in (Positional[str], Positional[Path])


def test_flags_are_counted() -> None:
    assert len(signature(VERBS["check"]).parameters) == MOST_FLAGS + 1


def test_all_rules_and_disagreements_are_json(command: Command) -> None:
    rules = json.loads(command("rules", "--json").out)
    assert [rule["name"] for rule in rules["rules"]] == list(PARAMETRIZATIONS)
    assert rules["optimizers"] == list(FAMILIES)
    choices = json.loads(command("rules", "--disagreements", "--json").out)
    assert [choice["name"] for choice in choices] == list(DISAGREEMENTS)
    assert choices[0]["sides"] == dict(DISAGREEMENTS[choices[0]["name"]].sides)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("blocks.*.up.weight", ["blocks.*.up.weight (4 tensors): hidden, in a branch"]),
        ("blocks.0.up.weight", ["blocks.0.up.weight: hidden, in a branch"]),
        ("head.weight", ["head.weight is token.weight: the two are tied", "token.weight: tied"]),
        ("*.weight", ["token.weight: tied", "blocks.*.query.weight (4 tensors)", "norm.weight"]),
    ],
)
def test_explain_takes_starred_and_tied_names(
    command: Command, tmp_path: Path, name: str, lines: list[str]
) -> None:
    (tmp_path / "mine.py").write_text(TIED)
    answer = command("plan", "mine.py:build", *SIZES, "--explain", name)
    assert answer.code == 0
    assert all(any(line.startswith(each) for line in answer.out.splitlines()) for each in lines)


def test_two_optimizers_share_a_plan(command: Command) -> None:
    answer = command("plan", "mutransfer.tasks:gpt", *SIZES, "--optimizer", "muon+adamw", "--json")
    plan = json.loads(answer.out)
    trained = {tensor["name"]: tensor["optimizer"] for tensor in plan["tensors"]}
    assert trained["blocks.0.up.weight"] == "muon" and trained["head.weight"] == "adamw"


def test_a_table_of_two_optimizers_is_a_table_of_each(command: Command) -> None:
    out = command("rules", "mup", "--optimizer", "muon+adamw").out
    assert "Tensors: hidden" in out and "Tensors: *" in out
    tables = json.loads(command("rules", "mup", "--optimizer", "muon+adamw", "--json").out)
    assert {key: table["optimizer"] for key, table in tables.items()} == {
        "hidden": "muon",
        "*": "adamw",
    }
