"""The cases of survival, as data."""

from __future__ import annotations

from . import disturbances as do
from . import settings
from .cluster import cluster, kill_node, restart_head
from .commands import Command
from .scene import Case, bare
from .studies import HOPELESS
from .sweeps import Pair

KILLED = r"^killed \(-9\)"
FULL = "^MutransferError: cannot write to .*No space left"
DENIED = "^MutransferError: cannot write to .*Permission denied"

LOST = "a worker was lost"

CASES = (
    *(
        Case(
            name=f"coordinator, {name}",
            done="SIGKILL of the coordinator",
            engine=engine,
            disturb=do.kill_coordinator,
            pauses=(0.0, longest),
            scenery=scenery,
            ends=(KILLED,),
        )
        for name, engine, longest, scenery in (
            ("here", "here", 1.5, bare),
            ("processes", "processes", 3.0, bare),
            ("Ray", "ray:local", 3.0, bare),
            ("Ray, two nodes", "ray", 3.0, cluster),
            ("submitit", "submitit:local", 3.0, bare),
        )
    ),
    *(
        Case(
            name=f"worker, {name}",
            done="SIGKILL of a worker",
            engine=engine,
            disturb=do.kill_worker,
            scenery=scenery,
            says=LOST,
        )
        for name, engine, scenery in (
            ("processes", "processes", bare),
            ("Ray", "ray:local", bare),
            ("Ray, two nodes", "ray", cluster),
            ("submitit", "submitit:local", bare),
        )
    ),
    Case(
        name="node, Ray, two nodes",
        done="SIGKILL of one of two nodes; another one joins",
        engine="ray",
        disturb=kill_node,
        times=10,
        scenery=cluster,
        says=LOST,
    ),
    Case(
        name="head, Ray, two nodes",
        done="SIGKILL of the head and its other node, which restart",
        engine="ray",
        disturb=restart_head,
        times=5,
        most=3,
        scenery=cluster,
        says=LOST,
    ),
    Case(
        name="worker stopped, processes",
        done="a worker hangs (SIGSTOP)",
        engine="processes",
        disturb=do.stop_worker,
        says="gave no sign of life",
        times=2,
        settings={"workers": 2},
    ),
    Case(
        name="memory, here",
        done="a job needs more memory than there is",
        engine="here",
        disturb=do.leave_alone,
        times=3,
        most=1,
        pauses=(0.0, 0.0),
        studies=("hungry",),
        says="memory is too small",
        patch=settings.with_little_memory_here,
        spared=lambda row: row["width"] != HOPELESS,
    ),
    Case(
        name="memory, processes",
        done="a job needs more memory than there is",
        engine="processes",
        disturb=do.leave_alone,
        times=3,
        most=1,
        pauses=(0.0, 0.0),
        studies=("hungry",),
        says="memory is too small",
        patch=settings.with_little_memory,
        spared=lambda row: row["width"] != HOPELESS,
    ),
    *(
        Case(
            name=f"full disk, {engine}",
            done="the disk is full",
            engine=engine,
            disturb=do.fill_disk,
            times=10,
            pauses=(0.0, longest),
            scenery=settings.small_disk,
            mend=do.free_disk,
            ends=(FULL,),
        )
        for engine, longest in (("here", 1.5), ("processes", 3.0))
    ),
    Case(
        name="damaged line",
        done="a line of the record is destroyed (zeros, noise, a gap)",
        engine="here",
        disturb=do.damage_line,
        says="is damaged and left out",
        times=30,
        pauses=(0.0, 1.5),
        ends=(KILLED,),
    ),
    Case(
        name="torn line",
        done="the last line of the record is torn",
        engine="here",
        disturb=do.tear_line,
        times=30,
        pauses=(0.0, 1.5),
        ends=(KILLED,),
    ),
    Case(
        name="two coordinators",
        done="a second sweep is started beside the first",
        engine="here",
        disturb=do.start_another,
        times=30,
        pauses=(0.0, 1.0),
    ),
    Case(
        name="two at once",
        done="two sweeps are started at the same instant, and killed",
        engine="here",
        disturb=do.kill_coordinator,
        times=30,
        pauses=(0.0, 2.0),
        launch=Pair,
        ends=(KILLED,),
    ),
    Case(
        name="clock",
        done="the clock jumps back, by a second to years",
        engine="here",
        disturb=do.set_back_clock,
        times=30,
        pauses=(0.0, 2.0),
        patch=settings.by_wrong_clock,
        ends=(KILLED,),
    ),
    Case(
        name="read-only",
        done="the folder becomes read-only",
        engine="here",
        disturb=do.forbid_writing,
        times=10,
        pauses=(0.0, 2.0),
        scenery=settings.public,
        patch=settings.as_nobody,
        mend=do.allow_writing,
        ends=(DENIED,),
    ),
    *(
        Case(
            name=f"Ctrl-C {word}, {engine}",
            done=f"Ctrl-C {word} on `mutransfer sweep`",
            engine=engine,
            disturb=disturb,
            times=10,
            pauses=(0.0, longest),
            launch=Command,
            ends=("^interrupted",),
        )
        for engine, longest in (("here", 3.0), ("processes", 3.0))
        for word, disturb in (("once", do.interrupt), ("twice", do.interrupt_twice))
    ),
)
