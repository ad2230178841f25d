"""The forms of a table: equal training with different explicit multipliers."""

from __future__ import annotations

from collections.abc import Mapping

from ..core import MutransferError
from ._powers import Powers, powers
from ._roles import Role, Trait

_TABLE9_INPUT = powers(fan_out="1/2")

FORMS: Mapping[str, Mapping[Role, Powers]] = {
    "plain": {},
    "table3": {},
    "table8": {Role.READOUT: powers(fan_in=-1)},
    "table9": {
        Role.READOUT: powers(fan_in="-1/2"),
        **{role: _TABLE9_INPUT for role in Role if role.has(Trait.INPUT_LIKE)},
    },
    "unit": {},
}
"""The multiplier that each form shows, by role (Tensor Programs V, Tables 3, 8 and 9).

`plain` has no multiplier at all: even that of a residual branch is folded into the branch's last
learned tensors. In `unit` every tensor is drawn with standard deviation 1, and its multiplier is
the standard deviation that its law gives it (2407.17465).
"""


PAPER_TABLES: Mapping[str, str] = {
    form: f"Tensor Programs V (2203.03466), Table {form.removeprefix('table')}"
    for form in ("table3", "table8", "table9")
} | {"unit": "Unit scaling (2407.17465)"}
"""The published table that has each form; the plain form is in no paper."""


def check_form(form: str) -> None:
    """Raise unless there is a form of this name.

    Raises:
        MutransferError: there is no such form.
    """
    if form not in FORMS:
        raise MutransferError(f"unknown form {form!r}; choose one of {', '.join(FORMS)}")
