"""Muon in double precision, so that two implementations can be compared to rounding."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def exact_muon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run what is written for bfloat16 in double precision, torch's Muon among it."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.double().clone())
    yield
