"""Training one by one where a model cannot be stacked, and the words that say so."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from ._loop import each
from ._members import Member
from ._recipe import Recipe, Watch
from ._trained import Trained

_LONGEST = 160
"""Most characters of a reason."""

_SLOW = re.compile(r"There is a performance drop.*batching rule for (\S+?)\.", re.DOTALL)
"""Torch's warning of an operation that vmap runs in a loop over members."""


class StackingWarning(UserWarning):
    """A model does not train as one stacked program, or does so slowly."""


class NotStackedError(Exception):
    """A stacked program failed; its cause is the error of the model, if it is one.

    Attributes:
        done: Member-steps that were reported before.
    """

    def __init__(self, done: int) -> None:
        super().__init__(done)
        self.done = done


def one_by_one(
    members: Sequence[Member], recipe: Recipe, watch: Watch | None, failure: NotStackedError
) -> Trained:
    """Train members one by one after a stacked program failed, and warn.

    Args:
        members: The members.
        recipe: What they share.
        watch: Receives progress, but for what was reported before.
        failure: The failure.

    Raises:
        MutransferError: the model fails one by one, too, so that the error is its own.
    """
    short = replace(recipe, steps=1, evaluate=None)
    with torch.random.fork_rng(devices=[]):
        each(members[:1], short)
    warnings.warn(
        f"{type(members[0].model).__name__} trains one by one, which is slower: it cannot be "
        f"stacked ({_reason(failure.__cause__)})",
        StackingWarning,
        stacklevel=3,
    )
    return each(members, recipe, None if watch is None else _after(failure.done, watch))


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
            stacklevel=5,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out torch's warnings of such operations, which come at every step."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_SLOW.pattern.split(".")[0])
        yield


def _reason(error: BaseException | None) -> str:
    """Return the first sentence of an error, short."""
    text = " ".join(str(error).split())
    if "data-dependent control flow" in text or ".item()" in text:
        text = "its forward pass, loss or metrics branch on values of tensors, or call .item()"
    sentence = text.removeprefix("vmap: ").split(". ")[0]
    short = sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST]} ..."
    return short or type(error).__name__


def _after(done: int, watch: Watch) -> Watch:
    """Return a watch that leaves out member-steps that were reported before."""
    left = done

    def late(steps: int) -> None:
        nonlocal left
        hidden = min(left, steps)
        left -= hidden
        if steps > hidden:
            watch(steps - hidden)

    return late
