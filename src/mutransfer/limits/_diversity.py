"""Feature diversity: how much layers that are close in depth differ, and how that changes as networks become deeper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ._activations import Array

if TYPE_CHECKING:
    from torch import Tensor, nn

_NEAR, _FAR = 64, 8
"""Distances go from 1/64 of the depth, or one layer, to 1/8 of it."""

FEWEST_LAYERS = 16
"""Branches from which on an exponent is told."""


def feature_diversity(features: object) -> float:
    """The feature diversity exponent kappa: features a share eps of the depth apart differ by eps^(1 - kappa).

    Definition 7.6 of Tensor Programs VI (2310.02244): with the root mean square over coordinates, averaged over the positions in depth,
    the slope over eps on logarithmic scales is 1 - kappa. 1/2 is the most that a stable network reaches, 0 means that nearby layers
    repeat each other. Before training, and for a few steps after, every network looks diverse, because the initial weights do: measure
    after training, at several depths, and look at the trend (`diversity_trend`).

    Args:
        features: The residual stream after every layer and before the first, (branches + 1, ..., coordinates); all other axes are
            averaged over.

    Raises:
        MutransferError: there are fewer than 16 branches, a feature is not finite, or layers do not differ at all.
    """
    stream = np.asarray(features, dtype=np.float64)
    depth = len(stream) - 1
    if stream.ndim < 2 or depth < FEWEST_LAYERS:
        raise MutransferError(
            f"features have the shape {stream.shape}: give (branches + 1, ..., coordinates) with at least {FEWEST_LAYERS} branches"
        )
    if not np.isfinite(stream).all():
        raise MutransferError("features hold a number that is not finite: the network has diverged")
    nearest = max(1, depth // _NEAR)
    distances = [nearest << i for i in range((depth // _FAR // nearest).bit_length())]
    differences = [
        float(np.sqrt(np.mean((stream[d:] - stream[:-d]) ** 2, axis=-1)).mean()) for d in distances
    ]
    if not all(differences):
        raise MutransferError("layers do not differ: all branches end in zero")
    slope = np.polyfit(np.log(distances), np.log(differences), 1)[0]
    return float(1 - slope)


@dataclass(frozen=True, kw_only=True)
class DiversityTrend:
    """Diversity exponents of ever deeper networks.

    Attributes:
        depths: Numbers of branches, ascending.
        exponents: The exponent at each depth, the mean over networks.
        errors: Its standard error over networks; not a number for one network.
        per_doubling: How much the exponent changes as the depth doubles. Near 0 at an exponent near 1/2: diverse. Below: with depth the
            layers become redundant.
    """

    depths: tuple[int, ...]
    exponents: tuple[float, ...]
    errors: tuple[float, ...]
    per_doubling: float


def diversity_trend(features: Mapping[int, Sequence[object]]) -> DiversityTrend:
    """The diversity exponent as a trend in depth.

    Args:
        features: For every depth the features of one or several networks, each as `feature_diversity` takes it.

    Raises:
        MutransferError: there are fewer than two depths, or features that cannot be measured.
    """
    if len(features) < 2:
        raise MutransferError(f"a trend needs at least two depths, not {len(features)}")
    depths = sorted(features)
    exponents = [[feature_diversity(each) for each in features[depth]] for depth in depths]
    means = [float(np.mean(each)) for each in exponents]
    return DiversityTrend(
        depths=tuple(depths),
        exponents=tuple(means),
        errors=tuple(
            float(np.std(each, ddof=1) / len(each) ** 0.5) if len(each) > 1 else float("nan")
            for each in exponents
        ),
        per_doubling=float(np.polyfit(np.log2(depths), means, 1)[0]),
    )


def model_stream(
    model: nn.Module, modules: str | Sequence[str], *inputs: Tensor
) -> Float[Array, "layers ..."]:
    """The inputs of these modules in one forward pass of evaluation, in the order of their calls: a torch model's residual stream.

    Args:
        model: Any torch model; it is left as it was.
        modules: Names or patterns of the modules that read the stream, such as ["blocks.*", "norm"]: of every branch the first, and
            what comes after the last. A pattern's * stands for what has no dot.
        inputs: What the model is called with.

    Raises:
        MutransferError: no module has such a name, or the inputs of those that have differ in shape.
    """
    import torch

    patterns = [modules] if isinstance(modules, str) else list(modules)
    found: list[Array] = []

    def record(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = next(
            each for each in (*arguments, *named.values()) if isinstance(each, torch.Tensor)
        )
        found.append(given.detach().double().cpu().numpy().copy())

    def named(name: str, pattern: str) -> bool:
        return name.count(".") == pattern.count(".") and fnmatchcase(name, pattern)

    wanted = [
        module
        for name, module in model.named_modules()
        if any(named(name, pattern) for pattern in patterns)
    ]
    hooks = [module.register_forward_pre_hook(record, with_kwargs=True) for module in wanted]
    training = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode
    if not found:
        raise MutransferError(
            f"no module that was called matches {', '.join(patterns)}; `model.named_modules()` lists them"
        )
    if len(shapes := {each.shape for each in found}) > 1:
        raise MutransferError(
            f"the inputs of {', '.join(patterns)} have different shapes, {shapes}: name modules that read one stream"
        )
    return np.stack(found)
