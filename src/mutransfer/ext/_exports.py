"""A plan written out for places without mutransfer: a stand-alone PyTorch program, and flags of Megatron-LM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from .._errors import MutransferError
from ..plan import Plan, TensorPlan
from ..plan._read import pattern
from ..rules import QUANTITIES, Place, Role

_PROGRAM = '''"""Initial values and parameter groups of one model, by name. Needs torch alone.

Written by mutransfer for {rule}, {optimizer}. A star stands for the number of a layer.
"""

import math
import re

import torch

SHAPES = {shapes}

# Each row's tensors are rescaled together, so that their root mean square becomes rms (what it is at base size) times factor.
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
            raise ValueError(f"{{name}} has shape {{tuple(parameter.shape)}}, and this was written for {{found(SHAPES, name)}}")
    if len(parameters) != {count}:
        raise ValueError(f"the model has {{len(parameters)}} parameters, and this was written for {count}")
    return parameters


def initialize(model):
    """Rescale the model's own initial draw in place, once."""
    parameters = checked(model)
    rows = {{name: row for row in INITIAL for name in row["names"]}}
    runs = [[p for name, p in parameters.items() if found(rows, name) is row] for row in INITIAL]
    with torch.no_grad():
        for row, run in zip(INITIAL, runs):
            own = math.sqrt(sum(float(p.double().square().sum()) for p in run) / sum(p.numel() for p in run))
            if (own == 0) != (row["rms"] == 0):
                raise ValueError(f"{{row['names'][0]}} starts at zero in the model or at base size only")
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
    """Put the forward multipliers on their modules, once after the model is built, also before inference."""
    for name, factor in FORWARD.items():
        model.get_submodule(name).register_forward_hook(Times(factor))

