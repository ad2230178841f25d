"""The report: one HTML page, its figures, tables and sentences."""

from ..certificates import optima_rows as optima_rows
from ..certificates import summary_rows as summary_rows
from ..figures import Section as Section
from ..figures import sections as sections
from ._joined import joined as joined
from ._joined import names_of as names_of
from ._page import Page as Page
from ._page import check_extras as check_extras
from ._page import write_report as write_report
from ._tables import transfer_table as transfer_table
from ._versus import Difference as Difference
from ._versus import Versus as Versus
from ._versus import versus as versus
from ._watch import watched as watched
