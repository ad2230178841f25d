"""The cases of survival, as data."""

from __future__ import annotations

from . import disturbances as do
from .scene import Case

KILLED = r"^killed \(-9\)"

CASES = (
    Case(
        name="coordinator, here",
        done="SIGKILL of the sweep's process",
        engine="here",
        disturb=do.kill_coordinator,
        pauses=(0.0, 2.0),
        ends=(KILLED,),
    ),
    Case(
        name="coordinator, processes",
        done="SIGKILL of the coordinator",
        engine="processes",
        disturb=do.kill_coordinator,
        pauses=(0.0, 5.0),
        ends=(KILLED,),
    ),
    Case(
        name="worker, processes",
        done="SIGKILL of a worker",
        engine="processes",
        disturb=do.kill_worker,
        pauses=(0.0, 4.0),
    ),
)
