"""The way in which the runs of a shape are trained: a program, and processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..core import parsing
from ..training import Program

_UNKNOWN = 1e-3
"""Seconds of one step of one run, for progress where nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """The way in which the runs of a shape are trained.

    Attributes:
        program: The program of each process.
        processes: One-thread processes that share the runs; 1 for this process alone.
        seconds: Measured seconds of one step of one run, in all processes together; None where
            nothing was measured.
        evaluation: Measured seconds of one evaluation of one run.
        start: Measured seconds of compiling.
        reason: Why it was chosen.
        others: The other ways that were measured, in words.
        memory: Measured peak of a worker's memory in bytes; None for this process.
    """

    program: Program
    processes: int = 1
    seconds: float | None = None
    evaluation: float = 0.0
    start: float = 0.0
    reason: str = ""
    others: tuple[str, ...] = ()
    memory: int | None = None

    def __str__(self) -> str:
        where = "" if self.processes == 1 else f", in {self.processes} one-thread processes"
        pace = "" if self.seconds is None else f", {1e3 * self.seconds:.3g} ms a step of a run"
        return f"{self.program}{where}{pace}"

    def total(self, runs: int, steps: int, evaluations: int) -> float:
        """Return the seconds that training takes."""
        pace = _UNKNOWN if self.seconds is None else self.seconds
        places = self.program.places(runs)
        return self.start + places * (steps * pace + evaluations * self.evaluation)

    def to_json(self) -> dict[str, Any]:
        """Return the way as data."""
        return {**vars(self), "program": self.program.to_json(), "others": list(self.others)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Way:
        """Return the way that `to_json` wrote.

        Raises:
            MutransferError: the data is of another kind.
        """
        with parsing("a way of training written by Way.to_json"):
            # Ways from before a field have its default.
            known = {each.name: data[each.name] for each in fields(cls) if each.name in data}
            known["program"] = Program.from_json(data["program"])
            return cls(**{**known, "others": tuple(data["others"])})
