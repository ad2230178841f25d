"""Residual streams, from which feature diversity is measured.

A stream has one layer before the first branch and one after every branch. Its next axes are times,
for networks of a problem, and examples. The coordinates are last: sampled sites, or neurons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ..statistics import Array
from ._problem import Problem
from ._simulate import trained
from ._site_runs import check_memory, run_sites
from ._sites import SiteDraw, draws

if TYPE_CHECKING:
    from torch import Tensor, nn

# Sites for every draw that they must keep orthogonal, by default.
_ROOM = 1.5


def limit_stream(
    problem: Problem, depth: int, *, samples: int | None = None, seed: int = 0
) -> Float[Array, "layers times examples samples"]:
    """Return the stream of an infinitely wide network, at sampled sites.

    Args:
        problem: The network, its data and training.
        depth: Number of branches.
        samples: Sites; by default half as many again as the draws that they must keep orthogonal.
        seed: Seed of the samples.

    Raises:
        MutransferError: the depth is not finite, the samples are fewer than the draws, or they
            take more than 8 GB.
        Diverged: the loss is hopeless.
    """
    problem.check_depth(depth)
    needed = 0 if math.isinf(depth) else draws(problem, depth)
    if math.isinf(depth) or (samples is not None and samples <= needed):
        raise MutransferError(
            f"depth {depth}, samples {samples}: give a finite depth and more than {needed} samples"
        )
    branches = int(depth)
    sites = math.ceil(_ROOM * needed) if samples is None else samples
    check_memory(problem, branches, sites, "or a smaller depth")
    return _stream(
        run_sites(problem, depth, branches, SiteDraw(problem, branches, sites, seed)).features,
        problem,
    )


def network_stream(
    problem: Problem, width: int, depth: int, seed: int = 0
) -> Float[Array, "layers times examples width"]:
    """Return the stream of one network of finite width.

    Raises:
        MutransferError: as of `simulate`.
    """
    return _stream(trained(problem, width, depth, [seed]).features, problem)[..., 0, :]


def _stream(
    features: Sequence[Array], problem: Problem
) -> Float[Array, "layers times examples *networks sites"]:
    """Return features (*networks, sites, columns) of all layers, with the sites last."""
    columns = problem.steps + 1, len(problem.targets)
    split = [layer.reshape(*layer.shape[:-1], *columns) for layer in features]
    return np.stack([np.moveaxis(layer, (-2, -1), (0, 1)) for layer in split])


def model_stream(
    model: nn.Module, modules: str | Sequence[str], *inputs: Tensor
) -> Float[Array, "layers ..."]:
    """Return the stream of a torch model in one forward pass of evaluation.

    It is the inputs of the named modules, in the order of their calls. The model is left unchanged.

    Args:
        model: Any torch model.
        modules: Names or patterns of the modules that read the stream, such as
            ["blocks.*", "norm"]: the first one of every branch, and the one after the last branch.
            A pattern's * stands for a part of a name without dots.
        inputs: Arguments of the model.

    Raises:
        MutransferError: no module has such a name, or the inputs of those that have differ in
            shape.
    """
    import torch

    patterns = [modules] if isinstance(modules, str) else list(modules)
    readers = [
        module
        for name, module in model.named_modules()
        if any(_matches(name, pattern) for pattern in patterns)
    ]
    stream: list[Array] = []

    def record(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        given = (*arguments, *keywords.values())
        tensor = next(each for each in given if isinstance(each, torch.Tensor))
        # A copy: the model may change its features in place.
        stream.append(tensor.detach().double().cpu().numpy().copy())

    with _evaluating(model), torch.no_grad():
        hooks = [module.register_forward_pre_hook(record, with_kwargs=True) for module in readers]
        try:
            model(*inputs)
        finally:
            for hook in hooks:
                hook.remove()
    names = ", ".join(patterns)
    if not stream:
        raise MutransferError(
            f"no module that was called matches {names}; `model.named_modules()` lists them"
        )
    if len(shapes := {features.shape for features in stream}) > 1:
        raise MutransferError(
            f"the inputs of {names} have different shapes, {shapes}: "
            "name modules that read one stream"
        )
    return np.stack(stream)


def _matches(name: str, pattern: str) -> bool:
    """Return True if a module's name fits a pattern with as many dots."""
    return name.count(".") == pattern.count(".") and fnmatchcase(name, pattern)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and every module back into its own afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