'''

_HOOKED = """
    hooks = {name: [hook.factor for hook in m._forward_hooks.values() if isinstance(hook, Times)] for name, m in model.named_modules()}
    if any(hooks.get(name) != [factor] for name, factor in FORWARD.items()):
        raise ValueError("call attach(model) first, once")"""

_LINE = 120
_CLASSES = {"adamw": "torch.optim.AdamW", "adam": "torch.optim.Adam", "sgd": "torch.optim.SGD"}


class _Shapes(nn.Module):
    """Stands in for the planned model where only names and shapes count."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.own = {name: nn.Parameter(torch.empty(tensor.shape, device="meta")) for name, tensor in plan.tensors.items()}

    def named_parameters(self, *_: Any, **__: Any) -> Iterator[tuple[str, nn.Parameter]]:
        return iter(self.own.items())


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
    """A stand-alone PyTorch program with the plan's `initialize(model)` and `param_groups(model)`, for code without mutransfer.

    Both give just what the plan gives, for the one size that was planned; the hyperparameters are written out.

    Args:
        plan: The plan.
        lr: The learning rate at base size.
        weight_decay: As in `Plan.param_groups`, like all that follow.
        eps: The optimizer's eps at base size; for Adafactor both numbers, as its default depends on the tensors' type.
        rho: Sophia's threshold at base size.
        optimizer: Which family the groups are for, where several train the model.
        modules: Factors of the base rate by name pattern.
        undecayed: Roles or name patterns of tensors that get no weight decay.

    Raises:
        MutransferError: the plan's base had no values though initial scales follow the rule, or the optimizer has no such hyperparameter.
    """
    groups = replace(plan, forward={}).param_groups(
        _Shapes(plan), float(lr), weight_decay=weight_decay, eps=eps, rho=rho, optimizer=optimizer, modules=modules, undecayed=undecayed
    )
    if any(isinstance(group.get("eps"), tuple) for group in groups) and (not isinstance(eps, tuple) or None in eps):
        raise MutransferError("Adafactor's first eps depends on the tensors' type where it is not given: give eps=(1e-30, 1e-3) or others")
    rows = _initial(plan)
    stars = _starred([*(group["names"] for group in groups)], plan)
    for group, names in zip(groups, stars, strict=True):
        del group["params"]
        group["names"] = names
    for row, names in zip(rows, _starred([row["names"] for row in rows], plan), strict=True):
        row["names"] = names
    family = optimizer or plan.optimizer
    factors = "".join(f'    "{name}": {each.factor!r},\n' for name, each in plan.forward.items())
    return _PROGRAM.format(
        rule=plan.rule,
        optimizer=plan.optimizer,
        shapes=_mapping(_shapes(plan)),
        initial=_rows(rows),
        groups=_rows(groups),
        forward=_FORWARD.format(factors=factors) if plan.forward else "",
        hooked=_HOOKED if plan.forward else "",
        attach="# attach(model)\n" if plan.forward else "",
        count=len(plan.tensors),
        call=f"{_CLASSES.get(family, f'<your {family}>')}(param_groups(model))",
    )


def _initial(plan: Plan) -> list[dict[str, Any]]:
    """What each run of equal tensors is rescaled to."""
    if plan.at_base or not plan.rescales:
        return []
    rows = []
    for run in {tensor.run: None for tensor in plan.tensors.values() if tensor.role != Role.FROZEN}:
        first = plan[run[0]]
        if first.base_rms is None:
            raise MutransferError(
                f"the plan does not know the initial scale of {first.name}: its base was on the meta device; give a base with values"
            )
        rows.append({"rms": first.base_rms, "factor": first.factor("init"), "names": list(run)})
    return rows


def _shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    kinds: dict[tuple[int, ...], list[str]] = {}
    for name, tensor in plan.tensors.items():
        kinds.setdefault(tensor.shape, []).append(name)
    starred = _starred(list(kinds.values()), plan)
    table = {name: shape for shape, names in zip(kinds, starred, strict=True) for name in names}
    order = {key: i for i, name in reversed([*enumerate(plan.tensors)]) for key in (name, pattern(name))}
    return {name: table[name] for name in sorted(table, key=lambda name: order[name])}


def _starred(lists: list[list[str]], plan: Plan) -> list[list[str]]:
    """The lists with names merged into their pattern where all tensors of the pattern are in one list."""
    every: dict[str, set[str]] = {}
    for name in plan.tensors:
        every.setdefault(pattern(name), set()).add(name)
    merged = []
    for names in lists:
        own = set(names)
        keys = (pattern(name) if len(every[pattern(name)]) > 1 and every[pattern(name)] <= own else name for name in names)
        merged.append(list(dict.fromkeys(keys)))
    return merged


def _mapping(table: Mapping[str, tuple[int, ...]]) -> str:
    return "{\n" + "".join(f'    "{name}": {shape},\n' for name, shape in table.items()) + "}"


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    return "[\n" + "".join(_row(row) for row in rows) + "]" if rows else "[]"


def _row(row: Mapping[str, Any]) -> str:
    values = ", ".join(f'"{key}": {value!r}' for key, value in row.items() if key != "names")
    names = [f'"{name}"' for name in row["names"]]
    line = f'    {{{values}, "names": [{", ".join(names)}]}},\n'
    if len(line) <= _LINE:
        return line
    return f'    {{\n        {values},\n        "names": [\n' + "".join(f"            {name},\n" for name in names) + "        ],\n    },\n"


_AS_VECTORS = {Role.EMBEDDING, Role.POSITION, Role.READOUT, Role.BIAS, Role.GAIN, Role.HEAD_GAIN}


def megatron_flags(
    plan: Plan,
    lr: float,
    *,
    weight_decay: float | None = None,
    eps: float | None = None,
    base_head_dim: int,
    ignore: Sequence[str] = (),
) -> list[str]:
    """Flags of Megatron-LM with which it scales an Adam or AdamW run as the plan does, over the flags of the base run.

    Megatron-LM's muP is Table 8 of Tensor Programs V with one width: logits times 1/width; hidden matrices at init 1/sqrt(width), rate and
    eps 1/width; all other tensors, the readout among them, as at base size; weight decay the same for all, or 0 for vectors. What a plan
    wants beyond is refused, so nearly always the eps of tensors that are no hidden matrices, which Megatron-LM leaves while their gradients
    fall with width: where eps is small beside these, ignore it. Every other flag, such as `--init-method-std`, stays as at base size.

    Args:
        plan: The plan of a language model of the shape that Megatron-LM trains, with untied embeddings and of the base's depth.
        lr: The learning rate at base size.
        weight_decay: The weight decay at base size; torch's default where it is not given.
        eps: Adam's eps at base size; torch's default where it is not given.
        base_head_dim: Size of a head in the base: Megatron-LM then scales attention logits by sqrt(base_head_dim)/head_dim.
        ignore: Quantities whose difference you accept, of "init", "lr", "eps" and "decay", such as ("eps",).

    Returns:
        The flags, for a command line.

    Raises:
        MutransferError: Megatron-LM cannot train so; says which tensor, which quantity, and how large it would be.
    """
    if plan.optimizer not in ("adam", "adamw"):
        raise MutransferError(f"the plan is for {plan.optimizer}, and flags of Megatron-LM are known here for adam and adamw")
    if isinstance(ignore, str) or set(ignore) - {"init", "lr", "eps", "decay"}:
        raise MutransferError(f'ignore is {ignore!r}: give a list of "init", "lr", "eps", "decay"')
    if plan.forward:
        raise MutransferError(f"Megatron-LM cannot multiply the output of {next(iter(plan.forward))}, as planned")
    readouts = [tensor for tensor in plan.tensors.values() if tensor.role == Role.READOUT]
    if len(readouts) != 1 or len(readouts[0].shape) != 2:
        raise MutransferError(
            f"Megatron-LM's scaling is known here for models with one readout of their own, and the plan has {len(readouts)}"
        )
    width = readouts[0].ratios["fan_in"]
    values = plan.param_groups(_Shapes(plan), float(lr), weight_decay=weight_decay, eps=eps)
    first, factors = values[0], plan[values[0]["names"][0]]
    eps = first["eps"] / factors.factor("eps") if eps is None else eps
    weight_decay = first["weight_decay"] / factors.factor("decay") if weight_decay is None else weight_decay
    skipped = set(ignore) | {name for name, value in {"eps": eps, "decay": weight_decay}.items() if value == 0}
    found = [text for tensor in plan.tensors.values() for text in _differences(tensor, float(width), skipped)]
    if found:
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise MutransferError("Megatron-LM cannot train as planned: " + "; ".join(found[:3]) + more)
    numbers = {"--lr": float(lr), "--weight-decay": weight_decay, "--adam-eps": eps}
    hidden = str(readouts[0].base_shape[1])
    mup = ["--use-mup", "--mup-base-hidden-size", hidden, "--mup-base-head-dim", str(base_head_dim)]
    return [*mup, *(text for k, v in numbers.items() for text in (k, repr(v)))]


def _carries_attention(tensor: TensorPlan) -> bool:
    return "head_dim" in dict(tensor.multiplier.exponents)


def _differences(tensor: TensorPlan, width: float, skipped: set[str]) -> Iterator[str]:
    """Where Megatron-LM's factors of a tensor are not the planned ones, with the multiplier taken out of the tensor again (Lemma J.1)."""
    own = tensor.factor("multiplier")
    planned = {
        "init": tensor.factor("init") / own,
        "lr": tensor.factor("lr") / own,
        "eps": tensor.factor("eps") * own,
        "decay": tensor.factor("decay") * own,
        "multiplier": own,
    }
    theirs = dict.fromkeys(QUANTITIES, 1.0)
    if _carries_attention(tensor):
        theirs["multiplier"] = float(tensor.ratios["head_dim"]) ** -0.5
    if tensor.role in (Role.HIDDEN, Role.KEY_VALUE):
        theirs |= {"init": width**-0.5, "lr": 1 / width, "eps": 1 / width}
        if tensor.place == Place.BRANCH_END:
            theirs["init"] *= float(tensor.ratios["depth"]) ** -0.5
    elif tensor.role == Role.READOUT:
        theirs["multiplier"] = 1 / width
    elif tensor.role not in _AS_VECTORS:
        yield f"{tensor.name} is for the role {tensor.role}, whose scaling in Megatron-LM is not known here"
        return
    for name in QUANTITIES:
        if name not in skipped and not math.isclose(planned[name], theirs[name], rel_tol=1e-9):
            yield f"{tensor.name}: {name} at {planned[name]:.6g} times the base's is planned, and Megatron-LM has {theirs[name]:.6g}"
