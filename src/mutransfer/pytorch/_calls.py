"""Calls of a model's modules while its forward pass is recorded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from ..reading import canonical
from ._inputs import tensors
from ._ledger import Ledger


class Calls:
    """Modules that are running, and what those put out that have run.

    Attributes:
        outputs: For each module the values that its calls put out.
    """

    def __init__(self, model: nn.Module, ledger: Ledger) -> None:
        """Prepare a record of the calls of a model's modules."""
        self.outputs: dict[str, list[tuple[int, ...]]] = {}
        self._names = {id(m): canonical(f"{n}.")[:-1] for n, m in model.named_modules()}
        self._ledger = ledger
        self._running: list[tuple[int, str]] = []
        self._thread = threading.get_ident()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the calls in this thread. The modules themselves are not touched."""
        # Hooks of all modules see those that a model makes in its forward pass, too.
        handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        if threading.get_ident() == self._thread and id(module) in self._names:
            name = self._names[id(module)]
            self._running.append((id(module), name))
            self._ledger.module = name

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if threading.get_ident() != self._thread or id(module) not in self._names:
            return
        name = self._names[id(module)]
        values = tuple(self._ledger.read(tensor) for tensor in tensors(output))
        self.outputs.setdefault(name, []).append(values)
        # Calls that failed, and were caught, are left with the call that caught them.
        while self._running and self._running.pop() != (id(module), name):
            pass
        self._ledger.module = self._running[-1][1] if self._running else ""


def values(ledger: Ledger, output: Any) -> tuple[int, ...]:
    """Return the values of the tensors that a model returned."""
    found: list[Tensor] = tensors(output)
    return tuple(ledger.read(tensor) for tensor in found)
