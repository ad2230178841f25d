"""Two optimizers share the work of a study: Muon on hidden matrices, AdamW on the rest."""

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from mutransfer.core import MutransferError
from mutransfer.studies import members, planned, recipe, sweep
from mutransfer.training import train_one_by_one
from tests.studies.small_study import short

MIXED = "muon-original+adamw"
HIDDEN = {"hidden.0.weight", "hidden.1.weight"}


def by_muon(study: Any, rule: str, width: int) -> set[str]:
    """Return the tensors that Muon trains at one size."""
    tensors = planned(study, rule, study.base.grown(width=width)).tensors
    return {name for name, tensor in tensors.items() if tensor.optimizer.startswith("muon")}


@pytest.mark.parametrize("optimizer", [MIXED, "muon-match-rms+adamw"])
def test_rows_are_those_of_torch_one_by_one(
    tmp_path: Path, optimizer: str, exact_muon: None
) -> None:
    options = {optimizer.partition("+")[0]: {"momentum": 0.9}, "adamw": {"betas": (0.8, 0.9)}}
    study = short(optimizer=optimizer, options=options, weight_decay=0.1, steps=25)
    rows = {row["id"]: row for row in sweep(study, tmp_path).rows}
    for _, group in groupby(study.runs(), lambda run: run.size):
        runs = list(group)
        alone = train_one_by_one(members(study, runs), recipe(study)).losses
        for run, losses in zip(runs, alone, strict=True):
            assert rows[study.run_id(run)]["curve"] == pytest.approx(losses.tolist(), rel=1e-12)


@pytest.mark.parametrize("rule", ["sp", "mup", "default", "ntk"])
@pytest.mark.parametrize("width", [8, 16])
def test_muon_trains_the_same_tensors_at_every_size_and_rule(rule: str, width: int) -> None:
    assert by_muon(short(optimizer=MIXED, rules=[rule]), rule, width) == HIDDEN


def test_each_family_has_its_own_defaults_of_torch() -> None:
    study = short(optimizer=MIXED, rules=["sp"])
    table = members(study, study.runs()[:1])[0].table
    decays = {row.optimizer: row.weight_decay for row in table.values()}
    assert decays == {"muon-original": 0.1, "adamw": 0.01}
    assert {row.optimizer: row.eps for row in table.values()} == {
        "muon-original": 1e-7,
        "adamw": 1e-8,
    }


def test_options_of_either_family_train_something_else(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"muon-original": {"ns_steps": 1}}]
    changes += [{"adamw": {"betas": (0.5, 0.5)}}]
    grid: dict[str, Any] = {"width": [8], "rules": ["sp"], "seeds": 1, "lr": [2.0**-6]}
    losses = {
        sweep(short(optimizer=MIXED, options=options, **grid), tmp_path / str(i)).rows[0]["loss"]
        for i, options in enumerate(changes)
    }
    assert len(losses) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "muon+adamw"}, "cannot train with 'muon': .* muon-original or muon-match"),
        ({"optimizer": "muon-spectral+adamw"}, "cannot train with 'muon-spectral'"),
        (
            {"optimizer": "adamw+sophia"},
            "unknown optimizer 'sophia' for a study; choose one of sgd",
        ),
        ({"optimizer": "sgd+adam+adamw"}, "two families share the work"),
        (
            {"optimizer": "muon-original+adam", "weight_decay": 0.1},
            "Adam adds weight decay to the gradient",
        ),
        (
            {"optimizer": MIXED, "options": {"betas": (0.9, 0.9)}},
            "takes options by family, such as {'adamw': {...}}",
        ),
        (
            {"optimizer": MIXED, "options": {"adamw": {"momentum": 0.9}}},
            "the optimizer adamw takes no option 'momentum'; it takes betas",
        ),
        (
            {"optimizer": "muon-original", "options": {"betas": (0.9, 0.9)}},
            "takes no option 'betas'; it takes momentum, nesterov, ns_coefficients, ns_steps",
        ),
    ],
)
def test_optimizers_that_no_study_trains_with_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message.replace("{", r"\{")):
        short(**changes)


def test_muon_alone_is_refused_where_tensors_are_no_matrices(tmp_path: Path) -> None:
    with pytest.raises(MutransferError, match="muon-original updates matrices only"):
        sweep(short(optimizer="muon-original"), tmp_path)
