"""Figures: one canvas, and a drawing for each result.

`draw(result)` draws any result. A new figure is a new file that registers its results with `draw`,
and a line here.
"""

from ._beta_axis import axis_label as axis_label
from ._canvas import ACCENT as ACCENT
from ._canvas import FAINT as FAINT
from ._canvas import INK as INK
from ._canvas import as_png as as_png
from ._canvas import as_svg as as_svg
from ._canvas import drawing as drawing
from ._canvas import lay_out as lay_out
from ._canvas import save as save
from ._canvas import shades as shades
from ._check import check_figure as check_figure
from ._check_panels import check_panels as check_panels
from ._collapse import collapse_figure as collapse_figure
from ._curves import Curve as Curve
from ._curves import curves_figure as curves_figure
from ._diversity import diversity_figure as diversity_figure
from ._draw import draw as draw
from ._finite_size import finite_size_figure as finite_size_figure
from ._landscape import landscape_figure as landscape_figure
from ._law import law_figure as law_figure
from ._law_panels import LawPanel as LawPanel
from ._law_panels import law_panels as law_panels
from ._panels import Line as Line
from ._panels import Panel as Panel
from ._panels import Section as Section
from ._panels import panels as panels
from ._panels import sections as sections
from ._surface import surface_figure as surface_figure
from ._transfer import transfer_figure as transfer_figure
