"""A training script as a separate command, for scripts that stay as they are."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from ..core import FrozenDict, MutransferError, frozen
from ._logs import Entry, Log
from ._trial import Trial

_STEP = ("step", "iter", "iteration", "global_step", "steps", "_step")
_LOSS = ("loss", "train_loss", "train/loss", "training_loss")
_RAISED = re.compile(r"(?:\[rank\d+\]: *)?([\w.]+(?:Error|Exception|Interrupt): \S.*)")
"""The last line of a traceback, also as torchrun shows it."""

_ABORTED = re.compile(r".*(what\(\): +\S.*|Signal \d+ \(SIG\w+\).*)")
"""The end of a process without a traceback, as C++ and torchrun tell it."""

_GRACE = 10.0
"""Seconds that a script has to end once it was asked to."""

_Point = tuple[int, float | None, dict[str, float]]
"""Step, loss and metrics."""

_ALWAYS = ("rule", "seed", "folder", "python", "steps", "batch")
"""What every command may name besides axes and hyperparameters."""


@dataclass(frozen=True)
class Command:
    """A training function that runs a command; made by `command`.

    Attributes:
        template: The command line, with names in braces.
        log: Path of the file that it writes, which may have braces; "" for its standard output.
        columns: Names of its columns: "step", "loss", or a metric of the record.
        cwd: Folder to run it in; "" for the current one.
    """

    template: str
    log: str = ""
    columns: Mapping[str, str] = FrozenDict()
    cwd: str = ""

    @property
    def names(self) -> set[str]:
        """The names in braces."""
        texts = (self.template, self.log, self.cwd)
        return {
            name for text in texts for _, name, _, _ in Formatter().parse(text) if name is not None
        }

    def check(self, known: set[str], swept: set[str]) -> None:
        """Raise unless the command names what is swept, and nothing else.

        Raises:
            MutransferError: naming the name.
        """
        if "" in self.names:
            raise MutransferError(
                f"the command {self.template!r} has empty braces: write a name in them, or two of "
                "each for braces themselves"
            )
        if unknown := self.names - known - set(_ALWAYS):
            raise MutransferError(
                f"the command names {{{min(unknown)}}}, which the study has not; it has "
                f"{', '.join(sorted(known | set(_ALWAYS)))}"
            )
        if unused := swept - self.names:
            raise MutransferError(
                f"the study sweeps {min(unused)}, and the command does not name it: write "
                f"{{{min(unused)}}} where the script takes it"
            )

    def __call__(self, trial: Trial) -> None:
        """Run the command for one trial, and report what it logs.

        Raises:
            MutransferError: it ended with an error, or logged nothing that can be read.
        """
        values = self._values(trial)
        arguments = [_filled(part, values) for part in shlex.split(self.template)]
        folder, cwd = trial.folder.resolve(), _filled(self.cwd, values)
        named = Path(cwd, _filled(self.log, values))
        log = Log(named if self.log else folder / "stdout.txt")
        # What was printed before stays: a script that goes on from a checkpoint prints the rest.
        with (folder / "stdout.txt").open("a") as out, (folder / "stderr.txt").open("w") as err:
            try:
                process = subprocess.Popen(
                    arguments,
                    stdout=out,
                    stderr=err,
                    text=True,
                    errors="replace",
                    cwd=cwd or None,
                    start_new_session=True,
                    # Losses that wait in a buffer would show a divergence at the end only.
                    env=os.environ | {"PYTHONUNBUFFERED": "1"},
                )
            except OSError as error:
                raise MutransferError(
                    f"cannot run {arguments[0]}: {error.strerror or error}"
                ) from None
        try:
            self._report(trial, log, process)
        finally:
            _end(process)

    def _values(self, trial: Trial) -> dict[str, Any]:
        fields = {
            "rule": trial.rule,
            "seed": trial.seed,
            "folder": trial.folder.resolve(),
            "python": sys.executable,
        }
        return {**trial.hyperparameters, **trial.size, **fields}

    def _report(self, trial: Trial, log: Log, process: subprocess.Popen[str]) -> None:
        old: list[_Point] | None = self._points(log.old())
        for entry in log.new(process):
            if old is not None and (step := self._step(entry)) is not None:
                # An attempt that was stopped got further than the checkpoint of this one.
                self._add(trial, [point for point in old if point[0] < step])
                old = None
            self._add(trial, self._points([entry]))
        if (code := process.wait()) != 0:
            raise MutransferError(
                f"the command ended with exit code {code}: {_complaint(trial.folder)}"
            )
        self._add(trial, old or [])
        if not trial.reports:
            where = log.path if self.log else "its standard output"
            raise MutransferError(
                f"the command logged no step and loss in {where}: write JSON lines such as "
                '{"step": 10, "loss": 2.5}, or a CSV, and name other columns by columns='
            )

    def _add(self, trial: Trial, points: Iterable[_Point]) -> None:
        for step, loss, metrics in points:
            trial.report(step, loss, **metrics)

    def _points(self, entries: Iterable[Entry]) -> list[_Point]:
        """Return step, loss and metrics of entries, in order; later ones of a step count."""
        points: dict[int, _Point] = {}
        for entry in entries:
            step, column = self._step(entry), self._named("loss", _LOSS, entry)
            loss = float(entry[column]) if column and _is_number(entry[column]) else None
            metrics = {
                name: float(entry[column])
                for name, column in self.columns.items()
                if name not in {"step", "loss"} and _is_number(entry.get(column))
            }
            if step is None or (loss is None and not metrics):
                continue
            _, known, others = points.get(step, (step, None, {}))
            points[step] = step, known if loss is None else loss, {**others, **metrics}
        return [points[step] for step in sorted(points)]

    def _step(self, entry: Entry) -> int | None:
        column = self._named("step", _STEP, entry)
        return int(float(entry[column])) if column and _is_number(entry[column]) else None

    def _named(self, name: str, usual: tuple[str, ...], entry: Mapping[str, Any]) -> str | None:
        """Return the column of a name, as it was given or as it is usually called."""
        candidates = (self.columns[name],) if name in self.columns else usual
        return next((column for column in candidates if column in entry), None)


def command(
    template: str,
    *,
    log: str = "",
    columns: Mapping[str, str] | None = None,
    cwd: str | Path = "",
) -> Command:
    """Return a training function for `Study(train=...)` that runs a script as it is.

    The script reads its hyperparameters from the command line, and writes what it logs as JSON
    lines or as a CSV with a header. A run that diverges is ended.

    >>> command("python train.py --lr {lr} --width {width} --out {folder}").names == {
    ...     "lr", "width", "folder"}
    True

    Args:
        template: The command line. In braces stand axes, hyperparameters, "rule", "seed",
            "folder" (one for each run), "python" (this interpreter).
        log: Path of the log that the script writes, ".csv", ".tsv" or JSON lines; it may have
            braces, as in "{folder}/log.csv". By default its standard output is read.
        columns: Names of the columns of the log where they are not usual ones:
            {"loss": "train_nll", "validation": "val_loss"}.
        cwd: Folder to run it in.

    Raises:
        MutransferError: the template is empty, or its braces are not closed.
    """
    try:
        parts = shlex.split(template)
        made = Command(template, log, frozen(dict(columns or {})), str(cwd))
        made.names  # noqa: B018
    except ValueError as error:
        raise MutransferError(f"the command {template!r} cannot be read: {error}") from None
    if not parts:
        raise MutransferError("the command is empty: give a command line")
    return made


class _Names(Formatter):
    """Fields by their whole name, as "lr.blocks.*" is one."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        return kwargs[field_name], field_name


def _filled(text: str, values: Mapping[str, Any]) -> str:
    return _Names().vformat(text, (), values)


def _end(process: subprocess.Popen[str]) -> None:
    """End a command with all processes that it started."""
    with suppress(subprocess.TimeoutExpired):
        if process.poll() is None:
            # A launcher such as torchrun ends its workers when it is asked to end.
            _signal(process, signal.SIGTERM)
            process.wait(_GRACE)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[str], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _complaint(folder: Path) -> str:
    """Return the exception or signal of a script, or its last words on stderr."""
    lines = (folder / "stderr.txt").read_text(errors="replace").strip().splitlines()
    raised = [match[1] for line in lines if (match := _RAISED.match(line))]
    aborted = [match[1] for line in lines if (match := _ABORTED.match(line))]
    # torchrun rules off its report with a line of signs.
    words = [line for line in lines if any(map(str.isalnum, line))]
    return next(iter([*raised[-1:], *aborted[:1], *words[-1:]]), "it wrote nothing to stderr")


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
