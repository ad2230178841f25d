"""A plan as a stand-alone PyTorch program, for places without mutransfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core import MutransferError
from ..plans import Hyperparameters, Plan, Row, grouped, resolved, table
from ..reading import pattern
from ._groups import torch_defaults
from ._initialize import wanted_rms

_PROGRAM = '''"""Initial values and parameter groups of one model, by name. Needs torch alone.

Written by mutransfer for {rule}, {optimizer}. A star stands for the number of a layer.
"""

import math
import re

import torch

SHAPES = {shapes}

# Each row's tensors are rescaled together, until their root mean square is factor times rms.
# The value at base size is rms.
INITIAL = {initial}

GROUPS = {groups}
{forward}

def found(table, name):
    """The entry of a tensor: under its own name, or under its pattern."""
    return table.get(name, table.get(re.sub(r"(?<![^.])\\d+(?![^.])", "*", name)))


def checked(model):
    """The model's parameters by name, if they are the {count} that this was written for."""
    parameters = dict(model.named_parameters()){hooked}
    for name, parameter in parameters.items():
        if found(SHAPES, name) != tuple(parameter.shape):
            raise ValueError(
                f"{{name}} has shape {{tuple(parameter.shape)}}, "
                f"and this was written for {{found(SHAPES, name)}}"
            )
    if len(parameters) != {count}:
        raise ValueError(
            f"the model has {{len(parameters)}} parameters, and this was written for {count}"
        )
    return parameters


def initialize(model):
    """Rescale the model's own initial draw in place, once."""
    parameters = checked(model)
    rows = {{name: row for row in INITIAL for name in row["names"]}}
    runs = [[p for name, p in parameters.items() if found(rows, name) is row] for row in INITIAL]
    with torch.no_grad():
        for row, run in zip(INITIAL, runs):
            total = sum(float(p.double().square().sum()) for p in run)
            own = math.sqrt(total / sum(p.numel() for p in run))
            if (own == 0) != (row["rms"] == 0):
                name = row["names"][0]
                raise ValueError(f"{{name}} starts at zero in the model or at base size only")
            scale = row["rms"] * row["factor"] / own if own else 1.0
            for p in run:
                p.mul_(scale)


def param_groups(model):
    """Groups for the optimizer; their values go before its own."""
    parameters = checked(model)
    home = {{name: group for group in GROUPS for name in group["names"]}}
    groups = []
    for group in GROUPS:
        names = [name for name in parameters if found(home, name) is group]
        groups.append({{**group, "params": [parameters[name] for name in names], "names": names}})
    return groups


{attach}# initialize(model)
# optimizer = {call}
'''

_FORWARD = '''
# What the outputs of modules are multiplied by, in training and inference.
FORWARD = {{
{factors}}}


