"""Decisions of budgets, kept so that a resumed sweep decides alike."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import MutransferError, writing

_NAME = "budget.json"


@dataclass(frozen=True)
class Pace:
    """The cost of a step of a run, in seconds or FLOPs.

    Attributes:
        step: Cost of a step.
        evaluation: Cost of an evaluation.
        shared: Cost that all runs share that train at once, such as launching the operations.
    """

    step: float
    evaluation: float = 0.0
    shared: float = 0.0

    def price(self, steps: int, evaluations: int, together: int) -> float:
        """Return the cost of a run.

        Args:
            steps: Its steps.
            evaluations: Its evaluations.
            together: How many runs train at once.
        """
        return steps * (self.step + self.shared / together) + evaluations * self.evaluation


class Decisions:
    """The file of a record with measured paces and accepted proposals.

    Args:
        folder: Folder of the record.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / _NAME

    def paces(self) -> dict[str, Pace]:
        """Return the paces of shapes, by the shape's key."""
        return {key: Pace(*pace) for key, pace in self._read().get("paces", {}).items()}

    def add_paces(self, paces: Mapping[str, Pace]) -> None:
        """Keep paces; those that are known stay."""
        data = self._read()
        listed = {key: [pace.step, pace.evaluation, pace.shared] for key, pace in paces.items()}
        self._write(data | {"paces": {**listed, **data.get("paces", {})}})

    def proposal(self, key: str) -> dict[str, Any] | None:
        """Return the proposal that was accepted for a study, None where there is none."""
        proposal: dict[str, Any] | None = self._read().get("proposals", {}).get(key)
        return proposal

    def add_proposal(self, key: str, proposal: Mapping[str, Any]) -> None:
        """Keep an accepted proposal."""
        data = self._read()
        self._write(data | {"proposals": {**data.get("proposals", {}), key: dict(proposal)}})

    def _read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        try:
            data: dict[str, Any] = json.loads(self.path.read_text())
            data.keys()
        except (AttributeError, OSError, ValueError):
            raise MutransferError(
                f"{self.path} cannot be read; remove it, and the budget is measured again"
            ) from None
        return data

    def _write(self, data: Mapping[str, Any]) -> None:
        with writing("the budget", self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # A crash while writing must not leave half a file under its name.
            whole = self.path.with_suffix(f".{os.getpid()}")
            whole.write_text(json.dumps(data, indent=1))
            whole.replace(self.path)
