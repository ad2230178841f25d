"""The fields of a study, which the functions about its parts take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from torch import nn

from ..core import FrozenDict, Size
from ..rules import DEFAULT, HorizonRule
from ..tasks import Stream, Task
from ._designs import Design, Grid
from ._rules import Rule

Values = Any
"""One value, or a tuple of values to sweep."""

Data = Task | Stream
"""What a run trains on."""

GRID = Grid()


@dataclass(frozen=True)
class Fields:
    """The arguments of a `Study`."""

    build: Callable[..., nn.Module] | None
    _: KW_ONLY
    width: tuple[int, ...] | None = None
    depth: tuple[int, ...] | None = None
    lr: Values
    axes: Mapping[str, tuple[int, ...]] | tuple[Size, ...] = FrozenDict()
    context: int | tuple[int, ...] | None = None
    batch: int | tuple[int, ...] = 64
    steps: int | tuple[int, ...] = 200
    horizon: str | HorizonRule | None = None
    weight_decay: Values = None
    eps: Values = None
    momentum: Values = None
    beta1: Values = None
    beta2: Values = None
    nesterov: Values = None
    schedule: Values = None
    warmup: Values = None
    clip: Values = None
    label_smoothing: Values = None
    readout: Values = None
    embedding: Values = None
    attention: Values = None
    branch: Values = None
    init: Values = None
    hyperparameters: Mapping[str, Values] = FrozenDict()
    design: Design | tuple[Design, ...] = GRID
    seeds: tuple[int, ...] = (0, 1, 2)
    rules: tuple[Rule, ...] = (DEFAULT,)
    base: Size = None  # type: ignore[assignment]
    task: Data | Callable[..., Data] | None = None
    optimizer: str = "adamw"
    options: Mapping[str, Any] = field(default_factory=FrozenDict)
    accumulate: int = 1
    precision: str | None = None
    evaluate: int | None = None
    train: Callable[[Any], Any] | None = None

    @property
    def families(self) -> list[str]:
        """The families of the optimizer: one, or two that share the work."""
        return [name.strip() for name in self.optimizer.split("+")]
