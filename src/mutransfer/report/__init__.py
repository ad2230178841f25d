"""Results as people read them: figures, tables, and one HTML page."""

from ._canvas import ACCENT as ACCENT
from ._canvas import FAINT as FAINT
from ._canvas import INK as INK
from ._canvas import check_extras as check_extras
from ._canvas import drawing as drawing
from ._canvas import lay_out as lay_out
from ._canvas import save as save
from ._canvas import shades as shades
from ._curves import Curve as Curve
from ._curves import curves_figure as curves_figure
from ._figure import transfer_figure as transfer_figure
from ._page import Page as Page
from ._page import write_report as write_report
from ._section import Panel as Panel
from ._section import Section as Section
from ._section import panels as panels
from ._tables import optima_rows as optima_rows
from ._tables import summary_rows as summary_rows
from ._tables import transfer_table as transfer_table
