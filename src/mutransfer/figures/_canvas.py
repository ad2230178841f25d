"""What all figures share: their style, the extras they need, and how they are written."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import MutransferError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#262626"
FAINT = "#737373"
ACCENT = "#c8460a"

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
    "svg.hashsalt": "mutransfer",
}


@contextmanager
def needs(what: str, module: str, extra: str) -> Iterator[None]:
    """Turns a missing optional module into a sentence that says how to install it."""
    try:
        yield
    except ModuleNotFoundError:
        raise MutransferError(f"{what} needs {module}: pip install 'mutransfer[{extra}]'") from None


def check_extras() -> None:
    """Refuse early what a report would refuse after long work.

    Raises:
        MutransferError: matplotlib or jinja2 is missing.
    """
    for module in ("matplotlib", "jinja2"):
        with needs("the report", module, "report"):
            import_module(module)


@contextmanager
def drawing() -> Iterator[None]:
    """Our style while a figure is drawn or written, whatever the caller's settings, which are left as they were."""
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
    try:
        with drawing():
            figure.savefig(png, dpi=150)
        svg.write_text(as_svg(figure), encoding="utf-8")
    except OSError as error:
        raise MutransferError(
            f"cannot write the figure to {stem}: {error.strerror}; give another path"
        ) from None
    return png, svg


def as_svg(figure: Figure) -> str:
    """The figure as SVG, the same text on every call."""
    text = io.StringIO()
    with drawing():
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def lay_out(figure: Figure) -> None:
    """Arrange the figure once, so that every file of it looks alike and is written fast."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.07)
    figure.set_layout_engine(engine)
    engine.execute(figure)
    figure.set_layout_engine("none")


def loss_ticks(axes: Axes) -> None:
    """Plain numbers on a logarithmic axis of losses: 1, 2 and 5 where it spans few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def shades(count: int) -> list[str]:
    """Light for small sizes, dark for large ones, distinct to all kinds of colour vision."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [
        to_hex(colormaps["YlGnBu"](share))
        for share in np.linspace(_LIGHTEST if count > 1 else 1.0, 1.0, count)
    ]
