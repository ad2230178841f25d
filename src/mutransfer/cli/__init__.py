"""The command line: one file a verb, which loads, calls and shows."""

from ._main import VERBS as VERBS
from ._main import main as main
