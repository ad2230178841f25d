"""Disturbances of a sweep that runs."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress

import psutil

from .scene import Scene
from .settings import clock
from .sweeps import REFUSED, Coordinator, workers


def kill_coordinator(scene: Scene) -> bool:
    """Kill the coordinator without a warning."""
    _end(scene)
    return True


def kill_worker(scene: Scene) -> bool:
    """Kill any of the workers, busy or just starting."""
    return _signalled(scene, signal.SIGKILL)


def stop_worker(scene: Scene) -> bool:
    """Suspend a worker that has a job, for ever."""
    return _signalled(scene, signal.SIGSTOP, is_busy=True)


def _signalled(scene: Scene, number: int, *, is_busy: bool = False) -> bool:
    roots = [scene.coordinator.pid, *scene.scenery.roots]
    known = sorted(workers(scene.scenery.engine, roots), key=lambda each: each.pid)
    gone = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
    if is_busy:
        busy = {path.stem: path for path in (scene.place.folder / "live/jobs").glob("*.json")}
        pids = set()
        for path in busy.values():
            with suppress(OSError, ValueError):
                pids.add(json.loads(path.read_bytes())["pid"])
        known = [each for each in known if each.pid in pids]
    with suppress(psutil.Error):
        known = [each for each in known if each.status() not in gone]
        if known:
            scene.random.choice(known).send_signal(number)
            return True
    return False


def fill_disk(scene: Scene) -> bool:
    """Leave no byte of the disk, until it is mended."""
    ballast = scene.place.folder.parent / "ballast"
    if ballast.exists():
        return False
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 16, 1 << 12, 1):
        with suppress(OSError):
            while os.write(descriptor, bytes(size)) == size:
                pass
    os.close(descriptor)
    return True


def free_disk(scene: Scene) -> None:
    """Remove what fills the disk."""
    (scene.place.folder.parent / "ballast").unlink(missing_ok=True)


def forbid_writing(scene: Scene) -> bool:
    """Make the record read-only, until it is mended."""
    folder = scene.place.folder
    if not folder.exists() or not folder.stat().st_mode & 0o222:
        return False
    for path in [*folder.glob("*.*"), folder]:
        path.chmod(path.stat().st_mode & ~0o222)
    return True


def allow_writing(scene: Scene) -> None:
    """Make the record writable."""
    folder = scene.place.folder
    for path in [folder, *folder.glob("*.*")]:
        path.chmod(path.stat().st_mode | 0o222)


def damage_line(scene: Scene) -> bool:
    """Kill the coordinator, and destroy a line of the record as a bad sector does."""
    _end(scene)
    lines = [
        (path, number, line)
        for path in sorted(scene.place.folder.glob("rows-*.jsonl"))
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1])
        if _id(line)
    ]
    if not lines:
        return False
    path, number, line = scene.random.choice(lines)
    # One that was the only whole one of its run.
    scene.damaged.add(_id(line))
    text = path.read_bytes().split(b"\n")
    start = scene.random.randrange(len(line))
    count = scene.random.randint(1, len(line) - start)
    kind = scene.random.choice(("zeros", "noise", "gap"))
    filling = {
        "zeros": bytes(count),
        "noise": bytes(scene.random.choices(range(128, 256), k=count)),
        "gap": b"",
    }
    text[number] = line[:start] + filling[kind] + line[start + count :]
    if kind == "gap" and _id(text[number]):
        text[number] = line[:start]
    path.write_bytes(b"\n".join(text))
    return True


def tear_line(scene: Scene) -> bool:
    """Kill the coordinator, and cut the record within its last line."""
    _end(scene)
    shards = sorted(scene.place.folder.glob("rows-*.jsonl"))
    shards = [path for path in shards if path.stat().st_size]
    if not shards:
        return False
    text = shards[-1].read_bytes()
    last = text.rstrip(b"\n").rpartition(b"\n")[2]
    scene.damaged.add(_id(last))
    shards[-1].write_bytes(text[: len(text) - scene.random.randint(1, len(last))])
    return True


def _end(scene: Scene) -> None:
    """Kill the coordinator, and have it started again even if it was through."""
    scene.coordinator.kill()
    scene.goes_on = True


def _id(line: bytes) -> str:
    try:
        return str(json.loads(line)["id"])
    except (KeyError, TypeError, ValueError):
        return ""


def start_another(scene: Scene) -> bool:
    """Start the same sweep once more while it runs, which has to be refused."""
    other = scene.start(Coordinator)
    other.wait()
    error = other.outcome["error"]
    if REFUSED in error:
        scene.notes["refused"] += 1
        return True
    if not scene.coordinator.wait(0):
        scene.faults.append(f"two at once: {error or 'not refused'}")
    return False


def interrupt(scene: Scene) -> bool:
    """Press Ctrl-C."""
    os.killpg(scene.coordinator.pid, signal.SIGINT)
    return True


def interrupt_twice(scene: Scene) -> bool:
    """Press Ctrl-C twice within a second."""
    os.killpg(scene.coordinator.pid, signal.SIGINT)
    if not scene.coordinator.wait(scene.random.uniform(0.0, 1.0)):
        with suppress(ProcessLookupError):
            os.killpg(scene.coordinator.pid, signal.SIGINT)
    return True


def set_back_clock(scene: Scene) -> bool:
    """Set the clock back, by a second or by years, and start the sweep again now and then."""
    path = clock(scene.place)
    before = int(path.read_text()) if path.exists() else 0
    path.write_text(str(before - int(10 ** scene.random.uniform(0, 8))))
    if scene.random.random() < 0.5:
        scene.coordinator.kill()
    return True


def leave_alone(scene: Scene) -> bool:
    """Disturb nothing: the surroundings do."""
    scene.coordinator.wait()
    return True
