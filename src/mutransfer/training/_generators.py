"""The generators of random numbers, put back as they were."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def generators() -> Callable[[], None]:
    """Return a function that puts Python's, NumPy's and torch's generators back."""
    plain, array, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def put_back() -> None:
        random.setstate(plain)
        np.random.set_state(array)
        torch.set_rng_state(tensors)

    return put_back


@contextmanager
def as_it_was() -> Iterator[None]:
    """Leave the generators as they were, those of devices too."""
    put_back = generators()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        put_back()


def drawn() -> tuple[Any, ...]:
    """Return the states of Python's and NumPy's generators."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return random.getstate(), name, keys.tobytes(), *rest  # type: ignore[union-attr]
