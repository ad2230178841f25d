"""The canvas of all figures: their style, and the files that they are written to."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import needs, writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#262626"
FAINT = "#737373"
ACCENT = "#c8460a"

# The palest part of the colour map cannot be seen on white.
_LIGHTEST = 0.36

_STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "white",
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "svg.fonttype": "path",
    # Without a salt, the names of clip paths are random and equal figures have different files.
    "svg.hashsalt": "mutransfer",
}

TITLE: dict[str, Any] = {"loc": "left", "fontsize": 9.5, "fontweight": "bold"}
"""Font and place of the title of a panel."""

DOT: dict[str, Any] = {
    "marker": "o",
    "markersize": 5.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.8,
}
"""The mark of an optimum."""

DRIFT: dict[str, Any] = {"color": ACCENT, "linewidth": 1.0, "linestyle": (0, (4, 2))}
"""The line from optimum to optimum."""

THEORY: dict[str, Any] = {"color": FAINT, "linewidth": 1.1, "linestyle": (0, (4, 2))}
"""The line of what theory expects."""


@contextmanager
def drawing() -> Iterator[None]:
    """Use our style while a figure is drawn or written, then the caller's again.

    Raises:
        MutransferError: matplotlib is missing.
    """
    with needs("the figure", "matplotlib", "plot"):
        from matplotlib import style
    with style.context(["default", _STYLE]):
        yield


def save(figure: Figure, stem: str | Path) -> tuple[Path, Path]:
    """Write a figure as `stem.png` and `stem.svg`, and return the two paths.

    Raises:
        MutransferError: the files cannot be written, or matplotlib is missing.
    """
    png, svg = Path(f"{stem}.png"), Path(f"{stem}.svg")
    with writing("the figure", stem):
        with drawing():
            # Pillow's default takes four times as long, for a file of 5% less.
            figure.savefig(png, dpi=150, pil_kwargs={"compress_level": 1})
        svg.write_text(as_svg(figure), encoding="utf-8")
    return png, svg


def as_svg(figure: Figure) -> str:
    """Return the figure as SVG, the same text on every call."""
    text = io.StringIO()
    with drawing():
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def as_png(figure: Figure, dpi: int = 100) -> bytes:
    """Return the figure as a PNG of 128 colours, a third as large as one of all."""
    # Matplotlib itself needs pillow.
    from PIL import Image

    whole, small = io.BytesIO(), io.BytesIO()
    with drawing():
        figure.savefig(whole, format="png", dpi=dpi)
    Image.open(whole).convert("RGB").quantize(128).save(small, format="png", optimize=True)
    return small.getvalue()


def lay_out(figure: Figure) -> None:
    """Arrange the figure once, so that all its files look alike and are written fast."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # An engine of the figure's own would cost another drawing for each file.
    ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.07).execute(figure)


def loss_ticks(axes: Axes) -> None:
    """Put plain numbers on a logarithmic axis: 1, 2 and 5 where it spans few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    low, high = axes.get_ylim()
    few = high < 1000 * low
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if few:
        # Ticks are what drawing costs most, and these have no numbers.
        axes.yaxis.set_minor_locator(NullLocator())


def size_legend(axes: Axes, handles: list[Any], title: str) -> None:
    """Name the lines of a panel to the right of it."""
    axes.legend(
        handles=handles,
        title=title,
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
    )


def note(axes: Axes, text: str) -> None:
    """Write a faint line between the title of a panel and the panel."""
    axes.annotate(
        minus(text),
        (0, 1),
        (0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=7.5,
        color=FAINT,
    )


def minus(text: str) -> str:
    """Return the text with minus signs in place of hyphens."""
    return text.replace("-", "\N{MINUS SIGN}")


_RAISED = str.maketrans("-.0123456789", "⁻·⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_two(place: float) -> str:
    """Return a power of two as text, ten times faster than matplotlib's mathematics.

    >>> power_of_two(-7.0)
    '2⁻⁷'
    """
    return f"2{f'{place:g}'.translate(_RAISED)}"


def shades(count: int, lightest: float = _LIGHTEST, darkest: float = 1.0) -> list[str]:
    """Return colours from light to dark, distinct to all kinds of colour vision.

    Args:
        count: Number of colours; one alone is dark.
        lightest: Place of the lightest in the colour map, from 0 to 1.
        darkest: Place of the darkest.
    """
    return [*_shades(count, lightest, darkest)]


@cache
def _shades(count: int, lightest: float, darkest: float) -> tuple[str, ...]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    places = np.linspace(lightest if count > 1 else darkest, darkest, count)
    return tuple(to_hex(colormaps["YlGnBu"](place)) for place in places)
