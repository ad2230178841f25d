"""A training script as a separate command, for scripts that stay as they are."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from ..core import FrozenDict, MutransferError, frozen
from ._trial import Trial

_STEP = ("step", "iter", "iteration", "global_step", "steps", "_step")
_LOSS = ("loss", "train_loss", "train/loss", "training_loss")
_POLL = 0.1
"""Seconds between two looks at a log file."""

ALWAYS = ("rule", "seed", "folder", "python", "steps", "batch")
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
        return {n for text in texts for _, n, _, _ in Formatter().parse(text) if n is not None}

    def check(self, known: set[str], swept: set[str]) -> None:
        """Raise unless the command names what is swept, and nothing else.

        Raises:
            MutransferError: naming the name.
        """
        if unknown := self.names - known - set(ALWAYS):
            raise MutransferError(
                f"the command names {{{min(unknown)}}}, which the study has not; it has "
                f"{', '.join(sorted(known | set(ALWAYS)))}"
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
        arguments = [part.format_map(values) for part in shlex.split(self.template)]
        errors = trial.folder / "stderr.txt"
        with errors.open("w") as stderr:
            try:
                process = subprocess.Popen(
                    arguments,
                    stdout=subprocess.PIPE if not self.log else stderr,
                    stderr=stderr,
                    text=True,
                    cwd=self.cwd.format_map(values) or None,
                )
            except OSError as error:
                raise MutransferError(
                    f"cannot run {arguments[0]}: {error.strerror or error}"
                ) from None
        try:
            self._report(trial, process, values)
        finally:
            process.kill()
            process.wait()

    def _values(self, trial: Trial) -> dict[str, Any]:
        fields = {
            "rule": trial.rule,
            "seed": trial.seed,
            "folder": trial.folder.resolve(),
            "python": sys.executable,
        }
        return {**trial.hyperparameters, **trial.size, **fields}

    def _report(
        self, trial: Trial, process: subprocess.Popen[str], values: Mapping[str, Any]
    ) -> None:
        path = Path(self.cwd.format_map(values), self.log.format_map(values)) if self.log else None
        lines = _written(path, process) if path is not None else iter(process.stdout or ())
        suffix = "" if path is None else path.suffix
        is_table = suffix in {".csv", ".tsv"}
        for entry in _cells(lines, suffix) if is_table else _objects(lines):
            self._entry(trial, entry)
        if (code := process.wait()) != 0:
            text = (trial.folder / "stderr.txt").read_text(errors="replace").strip()
            last = text.splitlines()[-1] if text else "it wrote nothing to stderr"
            raise MutransferError(f"the command ended with exit code {code}: {last}")
        if not trial.reports:
            where = path or "its standard output"
            raise MutransferError(
                f"the command logged no step and loss in {where}: write JSON lines such as "
                '{"step": 10, "loss": 2.5}, or a CSV, and name other columns by columns='
            )

    def _entry(self, trial: Trial, entry: Mapping[str, Any]) -> None:
        step, loss = self._named("step", _STEP, entry), self._named("loss", _LOSS, entry)
        others = {
            name: float(entry[column])
            for name, column in self.columns.items()
            if name not in {"step", "loss"} and _is_number(entry.get(column))
        }
        if step is None or not _is_number(entry[step]):
            return
        number = float(entry[loss]) if loss is not None and _is_number(entry[loss]) else None
        if number is not None or others:
            trial.report(int(float(entry[step])), number, **others)

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
        if "" in made.names:
            raise ValueError("it has empty braces {}; write {{}} for braces of its own")
    except ValueError as error:
        raise MutransferError(f"the command {template!r} cannot be read: {error}") from None
    if not parts:
        raise MutransferError("the command is empty: give a command line")
    return made


def _written(path: Path, process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield the whole lines of a file while a process writes it."""
    while not path.exists():
        if process.poll() is not None and not path.exists():
            return
        time.sleep(_POLL)
    with path.open(errors="replace") as file:
        rest = ""
        while True:
            ended = process.poll() is not None
            rest += file.read()
            *lines, rest = rest.split("\n")
            yield from lines
            if ended:
                if rest:
                    yield rest
                return
            time.sleep(_POLL)


def _objects(lines: Iterator[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects among lines; a script also prints other things."""
    for line in lines:
        if line.lstrip().startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _cells(lines: Iterator[str], suffix: str) -> Iterator[Mapping[str, Any]]:
    return csv.DictReader(lines, delimiter="\t" if suffix == ".tsv" else ",")


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
