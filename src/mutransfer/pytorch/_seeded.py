"""Draws that a seed decides: of torch, NumPy and Python alike."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Seed the generators of torch, NumPy and Python that models draw from."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw as a seed says, and leave the generators of the CPU as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            seed_generators(seed)
            yield
        finally:
            np.random.set_state(numpy)
            random.setstate(python)
