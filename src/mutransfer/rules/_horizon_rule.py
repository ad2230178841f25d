"""A published rule for batch size and duration: assumptions, range, factors.

Longer runs are an open question. At a fixed batch the published exponents of the rate in the number
of tokens are 0 (2203.03466: the number of steps transfers as it is), -0.3 (Marin's recipe), -0.32
(2409.19913, whose fits for single model sizes run from -0.32 to -0.70; 2603.28743 on a sphere) and
-1/2 (2512.22382). 2503.04715 fits a positive one, +0.307, along a batch size that grows with the
data. They differ in optimizer, in schedule and in what else was scaled. So no rule is a default:
`horizon` takes the rule's name.

Derivation of Adam's rule in the batch. A batch κ times as large leaves the gradient's mean alone
and divides its variance by κ. Where noise dominates, the second moment is that variance, so its
root falls as κ^-1/2, and so must the eps that is added to it. A step along the normalised gradient
then gains κ^1/2 in signal and nothing in noise. κ times fewer steps have to add up to the same
drift and the same variance, and a rate times κ^1/2 does so for both. Memory is counted in samples,
so 1 - beta is multiplied by κ. A decoupled decay shrinks by rate x decay a step, so the decay is
multiplied by κ^1/2. 2205.10287 proves the rule without decay; 2512.22382 scales the decay alike at
a fixed number of tokens.

Left out are: the fraction of a run that AdamW best remembers, which falls with tokens per parameter
(2505.13738) and so depends on the model's size as well; laws for rate or batch as absolute numbers
(2503.04715, 2601.05049); rules for normalised networks and for other optimizers (Scion's
B^0.62 D^-0.56, 2510.03871); and schedules that make the rate independent of duration. None is a
factor of these two ratios.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core import number, parsed, parsing, plain
from ._powers import ONE, Powers, powers

Range = tuple[float, float]

_POWERS = ("lr", "eps", "decay", "one_minus_beta")


@dataclass(frozen=True, kw_only=True, repr=False)
class HorizonRule:
    """A source's rule for training on another batch size or for longer.

    All powers are in two ratios, target over base: `batch`, of the batch sizes, and `tokens`, of
    the samples seen in the run.

    Attributes:
        name: The name that `horizon` looks up.
        title: One line for people.
        source: The paper or code that the rule comes from.
        optimizers: Families that it is stated for.
        assumptions: The conditions under which it holds, one clause each.
        batch: Smallest and largest ratio of batch sizes; None where the rule says nothing about the
            batch.
        tokens: Smallest and largest ratio of tokens; None where the rule says nothing about
            duration.
        range_source: The source of these ranges.
        lr: Factor of the rate.
        eps: Factor of eps.
        decay: Factor of the weight decay given to a decoupled optimizer.
        one_minus_beta: Factor of 1 - beta.
        half_life: True if beta2 alone changes, to beta2^one_minus_beta, so that its half-life in
            tokens is kept exactly; otherwise both betas change.
        smallest_beta2: Lower bound of the new beta2.
        largest_beta2: Upper bound of the new beta2.
        min_steps: Fewest steps of either run.
    """

    name: str
    title: str
    source: str
    optimizers: tuple[str, ...]
    assumptions: tuple[str, ...]
    batch: Range | None
    tokens: Range | None
    range_source: str
    lr: Powers = ONE
    eps: Powers = ONE
    decay: Powers = ONE
    one_minus_beta: Powers = ONE
    half_life: bool = False
    smallest_beta2: float = 0.0
    largest_beta2: float = 1.0
    min_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("optimizers", "assumptions", "batch", "tokens"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))

    def __repr__(self) -> str:
        return f"<HorizonRule {self.name!r}>"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as data, its powers exact."""
        data: dict[str, Any] = plain(vars(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> HorizonRule:
        """Return the rule that `to_json` wrote.

        Raises:
            MutransferError: the data is no such rule.
        """
        with parsing("a rule written by HorizonRule.to_json"):
            fields = parsed(data)
            for name in ("batch", "tokens"):
                ends = fields[name]
                fields[name] = None if ends is None else tuple(map(number, ends))
            return cls(**fields | {name: powers(**fields[name]) for name in _POWERS})
