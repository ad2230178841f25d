"""Training one by one where a model cannot be stacked, and the words that say so."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..core import MutransferWarning, place
from ._judge import Judge
from ._loop import each
from ._members import Member
from ._recipe import Recipe
from ._trained import Trained
from ._watch import Watch

_LONGEST = 160
"""Most characters of a reason."""

_SLOW = re.compile(r"There is a performance drop.*batching rule for (\S+?)\.", re.DOTALL)
"""Torch's warning of an operation that vmap runs in a loop over members."""


class StackingWarning(MutransferWarning):
    """A model does not train as one stacked program, or does so slowly."""


class NotStackedError(Exception):
    """A stacked program failed.

    Attributes:
        reason: The reason, in a few words.
        done: Member-steps that were reported before.
    """

    def __init__(self, error: Exception, done: int) -> None:
        super().__init__(_reason(error), done)
        self.reason, self.done = _reason(error), done


def one_by_one(
    members: Sequence[Member],
    recipe: Recipe,
    watch: Watch | None,
    reason: str,
    hidden: int,
    judge: Judge | None = None,
) -> Trained:
    """Train members one by one after a stacked program failed, and warn.

    The warning comes after the first step: if that fails, too, the error is the model's own.

    Args:
        members: The members.
        recipe: What they share.
        watch: Receives progress, but for what was reported before.
        reason: The reason of the failure.
        hidden: Member-steps that were reported before.
        judge: Names members that are not worth going on.

    Raises:
        MutransferError: the model fails one by one, too.
    """
    message = (
        f"{type(members[0].model).__name__} trains one by one, which is slower: it cannot be "
        f"stacked ({reason})"
    )
    report, warned = after(watch, hidden), False

    def late(done: int) -> None:
        nonlocal warned
        if not warned:
            warnings.warn(message, StackingWarning, stacklevel=6)
        warned = True
        report(done)

    return each(members, recipe, late, judge)


def after(watch: Watch | None, hidden: int) -> Watch:
    """Return a callback that leaves out the member-steps that were reported before."""
    steps = 0

    def late(done: int) -> None:
        nonlocal steps
        steps += done
        if watch is not None and steps > hidden:
            watch(done)

    return late


@contextmanager
def slowness(model: object) -> Iterator[None]:
    """Turn torch's warnings of operations without batching rule into one of ours."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    slow = [match[1] for item in caught if (match := _SLOW.search(str(item.message)))]
    for item in caught:
        if not _SLOW.search(str(item.message)):
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
    if slow:
        listed = ", ".join(dict.fromkeys(slow))
        warnings.warn(
            f"{type(model).__name__} trains slowly as one stacked program: vmap runs {listed} in a "
            "loop over members; train_one_by_one may be faster",
            StackingWarning,
            stacklevel=6,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out torch's warnings of such operations, which come at every step."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_SLOW.pattern.split(".")[0])
        yield


def _reason(error: Exception) -> str:
    """Return the first sentence of an error, short, and the place that it comes from."""
    text = " ".join(str(error).split())
    if "data-dependent control flow" in text or ".item()" in text:
        text = "it branches on values of tensors, or calls .item()"
    sentence = text.removeprefix("vmap: ").split(". ")[0]
    short = sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST]} ..."
    return (short or type(error).__name__) + place(error)
