"""Hyperparameters for another batch size or duration, by a published rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..core import Result, parsed, parsing, plain
from ._families import FAMILIES
from ._horizon_checks import (
    check_betas,
    check_critical,
    check_new_betas,
    check_optimizer,
    check_steps,
    covered,
    known_rule,
    positive,
)
from ._horizon_rule import HorizonRule
from ._powers import Ratio


@dataclass(frozen=True, kw_only=True, repr=False)
class Horizon(Result):
    """A rule's factors for one change of batch size and duration, target over base.

    Attributes:
        rule: The rule.
        batch: Ratio of the batch sizes.
        tokens: Ratio of the samples seen.
        lr: Factor of the rate.
        eps: Factor of eps.
        decay: Factor of the weight decay, as the optimizer takes it.
        one_minus_beta: Factor of 1 - beta; `betas` are the numbers to use.
        betas: The new betas; None where none were given.
    """

    rule: HorizonRule
    batch: float
    tokens: float
    lr: float
    eps: float
    decay: float
    one_minus_beta: float
    betas: tuple[float, float] | None = None

    @property
    def steps(self) -> float:
        """Factor of the number of steps."""
        return self.tokens / self.batch

    def explain(self) -> str:
        """Return the factors, and the rule's source, assumptions and range."""
        rule = self.rule
        return " ".join(
            [
                f"Batch x{self.batch:g} and tokens x{self.tokens:g} make x{self.steps:g} as many "
                "steps.",
                *self._changes(),
                f"This is the rule {rule.name!r} ({rule.title}), from {rule.source}.",
                f"It assumes: {'; '.join(rule.assumptions)}.",
                f"Its range: {rule.range_source}.",
            ]
        )

    def _changes(self) -> list[str]:
        """Return the sentences about what is multiplied, and about the betas."""
        rule = self.rule
        beta = "1 - beta2" if rule.half_life else "1 - beta"
        factors = (
            ("rate", self.lr, rule.lr),
            ("eps", self.eps, rule.eps),
            ("weight decay", self.decay, rule.decay),
            (beta, self.one_minus_beta, rule.one_minus_beta),
        )
        changes = [
            f"{name} by {value:.4g} ({power})" for name, value, power in factors if value != 1
        ]
        sentences = ["Rate, eps, weight decay and betas stay as they are."]
        if changes:
            sentences = [f"Multiply the {', '.join(changes)}."]
        if self.betas is not None:
            sentences.append(f"The betas become {self.betas[0]:.6g} and {self.betas[1]:.6g}.")
        return sentences

    def __str__(self) -> str:
        return self.explain()

    def to_json(self) -> dict[str, Any]:
        """Return the rule, the change and its factors as data."""
        data: dict[str, Any] = plain({**vars(self), "steps": self.steps})
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the change that `to_json` wrote.

        Raises:
            MutransferError: the data is no such change.
        """
        with parsing("a change written by Horizon.to_json"):
            fields = parsed(data)
            del fields["steps"]
            betas = None if fields["betas"] is None else tuple(fields["betas"])
            return cls(**fields | {"rule": HorizonRule.from_json(fields["rule"]), "betas": betas})


def horizon(
    rule: str | HorizonRule,
    *,
    batch: Ratio = 1,
    tokens: Ratio = 1,
    betas: tuple[float, float] | None = None,
    optimizer: str | None = None,
    critical_batch: float | None = None,
    steps: int | None = None,
) -> Horizon:
    """Return a rule's factors for another batch size or duration than the base's.

    >>> change = horizon("sde", batch=4, betas=(0.9, 0.99))
    >>> change.lr, change.eps, change.steps
    (2.0, 0.5, 0.25)
    >>> [round(beta, 6) for beta in change.betas]
    [0.6, 0.96]

    Args:
        rule: A name in `HORIZON_RULES`, or a rule itself. There is no default: sources disagree.
        batch: Target batch size over the base's.
        tokens: Samples that the target sees over those that the base saw.
        betas: The base's betas, for which the target's are returned.
        optimizer: Family of the optimizer; a rule that is not stated for it is refused. A family
            whose weight decay is added to the gradient has it in the loss, which batch and duration
            do not change: its decay stays.
        critical_batch: Base batch size over the critical one, if known: rules for the batch end
            there.
        steps: Steps of the base run, if known, for rules that need a long one.

    Raises:
        MutransferError: there is no rule of this name, an argument is not the number it should be,
            or the rule does not cover the change.
    """
    law = known_rule(rule)
    check_optimizer(law, optimizer)
    ratios = {
        "batch": covered(law, "batch", batch, law.batch),
        "tokens": covered(law, "tokens", tokens, law.tokens),
    }
    check_critical(law, ratios["batch"], critical_batch)
    check_steps(law, ratios["tokens"] / ratios["batch"], steps)
    family = None if optimizer is None else FAMILIES.get(optimizer.lower())
    coupled = family is not None and family.decay == "coupled"
    factor = law.one_minus_beta.evaluate(ratios)
    return Horizon(
        rule=law,
        **ratios,
        lr=law.lr.evaluate(ratios),
        eps=law.eps.evaluate(ratios),
        decay=1.0 if coupled else law.decay.evaluate(ratios),
        one_minus_beta=factor,
        betas=None if betas is None else _new_betas(law, betas, factor),
    )


def _new_betas(rule: HorizonRule, betas: tuple[float, float], factor: float) -> tuple[float, float]:
    """Return the betas of a run in which 1 - beta is multiplied by the factor."""
    check_betas(betas)
    beta1, beta2 = betas
    if factor == 1:
        return beta1, beta2
    new_betas = 1 - (1 - beta1) * factor, 1 - (1 - beta2) * factor
    if rule.half_life:
        new_betas = beta1, beta2**factor
    if beta1 == 0:
        # Without momentum there is no memory whose length could be kept.
        new_betas = beta1, new_betas[1]
    check_new_betas(rule, betas, new_betas)
    return new_betas


def ema_time(lr: float, decay: float, steps: int) -> tuple[float, float]:
    """Return the time for which AdamW's weights remember their updates (2405.13698).

    With a schedule, give its mean rate for the mean memory, or its peak to compare runs of one
    schedule.

    >>> steps, fraction = ema_time(lr=0.001, decay=0.1, steps=20_000)
    >>> round(steps), round(fraction, 6)
    (10000, 0.5)

    Returns:
        The time in steps, 1 / (lr · decay), and as a fraction of the run.

    Raises:
        MutransferError: a number is not positive and finite; without decay nothing is forgotten.
    """
    for name, value in (("lr", lr), ("decay", decay), ("steps", steps)):
        positive(name, value, "weights forget only with a positive rate, decay and number of steps")
    memory = 1 / (lr * decay)
    return memory, memory / steps
