"""The cases of the benchmark: models, data, members and goals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import mutransfer as mt
from mutransfer.tasks import Task, gpt, mlp, resmlp

MEMBERS = 32
SEEDS = 4


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model and its data.

    Attributes:
        build: Makes the model of a width and depth.
        width: Its width.
        depth: Its depth.
        task: Its data.
        batch: Examples a step.
        steps: Steps of every member that one round times.
        members: Number of members.
        long: Steps of the study for which the library chooses a way in the steady state.
        goals: Wanted ratios, against the eager loop and against the rival.
        device: Where it trains; the CPU by default.
    """

    build: Callable[..., object]
    width: int
    depth: int
    task: str
    batch: int
    steps: int
    members: int = MEMBERS
    long: int = 20_000
    goals: tuple[float, float]
    device: str | None = None

    def study(self, steps: int) -> mt.Study:
        """Return the members as a study: rates times seeds."""
        seeds = min(SEEDS, self.members)
        return mt.Study(
            self.build,
            width=[self.width],
            depth=[self.depth],
            lr=[2.0 ** -(12 - i) for i in range(self.members // seeds)],
            seeds=seeds,
            steps=steps,
            batch=self.batch,
            task=self.task,
            optimizer="adam",
            rules=("sp",),
        )

    def data(self) -> Task:
        """Return the data."""
        data = self.study(1).task
        assert isinstance(data, Task)
        return data

    def small(self) -> Case:
        """Return a case of a second, to try the script."""
        sizes = {"width": 16, "depth": min(self.depth, 2), "batch": 4, "members": 4}
        return replace(self, **sizes, steps=3, long=10)


CASES = {
    "MLP, width 64": Case(
        build=mlp, width=64, depth=3, task="digits", batch=64, steps=150, goals=(9.0, 2.5)
    ),
    "MLP, width 256": Case(
        build=mlp, width=256, depth=3, task="digits", batch=64, steps=50, goals=(2.2, 1.1)
    ),
    "residual MLP, width 32, depth 16": Case(
        build=resmlp, width=32, depth=16, task="digits", batch=64, steps=40, goals=(8.0, 2.0)
    ),
    "GPT, width 64, depth 2": Case(
        build=gpt, width=64, depth=2, task="pydocs", batch=16, steps=12, goals=(1.8, 0.95)
    ),
}
