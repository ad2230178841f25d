"""Restoration of a model, and of all that its forward pass can change."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import _restore as restore
from ._snapshot import Snapshot


class Untouched:
    """Model and surroundings as they were before a forward pass."""

    def __init__(self, *roots: Any) -> None:
        """Keep the state of what can be reached from a model and its inputs."""
        self._snapshot = Snapshot(*roots)
        self._restores = [restore.caches(), *_global_generators()]
        self._written: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.substitute = self._snapshot.substitute

    def keep(self, tensor: Tensor) -> None:
        """Keep the numbers of a tensor that is about to be written."""
        if tensor.is_meta or tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        if storage._cdata not in self._written:
            numbers = storage.clone()  # type: ignore[no-untyped-call]
            self._written[storage._cdata] = storage, numbers

    def set_training(self, model: nn.Module, training: bool) -> None:
        """Put a model into a mode, without its own code: some merge parameters then."""
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):
                self._restores.append(partial(setattr, module, "training", module.training))
                module.training = training
            else:
                vars(module)["training"] = training

    def seed(self) -> None:
        """Start every source of random numbers from the same place."""
        torch.default_generator.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        for generator in self._snapshot.generators:
            _seed(generator)

    def restore(self) -> None:
        """Put everything back."""
        for storage, numbers in self._written.values():
            storage.copy_(numbers)
        failures: list[Exception] = []
        for put_back in (*self._snapshot.restores, *self._restores):
            try:
                put_back()
            except Exception as error:  # the others are put back all the same
                failures.append(error)
        if failures:
            raise failures[0]


@contextmanager
def untouched(*roots: Any) -> Iterator[Untouched]:
    """Restore a model, and all that its forward pass can change, at the end.

    What code writes to files, prints, or keeps on other machines is beyond it, as are arrays that
    share memory with a tensor.
    """
    state = Untouched(*roots)
    try:
        state.seed()
        yield state
    finally:
        state.restore()


def _global_generators() -> list[restore.Restore]:
    found: list[restore.Restore] = [
        partial(torch.default_generator.set_state, torch.default_generator.get_state()),
        partial(random.setstate, random.getstate()),
        partial(np.random.set_state, np.random.get_state()),
    ]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found.append(partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return found


def _seed(generator: Any) -> None:
    match generator:
        case torch.Generator():
            generator.manual_seed(0)
        case random.Random() | np.random.RandomState():
            generator.seed(0)
        case np.random.Generator():
            bits = generator.bit_generator
            bits.state = type(bits)(0).state
