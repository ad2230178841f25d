"""The nanoGPT sweep in its shape runs at a tiny size."""

import json
import sys

import pytest
import torch

from benchmarks.nanogpt import run
from benchmarks.nanogpt.model import decoder, flops, peak
from tests.examples.loading import write_text


def test_the_script_runs(tmp_path, monkeypatch, capsys):
    write_text(tmp_path / "text.txt")
    flags = ["--tiny", "--text", str(tmp_path / "text.txt"), "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", ["run.py", *flags])
    run.main()
    figures = json.loads((tmp_path / "out.json").read_text())
    sweep, members = figures["sweep"], figures["members"]
    assert sweep["runs"] == len(run.TINY.widths) * run.TINY.rates * run.TINY.seeds
    assert 0 < sweep["shares"]["whole runs"] < 1
    assert members["failed"] == {} and len(members["rates"]) == 3
    assert "6 runs of 3 steps" in capsys.readouterr().out


def test_the_study_is_the_published_one(tmp_path):
    write_text(tmp_path / "text.txt")
    study = run.Shape(context=32).study(tmp_path / "text.txt", "bfloat16")
    assert (len(study.runs()), study.precision) == (4 * 12 * 3, "bfloat16")
    assert [block.heads for block in decoder(1024, 2, 32).blocks] == [16, 16]


def test_operations_are_those_of_the_matrices():
    # Attention's own products, of queries with keys and of weights with values, are all the rest.
    width, context, batch = 128, 32, 4
    model = decoder(width, 2, context)
    entries = sum(p.numel() for n, p in model.named_parameters() if "weight" in n and p.dim() == 2)
    entries -= model.token.weight.numel() + model.position.weight.numel()
    attention = 2 * 2 * 2 * batch * context**2 * width
    expected = 3 * (2 * entries * batch * context + attention)
    assert flops(width, 2, context, batch) == pytest.approx(expected)


def test_the_peak_is_measured():
    assert 1e7 < peak("cpu", torch.float32, 64) < 1e14
