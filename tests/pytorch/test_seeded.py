"""Draws of torch, NumPy and Python that a seed decides."""

import random

import numpy as np
import torch

from mutransfer.pytorch import seeded


def draws() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


def test_a_seed_decides_all_draws_and_moves_no_other() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with seeded(3):
        first = draws()
    with seeded(4):
        other = draws()
    with seeded(3):
        assert draws() == first
    assert all(one != two for one, two in zip(first, other, strict=True))
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])
