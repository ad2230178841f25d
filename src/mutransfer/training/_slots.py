"""Slots: the places of a stacked program, each with a member and its step."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor


class Slots:
    """The places of a program; members beyond their number wait until one is free.

    A place without a member goes on computing what nobody reads: a program that is compiled has
    one shape.

    Args:
        members: Number of members.
        places: Number of places.
        device: Where the program runs.
    """

    def __init__(self, members: int, places: int, device: torch.device) -> None:
        self.nobody = members
        first = range(min(members, places))
        self.members = [*first, *[self.nobody] * (places - len(first))]
        self.steps = [0] * places
        self.waiting = deque(range(len(first), members))
        self.device = device
        self._place()

    def __len__(self) -> int:
        return len(self.members)

    @property
    def busy(self) -> list[int]:
        """The places that have a member."""
        return [place for place, member in enumerate(self.members) if member != self.nobody]

    def advance(self) -> None:
        """Count one step of every member."""
        self.steps = [step + (member != self.nobody) for member, step in self._pairs()]
        self.step += self._running

    def ahead(self, steps: int) -> Slots:
        """Return the same places one step later; the first step comes after the last."""
        later = copy.copy(self)
        later.steps = [(step + 1) % steps for step in self.steps]
        later._place()
        return later

    def free(self, place: int) -> int | None:
        """Free a place for the next member, and return its number, None if nobody waits."""
        self.members[place] = self.waiting.popleft() if self.waiting else self.nobody
        self.steps[place] = 0
        self._place()
        return None if self.members[place] == self.nobody else self.members[place]

    def keep(self, places: Sequence[int]) -> None:
        """Drop all other places."""
        self.members = [self.members[place] for place in places]
        self.steps = [self.steps[place] for place in places]
        self._place()

    def _pairs(self) -> zip[tuple[int, int]]:
        return zip(self.members, self.steps, strict=True)

    def _place(self) -> None:
        """Write members and steps to tensors, which find batches and numbers."""
        self.member: Int[Tensor, " slots"] = torch.tensor(self.members, device=self.device)
        self.step: Int[Tensor, " slots"] = torch.tensor(self.steps, device=self.device)
        self._running = (self.member != self.nobody).long()
