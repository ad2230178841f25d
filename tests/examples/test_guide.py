"""The guide to studies: its commands run, and it shows the example as it is."""

import difflib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mutransfer as mt
from tests.examples.loading import EXAMPLES, write_text

PAGE = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")

SMALL = """
import dataclasses

grid = {"width": [32, 64], "lr": [2**-10, 2**-6, 2**-2], "seeds": 1, "rules": ("default",)}
study = dataclasses.replace(study, steps=8, **grid)
"""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_the_changed_lines_are_those_of_the_example():
    before, after = (
        (EXAMPLES / "nanogpt" / name).read_text().splitlines() for name in ("before.py", "train.py")
    )
    changed = [
        line
        for line in list(difflib.unified_diff(before, after, n=0))[2:]
        if line != "+" and not line.startswith("@@")
    ]
    (shown,) = blocks("diff")
    assert changed == shown.splitlines()


def test_the_study_is_that_of_the_example():
    (shown,) = (block for block in blocks("python") if "train.py input.txt" in block)
    assert (EXAMPLES / "nanogpt" / "study.py").read_text().endswith(shown)


def test_the_commands_run_from_the_script_to_the_large_model(folder_of, mutransfer):
    pytest.importorskip("jinja2")
    folder = folder_of("nanogpt")
    write_text(folder / "input.txt")
    with (folder / "study.py").open("a") as study:
        study.write(SMALL)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert [line.split()[1] for line in lines if line.startswith("mutransfer")] == [
        *("sweep", "sweep", "transfer", "report", "status", "transfer")
    ]
    for line in lines:
        program, *arguments = shlex.split(line, comments=True)
        if program == "mutransfer":
            # So few runs show no law: their certificate is a refusal.
            assert mutransfer(*arguments) == (1 if arguments[0] == "transfer" else 0)
            continue
        (found,) = mt.transfer(mt.Runs.read("runs"), at={"width": 256}).values()
        rate = found.optima[-1].value
        assert found.refusal and 2**-10 < rate < 2**-2
        given = {"RATE": str(rate), "150": "3"}
        command = [sys.executable, *(given.get(part, part) for part in arguments)]
        subprocess.run(command, check=True)
    large = torch.load(folder / "large" / "checkpoint.pt")["model"]
    assert large["blocks.1.qkv.weight"].shape == (3 * 256, 256)
