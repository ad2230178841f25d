"""The parser of names: rules with options and ablations, and optimizer families."""

from __future__ import annotations

from collections.abc import Mapping

from ..core import MutransferError
from ._families import FAMILIES
from ._family import Family
from ._parametrization import Parametrization
from ._tables import PARAMETRIZATIONS

DEFAULT = "default"
"""The rule that a model's residual branches choose."""


def is_default(name: str | Parametrization | None) -> bool:
    """Return True if the model chooses the rule.

    Changes may follow after a comma.

    >>> is_default(None), is_default("default, without eps"), is_default("mup")
    (True, True, False)
    """
    return name is None or (isinstance(name, str) and name.split(",")[0].strip().lower() == DEFAULT)


def parametrization(
    name: str | Parametrization | None, default: Parametrization | None = None
) -> Parametrization:
    """Return the parametrization of this name.

    Options and ablations follow after commas.

    >>> print(parametrization("completep").branch_multiplier)
    depth^-1
    >>> parametrization("mup, embedding_rate=sqrt, without eps").off
    frozenset({'eps'})

    Args:
        name: The name, or a parametrization itself.
        default: The rule that "default", or no name, stands for.

    Raises:
        MutransferError: there is no rule of this name, or no such option.
    """
    if isinstance(name, Parametrization):
        return name
    if not isinstance(name, str | None):
        raise MutransferError(
            f"a rule is named by text or given as a Parametrization, not as {name!r}"
        )
    text = DEFAULT if name is None else name
    base, *changes = (part.strip() for part in text.split(","))
    rule = default if is_default(text) else PARAMETRIZATIONS.get(base.lower())
    if rule is None:
        chosen = f"{base!r} is chosen by a model's residual branches"
        problem = chosen if is_default(text) else f"unknown rule {base!r}"
        raise MutransferError(f"{problem}; choose one of {', '.join(PARAMETRIZATIONS)}")
    options = [change.partition("=")[0].strip() for change in changes]
    if twice := [option for option in options if options.count(option) > 1]:
        raise MutransferError(f"{twice[0]!r} stands twice in {name!r}")
    for change in changes:
        rule = _changed(rule, change)
    return rule


def _changed(rule: Parametrization, change: str) -> Parametrization:
    """Return the rule with one change, such as "decay=sqrt" or "without eps"."""
    option, equals, value = (part.strip() for part in change.partition("="))
    if change.startswith("without "):
        return rule.without(change.removeprefix("without ").strip())
    if not equals:
        raise MutransferError(
            f"{change!r} changes no rule; say for example 'decay=sqrt' or 'without eps'"
        )
    return rule.using(**{option: value})


def family(name: str | Family) -> Family:
    """Return the optimizer family of this name.

    Momentum, Nesterov's too, does not change SGD's family.

    >>> family("AdamW").decay
    'decoupled'

    Raises:
        MutransferError: no rule is known for an optimizer of this name.
    """
    if isinstance(name, Family):
        return name
    if not isinstance(name, str):
        raise MutransferError(
            f"an optimizer family is named by text or given as a Family, not as {name!r}"
        )
    if "+" in name:
        raise MutransferError(
            f"optimizer {name!r} names more than one family, and one is needed here: "
            f"give {' or '.join(part.strip() for part in name.split('+'))}"
        )
    if name.lower() not in FAMILIES:
        raise MutransferError(
            f"unknown optimizer {name!r}: no scaling rule is known for it; "
            f"choose one of {', '.join(FAMILIES)}, or declare how it answers to the gradient's "
            "scale with mutransfer.rules.Family"
        )
    return FAMILIES[name.lower()]


def families(name: str | Family | Mapping[str, str | Family]) -> dict[str, Family]:
    """Return the families of an optimizer text, by role or name pattern.

    Two names with a plus share the work: the first trains hidden matrices, the second the rest.

    >>> {key: each.name for key, each in families("muon+adamw").items()}
    {'hidden': 'muon', '*': 'adamw'}

    Raises:
        MutransferError: no rule is known for one of them, or there are more than two.
    """
    if isinstance(name, Mapping):
        return {key: family(value) for key, value in name.items()}
    if not isinstance(name, str) or "+" not in name:
        return {"*": family(name)}
    hidden, *rest = (part.strip() for part in name.split("+"))
    if len(rest) != 1:
        raise MutransferError(
            f"optimizer {name!r}: two families share the work, such as muon+adamw; "
            'for more give a mapping, such as {"hidden": "muon", "embedding": "sgd", "*": "adamw"}'
        )
    return {"hidden": family(hidden), "*": family(rest[0])}
