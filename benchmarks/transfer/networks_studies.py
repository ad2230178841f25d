"""Networks whose optima are known, because larger ones are trained on a full grid, too."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from torch import Tensor, nn

from mutransfer import Study, Task
from mutransfer.tasks import gpt, mlp, pydocs, resmlp, resnet
from mutransfer.tasks import task as named_task

CIFAR = os.environ.get("CIFAR10", "cifar10-train.parquet")
"""Where the pictures are: a parquet file or a folder."""

SIDE = 8
"""Side of CIFAR-10's pictures here, so that a step takes a millisecond."""


def octaves(low: float, high: float, step: float = 0.5) -> list[float]:
    """Return the rates 2^low, ..., 2^high, half an octave apart."""
    return [2.0 ** (low + step * place) for place in range(round((high - low) / step) + 1)]


@cache
def pictures() -> Task:
    """Return CIFAR-10 as small pictures."""
    found = named_task(f"images:{CIFAR}", size=SIDE)
    assert isinstance(found, Task)
    return found


@cache
def vectors() -> Task:
    """Return CIFAR-10 as vectors, for perceptrons."""
    found = pictures()
    assert isinstance(found.inputs, Tensor)
    return replace(found, name=f"{found.name}, flat", inputs=found.inputs.flatten(1))


def cifar_mlp(width: int, depth: int) -> nn.Module:
    """Return a perceptron for small pictures."""
    return mlp(width, depth, inputs=3 * SIDE**2)


def cifar_resnet(width: int, depth: int) -> nn.Module:
    """Return a residual network of two stages for small pictures."""
    return resnet(width, depth, stages=2)


def short_gpt(width: int, depth: int) -> nn.Module:
    """Return a GPT for short windows of text."""
    return gpt(width, depth, context=16)


@dataclass(frozen=True, kw_only=True)
class Networks:
    """A sweep, and larger networks that are trained afterwards.

    Attributes:
        build: The builder.
        width: Widths of the sweep; the first is the base.
        depth: Depths of the sweep; the first is the base.
        target_width: Widths whose optimum is to be predicted; by default those of the sweep.
        target_depth: Depths of the same.
        low: Log2 of the grid's lowest rate.
        high: Log2 of its highest.
        step: Octaves between two rates of the sweep.
        between: Further rates of the targets, where they are best next to a cliff.
        rules: Rules that differ along the axes that vary.
        training: Further arguments of the study.
        task: Its data, by a function, as loading takes time.
    """

    build: Callable[..., nn.Module]
    width: tuple[int, ...]
    depth: tuple[int, ...]
    target_width: tuple[int, ...] = ()
    target_depth: tuple[int, ...] = ()
    low: float
    high: float
    step: float = 0.5
    between: tuple[float, ...] = ()
    rules: tuple[str, ...] = ("default", "sp")
    training: dict[str, Any]
    task: Callable[[], Task] | str = "digits"

    def sweep(self) -> Study:
        """Return the study of the small networks: three seeds."""
        return self._study(self.width, self.depth, octaves(self.low, self.high, self.step), 3)

    def truth(self) -> Study:
        """Return the study of the large networks: four other seeds, and half an octave."""
        width, depth = self.target_width or self.width, self.target_depth or self.depth
        rates = sorted({*octaves(self.low, self.high), *self.between})
        return self._study(width, depth, rates, range(10, 14))

    def _study(
        self, width: Sequence[int], depth: Sequence[int], rates: list[float], seeds: Any
    ) -> Study:
        return Study(
            self.build,
            width=width,
            depth=depth,
            lr=rates,
            seeds=seeds,
            rules=self.rules,
            base={"width": self.width[0], "depth": self.depth[0]},
            task=self.task if isinstance(self.task, str) else self.task(),
            **self.training,
        )


SHORT = {"steps": 60, "batch": 32}

MANY_SEEDS: dict[str, Study] = {
    "digits-adamw-mlp": Study(
        mlp, width=[64], depth=[3], lr=octaves(-10, -3), seeds=40, optimizer="adamw"
    ),
    "digits-sgd-mlp": Study(
        mlp, width=[64], depth=[3], lr=octaves(-6.5, 0.5), seeds=40, optimizer="sgd"
    ),
    "digits-adam-resmlp": Study(
        resmlp, width=[64], depth=[4], lr=octaves(-11, -4.5), seeds=40, optimizer="adam"
    ),
}
"""One size with 40 seeds: the optimum of their mean is the truth for few of them."""

