"""Muon in double precision, and compilation without a compiler."""

import pytest

from mutransfer.training import _compiled
from tests.muon import exact_muon as exact_muon


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run recorded steps as they are: what the compiler makes of them is tested apart."""
    monkeypatch.setattr(_compiled.torch, "compile", lambda recorded, **_: recorded)
    monkeypatch.setattr(_compiled, "_PROGRAMS", _compiled.deque(maxlen=_compiled.KEPT))
