"""Build the release and try it where users will have it; the output is a table.

    make release-check
    python scripts/release_check.py --only lowest --only extras

The wheel is built from the unpacked source distribution. New environments under a temporary folder
get it with all extras: with the lowest versions that its ranges allow, and with the newest ones for
every Python that this machine has. In each of them the command line, a short demo and the fast
tests run, and in a last one every extra, alone and missing. What cannot be tried says why. Nothing
is left on the disk. It ends with 1 if anything failed.

A CUDA build of torch takes 3 GB of downloads and 6 GB of disk while it is tried.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ROOM = 16
"""Gigabytes that must be free before an environment is made."""

TESTS = (
    *("core", "plans", "reading/test_reading.py", "figures/test_transfer_figure.py"),
    *("rules/test_paper.py", "rules/test_rule_table.py", "test_import.py", "test_notebook.py"),
    *("pytorch/test_apply.py", "pytorch/test_groups.py", "pytorch/test_initialize.py"),
    *("training/test_same.py", "training/test_optimizers.py", "studies/test_record.py"),
    *("studies/test_sweep.py", "certificates/test_transfer.py", "cli/test_help.py"),
)
"""The fast tests: of every room what depends on versions most."""

FOR_TESTS = ("pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6.100", "scipy>=1.11")
FOR_TESTS += ("nbclient>=0.10", "ipykernel>=6.29")

DEMO = """
import sys
from mutransfer import Study, log2
from mutransfer.experiments import demo
from mutransfer.tasks import mlp, resmlp

