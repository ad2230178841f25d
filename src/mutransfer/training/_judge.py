"""Judges, which stop members that are not worth going on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Float, Int
from torch import Tensor

Judge = Callable[[Float[Tensor, "member steps"], Int[Tensor, " member"]], Sequence[int]]
"""Names the members to stop.

Receives the losses so far of all members, not a number where a step was not trained, and the number
of steps that each has done. Called every 20 steps.
"""
