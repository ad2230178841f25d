"""Faults that are planted into models of other people, and the tensors that have to be named."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from models import HEAD, Model
from torch import nn

import mutransfer as mt
from mutransfer.checks._spots import post_norms
from mutransfer.reading import pattern
from mutransfer.rules import Place, Role

RATE = 2**-7
Edit = Callable[[mt.Plan, nn.Module, dict[str, dict[str, Any]]], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A planted fault.

    Attributes:
        name: What is wrong.
        model: The model; its check has the fault.
        axis: The axis along which it shows.
        tensors: Names of tensors of the base, one of which a finding has to name; empty where it
            has to name the attention.
    """

    name: str
    model: Model
    axis: str
    tensors: tuple[str, ...]

    def is_named(self, findings: list[str]) -> bool:
        """Return True if a finding names one of the tensors, a star standing for any number."""
        if not self.tensors:
            return any(name in {"attention", "*"} for name in findings)
        expressions = [re.sub(r"\\\*(\\\(.*?\\\))?", r"\\d+", re.escape(n)) for n in findings if n]
        return any(re.fullmatch(e, name) for e in expressions for name in self.tensors)


def faults_of(model: Model) -> Iterator[Fault]:
    """Yield the faults that a model can have."""
    build = model.build(0)
    options = {key: value for key, value in model.check.items() if key == "roles"}
    options["example_inputs"] = model.batch(0)(0, 0)
    plan = mt.plan(build(256), build(64), **options)
    hidden = _alike(plan, lambda t: t.role == Role.HIDDEN and t.place == Place.BRANCH)
    ends = _alike(plan, lambda t: t.role == Role.HIDDEN and t.place == Place.BRANCH_END)
    readouts = _alike(plan, lambda t: t.role == Role.READOUT)
    tables = _alike(plan, lambda t: t.role in {Role.EMBEDDING, Role.INPUT} and len(t.shape) > 1)

    def fault(name: str, tensors: list[str], axis: str = "width", **check: Any) -> Fault:
        changed = replace(model, check={**model.check, **check})
        return Fault(name=name, model=changed, axis=axis, tensors=tuple(tensors))

    if hidden:
        first, last = hidden[0], hidden[-1]
        yield fault("rate of a hidden matrix lost", first, train=training(rate(first, "fan_in", 1)))
        yield fault(
            "initial scale of a hidden matrix lost",
            last,
            train=training(scale(last, "fan_in", 1 / 2)),
        )
        roles = {**model.check.get("roles", {}), **dict.fromkeys(map(pattern, last), "input")}
        yield fault("hidden matrix planned as an input", last, roles=roles)
    if ends:
        yield fault(
            "rate of a branch's end lost", ends[-1], train=training(rate(ends[-1], "fan_in", 1))
        )
    # No rule is known for the depth of post-norm.
    if ends and not post_norms(mt.read(build(64), example_inputs=options["example_inputs"])):
        every = [name for end in ends for name in end]
        yield fault("branch multiplier lost", every, "depth", rule="completep, without branch")
        yield fault(
            "multiplier of one branch lost",
            ends[-1],
            "depth",
            train=training(rate(ends[-1], "depth", 1), scale(ends[-1], "depth", 1)),
        )
    if readouts:
        yield fault(
            "initial scale of the readout lost",
            readouts[-1],
            train=training(scale(readouts[-1], "fan_in", 1 / 2)),
        )
    if tables:
        yield fault(
            "rate of the embedding divided",
            tables[0],
            train=training(rate(tables[0], "fan_out", -1)),
        )
    if "num_attention_heads" in model.settings and "head_dim" not in model.settings:
        heads = {"num_attention_heads": 4}
        if "num_key_value_heads" in model.settings:
            heads["num_key_value_heads"] = 4
        grown = replace(
            model,
            settings={**model.settings, **heads},
            check={**model.check, "rule": "mup, without attention", "lr": 2**-6, "steps": 8},
        )
        assert HEAD * 4 == 64, "the base has the same heads"
        if _is_planned(grown, options):
            name = "attention over sqrt of a growing head"
            yield Fault(name=name, model=grown, axis="width", tensors=())


def _is_planned(model: Model, options: dict[str, Any]) -> bool:
    """Return True if a plan can give the attention its scale."""
    build = model.build(0)
    try:
        mt.plan(build(256), build(64), **options)
    except mt.MutransferError:
        return False
    return True


def _alike(plan: mt.Plan, wanted: Callable[[Any], bool]) -> list[list[str]]:
    """Return the names of wanted tensors, those of one pattern together."""
    groups: dict[str, list[str]] = {}
    for name, tensor in plan.tensors.items():
        if wanted(tensor):
            groups.setdefault(pattern(name), []).append(name)
    return list(groups.values())


def training(*edits: Edit) -> Callable[[mt.Plan, nn.Module], torch.optim.Optimizer]:
    """Return a training by AdamW on the plan's groups after edits, which no audit sees."""

    def train(plan: mt.Plan, model: nn.Module) -> torch.optim.Optimizer:
        groups = {
            name: {**group, "params": [parameter], "names": [name]}
            for group in plan.param_groups(model, RATE)
            for name, parameter in zip(group["names"], group["params"], strict=True)
        }
        with torch.no_grad():
            for edit in edits:
                edit(plan, model, groups)
        chosen = [{k: v for k, v in g.items() if k != "lr_factor"} for g in groups.values()]
        return torch.optim.AdamW(chosen)

    return train


def rate(names: list[str], ratio: str, power: float) -> Edit:
    """Multiply rates by a power of the ratio of fan_in, fan_out or depth to the base."""
    patterns = set(map(pattern, names))

    def edit(plan: mt.Plan, model: nn.Module, groups: dict[str, dict[str, Any]]) -> None:
        for name, group in groups.items():
            if pattern(name) in patterns:
                group["lr"] *= float(plan[name].ratios[ratio]) ** power

    return edit


def scale(names: list[str], ratio: str, power: float) -> Edit:
    """Multiply initial values by a power of such a ratio."""
    patterns = set(map(pattern, names))

    def edit(plan: mt.Plan, model: nn.Module, groups: dict[str, dict[str, Any]]) -> None:
        for name in groups:
            if pattern(name) in patterns:
                model.get_parameter(name).mul_(float(plan[name].ratios[ratio]) ** power)

    return edit
