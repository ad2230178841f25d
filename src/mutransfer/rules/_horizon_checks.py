"""Checks that a rule covers a change of batch size and duration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from ..core import MutransferError
from ._horizon_rule import HorizonRule, Range
from ._horizon_rules import HORIZON_RULES
from ._powers import Ratio

# Ends of a range such as 1/3 are rounded, and a ratio computed by the user is, too.
_SLACK = 1e-9


def known_rule(rule: str | HorizonRule) -> HorizonRule:
    """Return the rule of this name.

    Raises:
        MutransferError: there is no such rule.
    """
    if isinstance(rule, HorizonRule):
        return rule
    if not isinstance(rule, str):
        raise MutransferError(f"rule is {rule!r}: give a name, such as 'sde'")
    if rule.lower() not in HORIZON_RULES:
        raise MutransferError(
            f"unknown horizon rule {rule!r}; choose one of {', '.join(HORIZON_RULES)}"
        )
    return HORIZON_RULES[rule.lower()]


def check_optimizer(rule: HorizonRule, optimizer: str | None) -> None:
    """Raise unless the rule is stated for this family.

    Raises:
        MutransferError: it is not, or the name is no text.
    """
    if optimizer is None:
        return
    if not isinstance(optimizer, str):
        raise MutransferError(f"optimizer is {optimizer!r}: give a name, such as 'adamw'")
    names = {part.strip() for part in optimizer.lower().split("+")}
    if not names.issubset(rule.optimizers):
        laws = HORIZON_RULES.values()
        others = [law.name for law in laws if names.issubset(law.optimizers)]
        hint = f"rules for {optimizer!r}: {', '.join(others)}"
        raise MutransferError(
            f"horizon rule {rule.name!r} is stated for {', '.join(rule.optimizers)} "
            f"({rule.source}), not for {optimizer!r}; "
            f"{hint if others else 'no rule here is stated for it'}"
        )


def covered(rule: HorizonRule, name: str, value: Ratio, allowed: Range | None) -> float:
    """Return the ratio as a number, if the rule covers it.

    Args:
        rule: The rule.
        name: "batch" or "tokens".
        value: The ratio.
        allowed: The rule's range of this ratio; None where the rule says nothing about it.

    Raises:
        MutransferError: the value is no ratio, or outside the rule's range.
    """
    ratio = positive(name, value, "it is the target's over the base's")
    if allowed is None and ratio != 1:
        rules = [law.name for law in HORIZON_RULES.values() if getattr(law, name) is not None]
        raise MutransferError(
            f"horizon rule {rule.name!r} says nothing about {name} ({rule.source}) and {name} is "
            f"{ratio:g}, not 1; rules that do: {', '.join(rules)}"
        )
    low, high = allowed or (ratio, ratio)
    if not low * (1 - _SLACK) <= ratio <= high * (1 + _SLACK):
        raise MutransferError(
            f"{name} ratio {ratio:g} is outside {low:g} to {high:g}, the range of horizon rule "
            f"{rule.name!r} ({rule.range_source}); tune a base that is nearer to the target"
        )
    return ratio


def check_critical(rule: HorizonRule, batch: float, critical_batch: float | None) -> None:
    """Raise where a batch that changes comes near the critical one.

    Args:
        rule: The rule.
        batch: Ratio of the batch sizes.
        critical_batch: Base batch size over the critical one; None where it is unknown.

    Raises:
        MutransferError: the larger batch exceeds the critical one.
    """
    if critical_batch is None:
        return
    advice = "it is the base batch size over the critical one"
    largest = positive("critical_batch", critical_batch, advice) * max(batch, 1.0)
    if batch != 1 and largest > 1:
        raise MutransferError(
            f"a batch {largest:g} times the critical one is in reach of batch ratio {batch:g}: no "
            f"rule for the batch holds there, {rule.name!r} ({rule.source}) included, because "
            "gradients are no longer mostly noise; keep base and target below it"
        )


def check_steps(rule: HorizonRule, factor: float, steps: int | None) -> None:
    """Raise where a run is too short for the rule.

    Args:
        rule: The rule.
        factor: Factor of the number of steps.
        steps: Steps of the base run; None where the number is unknown.

    Raises:
        MutransferError: the shorter run has fewer steps than the rule is stated for.
    """
    if steps is None:
        return
    base = positive("steps", steps, "it is the number of steps of the base run")
    shortest = base * min(factor, 1.0)
    if shortest < rule.min_steps:
        raise MutransferError(
            f"the shorter run has {shortest:g} steps and horizon rule {rule.name!r} is stated for "
            f"{rule.min_steps} or more ({rule.source}); lengthen it or choose a rule that scales "
            "the rate"
        )


def check_betas(betas: tuple[float, float]) -> None:
    """Raise unless these are two numbers between 0 and 1; beta1 may be 0.

    Raises:
        MutransferError: they are not.
    """
    if not isinstance(betas, Sequence) or len(betas) != 2:
        raise MutransferError(
            f"betas is {betas!r}: give both betas of the base run, such as (0.9, 0.95)"
        )
    for name, beta in zip(("beta1", "beta2"), betas, strict=True):
        none = name == "beta1" and beta == 0
        if not none and (not isinstance(beta, Real) or not 0 < beta < 1):
            raise MutransferError(
                f"{name} is {beta!r}, not a number between 0 and 1: give both betas of the base run"
            )


def check_new_betas(
    rule: HorizonRule, betas: tuple[float, float], new_betas: tuple[float, float]
) -> None:
    """Raise where a rule moves a beta out of its range.

    Raises:
        MutransferError: it does.
    """
    ranges = {"beta1": (0.0, 1.0), "beta2": (rule.smallest_beta2, rule.largest_beta2)}
    for (name, (least, most)), old, new in zip(ranges.items(), betas, new_betas, strict=True):
        if new != old and not least < new < most:
            raise MutransferError(
                f"horizon rule {rule.name!r} makes {name} {new:g} from {old:g}, outside {least:g} "
                f"to {most:g} ({rule.source}): change the batch less or tune {name} anew"
            )


def positive(name: str, value: Ratio, advice: str) -> float:
    """Return the value as a float, if it is a positive finite number.

    Raises:
        MutransferError: it is not; the message ends with the advice.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise MutransferError(f"{name} is {value!r}, not a positive finite number: {advice}")
    return float(value)
