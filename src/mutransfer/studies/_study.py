"""A Study: what is trained, and at which sizes and hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import nn

from ..core import MutransferError, Size, frozen
from ..pytorch import build_model, builder_name
from ..rules import DEFAULT, HorizonRule, Parametrization
from . import _identity, _sizes, _swept
from ._checks import check_study
from ._designs import Design
from ._fields import Data, Fields
from ._rules import Rule, checked_rules, rule_name, rule_named
from ._run import Run

AS_IT_IS = "as it is"
"""The rule of runs whose models are built and scaled elsewhere."""


@dataclass(frozen=True)
class Study(Fields):
    """A sweep over sizes, rules, hyperparameters and seeds.

    A hyperparameter is one value, or a list that is swept; None is the optimizer's default, or
    changes nothing. All are meant at base size.

    Args:
        build: Makes an untrained model: `build(width=..., depth=...)`, with every other axis and
            keyword that the study has.
        width: Widths, ascending.
        depth: Depths, ascending.
        lr: Learning rates, ascending; where two optimizers share the work, the rate of both.
        axes: Further axes of the builder, {"heads": [2, 4]}; or the sizes themselves, a list such
            as [{"width": 64, "depth": 2}, ...], in place of their grid.
        context: Lengths of sequences: the task is a function of them, or made from a text.
        batch: Examples a step; a list is an axis.
        steps: Number of optimizer steps; a list is an axis.
        horizon: Rule that scales rate, eps, decay and betas with batch and steps
            (`rules.horizon`); by default they stay as they are.
        weight_decay: Weight decay; torch's default where it is None.
        eps: The optimizer's eps.
        momentum: Momentum of SGD, RMSprop or Muon.
        beta1: Adam's first beta.
        beta2: Adam's second beta.
        nesterov: True for Nesterov's momentum.
        schedule: Name of a schedule of the rate, or a function (step, steps) -> factor.
        warmup: Steps of linear warm-up; a number below 1 is a share of all steps.
        clip: Norm that gradients are clipped to, the same at every size and in every form.
        label_smoothing: Label smoothing of the cross-entropy.
        readout: Multiplier of the head (alpha_output of Tensor Programs V).
        embedding: Multiplier of the embeddings.
        attention: Multiplier of the attention's logits (alpha_attn).
        branch: Multiplier of every residual branch (Tensor Programs VI).
        init: Factor of the initial scale of all tensors (sigma).
        hyperparameters: Further ones by name: keywords of the builder, {"dropout": [0, 0.1]}, and
            single tensors by role or pattern, {"init.readout": [1, 2], "lr.blocks.*": [1, 2]}.
        design: Which points are run: `Grid()`, `OneAtATime(centre)`, `Random(number)`,
            `Points([...])`, or a list of them.
        seeds: Seeds of initial draw and batches, or how many: 0, 1, ...
        rules: Names of parametrizations, "default", or custom Parametrizations.
        base: Where the rules are anchored, such as {"width": 64}: all their factors are 1 there.
            The smallest size by default.
        task: Data and loss, the name of a task, the path of a text file, or a function of the
            context that returns a task; "digits" by default. With a training loop of one's own only
            its example is used, to trace models; by default they guess one.
        optimizer: A family such as "adamw"; two share the work as "muon-original+adamw": hidden
            matrices, then the rest.
        options: What else the optimizer takes; by family where two share the work, such as
            {"adamw": {"betas": (0.9, 0.95)}}.
        accumulate: Pieces that a batch is cut into, whose gradients add up.
        precision: "float32", "float64", or "bfloat16" for autocast; the model's own by default.
        evaluate: Steps between two evaluations of the validation data; at the end by default.
        train: A training loop of one's own, called with a `Trial`; see `Trial` and `command`.

    Raises:
        MutransferError: an argument is empty, unsorted, unknown or out of range; the message names
            it.
    """

    if TYPE_CHECKING:
        # The constructor takes more than the fields hold: `__post_init__` normalises it.
        def __init__(
            self,
            build: Callable[..., nn.Module] | None,
            *,
            lr: float | Sequence[float],
            width: Sequence[int] | None = None,
            depth: Sequence[int] | None = None,
            axes: Mapping[str, Sequence[int]] | Sequence[Mapping[str, int]] = ...,
            context: int | Sequence[int] | None = None,
            batch: int | Sequence[int] = 64,
            steps: int | Sequence[int] = 200,
            horizon: str | HorizonRule | None = None,
            weight_decay: float | Sequence[float] | None = None,
            eps: float | Sequence[float] | None = None,
            momentum: float | Sequence[float] | None = None,
            beta1: float | Sequence[float] | None = None,
            beta2: float | Sequence[float] | None = None,
            nesterov: bool | Sequence[bool] | None = None,
            schedule: Any = None,
            warmup: float | Sequence[float] | None = None,
            clip: float | Sequence[float] | None = None,
            label_smoothing: float | Sequence[float] | None = None,
            readout: float | Sequence[float] | None = None,
            embedding: float | Sequence[float] | None = None,
            attention: float | Sequence[float] | None = None,
            branch: float | Sequence[float] | None = None,
            init: float | Sequence[float] | None = None,
            hyperparameters: Mapping[str, Any] = ...,
            design: Design | Sequence[Design] = ...,
            seeds: int | Sequence[int] = 3,
            rules: Sequence[Rule] = (DEFAULT,),
            base: Mapping[str, int] | None = None,
            task: Data | Callable[..., Data] | str | None = None,
            optimizer: str = "adamw",
            options: Mapping[str, Any] | None = None,
            accumulate: int = 1,
            precision: str | None = None,
            evaluate: int | None = None,
            train: Callable[[Any], Any] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        fields: dict[str, Any] = {
            **_sizes.normalised(self),
            **_swept.normalised(self),
            "seeds": _seeds(self.seeds),
            "rules": self._rules(),
            "options": frozen(self.options or {}),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        # A builder may change while it builds: the name that it has now is that of all runs.
        built = None if self.build is None else builder_name(self.build)
        object.__setattr__(self, "_build_name", built)
        # So may a training function, which keeps what it sees in a list.
        trained = builder_name(self.train) if callable(self.train) else None
        object.__setattr__(self, "_train_name", trained)
        object.__setattr__(self, "task", _sizes.checked_task(self))
        object.__setattr__(self, "base", _sizes.base_of(self))
        check_study(self)

    def _rules(self) -> tuple[Rule, ...]:
        # Without a builder nothing is planned: the script knows its own rule.
        without = self.build is None and tuple(self.rules) in ((DEFAULT,), (AS_IT_IS,))
        return (AS_IT_IS,) if without else checked_rules(self.rules)

    @property
    def build_name(self) -> str | None:
        """The builder's module and name, with what it holds."""
        return self._build_name  # type: ignore[attr-defined,no-any-return]

    @property
    def _trained_by(self) -> str | None:
        return self._train_name  # type: ignore[attr-defined,no-any-return]

    def runs(self) -> list[Run]:
        """Return all runs, size by size from small to large, and rule by rule."""
        names = [rule_name(rule) for rule in self.rules]
        return [
            Run(rule=rule, size=size, point=point, seed=seed)
            for size in self.sizes()
            for rule in names
            for point in self.points()
            for seed in self.seeds
        ]

    def sizes(self) -> list[Size]:
        """Return all sizes, from small to large."""
        return _sizes.sizes(self)

    @property
    def swept(self) -> dict[str, tuple[Any, ...]]:
        """The hyperparameters of a point with their values; the rate is one of them."""
        return _swept.swept(self)

    @property
    def fixed(self) -> dict[str, Any]:
        """The hyperparameters that have one value in all runs."""
        return _swept.fixed(self)

    def points(self) -> list[Mapping[str, Any]]:
        """Return the points of all designs, each once."""
        return _swept.points(self)

    def settings(self, run: Run) -> dict[str, Any]:
        """Return every hyperparameter of a run, without those that change nothing."""
        return _swept.settings(self, run)

    def length(self, run: Run) -> int:
        """Return the number of optimizer steps of a run."""
        return _sizes.length(self, run.size)

    def batch_of(self, run: Run) -> int:
        """Return the number of examples a step of a run."""
        return _sizes.batch_at(self, run.size)

    def task_of(self, run: Run) -> Data:
        """Return the data of a run, which may depend on the context."""
        return _sizes.task_at(self, run.size)

    def rule(self, name: str) -> Rule:
        """Return the rule of this name, as data if the study has a custom one."""
        return rule_named(self.rules, name)

    def custom_rules(self) -> list[Parametrization]:
        """Return the rules that are not of the library."""
        return [rule for rule in self.rules if isinstance(rule, Parametrization)]

    def model(self, arguments: Mapping[str, Any]) -> nn.Module:
        """Return an untrained model.

        Args:
            arguments: What the builder takes, such as a size.

        Raises:
            MutransferError: the builder failed, or there is none.
        """
        if self.build is None:
            raise MutransferError("the study has no builder: give one as its first argument")
        return build_model(self.build, arguments)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Return what the builder is called with for a run."""
        return _sizes.arguments(self, run.size, self.settings(run))

    def identity(self) -> dict[str, Any]:
        """Return what all runs share.

        Two studies with the same identity may write one record, whatever their grids.
        """
        return _identity.identity(self, self.build_name, self._trained_by)

    def run_id(self, run: Run) -> str:
        """Return a run's name in the record: a hash of everything that trains it.

        Hyperparameters and values that are added to a study, and batch or steps as axes, do not
        change the ids of the runs that it had. A custom rule is hashed with its data, as its name
        may come to mean another one.
        """
        return _identity.run_id(self, self._shared, run)

    @cached_property
    def _shared(self) -> dict[str, Any]:
        # A study has as many ids as runs, and one identity.
        return self.identity()


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    listed = range(seeds) if isinstance(seeds, int) else seeds
    if not all(seed == int(seed) for seed in listed):
        raise MutransferError(f"seeds has values that are no whole numbers: {list(listed)}")
    numbers = tuple(int(seed) for seed in listed)
    if not numbers:
        raise MutransferError(
            "seeds is empty: give a number of at least 1, or the seeds themselves"
        )
    if len(set(numbers)) < len(numbers):
        raise MutransferError(f"seeds has repetitions: {list(numbers)}")
    return numbers
