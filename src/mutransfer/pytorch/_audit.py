"""The audit: optimizers compared with a plan, at any step of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ..core import MutransferError, Result, parsed, parsing
from ..plans import UNITS, Plan, Row, table
from ._findings import AGAIN, AuditedGroup, Expectation, findings, others, unknown_classes
from ._planned import planned_parameters


@dataclass(frozen=True, repr=False)
class Audit(Result):
    """The result of an audit.

    Attributes:
        findings: What is wrong, one sentence each: which parameters, what was planned and found,
            what to do.
        unknown: What could not be decided, such as the rates of parameters that are not the
            model's, one sentence each; no finding.
    """

    findings: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.findings

    def raise_if_wrong(self) -> None:
        """Raise unless the model is trained as planned.

        Raises:
            MutransferError: with all findings.
        """
        if self.findings:
            raise MutransferError(
                "the model is not trained as planned: " + "; and ".join(self.findings)
            )

    def __str__(self) -> str:
        head = "trained as planned"
        if self.findings:
            head = f"not trained as planned, findings: {len(self.findings)}"
        wrong = [f"  - {text}" for text in self.findings]
        return "\n".join([head, *wrong, *(f"  ? {text}" for text in self.unknown)])

    def to_json(self) -> dict[str, Any]:
        """Return verdict, findings and what could not be decided."""
        return {"ok": self.ok, "findings": [*self.findings], "unknown": [*self.unknown]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Audit:
        """Return the audit that `to_json` wrote.

        Raises:
            MutransferError: the data is no audit.
        """
        with parsing("an audit written by Audit.to_json"):
            fields = parsed(data)
            return cls(tuple(fields["findings"]), tuple(fields["unknown"]))


def audit(
    plan: Plan,
    model: nn.Module,
    optimizers: Iterable[torch.optim.Optimizer],
    modules: Mapping[str, float],
) -> Audit:
    """Compare the optimizers of a model with its plan; see `Plan.audit`."""
    return compare(plan, expected(plan, modules), model, optimizers)


def expected(plan: Plan, modules: Mapping[str, float]) -> dict[str, Expectation]:
    """Return what an audit compares with, by name; made once for many audits."""
    rows: Mapping[str, Row] = table(plan, replace(UNITS, modules=modules))
    return {
        name: Expectation(
            family=plan.optimizers[tensor.optimizer], trained=tensor.is_trained, row=rows[name]
        )
        for name, tensor in plan.tensors.items()
    }


def compare(
    plan: Plan,
    expectations: Mapping[str, Expectation],
    model: nn.Module,
    optimizers: Iterable[torch.optim.Optimizer],
) -> Audit:
    """Compare the optimizers of a model with what is expected of each tensor."""
    bare = bare_optimizers(optimizers)
    parameters = planned_parameters(plan, model)
    groups = _groups(parameters, bare)
    trained = [group.only_trained(expectations) for group in groups]
    trained = [group for group in trained if group.names]
    return Audit(
        tuple(findings(parameters, expectations, groups, trained, bare)),
        (*unknown_classes(expectations, trained), *others(parameters, expectations, groups)),
    )


def bare_optimizers(optimizers: Iterable[Any]) -> tuple[torch.optim.Optimizer, ...]:
    """Return the optimizers out of the wrappers of Accelerate and Lightning.

    Raises:
        MutransferError: there are none.
    """
    bare = list(optimizers)
    for i, optimizer in enumerate(bare):
        while isinstance(optimizer, torch.optim.Optimizer):
            inner = getattr(optimizer, "optimizer", None)
            if not isinstance(inner, torch.optim.Optimizer) or inner is optimizer:
                break
            bare[i] = optimizer = inner
    if not bare or not all(hasattr(optimizer, "param_groups") for optimizer in bare):
        raise MutransferError(
            "an audit needs the optimizers that train the model: plan.audit(model, optimizer), "
            "or several of them"
        )
    return tuple(bare)


def per_group(optimizer: torch.optim.Optimizer, value: float) -> list[float]:
    """Return a rate at base size, scaled for each group; see `Plan.per_group`."""
    if any("lr_factor" not in group for group in optimizer.param_groups):
        raise MutransferError(f"a group of {type(optimizer).__name__} has no lr_factor: {AGAIN}")
    return [value * group["lr_factor"] for group in optimizer.param_groups]


def _groups(
    parameters: Mapping[str, nn.Parameter], optimizers: tuple[torch.optim.Optimizer, ...]
) -> list[AuditedGroup]:
    """Return all groups, with planned names and the shapes of other parameters."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    return [
        AuditedGroup(
            optimizer=optimizer,
            values=values,
            names=tuple(names[id(p)] for p in values["params"] if id(p) in names),
            strangers=tuple(
                "x".join(map(str, p.shape)) or "()" for p in values["params"] if id(p) not in names
            ),
        )
        for optimizer in optimizers
        for values in optimizer.param_groups
    ]
