"""A sweep builds and plans each model once."""

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mutransfer.core import Size
from mutransfer.pytorch import _record
from mutransfer.studies import Study, estimate, members, planned, sweep
from mutransfer.training import StackingWarning
from tests.studies.small_study import double, short, untimed


class Counting:
    """A builder that counts its calls by size and device."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[int, int, str]] = Counter()

    def __call__(self, width: int, depth: int) -> nn.Module:
        model = double(width, depth)
        self.calls[width, depth, next(model.parameters()).device.type] += 1
        return model


class Uncopied(nn.Module):
    """A model that cannot be copied, as it holds a lock."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.lock = model, Lock()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


def uncopied(width: int, depth: int) -> nn.Module:
    return Uncopied(double(width, depth))


@pytest.mark.parametrize("watched", [False, True], ids=["alone", "with progress"])
def test_24_runs_need_two_models_a_size_and_one_base(tmp_path: Path, watched: bool) -> None:
    build = Counting()
    study = short(build=build)
    progress: dict[str, Any] = {"progress": lambda progress: None} if watched else {}
    assert len(sweep(study, tmp_path, **progress).rows) == 24
    # The base is that of width 8, and is drawn once more to see that a draw depends on its seed;
    # each size is drawn for two seeds, and read without values.
    assert build.calls == {
        (8, 3, "cpu"): 4,
        (8, 3, "meta"): 1,
        (16, 3, "cpu"): 2,
        (16, 3, "meta"): 1,
    }


def test_more_rules_and_rates_need_no_more_models(tmp_path: Path) -> None:
    build = Counting()
    rules = ["sp", "mup", "ntk", "mup, without eps"]
    sweep(short(build=build, rules=rules, lr=[2.0**-i for i in range(8, 2, -1)]), tmp_path)
    assert build.calls.total() == 8


def test_a_plan_is_made_once_for_each_rule_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward passes of the reading are counted: one of the base, one of each rule and size."""
    passes: list[int] = []
    recorded = _record._recorded

    def counted(model: Any, *rest: Any) -> Any:
        passes.append(model.width)
        return recorded(model, *rest)

    def build(width: int, depth: int) -> nn.Module:
        model = double(width, depth)
        model.width = width  # type: ignore[assignment]
        return model

    monkeypatch.setattr(_record, "_recorded", counted)
    study = short(build=build, steps=1, rules=["mup", "ntk"])
    planned(study, "mup", Size(width=16, depth=3))
    once = Counter(passes)
    assert once[8] and once[16]
    passes.clear()
    sweep(study, tmp_path, progress=lambda progress: None)
    assert Counter(passes) == {8: once[8] + 2 * once[16], 16: 2 * once[16]}


@pytest.mark.parametrize("rule", ["sp", "mup"])
def test_members_of_a_rule_do_not_depend_on_its_company(rule: str) -> None:
    alone, together = short(rules=[rule]), short(rules=["sp", rule, "ntk"][rule == "sp" :])
    runs = [run for run in together.runs() if run.rule == rule]
    assert runs == alone.runs()
    chosen = [run for run in runs if run.size["width"] == 16]
    in_company = [run for run in together.runs() if run.size["width"] == 16]
    pairs = dict(zip(in_company, members(together, in_company), strict=True))
    for run, member in zip(chosen, members(alone, chosen), strict=True):
        assert pairs[run].table == member.table and pairs[run].seed == member.seed
        own, other = member.model.state_dict(), pairs[run].model.state_dict()
        assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())


def test_a_model_that_cannot_be_copied_is_drawn_again(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="lock"):
        deepcopy(uncopied(8, 3))
    losses = [
        [row["loss"] for row in sweep(short(build=build), tmp_path / build.__name__).rows]
        for build in (double, uncopied)
    ]
    assert losses[0] == losses[1]


def test_timing_changes_nothing_that_a_model_keeps(tmp_path: Path) -> None:
    """A model counts its forward passes; those of the estimate must not be among them."""

    class Ageing(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.model, self.age = double(width, 3), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.age += 1
            return self.model(x) / self.age

    study = short(build=lambda width, depth: Ageing(width), rules=["sp"])
    silent = sweep(study, tmp_path / "silent")
    watched = sweep(study, tmp_path / "watched", progress=lambda progress: None)
    assert untimed(watched) == untimed(silent)


def test_an_estimate_builds_as_the_sweep_does() -> None:
    build = Counting()
    study = short(build=build)
    assert estimate(study, study.runs()) > 0
    assert build.calls.total() == 7
    assert estimate(replace(study, seeds=1), []) == 0


class Sparse(nn.Module):
    """A network that sees a random half of its inputs, drawn by NumPy."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seen = np.random.permutation(64)[:32].tolist()
        self.hidden, self.readout = nn.Linear(32, width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(torch.relu(self.hidden(x[:, self.seen])))  # type: ignore[no-any-return]


def test_seeds_differ_in_what_numpy_draws_and_each_trains_as_alone(tmp_path: Path) -> None:
    wanted = Study(Sparse, width=[16], lr=[0.01], seeds=6, steps=10, batch=16, task="digits")
    with pytest.warns(StackingWarning, match=r"hold different values of seen\[0\]"):
        together = [row["loss"] for row in sweep(wanted, tmp_path / "together").rows]
    alone = [
        row["loss"]
        for seed in range(6)
        for row in sweep(replace(wanted, seeds=[seed]), tmp_path / str(seed)).rows
    ]
    assert together == pytest.approx(alone, rel=1e-6) and len(set(together)) == 6
