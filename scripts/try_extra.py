"""Use what one extra is for, in an environment that was installed for it.

    python scripts/try_extra.py plot

It ends with 0 if the feature works, and with 3 if it is refused with the command that installs the
extra. `scripts/release_check.py` runs it in new environments, with the extra alone and without it.
"""

import base64
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import mutransfer as mt
from mutransfer.tasks import cross_entropy, mlp

REFUSED = 3

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
"""A picture of one point, so that writing it needs no library."""

TABLE = "width,lr,loss\n" + "".join(
    f"{width},{2.0**power},{1 + (power + 5) ** 2 / 50}\n"
    for width in (32, 64, 128)
    for power in range(-8, -1)
)


def build(width: int) -> nn.Module:
    """Return a network that trains in an instant."""
    return mlp(width, 2, inputs=5, outputs=3)


def study() -> mt.Study:
    """Return a study that needs no data of an extra."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 5, generator=draw)
    task = mt.Task(name="rows", inputs=inputs, targets=inputs[:, :3].argmax(1), loss=cross_entropy)
    return mt.Study(build, width=[8, 16], lr=mt.log2(-5, -3), steps=2, task=task, optimizer="adam")


def tasks() -> None:
    """Load the digits of scikit-learn."""
    mt.tasks.digits()


def images() -> None:
    """Load pictures from folders, and from a parquet file."""
    for label in "ab":
        Path("pictures", label).mkdir(parents=True)
        for number in range(4):
            Path("pictures", label, f"{number}.png").write_bytes(DOT)
    mt.tasks.images("pictures")
    import pyarrow
    from pyarrow import parquet

    columns = {"img": [{"bytes": DOT}] * 4, "label": [0, 1, 0, 1]}
    parquet.write_table(pyarrow.table(columns), "pictures.parquet")
    mt.tasks.images("pictures.parquet")


def hf() -> None:
    """Load a data set of Hugging Face's library that lies on this disk."""
    Path("tales").mkdir()
    Path("tales", "one.txt").write_text("once upon a time\n" * 400)
    mt.tasks.task("hf:tales")


def plot() -> None:
    """Draw a record."""
    mt.Runs.from_table(_table()).save_figure("runs")


def report() -> None:
    """Write a report."""
    from mutransfer.report import Section, write_report

    write_report("report", [Section.of(mt.transfer(mt.Runs.from_table(_table())))])


def tables() -> None:
    """Read a table in parquet."""
    path = Path("runs.parquet")
    path.write_bytes(b"PAR1")
    if importlib.util.find_spec("pyarrow"):
        from pyarrow import csv, parquet

        parquet.write_table(csv.read_csv(_table()), path)
    mt.Runs.from_table(path)


def processes() -> None:
    """Sweep in two processes."""
    mt.sweep(study(), "record", engine="processes", workers=2)


def ray() -> None:
    """Sweep on Ray."""
    mt.sweep(study(), "record", engine="ray")


def submitit() -> None:
    """Sweep by submitit, on this machine."""
    mt.sweep(study(), "record", engine="submitit:local")


def optuna() -> None:
    """Search by Optuna."""
    mt.sweep(study(), "record", search=mt.studies.OptunaSearch(number=2))


EXTRAS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (tasks, images, hf, plot, report, tables, processes, ray, submitit, optuna)
}


def _table() -> Path:
    path = Path("runs.csv")
    path.write_text(TABLE)
    return path


def main() -> None:
    """Use the extra that is named, in a new folder."""
    (name,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            EXTRAS[name]()
        except mt.MutransferError as error:
            if "pip install 'mutransfer[" not in str(error):
                raise
            print(error)
            sys.exit(REFUSED)
        finally:
            os.chdir("/")


if __name__ == "__main__":
    main()
