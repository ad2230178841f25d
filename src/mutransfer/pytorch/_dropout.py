"""Training mode without dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_DROPOUTS = {
    functional.dropout,
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
    torch.dropout,
    torch.feature_dropout,
    torch.alpha_dropout,
}


class _NoDropout(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in _DROPOUTS:
            return args[0] if args else named["input"]
        if func is functional.scaled_dot_product_attention:
            args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
            named.pop("dropout_p", None)
        return func(*args, **named)


@contextmanager
def without_dropout(model: nn.Module, training: bool) -> Iterator[None]:
    """Switch dropout off in training mode: of modules, functions and branches.

    The rates are not given back: it is for models whose attributes are restored anyway.
    """
    if not training:
        yield
        return
    for module in model.modules():
        for name, value in vars(module).items():
            is_rate = "drop" in name or (name == "p" and "drop" in type(module).__name__.lower())
            if is_rate and type(value) is float:
                vars(module)[name] = 0.0
    with _NoDropout():
        yield
