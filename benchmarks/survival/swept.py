"""The studies by name, for the command line."""

from .studies import single as _single
from .studies import stacked as _stacked

single, small_single = _single(), _single(small=True)
stacked, small_stacked = _stacked(), _stacked(small=True)
