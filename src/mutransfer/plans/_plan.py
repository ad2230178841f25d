"""The Plan: initialisation and training of every tensor, relative to the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any, Self

from ..core import Fold, FrozenDict, MutransferError, Result, parsed, parsing, plain
from ..reading import matching
from ..rules import Family, Parametrization, bibtex
from ._show import alike, explanation, hooks, html_folds, ratio, tensor_table
from ._tensor import (
    ForwardMultiplier,
    TensorPlan,
    forward_from_json,
    forward_to_json,
    tensor_from_json,
    tensor_to_json,
)
from ._tunable import Carriers
from ._tuned import TUNED, retuned, tuned_tensors
from ._warnings import PlanWarning


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan(Result):
    """The scaling of every tensor that keeps the base's hyperparameters right.

    Plain, immutable data keyed by parameter name. Nothing is hung on tensors, and `from_json` gives
    an equal plan on any machine.

    Attributes:
        parametrization: The rule, as data: a user's own travels with the plan.
        why: Why this rule.
        optimizers: The optimizer families by name.
        depth: Number of residual branches in the base and in the model.
        tensors: The plan of each parameter.
        forward: Factors on the outputs of modules, where no learned tensor can carry them; mostly
            empty.
        warnings: What the plan cannot promise.
        tunable: What carries the multiplier of each signal that can be tuned.
        tuning: The numbers that are tuned at base size, by name; see `tuned`.
    """

    parametrization: Parametrization
    why: str
    optimizers: Mapping[str, Family]
    depth: tuple[int, int]
    tensors: Mapping[str, TensorPlan]
    forward: Mapping[str, ForwardMultiplier] = field(default_factory=FrozenDict)
    warnings: tuple[PlanWarning, ...] = ()
    tunable: Mapping[str, Carriers] = field(default_factory=FrozenDict)
    tuning: Mapping[str, Fraction] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        for name in ("optimizers", "tensors", "forward", "tunable", "tuning"):
            object.__setattr__(self, name, FrozenDict(getattr(self, name)))

    @property
    def rule(self) -> str:
        """Name of the parametrization."""
        return self.parametrization.name

    @property
    def title(self) -> str:
        """The parametrization in one line."""
        return self.parametrization.title

    @property
    def rescales(self) -> bool:
        """True if initial scales follow the rule; under sp they stay the model's."""
        return not self.parametrization.one_rate

    @property
    def depth_ratio(self) -> Fraction:
        """Number of residual branches, model over base; 1 without any."""
        base, target = self.depth
        return Fraction(target, base) if base else Fraction(1)

    @property
    def clip(self) -> float:
        """Factor of a gradient norm's threshold over base size (`clip_grad_norm_`)."""
        return self.parametrization.clip.evaluate({"depth": self.depth_ratio})

    @property
    def optimizer(self) -> str:
        """Names of the optimizer families."""
        return " + ".join(self.optimizers)

    @property
    def at_base(self) -> bool:
        """True if the model is its own base: nothing but what is tuned changes."""
        mappings = [tensor.ratios for tensor in self.tensors.values()]
        mappings += [each.ratios for each in self.forward.values()]
        pairs = (pair for ratios in mappings for pair in ratios.items())
        return all(ratio == 1 or name in TUNED for name, ratio in pairs)

    @property
    def runs(self) -> tuple[tuple[str, ...], ...]:
        """Names of the tensors whose initial scale is set, in groups set together.

        At base size the model keeps its own draw, but for what is tuned.
        """
        groups: dict[tuple[tuple[str, ...], float], list[str]] = {}
        at_base = self.at_base
        for name, tensor in self.tensors.items() if self.rescales else ():
            factor = tensor.factor("init")
            if tensor.is_trained and not (at_base and factor == 1):
                groups.setdefault((tensor.run, factor), []).append(name)
        return tuple(map(tuple, groups.values()))

    @property
    def cites(self) -> tuple[str, ...]:
        """Keys of the papers that rule and optimizers come from, each once."""
        of_optimizers = (key for family in self.optimizers.values() for key in family.cites)
        return tuple(dict.fromkeys((*self.parametrization.cites, *of_optimizers)))

    def cite(self) -> str:
        """Return BibTeX of the papers that the rule and the optimizers' rules come from."""
        return bibtex(self.cites)

    def family(self, optimizer: str | None = None) -> Family:
        """Return the optimizer family of this name, or the only one.

        Raises:
            MutransferError: there is no such family, or several and none was named.
        """
        if optimizer is None and len(self.optimizers) == 1:
            return next(iter(self.optimizers.values()))
        if optimizer is None or optimizer not in self.optimizers:
            asked = "none was named" if optimizer is None else f"it has no {optimizer!r}"
            raise MutransferError(
                f"the plan is for {self.optimizer}, and {asked}: "
                "say whose groups you want with optimizer="
            )
        return self.optimizers[optimizer]

    def tuned(
        self,
        *,
        readout: float = 1,
        embedding: float = 1,
        attention: float = 1,
        branch: float = 1,
        init: float = 1,
        **patterns: float,
    ) -> Self:
        """Return the plan of a base with these multipliers of signals, scales and rates.

        They are hyperparameters to tune at base size (Tensor Programs V, Section 4.2), like the
        learning rate. A multiplier theta of y = theta (W x) is folded into init, rate, eps and
        decay of W (Lemma J.1), so that the model's forward pass stays as it is. Numbers that are
        tuned again multiply: plan.tuned(readout=2).tuned(readout=3) is plan.tuned(readout=6).

        Args:
            readout: Multiplier of W x in the matrices that make the outputs; a bias is left alone.
            embedding: Multiplier of the rows that are looked up, of tokens and of learned positions
                alike; a tied head does not have it. Matrices of inputs have none.
            attention: Multiplier of the attention logits q·k.
            branch: Multiplier of every residual branch before it joins its stream.
            init: Initial scale of all matrices and tables over that of the base; biases, gains and
                other vectors keep theirs.
            patterns: Initial scale or rate of single tensors by role or name pattern:
                **{"init.readout": 2, "lr.blocks.*.up.weight": 1/2}; those that match a tensor
                multiply.

        Raises:
            MutransferError: the model has no such signal, no learned tensor can carry its
                multiplier, a name is unknown, a pattern matches nothing, or a number is not
                positive and finite.
        """
        signals = {"readout": readout, "embedding": embedding, "attention": attention}
        tuning = retuned(self.tuning, {**signals, "branch": branch, "init": init, **patterns})
        if tuning == self.tuning:
            return self
        tensors = tuned_tensors(
            self.tensors, self.optimizers, self.tunable, tuning, rescales=self.rescales
        )
        return replace(self, tensors=tensors, tuning=tuning)

    def explain(self, name: str) -> str:
        """Return the derivation of one tensor's factors, with the source.

        Args:
            name: A tensor, another name of a shared one, or a starred name of the printed table.

        Raises:
            MutransferError: the plan has no tensor of this name.
        """
        starred = matching(self.tensors, name) if "*" in name else []
        if not starred:
            return explanation(self._tied(name) or self[name], asked=name)
        return "\n".join(
            explanation(tensors[0], asked=name, count=len(tensors))
            for tensors in alike({each: self.tensors[each] for each in starred})
        )

    def __getitem__(self, name: str) -> TensorPlan:
        if name in self.tensors:
            return self.tensors[name]
        if tied := self._tied(name):
            raise MutransferError(
                f"{name} is tied to {tied.name} in the plan, and has no plan of its own: "
                "tie them again, or plan the model as it is now"
            )
        close = [other for other in self.tensors if name in other][:3] or [*self.tensors][:3]
        raise MutransferError(f"the plan has no tensor {name!r}; it has {', '.join(close)}, ...")

    def _tied(self, name: str) -> TensorPlan | None:
        """Return the tensor that modules share under this other name, None without one."""
        return next((each for each in self.tensors.values() if name in each.aliases), None)

    def __str__(self) -> str:
        lines = [self._head(), "", tensor_table(self.tensors, self.forward)]
        return "\n".join([*lines, *map(str, self.warnings)])

    def _head(self) -> str:
        base, target = self.depth
        branches = f"{base} in the base, {target} in the model" if self.rescales else "not read"
        return (
            f"{self.rule}: {self.title} ({self.why})\n"
            f"{self.optimizer}; residual branches: {branches}; factors over the base"
            + (f"\ntuned at base size: {self._tuning()}" if self.tuning else "")
        )

    def _tuning(self) -> str:
        return ", ".join(f"{name} {ratio(number)}" for name, number in self.tuning.items())

    def __repr__(self) -> str:
        grown = "at base size" if self.at_base else f"{self.depth[0]} to {self.depth[1]} branches"
        tuned = f", tuned: {self._tuning()}" if self.tuning else ""
        return f"<Plan: {self.rule}, {self.optimizer}, {len(self.tensors)} tensors, {grown}{tuned}>"

    def _summary(self) -> str:
        return "\n".join([self._head(), *map(str, self.warnings), *hooks(self.forward)])

    def _folds(self) -> Sequence[Fold]:
        return html_folds(self.tensors)

    def to_json(self) -> dict[str, Any]:
        """Return the whole plan as data; powers and ratios are exact."""
        # A run may have thousands of tensors: it is written once, not once for each of them.
        runs = {run: i for i, run in enumerate(dict.fromkeys(t.run for t in self.tensors.values()))}
        rows = [tensor_to_json(t) | {"run": runs[t.run]} for t in self.tensors.values()]
        data: dict[str, Any] = plain(
            {
                "parametrization": self.parametrization.to_json(),
                "why": self.why,
                "optimizers": [family.to_json() for family in self.optimizers.values()],
                "depth": self.depth,
                "runs": list(runs),
                "tensors": rows,
                "forward": [forward_to_json(each) for each in self.forward.values()],
                "warnings": [asdict(warning) for warning in self.warnings],
                "tunable": {name: each.to_json() for name, each in self.tunable.items()},
                "tuning": {name: str(number) for name, number in self.tuning.items()},
            }
        )
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the plan that `to_json` wrote.

        Raises:
            MutransferError: the data is no plan.
        """
        with parsing("a plan written by Plan.to_json"):
            fields = parsed(data)
            if "parametrization" not in fields and "rule" in fields:
                raise ValueError("an earlier version wrote it; plan the model again")
            runs = [tuple(names) for names in fields["runs"]]
            tensors = [tensor_from_json(row, runs[row["run"]]) for row in fields["tensors"]]
            families = [Family.from_json(family) for family in fields["optimizers"]]
            forward = [forward_from_json(each) for each in fields["forward"]]
            base, target = fields["depth"]
            return cls(
                parametrization=Parametrization.from_json(fields["parametrization"]),
                why=fields["why"],
                optimizers={family.name: family for family in families},
                depth=(base, target),
                tensors={tensor.name: tensor for tensor in tensors},
                forward={each.module: each for each in forward},
                warnings=tuple(PlanWarning(**warning) for warning in fields["warnings"]),
                tunable={
                    name: Carriers(**each) for name, each in fields.get("tunable", {}).items()
                },
                tuning={
                    name: Fraction(number) for name, number in fields.get("tuning", {}).items()
                },
            )
