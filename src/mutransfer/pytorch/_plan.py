"""The Plan with the verbs of PyTorch, and the function that plans a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import plans
from ..core import MutransferError, kind_of
from ..plans import Hyperparameters, Row, make_plan, needs_trace
from ..reading import Axes, Reading
from ..rules import Parametrization, Role
from . import _clip, _groups, _hooks, _initialize
from ._audit import Audit, audit, per_group
from ._guard import Guard, guard
from ._kernels import with_flat_kernels
from ._optimizers import recognised_families
from ._planned import planned_parameters
from ._read import Branches, reading_of


class Plan(plans.Plan):
    """A plan with the verbs that apply it to a PyTorch model.

    The data is that of `mutransfer.plans.Plan`.
    """

    def attach(self, model: nn.Module) -> None:
        """Put the forward multipliers on their modules, as hooks; mostly a plan has none.

        They are part of the model: call it after every building, before `initialize`, training and
        inference. They survive deepcopy, torch.compile, torch.export, sharding and pickling of the
        model, and leave its state_dict alone.

        Raises:
            MutransferError: the model is not the planned one, or was exported.
        """
        _hooks.attach(self, model)

    def initialize(self, model: nn.Module, *, fresh: bool = False) -> None:
        """Rescale the model's own initial draw in place.

        Each tensor's RMS becomes the base's times the planned power. Zeros stay zeros and
        distributions keep their shape. Nothing changes under standard parametrization, and at base
        size nothing but what is tuned. A second call changes nothing. Quantised weights (integers,
        numbers of 8 bits) are left alone. A model that was trained, or loaded from a trained
        checkpoint, is refused: call this before `load_state_dict`, or not at all.

        Args:
            model: The planned model, freshly built.
            fresh: True to declare that the values are an initial draw, where they look trained.

        Raises:
            MutransferError: the model is not the planned one, has no values yet, or looks trained,
                or the base had no values.
        """
        _initialize.initialize(self, model, fresh=fresh)

    def param_groups(
        self,
        model: nn.Module,
        lr: float | Tensor,
        *,
        eps: float | tuple[float, float] | None = None,
        weight_decay: float | None = None,
        rho: float | None = None,
        optimizer: str | None = None,
        modules: Mapping[str, float] | None = None,
        undecayed: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        """Return parameter groups for the optimizer, one for each set of equal factors.

        The plan's hyperparameters are given here and not to the optimizer: values in groups go
        before the optimizer's own. Each group has the names of its parameters ("names") and its
        factor of the rate ("lr_factor").

        Args:
            model: The planned model, also wrapped by torch.compile or DDP.
            lr: The learning rate at base size; a tensor is left as it is, each group has its own.
            eps: The optimizer's eps at base size; torch's default where it is not given. Adafactor
                has two.
            weight_decay: The weight decay at base size; torch's default where it is not given, 0
                for optimizers that torch has not.
            rho: Sophia's threshold at base size.
            optimizer: The family the groups are for, where several train the model; only its
                tensors are in them.
            modules: Factors of the base rate by name pattern, for rates tuned for each kind of
                module; the first that matches counts.
            undecayed: Roles or name patterns of tensors without weight decay, such as
                ("bias", "gain").

        Raises:
            MutransferError: the model is not the planned one, or the optimizer has no such
                hyperparameter.
        """
        parameters = planned_parameters(self, model)
        values = _hyperparameters(lr, eps, weight_decay, rho, modules, undecayed)
        family = self.family(optimizer).name
        rows = _groups.model_table(self, parameters, values, family)
        return _groups.parameter_groups(rows, parameters)

    def table(
        self,
        model: nn.Module,
        lr: float | Tensor,
        *,
        eps: float | tuple[float, float] | None = None,
        weight_decay: float | None = None,
        rho: float | None = None,
        optimizer: str | None = None,
        modules: Mapping[str, float] | None = None,
        undecayed: Sequence[str] = (),
    ) -> dict[str, Row]:
        """Return the hyperparameters of every trained tensor, which `param_groups` groups.

        The arguments are those of `param_groups`, but for `optimizer`: where several families train
        the model and none is named, the table holds the tensors of all, each with the defaults of
        its own family.

        Raises:
            MutransferError: as `param_groups`.
        """
        parameters = planned_parameters(self, model)
        values = _hyperparameters(lr, eps, weight_decay, rho, modules, undecayed)
        return _groups.model_table(self, parameters, values, optimizer)

    def clip_grad_norm_(self, model: nn.Module, max_norm: float) -> Tensor:
        """Clip the gradients' global norm at base size's threshold, like torch's function.

        The norm is that of the gradients where all multipliers are explicit (Table 8), as in
        `rules.Parametrization.clip`. It does not depend on the model's size or the rule's form.

        Args:
            model: The planned model, after backward.
            max_norm: The threshold at base size.

        Returns:
            The norm before clipping.

        Raises:
            MutransferError: the model is not the planned one.
        """
        return _clip.clip_grad_norm_(self, model, max_norm)

    def audit(
        self,
        model: nn.Module,
        *optimizers: torch.optim.Optimizer,
        modules: Mapping[str, float] | None = None,
    ) -> Audit:
        """Compare the optimizers with the plan, at any step of training.

        Schedules and loops can silently switch the scaling off. Every planned tensor that trains
        has to be in just one group, of an optimizer of its family. Rates, eps and weight decays
        have to stand in the planned ratios, whatever common rate a schedule has reached. A weight
        decay of zero is taken as meant. Values of parameters are not read.

        Args:
            model: The planned model, also wrapped by torch.compile or DDP.
            optimizers: All optimizers that train it.
            modules: The `modules` that `param_groups` was given.

        Raises:
            MutransferError: the model is not the planned one, or no optimizer was given.
        """
        return audit(self, model, optimizers, modules or {})

    def guard(
        self,
        model: nn.Module,
        *optimizers: torch.optim.Optimizer,
        modules: Mapping[str, float] | None = None,
    ) -> Guard:
        """Audit now and before each step, and raise at the first that is not as planned.

        Step the schedulers of several optimizers after all of them. A rate that is a tensor on a
        device is read at each step.

        Args:
            model: The planned model, also wrapped by torch.compile or DDP.
            optimizers: All optimizers that train it.
            modules: The `modules` that `param_groups` was given.

        Returns:
            The guard; `remove()` ends it, or the end of a `with`.

        Raises:
            MutransferError: with all findings of the audit.
        """
        return guard(self, model, optimizers, modules or {})

    def per_group(self, optimizer: torch.optim.Optimizer, value: float) -> list[float]:
        """Return a rate at base size scaled for each group, for schedulers that set rates.

        OneCycleLR(max_lr=plan.per_group(optimizer, 0.1)); also CyclicLR's base_lr and max_lr,
        ReduceLROnPlateau's min_lr and SWALR's swa_lr.

        Raises:
            MutransferError: a group has no factor, so it is not of `param_groups`.
        """
        return per_group(optimizer, value)


def _hyperparameters(
    lr: float | Tensor,
    eps: float | tuple[float, float] | None,
    weight_decay: float | None,
    rho: float | None,
    modules: Mapping[str, float] | None,
    undecayed: Sequence[str],
) -> Hyperparameters:
    return Hyperparameters(
        lr=lr,
        eps=eps,
        weight_decay=weight_decay,
        rho=rho,
        modules=modules or {},
        undecayed=undecayed,  # type: ignore[arg-type]
    )


def plan(
    model: nn.Module,
    base: nn.Module | Callable[[], nn.Module] | Reading,
    *,
    rule: str | Parametrization | None = None,
    optimizer: Any = "adamw",
    example_inputs: Any = None,
    axes: Mapping[str, Axes] | None = None,
    roles: Mapping[str, Role | str] | None = None,
    branches: Branches | None = None,
    hooks: bool = False,
) -> Plan:
    """Plan initialisation and training that keep the base's hyperparameters right.

    The dimensions that grew are read off the shapes; residual branches, tied heads and attention
    scales off one forward pass on the meta device. Every multiplier that the parametrization wants
    is folded into the tensors, so that the model itself stays as it is.

    Args:
        model: The model to train; its values are not touched, and it may be on the meta device.
        base: The same architecture at the size where the hyperparameters were found: a model, a
            function that builds one, or a `Reading` of one.
        rule: A parametrization or its name, with options and ablations after commas: "mup",
            "completep, decay=sqrt, without eps"; `mutransfer rules` lists them. By default, which
            "default" names too, muP in width. Where depth grows, alpha = 1/2 for residual branches
            with one matrix (Depth-muP) and alpha = 1 for deeper ones (CompleteP).
        optimizer: The optimizer that trains the model: the name of a family, a class or object of
            torch, or a `rules.Family`. Several share the work as "muon+adamw" (hidden matrices,
            then the rest), or by role or name pattern: {"hidden": torch.optim.Muon, "*": "adamw"};
            the first that matches counts.
        example_inputs: The inputs of the forward pass, a tensor, a tuple or a mapping; guessed from
            the first layer by default.
        axes: Axes of parameters that no rule knows, by name pattern:
            {"experts.*.weight": ("out", "in")}; also "finite", and "expert" for the index of an
            expert where the number of experts grows, and of active ones with it.
        roles: Roles that cannot be read off the model, by name pattern:
            {"*.gate.weight": "router", "*.lora_A.*": "lora-a"}.
        branches: Residual branches of a model that cannot run on the CPU: patterns of the modules
            that end a branch, each with patterns of all tensors in its branch; a star is the number
            of a layer. {} if there are none.
        hooks: True if a multiplier that no learned tensor can carry may become a forward hook on a
            module, which `Plan.attach` puts there. Without, such a model is refused.

    Raises:
        MutransferError: base and model are not one family of sizes, something grew that no rule
            explains, or a multiplier cannot be folded; the message names the tensor.
    """
    families = recognised_families(optimizer)
    traced = needs_trace(rule)
    if not isinstance(model, nn.Module):
        raise MutransferError(
            f"the model is {kind_of(model)}: give the torch.nn.Module itself; "
            "only a base may be a Reading or a builder"
        )
    target = reading_of(model, example_inputs, axes, branches, traced=traced, scaled=False)
    if not isinstance(base, Reading):
        base = reading_of(base, example_inputs, axes, branches, traced=traced)
    data = make_plan(target, base, rule=rule, families=families, roles=roles, hooks=hooks)
    tensors = with_flat_kernels(data, model)
    return Plan(**{**vars(data), "tensors": tensors})


def cite(plan: plans.Plan) -> None:
    """Print the BibTeX of the papers that a plan's rule and optimizers come from."""
    print(plan.cite())
