"""The programme of Tensor Programs V as one study, and its example."""

import runpy
from pathlib import Path

import pytest

from mutransfer import Size
from mutransfer.experiments.transfer_programme import SETTINGS, programme
from mutransfer.experiments.transfer_programme._study import AXES, RULE, controls, sizes_along

EXAMPLE = Path(__file__).parents[2] / "examples" / "transfer_programme.py"


def test_the_example_is_the_programme_of_the_paper():
    example = runpy.run_path(str(EXAMPLE))
    study, small = example["study"], example["small"]
    assert len(study.runs()) == 4200 and len(study.sizes()) == 20
    assert list(study.swept) == ["lr", "readout", "init", "schedule"]
    assert len(study.seeds) == 5 and study.rules == (RULE,)
    # The docstring of the example says how many runs it has at small scale.
    assert f"in {len(small.runs())} runs" in (EXAMPLE.read_text())


@pytest.mark.parametrize("scale", SETTINGS)
def test_sizes_differ_from_the_usual_one_along_one_axis(scale):
    setting = SETTINGS[scale]
    study, usual = programme(setting), Size(setting["usual"])
    assert usual in study.sizes()
    assert all(sum(size[axis] != usual[axis] for axis in AXES) <= 1 for size in study.sizes())
    lines = {axis: sizes_along(setting, axis) for axis in AXES}
    assert {size for line in lines.values() for size in line} == set(study.sizes())
    assert all(usual in line and len(line) > 1 for line in lines.values())


@pytest.mark.parametrize("scale", SETTINGS)
def test_controls_train_at_sizes_of_the_programme(scale):
    study = programme(SETTINGS[scale])
    for control in controls(SETTINGS[scale]).values():
        assert set(control.sizes()) < set(study.sizes())
        assert all(control.base[axis] == study.base[axis] for axis in ("width", "depth"))
        assert set(control.swept["lr"]) == set(study.swept["lr"])
