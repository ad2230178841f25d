"""Pieces: runs that one worker trains at once, and how often it was lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..engines import Resources
from ._run import Run
from ._work import Job


@dataclass(kw_only=True, eq=False)
class Piece:
    """Runs that one worker trains at once.

    Attributes:
        runs: The runs.
        make: Makes the job of runs of this kind.
        resources: What their worker needs.
        seconds: Time that they take of the whole sweep's, as estimated; None where nobody knows.
        took: Time that they took; 0 before.
        share: How much of it is done, up to 1.
        losses: How often a worker was lost while it trained them; less where they only waited.
    """

    runs: tuple[Run, ...]
    make: Callable[[Sequence[Run]], Job]
    resources: Resources = field(default_factory=Resources)
    seconds: float | None = None
    took: float = 0.0
    share: float = 0.0
    losses: float = 0.0

    @property
    def size(self) -> str:
        """Size of the runs in words."""
        return str(self.runs[0].size)

    def halves(self) -> list[Piece]:
        """Return the two halves of several runs."""
        half = math.ceil(len(self.runs) / 2)
        return [
            Piece(
                runs=runs,
                make=self.make,
                resources=self.resources,
                seconds=self.seconds and self.seconds * len(runs) / len(self.runs),
                losses=self.losses,
            )
            for runs in (self.runs[:half], self.runs[half:])
        ]
