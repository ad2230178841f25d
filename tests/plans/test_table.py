"""The table of a plan: one place from which everything that applies a plan reads."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mutransfer import MutransferError
from mutransfer.plans import UNITS, Hyperparameters, grouped, resolved, table
from mutransfer.pytorch import Plan, plan
from mutransfer.rules import FAMILIES, family
from mutransfer.tasks import gpt
from tests.optimizers import MUON

NUMBERS = st.floats(1e-6, 10)


def made(optimizer: object = "adamw") -> Plan:
    """A plan in width and depth."""
    torch.manual_seed(0)
    return plan(gpt(width=64, depth=4), base=gpt(width=32, depth=2), optimizer=optimizer)


PLAN = made()


def test_at_unit_hyperparameters_the_table_holds_the_factors() -> None:
    for name, row in table(PLAN).items():
        tensor = PLAN[name]
        factors = {q: tensor.factor(q) for q in ("init", "lr", "eps", "decay", "multiplier")}
        assert (row.init, row.lr, row.eps) == (factors["init"], factors["lr"], factors["eps"])
        assert (row.weight_decay, row.multiplier) == (factors["decay"], factors["multiplier"])
        assert row.lr_factor == factors["lr"] and row.rho is None


@given(lr=NUMBERS, eps=NUMBERS, weight_decay=NUMBERS)
def test_hyperparameters_multiply_the_factors(lr: float, eps: float, weight_decay: float) -> None:
    units = table(PLAN)
    values = Hyperparameters(lr=lr, eps=eps, weight_decay=weight_decay)
    for name, row in table(PLAN, values).items():
        assert row.lr == lr * units[name].lr and row.lr_factor == units[name].lr_factor
        assert row.eps == eps * units[name].eps  # type: ignore[operator]
        assert row.weight_decay == weight_decay * units[name].weight_decay


def test_modules_and_undecayed_tensors_have_their_own_values() -> None:
    values = replace(UNITS, modules={"head.*": 0.5}, undecayed=("gain", "head.weight"))
    rows, units = table(PLAN, values), table(PLAN)
    assert rows["head.weight"].lr_factor == units["head.weight"].lr_factor / 2
    assert rows["head.weight"].weight_decay == 0 == rows["norm.weight"].weight_decay
    assert rows["norm.bias"] == units["norm.bias"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (replace(UNITS, modules={"tail.*": 2.0}), "modules=.*tail.* matches no parameter"),
        (replace(UNITS, undecayed=("tail",)), "undecayed has 'tail', which is no role"),
    ],
)
def test_a_pattern_that_matches_nothing_is_named(values: Hyperparameters, says: str) -> None:
    with pytest.raises(MutransferError, match=says):
        table(PLAN, values)


def test_groups_are_the_table_over_the_parameters() -> None:
    model = gpt(width=64, depth=4)
    rows = table(PLAN, Hyperparameters(lr=2**-8, eps=1e-9, weight_decay=0.1))
    groups = PLAN.param_groups(model, 2**-8, eps=1e-9, weight_decay=0.1)
    named = dict(model.named_parameters())
    assert [group["names"] for group in groups] == [names for names, _ in grouped(rows)]
    for group, (names, row) in zip(groups, grouped(rows), strict=True):
        values = {k: v for k, v in group.items() if k not in ("params", "names")}
        assert values == row.group()
        assert all(p is named[name] for p, name in zip(group["params"], names, strict=True))


def test_tensors_of_two_families_are_never_one_group() -> None:
    torch.manual_seed(0)
    model = gpt(width=32)
    mixed = plan(model, base=model, optimizer="muon-original+adamw")
    groups = grouped(mixed.table(model, 0.1, eps=1e-8, weight_decay=0.1))
    families = [{mixed[name].optimizer for name in names} for names, _ in groups]
    assert sorted(map(len, families)) == [1] * len(groups) and len(groups) >= 2


@MUON
def test_a_family_of_several_has_its_own_tensors() -> None:
    mixed = made("muon-original+adamw")
    rows = table(mixed, optimizer="muon-original")
    assert rows and all(name.endswith(".weight") for name in rows)
    assert rows.keys() | table(mixed, optimizer="adamw").keys() == mixed.tensors.keys()
    assert mixed == made({"hidden": torch.optim.Muon, "*": "adamw"})


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_defaults_are_resolved_for_every_family(name: str) -> None:
    chosen = family(name)
    given = Hyperparameters(lr=1.0, rho=0.1)
    if not chosen.curvature:
        with pytest.raises(MutransferError, match=f"{name} has no rho"):
            resolved(given, chosen, {})
        given = Hyperparameters(lr=1.0)
    values = resolved(given, chosen, {"eps": 1e-8, "weight_decay": 0.01})
    assert values.weight_decay == (0.0 if chosen.decays_badly else 0.01)
    assert values.eps == (1e-8 if chosen.eps is not None else None)


def test_a_frozen_tensor_is_in_the_table_and_in_no_group() -> None:
    frozen = plan(gpt(width=64), base=gpt(width=32), roles={"position.weight": "frozen"})
    model: nn.Module = gpt(width=64)
    names = [name for group in frozen.param_groups(model, 0.1) for name in group["names"]]
    assert "position.weight" in table(frozen) and "position.weight" not in names


NAN = float("nan")
NO_NUMBERS: dict[str, tuple[dict[str, Any], str]] = {
    "negative tensor": ({"lr": torch.tensor(-1e-3)}, r"lr is tensor\(-0\.0010\): give a finite"),
    "nan tensor": ({"lr": torch.tensor(NAN)}, r"lr is tensor\(nan\): give a finite"),
    "negative array": ({"lr": np.array(-0.1)}, r"lr is array\(-0\.1\): give a finite"),
    "negative rate": ({"lr": -0.1}, r"lr is -0\.1: give a finite number, at least 0$"),
    "no number": ({"lr": NAN}, "lr is nan: give a finite number"),
    "infinite": ({"lr": float("inf")}, "lr is inf: give a finite number"),
    "text": ({"lr": "1e-3"}, r"lr is '1e-3': give .*YAML reads 1e-3 as text and 1\.0e-3 as a num"),
    "truth": ({"lr": True}, "lr is True: give a finite number"),
    "none": ({"lr": None}, "lr is None: give a finite number"),
    "list": ({"lr": [0.1]}, r"lr is \[0\.1\]: give a finite number"),
    "text of decay": ({"weight_decay": "1e-3"}, "weight_decay is '1e-3': give"),
    "negative decay": ({"weight_decay": -0.1}, r"weight_decay is -0\.1: give"),
    "negative eps": ({"eps": -1e-8}, "eps is -1e-08: give"),
    "negative eps of two": ({"eps": (None, -1e-3)}, r"eps is -0\.001: give"),
    "negative rho": ({"rho": -0.1}, r"rho is -0\.1: give"),
    "negative factor": ({"modules": {"*": -1.0}}, r"modules\['\*'\] is -1\.0: give"),
    "factor of text": ({"modules": {"*": "2"}}, r"modules\['\*'\] is '2': give"),
}


@pytest.mark.parametrize(("given_values", "says"), NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_hyperparameters_are_numbers(given_values: dict[str, Any], says: str) -> None:
    with pytest.raises(MutransferError, match=says):
        Hyperparameters(**{"lr": 0.1} | given_values)


@pytest.mark.parametrize("number", [np.float64(0.25), np.float32(0.25), Fraction(1, 4), 0.25])
def test_numbers_of_every_kind_are_plain(number: Any) -> None:
    values = Hyperparameters(
        lr=number, eps=[None, number], weight_decay=number, rho=number, modules={"*": number}
    )
    found = (values.lr, values.weight_decay, values.rho, values.modules["*"])
    assert values.eps == (None, 0.25)
    assert found == (0.25,) * 4 and {type(value) for value in (*found, values.eps[1])} == {float}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "scalar",
    [
        torch.tensor(0.1),
        torch.tensor(0.0),
        torch.tensor(0.1, requires_grad=True),
        torch.zeros((), device="meta"),
    ],
)
def test_scalars_of_torch_stay_what_they_are(scalar: torch.Tensor) -> None:
    assert Hyperparameters(lr=scalar).lr is scalar


def test_zero_is_a_rate() -> None:
    assert Hyperparameters(lr=0, weight_decay=0, eps=0.0, modules={"*": 0}).lr == 0


def test_a_state_with_a_rate_of_numpy_is_loaded_by_default(tmp_path: Path) -> None:
    model = gpt(width=64, depth=4)
    optimizer = torch.optim.AdamW(PLAN.param_groups(model, np.float64(0.1), weight_decay=0.1))
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt") == optimizer.state_dict()
