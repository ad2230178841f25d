"""Calls of a model's modules while its forward pass is recorded."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
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
        self._running: list[tuple[str, int]] = []
        self._failed: dict[int, str] = {}
        self._errors: list[BaseException] = []  # kept, so that none has the address of another
        self._thread = threading.get_ident()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the calls in this thread. The modules themselves are not touched."""
        # Hooks of all modules see those that a model makes in its forward pass, too.
        handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def place(self, error: Exception) -> str:
        """Return the innermost module whose call raised an error."""
        return self._failed.get(id(error), "")

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        if threading.get_ident() == self._thread and id(module) in self._names:
            self._running.append((self._names[id(module)], id(module)))
            self._ledger.module = self._running[-1][0]

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if threading.get_ident() != self._thread or id(module) not in self._names:
            return
        name, _ = self._running.pop()
        caller, calling = self._running[-1] if self._running else ("", 0)
        self._ledger.module = caller
        error = sys.exception()
        if output is None and error is not None:  # also of a call that fails
            self._errors.append(error)
            self._failed.setdefault(id(error), name)
        elif not self._running or caller != name or calling == id(module):
            # What a wrapper of the same name calls is no other call.
            values = tuple(self._ledger.read(tensor) for tensor in tensors(output))
            self.outputs.setdefault(name, []).append(values)
