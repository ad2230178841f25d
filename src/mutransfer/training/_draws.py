"""Draws from generators that a forward pass makes or seeds itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class OwnDraws(TorchFunctionMode):
    """A mode that refuses draws from generators other than torch's, or seeded anew.

    In a stack each member would have numbers of its own, where all have the same one by one, and a
    recording would go on where the generator starts again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seed = torch.initial_seed()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function.

        Raises:
            ValueError: it draws from such a generator, or torch's was seeded.
        """
        named = kwargs or {}
        if named.get("generator") is not None or torch.initial_seed() != self._seed:
            raise ValueError("it draws from a generator that it holds, makes or seeds itself")
        return func(*args, **named)