_WIDTHS: dict[str, Any] = {"width": (16, 32, 64), "target_width": (256,)}
_FAR: dict[str, Any] = {"width": (8, 16, 32, 64), "target_width": (128, 256)}
_DEPTHS: dict[str, Any] = {"depth": (1, 2, 4, 8), "target_depth": (16, 32)}
_TEXT: dict[str, Any] = {
    "build": short_gpt,
    "task": lambda: pydocs(context=16),
    "step": 1,
    "training": {"steps": 50, "batch": 8, "optimizer": "adamw"},
}

NETWORKS: dict[str, Networks] = {
    "digits-mlp-sgd-width": Networks(
        build=mlp, depth=(3,), low=-6, high=0, training={**SHORT, "optimizer": "sgd"}, **_FAR
    ),
    "digits-mlp-adam-width": Networks(
        build=mlp, depth=(3,), low=-11, high=-4, training={**SHORT, "optimizer": "adam"}, **_FAR
    ),
    "digits-mlp-adamw-cosine-width": Networks(
        build=mlp,
        depth=(2,),
        low=-9,
        high=-3,
        step=1,
        training={**SHORT, "optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine"},
        **_WIDTHS,
    ),
    "digits-resmlp-adam-width": Networks(
        build=resmlp,
        depth=(2,),
        low=-9,
        high=-4,
        training={**SHORT, "optimizer": "adam"},
        **_WIDTHS,
    ),
    "digits-resmlp-sgd-width": Networks(
        build=resmlp, depth=(2,), low=-5, high=1, training={**SHORT, "optimizer": "sgd"}, **_WIDTHS
    ),
    "digits-mlp-momentum-width": Networks(
        build=mlp,
        depth=(2,),
        low=-9,
        high=-2,
        training={**SHORT, "optimizer": "sgd", "momentum": 0.9},
        **_FAR,
    ),
    "digits-mlp-lion-width": Networks(
        build=mlp, depth=(2,), low=-12, high=-6, training={**SHORT, "optimizer": "lion"}, **_FAR
    ),
    "digits-resmlp-adam-depth": Networks(
        build=resmlp,
        width=(16,),
        low=-9,
        high=-4,
        rules=("default", "sqrt-depth", "sp"),
        training={**SHORT, "optimizer": "adam"},
        **_DEPTHS,
    ),
    "digits-resmlp-sgd-depth": Networks(
        build=resmlp,
        width=(16,),
        low=-7,
        high=1,
        between=tuple(octaves(-2, -1, 0.125)),
        rules=("default", "sqrt-depth", "sp"),
        training={**SHORT, "optimizer": "sgd"},
        **_DEPTHS,
    ),
    "digits-resmlp-adam-both": Networks(
        build=resmlp,
        width=(8, 16, 32),
        depth=(1, 2, 4),
        target_width=(128,),
        target_depth=(16,),
        low=-8.5,
        high=-3.5,
        step=1,
        rules=("default", "mup", "sp"),
        training={**SHORT, "optimizer": "adam"},
    ),
    "cifar-mlp-sgd-width": Networks(
        build=cifar_mlp,
        depth=(2,),
        low=-7,
        high=-1,
        task=vectors,
        training={**SHORT, "optimizer": "sgd"},
        **_FAR,
    ),
    "cifar-mlp-adam-width": Networks(
        build=cifar_mlp,
        depth=(2,),
        low=-11,
        high=-5,
        step=1,
        task=vectors,
        training={**SHORT, "optimizer": "adam"},
        **_WIDTHS,
    ),
    "pydocs-gpt-adamw-width": Networks(
        width=(16, 32, 48), depth=(1,), target_width=(192,), low=-9, high=-3, **_TEXT
    ),
    "pydocs-gpt-adamw-depth": Networks(
        width=(32,), depth=(1, 2, 4), target_depth=(16,), low=-9, high=-3, **_TEXT
    ),
    "cifar-resnet-adam-depth": Networks(
        build=cifar_resnet,
        width=(8,),
        depth=(1, 2, 4),
        target_depth=(16,),
        low=-10,
        high=-4,
        step=1,
        task=pictures,
        training={"steps": 60, "batch": 16, "optimizer": "adam"},
    ),
}
"""Sweeps with larger networks afterwards, by name."""
