"""The command line: one file a verb, each of which loads, makes one public call, and shows."""

from ._main import VERBS as VERBS
from ._main import main as main