shared = {"seeds": 2, "rules": ("sp", "default"), "optimizer": "adam", "steps": 20}
rates = log2(-6, -4)
sweeps = {
    "width": Study(mlp, width=[8, 32], depth=[2], lr=rates, **shared),
    "depth": Study(resmlp, width=[8], depth=[2, 4], lr=rates, **shared),
}
demo(sys.argv[1], sweeps=sweeps)
"""
"""`mutransfer demo` with small networks."""


class Failed(Exception):
    """A command failed; the message is its last lines."""


class Untried(Exception):
    """Something is not to be had here."""


@dataclass
class Row:
    """A line of the table."""

    what: str
    python: str = ""
    torch: str = ""
    result: str = ""
    detail: str = ""
    seconds: float = 0.0

    def cells(self) -> list[str]:
        """Return the line as text."""
        return [self.what, self.python, self.torch, self.result, f"{self.seconds:.0f}", self.detail]


@dataclass
class Release:
    """The built files, and where everything is tried."""

    folder: Path
    wheel: Path = field(init=False)
    source: Path = field(init=False)

    def build(self) -> str:
        """Build the source distribution, and the wheel from it; return their sizes."""
        dist = self.folder / "dist"
        hatch = (sys.executable, "-m", "hatchling", "build", "-d", dist)
        run(*hatch, "-t", "sdist", cwd=ROOT)
        (archive,) = dist.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(self.folder, filter="data")
        self.source = self.folder / archive.name.removesuffix(".tar.gz")
        run(*hatch, "-t", "wheel", cwd=self.source)
        (self.wheel,) = dist.glob("*.whl")
        missing = self._missing()
        if missing:
            raise Failed(f"the wheel lacks {', '.join(missing)}")
        sizes = (
            f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in (archive, self.wheel)
        )
        return ", ".join(sizes)

    def _missing(self) -> list[str]:
        """Return tracked files of the package that the wheel does not have."""
        tracked = run("git", "ls-files", "src", cwd=ROOT).split()
        packed = {f"src/{name}" for name in ZipFile(self.wheel).namelist()}
        return sorted({*tracked} - packed)


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @classmethod
    def new(cls, folder: Path, python: Path, below: Environment | None = None) -> Environment:
        """Make one, which also sees the packages of the one below it."""
        run(python, "-m", "venv", folder)
        made = cls(folder)
        if below:
            places = (below.packages, made.packages / "below.pth")
            places[1].write_text(f"{places[0]}\n")
        return made

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """The folder of installed packages."""
        (found,) = self.folder.glob("lib/python3*/site-packages")
        return found

    def install(self, *wanted: str | Path, pins: Mapping[str, str] | None = None) -> None:
        """Install packages with pip, some of them in given versions."""
        fixed = [f"{name}=={version}" for name, version in (pins or {}).items()]
        cache = ("--cache-dir", self.folder.parent / "cache")
        try:
            run(self.python, "-m", "pip", "install", "--quiet", *cache, *wanted, *fixed)
        except Failed as error:
            if "No matching distribution" in str(error):
                raise Untried(str(error)) from None
            raise

    def version(self, package: str) -> str:
        """Return the version of a package."""
        ask = f"from importlib.metadata import version; print(version({package!r}))"
        return run(self.python, "-c", ask).strip()


def run(*command: str | Path, cwd: Path | None = None, limit: int = 3600) -> str:
    """Run a command, and return what it prints.

    Raises:
        Failed: it ends with an error, or does not end.
    """
    # The project's own sources must not stand in for the installed package.
    hidden = {"PYTHONPATH", "VIRTUAL_ENV"}
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} took more than {limit} s") from None
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"(ERROR|FAILED|E  )", line)] or lines
        raise Failed(f"{Path(command[0]).name}: {' | '.join(errors[-12:])}")
    return done.stdout


def interpreter(version: str) -> Path:
    """Return an interpreter of a minor version of Python.

    Raises:
        Untried: this machine has none.
    """
    roots = [os.environ.get("PYENV_ROOT", ""), "~/.pyenv", "~/.local/share/uv/python"]
    homes = (Path(root).expanduser() for root in roots if root)
    kept = (path for home in homes for path in home.glob(f"**/bin/python{version}"))
    places = [sys.executable, shutil.which(f"python{version}"), *sorted(kept)]
    ask = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for place in filter(None, places):
        try:
            if run(place, "-c", ask).strip() == version:
                return Path(place)
        except (Failed, OSError):
            continue
    raise Untried("this machine has no such Python")


def lowest(project: Mapping[str, Any]) -> dict[str, str]:
    """Return the lower bound of every range of a project's dependencies."""
    extras: Mapping[str, Sequence[str]] = project["optional-dependencies"]
    wanted: Iterable[str] = [
        *project["dependencies"],
        *(x for each in extras.values() for x in each),
    ]
    bounds = (re.match(r"([\w-]+)>=([\d.]+)", each) for each in wanted)
    return {match[1]: match[2] for match in bounds if match}


def try_versions(release: Release, row: Row, python: str, pins: Mapping[str, str]) -> None:
    """Install the wheel with all extras, and run command line, demo and fast tests."""
    free = shutil.disk_usage(release.folder).free / 1e9
    if free < ROOM:
        raise Untried(f"{free:.0f} GB are free on the disk, {ROOM} are needed")
    folder = release.folder / "environment"
    try:
        made = Environment.new(folder, interpreter(python))
        made.install(f"{release.wheel}[all]", *FOR_TESTS, pins=pins)
        row.torch = made.version("torch")
        row.detail = f"numpy {made.version('numpy')}"
        run(folder / "bin" / "mutransfer", "rules", cwd=release.folder)
        run(made.python, "-c", DEMO, release.folder / "demo", cwd=release.folder)
        run(folder / "bin" / "mutransfer", "transfer", release.folder / "demo" / "width")
        row.detail += f"; {_tests(made, release.source)}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(release.folder / "demo", ignore_errors=True)


def _tests(made: Environment, source: Path) -> str:
    """Run the fast tests; warnings of others' old or new versions are theirs."""
    quiet = ("-p", "no:cacheprovider", "-o", "filterwarnings=default", "-W", "ignore", "-n", "2")
    tests = (f"tests/{name}" for name in TESTS)
    printed = run(made.python, "-m", "pytest", *quiet, "--tb=line", *tests, cwd=source)
    return printed.strip().splitlines()[-1].strip("= ")


