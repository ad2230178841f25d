"""For your own tests: `assert_scales(build, width=[64, 128, 256])` keeps a parametrization right in CI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from .checks import CoordinateCheck, coordinate_check


def assert_scales(
    build: Callable[..., nn.Module],
    width: Sequence[int] | None = (64, 128, 256),
    depth: Sequence[int] | None = None,
    **options: Any,
) -> CoordinateCheck:
    """Fail unless a model's features move by the same amount at every size; what a coordinate check takes, this takes.

    Args:
        build: Makes an untrained model: `build(width=..., depth=...)`, with the axes that are checked.
        width: Widths, the first is the base; None to check depth alone.
        depth: Depths.
        **options: As in `coordinate_check`: rule, optimizer, lr, batch, loss, train, steps, seeds, ...

    Raises:
        AssertionError: the check fails or cannot tell; the message is its report.
    """
    found = coordinate_check(build, width=width, depth=depth, **options)
    if not found.ok:
        raise AssertionError(str(found))
    return found