class Times:
    """A forward hook that multiplies the output of its module."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, module, inputs, output):
        return output * self.factor


def attach(model):
    """Put the forward multipliers on their modules, once after building, also before inference."""
    for name, factor in FORWARD.items():
        model.get_submodule(name).register_forward_hook(Times(factor))

'''

_HOOKED = """
    for name, factor in FORWARD.items():
        hooks = model.get_submodule(name)._forward_hooks.values()
        if [hook.factor for hook in hooks if isinstance(hook, Times)] != [factor]:
            raise ValueError("call attach(model) first, once")"""

_LINE = 120
_CLASSES = {"adamw": "torch.optim.AdamW", "adam": "torch.optim.Adam", "sgd": "torch.optim.SGD"}


def snippet(
    plan: Plan,
    lr: float,
    *,
    weight_decay: float | None = None,
    eps: float | tuple[float, float] | None = None,
    rho: float | None = None,
    optimizer: str | None = None,
    modules: Mapping[str, float] | None = None,
    undecayed: Sequence[str] = (),
) -> str:
    """Write a program with the plan's `initialize(model)` and `param_groups(model)`.

    Both give just what the plan gives, for the one size that was planned. The hyperparameters are
    written out.

    Args:
        plan: The plan.
        lr: The learning rate at base size.
        weight_decay: As in `Plan.param_groups`, like the arguments after it.
        eps: The optimizer's eps at base size; for Adafactor both numbers, as its default depends on
            the tensors' type.
        rho: Sophia's threshold at base size.
        optimizer: The family the groups are for, where several train the model.
        modules: Factors of the base rate by name pattern.
        undecayed: Roles or name patterns of tensors without weight decay.

    Raises:
        MutransferError: the plan's base had no values though initial scales follow the rule, or the
            optimizer has no such hyperparameter.
    """
    family = plan.family(optimizer)
    hyperparameters = Hyperparameters(
        lr=lr,
        eps=eps,
        weight_decay=weight_decay,
        rho=rho,
        modules=modules or {},
        undecayed=undecayed,  # type: ignore[arg-type]
    )
    values = resolved(hyperparameters, family, torch_defaults(family))
    if isinstance(values.eps, tuple) and (eps is None or None in values.eps):
        raise MutransferError(
            "Adafactor's first eps depends on the tensors' type where it is not given: "
            "give eps=(1e-30, 1e-3) or others"
        )
    rows = table(plan, values, optimizer=family.name)
    groups = _groups(plan, {name: row for name, row in rows.items() if plan[name].is_trained})
    factors = "".join(f'    "{name}": {each.factor!r},\n' for name, each in plan.forward.items())
    call = _CLASSES.get(family.name, f"<your {family.name}>")
    return _PROGRAM.format(
        rule=plan.rule,
        optimizer=plan.optimizer,
        shapes=_mapping(_shapes(plan)),
        initial=_rows(_initial(plan)),
        groups=_rows(groups),
        forward=_FORWARD.format(factors=factors) if plan.forward else "",
        hooked=_HOOKED if plan.forward else "",
        attach="# attach(model)\n" if plan.forward else "",
        count=len(plan.tensors),
        call=f"{call}(param_groups(model))",
    )


def _groups(plan: Plan, rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    groups = grouped(rows)
    starred = _starred([names for names, _ in groups], plan)
    return [
        {"names": names, **row.group()} for names, (_, row) in zip(starred, groups, strict=True)
    ]


def _initial(plan: Plan) -> list[dict[str, Any]]:
    """Return the scale that each run of equal tensors starts with."""
    runs, rows = plan.runs, []
    for run, names in zip(runs, _starred([list(run) for run in runs], plan), strict=True):
        first = plan[run[0]]
        wanted_rms(plan, run)
        factor = first.factor("init")
        rows.append({"rms": first.base_rms, "factor": factor, "names": names})
    return rows


def _shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Return the shapes by name or pattern, in the plan's order."""
    names_of: dict[tuple[int, ...], list[str]] = {}
    for name, tensor in plan.tensors.items():
        names_of.setdefault(tensor.shape, []).append(name)
    starred = _starred(list(names_of.values()), plan)
    shapes = {name: shape for shape, names in zip(names_of, starred, strict=True) for name in names}
    order = {
        key: i for i, name in reversed([*enumerate(plan.tensors)]) for key in (name, pattern(name))
    }
    return {name: shapes[name] for name in sorted(shapes, key=lambda name: order[name])}


def _starred(lists: Sequence[Sequence[str]], plan: Plan) -> list[list[str]]:
    """Return the lists, with a pattern where one list has all of its tensors."""
    members: dict[str, set[str]] = {}
    for name in plan.tensors:
        members.setdefault(pattern(name), set()).add(name)
    merged = []
    for names in lists:
        listed = set(names)
        keys = (
            pattern(name)
            if len(members[pattern(name)]) > 1 and members[pattern(name)] <= listed
            else name
            for name in names
        )
        merged.append(list(dict.fromkeys(keys)))
    return merged


def _mapping(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return "{\n" + "".join(f'    "{name}": {shape},\n' for name, shape in shapes.items()) + "}"


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    return "[\n" + "".join(_row(row) for row in rows) + "]" if rows else "[]"


def _row(row: Mapping[str, Any]) -> str:
    values = ", ".join(f'"{key}": {value!r}' for key, value in row.items() if key != "names")
    names = [f'"{name}"' for name in row["names"]]
    line = f'    {{{values}, "names": [{", ".join(names)}]}},\n'
    if len(line) <= _LINE:
        return line
    lines = "".join(f"            {name},\n" for name in names)
    return f'    {{\n        {values},\n        "names": [\n{lines}        ],\n    }},\n'