def try_extras(release: Release, pins: Mapping[str, str]) -> Iterator[Row]:
    """Yield a row for every extra: without it, and with it alone."""
    below = Environment.new(release.folder / "core", Path(sys.executable))
    below.install(release.wheel, pins=pins)
    torch = below.version("torch")
    script = ROOT / "scripts" / "try_extra.py"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in extras["optional-dependencies"]:
        if extra == "all":
            continue
        row, begin = Row(f"extra {extra}", torch=torch, python=_minor()), time.monotonic()
        own = release.folder / "extra"
        try:
            row.detail = _refusal(below, script, extra)
            alone = Environment.new(own, Path(sys.executable), below)
            alone.install(f"{release.wheel}[{extra}]", pins={})
            run(alone.python, script, extra, limit=600)
            row.result = "ok"
        except (Failed, Untried) as error:
            row.result, row.detail = _ending(error), str(error)
        finally:
            shutil.rmtree(own, ignore_errors=True)
        row.seconds = time.monotonic() - begin
        yield row
    shutil.rmtree(below.folder)


def _refusal(below: Environment, script: Path, extra: str) -> str:
    """Return the sentence that a feature says without its extra."""
    done = subprocess.run(
        [below.python, script, extra], capture_output=True, text=True, timeout=600, check=False
    )
    message = done.stdout.strip()
    if done.returncode != 3 or f"mutransfer[{extra}]" not in message:
        raise Failed(f"without it: {(message + done.stderr).strip()[-200:] or 'no refusal'}")
    return f"without it: {message}"


def _minor() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _ending(error: Exception) -> str:
    return "not tried" if isinstance(error, Untried) else "FAILED"


def cases(project: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, str]]]:
    """Return Python and fixed versions of every environment, by its name."""
    pinned = re.search(r"^torch==(.+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    newest = {f"newest, {python}": (python, {}) for python in PYTHONS}
    return {
        "lowest": (PYTHONS[0], lowest(project)),
        "developed with": (PYTHONS[0], {"torch": pinned[1]} if pinned else {}),
        **newest,
    }


def check(folder: Path, only: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of the table as they are known."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    release, begin = Release(folder), time.monotonic()
    row = Row("build", _minor())
    try:
        row.detail, row.result = release.build(), "ok"
    except Failed as error:
        row.detail, row.result = str(error), "FAILED"
    row.seconds = time.monotonic() - begin
    yield row
    if row.result != "ok":
        return
    known = cases(project)
    for name, (python, pins) in known.items():
        if only and not any(word in name for word in only):
            continue
        row, begin = Row(name, python), time.monotonic()
        try:
            try_versions(release, row, python, pins)
            row.result = "ok"
        except (Failed, Untried) as error:
            row.result, row.detail = (
                _ending(error),
                "; ".join(filter(None, [row.detail, str(error)])),
            )
        row.seconds = time.monotonic() - begin
        yield row
    if not only or "extras" in only:
        yield from try_extras(release, known["developed with"][1])


def main() -> None:
    """Print a row as soon as it is known; end with 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], help="part of a name; extras")
    parser.add_argument("--json", type=Path, help="file for the rows as data")
    arguments = parser.parse_args()
    rows = []
    print("| what | Python | torch | result | s | detail |\n" + 6 * "| --- " + "|")
    with tempfile.TemporaryDirectory(prefix="mutransfer-release-") as folder:
        for row in check(Path(folder), arguments.only):
            rows.append(row)
            print(f"| {' | '.join(cell.replace('|', '/') for cell in row.cells())} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(row) for row in rows], indent=1))
    sys.exit(any(row.result == "FAILED" for row in rows))


if __name__ == "__main__":
    main()
