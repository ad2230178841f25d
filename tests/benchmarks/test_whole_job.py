"""The script of the whole job trains what the library trains, and optima are compared."""

import runpy
import sys

import mutransfer as mt
from benchmarks.whole_job.run import SCRIPT, SMALL, Job, are_same, distance, optima


def script_loss(capsys, monkeypatch, **flags):
    """The loss that the script prints."""
    given = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["train.py", *given])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return float(capsys.readouterr().out.split()[-1])


def test_script_and_library_have_losses_alike(capsys, monkeypatch, tmp_path):
    job = Job(widths=(64,), rates=(2.0**-10, 2.0**-8, 2.0**-6), seeds=1, steps=40)
    runs = mt.sweep(job.study(), tmp_path)
    losses = {
        (width, lr, seed): script_loss(
            capsys, monkeypatch, width=width, lr=lr, seed=seed, steps=job.steps
        )
        for width, lr, seed in job.configurations()
    }
    assert distance(losses, runs) < 0.1
    wrong = {key: 2 * loss for key, loss in losses.items()}
    assert distance(wrong, runs) > 0.5


def test_the_optimum_of_a_sweep_has_an_interval(tmp_path):
    found = optima(mt.sweep(SMALL.study(), tmp_path))
    assert list(found) == ["16"]
    low, high = found["16"]["interval"]
    assert low < found["16"]["log2_lr"] < high


def test_optima_are_the_same_within_their_intervals():
    first = {"log2_lr": -7.0, "interval": [-7.3, -6.7]}
    near = {"log2_lr": -6.6, "interval": [-7.0, -6.2]}
    far = {"log2_lr": -6.4, "interval": [-6.8, -6.0]}
    assert are_same(first, near) and not are_same(first, far)


def test_a_sample_has_all_widths():
    job = Job()
    assert len(job.configurations()) == 144
    assert {width for width, _, _ in job.configurations()[::6]} == set(job.widths)
