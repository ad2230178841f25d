"""Records of studies for the tests of the page."""

from tests.records import depths as depths
from tests.records import several as several
from tests.records import unbracketed as unbracketed
from tests.records import widths as widths
