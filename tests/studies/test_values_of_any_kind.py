"""Values that are no numbers: functions, objects, arrays; each has a name in the record."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mutransfer import MutransferError, OneAtATime, Study, parametrization, sweep
from mutransfer.pytorch import builder_name
from tests.studies.small_study import data, on_disk


class Net(nn.Module):
    def __init__(self, width: int, act: Any = nn.ReLU, shape: Any = None) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, width), nn.Linear(width, 3)
        self.act = act() if isinstance(act, type) else act

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.first(x)))  # type: ignore[no-any-return]


def study(**changes: Any) -> Study:
    grid: dict[str, Any] = {
        "width": [4, 8],
        "lr": [2**-7, 2**-6, 2**-5],
        "seeds": 1,
        "task": data(),
    }
    build = lambda **keywords: Net(**keywords).double()  # noqa: E731
    return Study(build, **grid | {"steps": 2, "batch": 8} | changes)


def falling(step: int, steps: int, power: int = 1) -> float:
    return float((1 - step / steps) ** power)


def lambdas() -> list[Callable[..., float]]:
    return [lambda step, steps: 1.0, lambda step, steps: 1 - step / steps]


SWEPT = {
    "lambdas in one line": {"schedule": lambdas()},
    "lambdas of one loop": {
        "schedule": [lambda step, steps, p=p: (1 - step / steps) ** p for p in (1, 2)]
    },
    "partials": {"schedule": [partial(falling, power=power) for power in (1, 2)]},
    "classes": {"hyperparameters": {"act": [nn.ReLU, nn.GELU]}},
    "modules": {"hyperparameters": {"act": [nn.ReLU(), nn.GELU()]}},
    "tuples": {"hyperparameters": {"shape": [(1, 2), [3, 4]]}},
    "mappings": {"hyperparameters": {"shape": [{"a": 1}, {"a": 2}]}},
    "numpy": {"label_smoothing": np.array([0.0, 0.5], dtype=np.float32)},
    "numbers of numpy": {"warmup": [np.int64(0), np.int64(1)]},
    "torch": {"beta2": torch.tensor([0.5, 0.75])},
}


@pytest.mark.parametrize("changes", SWEPT.values(), ids=SWEPT)
def test_every_value_is_run_and_found_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    both = study(**changes)
    (name,) = set(both.swept) - {"lr"}
    runs = sweep(both, tmp_path, extend=1)
    assert len({row["id"] for row in on_disk(tmp_path)}) == len(runs.rows) >= 12
    assert len({row[name] for row in runs.rows}) == 2
    written = on_disk(tmp_path)
    assert sweep(both, tmp_path, extend=1).rows == runs.rows
    assert on_disk(tmp_path) == written


def test_functions_of_one_name_are_refused() -> None:
    def falling(step: int, steps: int) -> float:
        return 1.0

    falling.__qualname__ = "falling"
    with pytest.raises(MutransferError, match="two values named 'falling'"):
        study(schedule=[falling, globals()["falling"]])


def test_a_centre_of_functions_is_found(tmp_path: Path) -> None:
    around = study(schedule=[falling, "constant"], design=OneAtATime({"schedule": falling}))
    runs = sweep(around, tmp_path)
    rates, losses = runs.losses("default", around.sizes()[0])
    assert rates == [2**-7, 2**-6, 2**-5]
    assert losses.shape == (1, 3)


def test_a_custom_rules_runs_are_taken_up_with_functions(tmp_path: Path) -> None:
    rule = replace(parametrization("mup"), name="mine")
    mine = study(rules=[rule], hyperparameters={"act": [nn.ReLU, nn.GELU]})
    assert sweep(mine, tmp_path).rows == sweep(mine, tmp_path).rows


class Factory:
    def __init__(self, act: str) -> None:
        self.act, self.itself = act, self.build

    def build(self, width: int) -> nn.Module:
        return Net(width)


def test_methods_of_objects_with_other_values_are_others() -> None:
    names = [builder_name(Factory(act).build) for act in ("relu", "relu", "gelu")]
    assert names[0] == names[1] != names[2]
