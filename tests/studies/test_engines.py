"""Engines of a sweep: which of them end with it."""

from pathlib import Path

import pytest

from mutransfer import MutransferError, sweep
from mutransfer.engines import Here
from mutransfer.studies import _sweep
from tests.studies.small_study import short


class Closing(Here):
    """An engine that notes how it was closed."""

    def __init__(self) -> None:
        self.closed = list[bool]()

    def close(self, *, at_once: bool = False) -> None:
        self.closed.append(at_once)


def test_an_engine_by_name_ends_with_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Closing()
    sweep(short(width=[8]), tmp_path, engine=engine)
    assert engine.closed == []
    monkeypatch.setattr(_sweep, "executor_of", lambda *_, **__: engine)
    sweep(short(width=[8]), tmp_path, engine="ray:local")
    assert engine.closed == [False]
    with pytest.raises(MutransferError, match="another model"):
        monkeypatch.setattr(_sweep, "fingerprint", lambda _: [1.0, 2.0])
        sweep(short(width=[8]), tmp_path, engine="ray:local")
    assert engine.closed == [False, True]
