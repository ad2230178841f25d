"""The rules of a study: names of the library's, or custom parametrizations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core import MutransferError
from ..rules import DEFAULT, Parametrization, is_default, parametrization

Rule = str | Parametrization


def rule_name(rule: Rule) -> str:
    """Return the name of a rule, as a record has it."""
    return rule.name if isinstance(rule, Parametrization) else rule


def checked_rules(rules: Iterable[Rule | None]) -> tuple[Rule, ...]:
    """Return the rules, those of the library by name.

    Raises:
        MutransferError: a rule is unknown, or two different ones share a name.
    """
    if isinstance(rules, str | Parametrization):
        shown = rules if isinstance(rules, str) else rules.name
        raise MutransferError(f"rules is {shown!r}: give a list, such as [{shown!r}]")
    checked = tuple(_checked(rule) for rule in rules)
    if not checked:
        raise MutransferError('rules is empty: give at least one, such as "default" or "sp"')
    by_name: dict[str, Rule] = {}
    for rule in checked:
        if rule != by_name.setdefault(rule_name(rule), rule):
            raise MutransferError(
                f"two different rules share the name {rule_name(rule)!r}: rename one, as by "
                "dataclasses.replace(rule, name=...)"
            )
    if len(by_name) < len(checked):
        raise MutransferError(f"rules has repetitions: {[rule_name(rule) for rule in checked]}")
    return checked


def rule_named(rules: Iterable[Rule], name: str) -> Rule:
    """Return the rule of this name, as data where it is a custom one."""
    custom = (rule for rule in rules if isinstance(rule, Parametrization))
    return next((rule for rule in custom if rule.name == name), name)


def trained_data(rule: Parametrization) -> dict[str, Any]:
    """Return a rule's data without its title and sources, which train nothing."""
    unread = ("title", "source", "cites")
    return {key: value for key, value in rule.to_json().items() if key not in unread}


def _checked(rule: Rule | None) -> Rule:
    if rule is None:
        return DEFAULT
    if not isinstance(rule, Parametrization):
        # Any rule does for "default": names are checked here, and chosen by the model later.
        parametrization(rule, default=parametrization("mup"))
        return rule
    if is_default(rule.name) or (known := _library_rule(rule.name)) not in (None, rule):
        raise MutransferError(
            f"a custom rule is named {rule.name!r}, as a different one of the library is: "
            "rename it, as by dataclasses.replace(rule, name=...)"
        )
    return rule if known is None else rule.name


def _library_rule(name: str) -> Parametrization | None:
    try:
        return parametrization(name)
    except MutransferError:
        return None
