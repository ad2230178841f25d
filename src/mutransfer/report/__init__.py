"""The report: one HTML page, its figures, tables and sentences."""

from ..figures import Section as Section
from ._page import Page as Page
from ._page import check_extras as check_extras
from ._page import write_report as write_report
from ._tables import optima_rows as optima_rows
from ._tables import summary_rows as summary_rows
from ._tables import transfer_table as transfer_table
