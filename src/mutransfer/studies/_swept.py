"""The hyperparameters of a study: those that are swept, and those that are fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import FrozenDict, MutransferError, frozen
from ._columns import check_names
from ._designs import Design, OneAtATime
from ._fields import Fields
from ._hyperparameters import HYPERPARAMETERS, check_values, is_rate, neutral, scale_of
from ._run import Run
from ._sizes import sizes
from ._values import as_own, as_recorded, check_grid, check_order, is_list


def normalised(study: Fields) -> dict[str, Any]:
    """Return the fields of hyperparameters, lists as tuples of checked values.

    Raises:
        MutransferError: naming the hyperparameter and what is wrong with it.
    """
    if study.lr is None:
        raise MutransferError("lr is None: give learning rates, such as lr=log2(-10, -4)")
    fields: dict[str, Any] = {name: _values(name, getattr(study, name)) for name in HYPERPARAMETERS}
    given = study.hyperparameters or {}
    if not isinstance(given, Mapping):
        raise MutransferError(
            f'hyperparameters is {given!r}: give values by name, such as {{"dropout": [0, 0.1]}}'
        )
    check_names("a hyperparameter", given)
    for name in given:
        if name in HYPERPARAMETERS:
            raise MutransferError(
                f"hyperparameters has {name!r}, which is an argument: give {name}=..."
            )
    fields["hyperparameters"] = FrozenDict({name: _values(name, given[name]) for name in given})
    fields["design"] = tuple(study.design) if isinstance(study.design, list) else study.design
    given_designs = fields["design"] if isinstance(fields["design"], tuple) else (fields["design"],)
    if not given_designs or not all(map(_is_design, given_designs)):
        raise MutransferError(
            f"design is {study.design!r}: give Grid(), OneAtATime(), Random(number) or "
            "Points([...]), or a list of them"
        )
    return fields


def _is_design(value: Any) -> bool:
    return hasattr(value, "points") and not isinstance(value, type)


def _values(name: str, value: Any) -> Any:
    if value is None:
        return None
    value = as_own(value)
    if not is_list(value):
        check_values(name, [value])
        return float(value) if is_rate(name) else frozen(value)
    if is_rate(name):
        check_grid(name, value, whole=False)
        return tuple(float(each) for each in value)
    if len(value) == 0:
        raise MutransferError(f"{name} is empty: give at least one value")
    values = frozen(list(value))
    check_values(name, values)
    check_order(name, values)
    return values


def given(study: Fields) -> dict[str, Any]:
    """Return every hyperparameter that the study gives, by name."""
    named = {name: getattr(study, name) for name in HYPERPARAMETERS}
    return {name: v for name, v in (named | dict(study.hyperparameters)).items() if v is not None}


def swept(study: Fields) -> dict[str, tuple[Any, ...]]:
    """Return the values of the rate, and of each hyperparameter that has a list."""
    values = given(study)
    lists = {name: value for name, value in values.items() if isinstance(value, tuple)}
    return {"lr": values["lr"] if "lr" in lists else (values["lr"],), **lists}


def fixed(study: Fields) -> dict[str, Any]:
    """Return the hyperparameters that have one value."""
    values = swept(study)
    return {name: value for name, value in given(study).items() if name not in values}


def designs(study: Fields) -> tuple[Design, ...]:
    """Return the designs of a study."""
    return study.design if isinstance(study.design, tuple) else (study.design,)


def points(study: Fields) -> list[Mapping[str, Any]]:
    """Return the points of all designs, each once."""
    values = swept(study)
    listed = [point for design in designs(study) for point in design.points(values)]
    return list(dict.fromkeys(FrozenDict(point) for point in listed))


def settings(study: Fields, run: Run) -> dict[str, Any]:
    """Return every hyperparameter of a run, without those that change nothing."""
    values = fixed(study) | dict(run.point)
    return {n: v for n, v in values.items() if neutral(n) is None or v != neutral(n)}


def header(study: Fields) -> dict[str, Any]:
    """Return what a reader of the record needs of the design."""
    listed = points(study)
    names = list(dict.fromkeys(name for point in listed for name in point))
    values = {n: list(dict.fromkeys(p[n] for p in listed if n in p)) for n in names}
    line = swept(study)
    lists = {name for name, value in given(study).items() if isinstance(value, tuple)}
    varied = [name for name in names if len(values[name]) > 1 or name in lists] or ["lr"]
    centres = [each.centred(line) for each in designs(study) if isinstance(each, OneAtATime)]
    notes = [
        f"{axis} varies, and nothing is scaled with it: give horizon= to scale by a stated rule"
        for axis in ("batch", "steps")
        if study.horizon is None and len({size.get(axis) for size in sizes(study)}) > 1
    ]
    return {
        "hyperparameters": varied,
        "scales": {name: scale_of(name, values[name]) for name in varied},
        **(
            {"centre": {n: as_recorded(v) for n, v in centres[0].items()}}
            if len(centres) == 1
            else {}
        ),
        **({"notes": notes} if notes else {}),
    }
