"""Models that are spread over processes, read as if they were whole."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from ..core import MutransferError


def check_whole(model: nn.Module) -> None:
    """Raise for a model whose parameters lie in flat ones.

    Raises:
        MutransferError: naming the wrapper.
    """
    # A class is known by its name: importing it takes a second.
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise MutransferError(
            "FullyShardedDataParallel hides the parameters of the model in flat ones: "
            "plan the model before it is wrapped, or use torch.distributed.fsdp.fully_shard"
        )


def inner(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers whose forward pass waits for other processes."""
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        wrapped = model.module
        assert isinstance(wrapped, nn.Module)
        return wrapped
    return model


def remove_hooks(model: nn.Module) -> None:
    """Remove the hooks by which sharded modules gather parameters and split inputs.

    They are not given back: it is for models whose attributes are restored anyway.
    """
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key, hook in list(hooks.items()):
                if _home(hook).startswith("torch.distributed"):
                    del hooks[key]


def _home(hook: Any) -> str:
    """Return the module that defines a hook."""
    while isinstance(hook, partial):
        hook = hook.func
    return str(getattr(hook, "__module__", ""))
