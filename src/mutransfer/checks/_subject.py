"""The network that is measured, with its tensors as they were at the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ..core import Size
from ..pytorch import is_norm, planned_parameters, whole
from ..reading import parent
from ..rules import Place
from ._labels import Layout
from ._owners import module_of, owner
from ._record import Pass, module_name
from ._setup import Planned


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A network that is measured, all names canonical.

    Attributes:
        planned: Its plan and planned values.
        size: Its size.
        seed: Its seed.
        steps: Number of steps that it is trained.
        modules: Its modules by name.
        parameters: Its parameters by planned name.
        weights: Planned name of the weight of each module that has one; modules that share a weight
            have the same.
        start: Its parameters at initialisation.
        bare: Parameters that no linear layer or norm explains, each with the module in whose output
            its effect shows; empty before the first forward pass.
        frozen: Names of the parameters that the builder froze.
    """

    planned: Planned
    size: Size
    seed: int
    steps: int
    modules: Mapping[str, nn.Module]
    parameters: Mapping[str, nn.Parameter]
    weights: Mapping[str, str]
    start: Mapping[str, Tensor]
    bare: Mapping[str, str]
    frozen: frozenset[str]

    @property
    def is_first_seed(self) -> bool:
        """True for the one seed at which expensive quantities are measured."""
        return self.seed == 0

    def ends_branch(self, call: str) -> bool:
        """Return True if this call is of a layer whose weight ends a residual branch."""
        weight = self.weights.get(module_of(call))
        return weight is not None and self._place(weight) == Place.BRANCH_END

    def name_of(self, parameter: nn.Parameter) -> str:
        """Return the planned name of a parameter."""
        return next(name for name, known in self.parameters.items() if known is parameter)

    @property
    def layout(self) -> Layout:
        """Its modules and tensors as names, classes, roles and shapes."""
        classes = {name: type(module).__name__ for name, module in self.modules.items()}
        return Layout.of(self.planned.plan, classes, self.weights)

    @property
    def blocks(self) -> set[str]:
        """Names of the modules, but for the model itself, that hold the end of a branch."""
        ends = [name for name in self.planned.plan.tensors if self._place(name) == Place.BRANCH_END]
        return {parent(parent(name)) for name in ends} & self.modules.keys() - {""}

    def _place(self, name: str) -> Place:
        return self.planned.plan.tensors[name].place


def subject_of(
    planned: Planned, model: nn.Module, size: Size, seed: int, steps: int, frozen: frozenset[str]
) -> Subject:
    """Return a network before its first step, ready to be measured."""
    parameters = planned_parameters(planned.plan, model)
    names = {id(parameter): name for name, parameter in parameters.items()}
    # Duplicates are kept: a tied head finds the weight that it shares.
    every = model.named_parameters(remove_duplicate=False)
    weights = {
        module_name(parent(name)): names[id(parameter)]
        for name, parameter in every
        if name.endswith("weight")
    }
    modules = {module_name(name): module for name, module in model.named_modules()}
    return Subject(
        planned=planned,
        size=size,
        seed=seed,
        steps=steps,
        modules=modules,
        parameters=parameters,
        weights=weights,
        start={name: whole(p.detach()).clone() for name, p in parameters.items()},
        bare={},
        frozen=frozen,
    )


def with_bare(subject: Subject, seen: Pass) -> Subject:
    """Return the subject with its bare tensors, which its first forward pass tells.

    A linear layer that is not called does not explain its weight: a function uses that.
    """
    called = {module_of(call) for call in seen.outputs}
    linear = {module_of(call) for call in seen.inputs} & subject.modules.keys()
    norms = {name for name in called & subject.modules.keys() if is_norm(subject.modules[name])}
    explained = {subject.weights[module] for module in linear & subject.weights.keys()}
    explained |= {f"{module}.bias" for module in linear}
    return replace(
        subject,
        bare={
            name: owner(name, called)
            for name in subject.parameters
            if not (name in subject.frozen or name in explained or parent(name) in norms)
        },
    )
