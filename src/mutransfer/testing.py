"""An assertion for your own tests, which keeps a parametrization right in CI."""

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
    """Fail unless a model's features move by the same amount at every size.

    In a test of your own: `assert_scales(build, width=[64, 128, 256])`.

    Args:
        build: The builder of untrained models, `build(width=..., depth=...)`, called with the axes
            that are checked.
        width: Widths, the first is the base; None to check depth alone.
        depth: Depths, likewise; None to check width alone.
        **options: Further arguments of `coordinate_check`: rule, optimizer, lr, batch, loss, train,
            steps, seeds, ...

    Returns:
        The check, which passed.

    Raises:
        AssertionError: the check fails or is undecided; the message is its report.
    """
    check = coordinate_check(build, width=width, depth=depth, **options)
    if not check.ok:
        raise AssertionError(str(check))
    return check
