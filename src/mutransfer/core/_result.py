"""The common face of public results: text, a short repr, HTML, JSON, a figure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ._csv import csv_text
from ._errors import MutransferError, writing
from ._html import LARGEST_FIGURE, Fold, as_html, picture, preformatted
from ._json import text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_REPR = 500
"""Most characters of a `repr`."""

# Results are below the room that draws them, and are drawn by name: an import of that room here
# would turn the order of the rooms round, and load matplotlib's helpers with every result.
_DRAWINGS = "mutransfer.figures"


class Result(ABC):
    """A public result: prints as a table, travels as JSON, is short in a debugger."""

    @abstractmethod
    def __str__(self) -> str:
        """Return the result as people read it."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the whole result as data that `json.dumps(allow_nan=False)` takes."""

    @classmethod
    @abstractmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the result that `to_json` wrote, from its dictionary or the text of it.

        Raises:
            MutransferError: the data is of another kind.
        """

    def save(self, out: str | Path) -> Path:
        """Write the result as JSON, and return the path.

        Results that can be drawn write text, CSV and figure, too, into a folder.

        Args:
            out: The file, or the folder.

        Raises:
            MutransferError: the file cannot be written.
        """
        with writing(f"the {type(self).__name__}", out):
            Path(out).write_text(f"{text(self)}\n", encoding="utf-8")
        return Path(out)

    def __repr__(self) -> str:
        head, *rest = str(self).splitlines() or [""]
        short = f"<{type(self).__name__}: {head}{' ...' if rest else ''}>"
        return short if len(short) <= LONGEST_REPR else f"{short[: LONGEST_REPR - 5]} ...>"

    def _repr_html_(self) -> str:
        text = self._summary()
        figure = [_figure(self, text)] if isinstance(self, Drawn) else []
        return as_html(text, [*self._folds(), *figure])

    def _summary(self) -> str:
        """Return the text that a notebook shows before all folds."""
        return str(self)

    def _folds(self) -> Sequence[Fold]:
        """Return the parts that a notebook opens and closes, without the figure."""
        return ()


class Drawn:
    """A result that can be drawn; `mutransfer.figures` has the drawing of each."""

    def figure(self) -> Figure:
        """Draw the result.

        Raises:
            MutransferError: matplotlib is missing.
        """
        figure: Figure = import_module(_DRAWINGS).draw(self)
        return figure

    def save_figure(self, stem: str | Path) -> tuple[Path, Path]:
        """Write the figure as `stem.png` and `stem.svg`, and return the two paths.

        Raises:
            MutransferError: matplotlib is missing, or the files cannot be written.
        """
        paths: tuple[Path, Path] = import_module(_DRAWINGS).save(self.figure(), stem)
        return paths


def _figure(result: Drawn, text: str) -> Fold:
    """Return the figure as a fold, or a sentence on why there is none."""
    figures = import_module(_DRAWINGS)
    try:
        figure = result.figure()
        image: str | bytes = figures.as_svg(figure)
        if len(image) > LARGEST_FIGURE:
            image = figures.as_png(figure)
    except MutransferError as error:
        return Fold("no figure", preformatted(str(error), wrap=True))
    return Fold("figure", picture(image, f"figure: {text.splitlines()[0]}"), is_open=True)


def save_folder(
    result: Drawn, rows: Sequence[Mapping[str, Any]], out: str | Path, *, name: str
) -> Path:
    """Write text, JSON, CSV and figure of a result into a folder, and return it.

    Args:
        result: A result with `to_json`.
        rows: Its plain rows.
        out: The folder; it is made if it is missing.
        name: Name of the files, such as "check".

    Raises:
        MutransferError: the folder cannot be written, or matplotlib is missing.
    """
    folder = Path(out)
    files = {"txt": f"{result}\n", "json": f"{text(result)}\n", "csv": csv_text(rows)}
    with writing(f"the {name}", out):
        folder.mkdir(parents=True, exist_ok=True)
        for ending, content in files.items():
            (folder / f"{name}.{ending}").write_text(content, encoding="utf-8", newline="")
    result.save_figure(folder / name)
    return folder
