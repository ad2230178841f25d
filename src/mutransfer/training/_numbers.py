"""The numbers of every step that members have for their own, such as betas.

Axes: recipes, steps, numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ._optimizers import UPDATES
from ._recipe import Recipe

FACTOR = "", "factor"
"""Key of the factor of the rate, which all families have."""


@dataclass(frozen=True, eq=False)
class NumberTable:
    """The numbers of all steps of all recipes of a program.

    Numbers that are zero everywhere are left out, and with them the operations that need them.

    Attributes:
        keys: Family and name of every number.
        values: The numbers, in the type of the parameters.
    """

    keys: tuple[tuple[str, str], ...]
    values: Float[Tensor, "recipes steps numbers"]

    @classmethod
    def of(cls, recipes: Sequence[Recipe], like: Tensor) -> NumberTable:
        """Return the numbers of recipes, made in double precision.

        Args:
            recipes: Recipes that differ in nothing that all members of a program share.
            like: A parameter, for device and type.
        """
        tables = [_numbers(recipe) for recipe in recipes]
        kept = [key for key in tables[0] if any(table[key].any() for table in tables)]
        keys = tuple(key for key in kept if key != FACTOR)
        columns = [torch.stack([table[key] for key in (FACTOR, *keys)], -1) for table in tables]
        return cls(keys, torch.stack(columns).to(like.device, like.dtype))

    def at(
        self, recipes: Int[Tensor, " slots"], steps: Int[Tensor, " slots"]
    ) -> Float[Tensor, "slots numbers"]:
        """Return the numbers of each slot at its step."""
        return self.values[recipes, steps]

    def by_family(
        self, numbers: Float[Tensor, "slots numbers"]
    ) -> tuple[Float[Tensor, " slots"], Mapping[str, dict[str, Tensor]]]:
        """Return the factor of the rate, and the numbers of each family by name."""
        factor, *others = numbers.unbind(-1)
        named: dict[str, dict[str, Tensor]] = {}
        for (family, name), value in zip(self.keys, others, strict=True):
            named.setdefault(family, {})[name] = value
        return factor, named


def _numbers(recipe: Recipe) -> dict[tuple[str, str], Float[Tensor, " steps"]]:
    """Return the numbers of one recipe, double precision."""
    count = torch.arange(1, recipe.steps + 1, dtype=torch.float64)
    table = {FACTOR: torch.tensor(recipe.factors(), dtype=torch.float64)}
    for family, options in recipe.families().items():
        update = UPDATES[family]
        own = {name: value for name, value in options.items() if name in update.own}
        for name, value in update.numbers(count, **own).items():
            table[family, name] = torch.as_tensor(value, dtype=torch.float64).expand(recipe.steps)
    return table
