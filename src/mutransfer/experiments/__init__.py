"""Experiments that mutransfer brings along: the demo."""

from ._demo import RULES as RULES
from ._demo import Demo as Demo
from ._demo import demo as demo
from ._demo import studies as studies
from ._proof import Proof as Proof
from ._proof import prove as prove
