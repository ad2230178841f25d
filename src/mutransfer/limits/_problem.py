"""What is solved: a residual network, its data, and how it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ._activations import ACTIVATIONS, Activation, Array, activation
from ._losses import LOSSES, Loss, loss

Depth = int | float
"""A number of residual branches, or math.inf."""


_PLAIN = (
    "lr",
    "steps",
    "block",
    "block_depth",
    "gamma0",
    "beta0",
    "alpha",
    "train_input",
    "train_readout",
    "momentum",
    "nesterov",
    "weight_decay",
)
_ALPHAS = "from 1/2 to 1, or 0 for branches without depth scaling"


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A residual network in mean-field (muP) scaling, trained by gradient descent on a few examples.

    With width N, depth L and all weights drawn from N(0, 1):

        h^0 = W^0 x / sqrt(D)
        h^l = h^(l-1) + beta0 L^-alpha branch(h^(l-1))            l = 1 .. L
        f   = w . h^L / (gamma0 N)

    A "pre" branch of block depth 1 is W phi(h) / sqrt(N), of block depth 2 W2 phi(W1 phi(h) / sqrt(N)) / sqrt(N). A "post" branch is
    phi(W h / sqrt(N)), or phi(W2 phi(W1 h / sqrt(N)) / sqrt(N)), minus its mean over the N coordinates, as in Tensor Programs VI.
    Gradient descent has the rate lr gamma0^2 N, for hidden weights times L^(2 alpha - 1) where alpha exceeds 1/2, so that features
    move by the same amount at every width and depth (arXiv 2309.16620; 2310.02244, Section 6.3 with gamma = 1 - alpha).

    Attributes:
        inputs: (examples, D); a vector is taken as D = 1.
        targets: (examples,).
        lr: Learning rate eta0.
        steps: Number of steps; there are steps + 1 times, the first before any step.
        loss: "mse", (f - y)^2 / 2; "logistic", log(1 + exp(-y f)); or a Loss. The loss of a step is the mean over its batch.
        activation: Name of an activation, or an Activation.
        block: "pre" or "post".
        block_depth: Matrices in a branch, 1 or 2.
        gamma0: Strength of feature learning; its limit 0 is the kernel regime.
        beta0: Scale of the branches.
        alpha: Exponent of the depth in the branch's scale, from 1/2 to 1; 0 for no depth scaling at all.
        train_input: Whether W^0 is trained.
        train_readout: Whether w is trained.
        momentum: As in torch.optim.SGD.
        nesterov: As in torch.optim.SGD.
        weight_decay: Decay lambda0 in the gradient: a step shrinks weights by lr lambda0, so SGD's own weight_decay is
            lambda0 / (gamma0^2 N), for hidden weights times L^(1 - 2 alpha) where alpha exceeds 1/2.
        schedule: Factor of the rate at each step, (steps,), or a function of the step.
        batches: Which examples each step sees, (steps, batch); all of them where it is None.

    Raises:
        MutransferError: an argument is empty, of the wrong shape, unknown or out of range; the message names it.
    """

    inputs: Array
    targets: Array
    lr: float
    steps: int
    loss: Loss | str = "mse"
    activation: Activation | str = "linear"
    block: Literal["pre", "post"] = "pre"
    block_depth: Literal[1, 2] = 1
    gamma0: float = 1.0
    beta0: float = 1.0
    alpha: float = 0.5
    train_input: bool = True
    train_readout: bool = True
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: Callable[[int], float] | Sequence[float] | None = None
    batches: Sequence[Sequence[int]] | None = None

    def __post_init__(self) -> None:
        inputs, targets = _floats("inputs", self.inputs), _floats("targets", self.targets)
        if inputs.ndim == 1:
            inputs = inputs[:, None]
        if inputs.ndim != 2 or not inputs.size:
            raise MutransferError(
                f"inputs have the shape {inputs.shape}: give at least one example, as (examples, dimension)"
            )
        if targets.shape != (len(inputs),):
            raise MutransferError(
                f"targets have the shape {targets.shape}, but there are {len(inputs)} inputs: give ({len(inputs)},)"
            )
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "targets", targets)
        if self.objective is LOSSES["logistic"] and set(np.unique(targets)) - {-1.0, 1.0}:
            raise MutransferError(
                f"the logistic loss needs targets of -1 and 1, not {sorted(set(targets.tolist()))[:5]}"
            )
        if self.block not in ("pre", "post") or self.block_depth not in (1, 2):
            raise MutransferError(
                f"a block is pre or post, of block depth 1 or 2, not {self.block!r} of {self.block_depth!r}"
            )
        if not isinstance(self.alpha, Real) or not (self.alpha == 0 or 0.5 <= self.alpha <= 1):
            raise MutransferError(f"alpha is {self.alpha}: give it {_ALPHAS}")
        if isinstance(self.steps, bool) or not isinstance(self.steps, Integral) or self.steps < 0:
            raise MutransferError(f"steps is {self.steps!r}: give a whole number, not negative")
        for name, lowest in (
            ("lr", 0.0),
            ("gamma0", None),
            ("beta0", 0.0),
            ("momentum", 0.0),
            ("weight_decay", 0.0),
        ):
            value = getattr(self, name)
            if not isinstance(value, Real):
                raise MutransferError(f"{name} is {value!r}: give a number")
            object.__setattr__(self, name, float(value))
            if not math.isfinite(value) or (value <= 0 if lowest is None else value < lowest):
                raise MutransferError(
                    f"{name} is {value}: it must be finite and {'positive' if lowest is None else 'not negative'}"
                )
        object.__setattr__(self, "steps", int(self.steps))
        if self.momentum >= 1:
            raise MutransferError(f"momentum is {self.momentum}: it must be below 1")
        if self.nesterov and not self.momentum:
            raise MutransferError("nesterov needs a momentum above 0")
        _ = self.phi, self.rates, self.weights

    @cached_property
    def phi(self) -> Activation:
        """The activation itself."""
        return activation(self.activation)

    @cached_property
    def objective(self) -> Loss:
        """The loss itself."""
        return loss(self.loss)

    @cached_property
    def rates(self) -> Float[Array, " steps"]:
        """The learning rate of every step."""
        factors = self.schedule
        if factors is None:
            return np.full(self.steps, self.lr)
        found = _floats(
            "schedule",
            [factors(step) for step in range(self.steps)] if callable(factors) else factors,
        )
        if found.shape != (self.steps,):
            raise MutransferError(
                f"schedule has the shape {found.shape}, but there are {self.steps} steps: give ({self.steps},)"
            )
        if (found < 0).any():
            raise MutransferError(
                f"schedule has the factor {found.min():g}: factors cannot be negative"
            )
        return self.lr * found

    @cached_property
    def weights(self) -> Float[Array, "steps examples"]:
        """The weight of every example in every step's loss; each row sums to 1."""
        examples = len(self.targets)
        if self.batches is None:
            return np.full((self.steps, examples), 1 / examples)
        try:
            batches = np.asarray(self.batches)
        except ValueError:
            raise MutransferError(
                f"batches differ in size: give whole numbers, ({self.steps}, batch)"
            ) from None
        if (
            batches.ndim != 2
            or len(batches) != self.steps
            or not batches.size
            or not np.issubdtype(batches.dtype, np.integer)
        ):
            raise MutransferError(
                f"batches have the shape {batches.shape}: give whole numbers, ({self.steps}, batch)"
            )
        if batches.min() < 0 or batches.max() >= examples:
            raise MutransferError(
                f"batches name example {batches.max() if batches.max() >= examples else batches.min()} of {examples}"
            )
        return np.array(
            [np.bincount(row, minlength=examples) / len(row) for row in batches], dtype=np.float64
        )

    @cached_property
    def gram(self) -> Float[Array, "examples examples"]:
        """x . x' / D."""
        return np.asarray(self.inputs @ self.inputs.T / self.inputs.shape[1])

    @property
    def is_linear(self) -> bool:
        """Whether branches are linear and of one matrix, so that the limit needs no sampling."""
        return self.phi is ACTIVATIONS["linear"] and self.block_depth == 1

    def describe(self) -> dict[str, Any]:
        """The problem as plain data: numbers and names; functions by their names."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return plain | {
            "activation": self.phi.name,
            "loss": self.objective.name,
            "inputs": self.inputs.tolist(),
            "targets": self.targets.tolist(),
            "rates": self.rates.tolist(),
            "batches": None if self.batches is None else np.asarray(self.batches).tolist(),
        }

    def branch(self, depth: float) -> float:
        """The factor of a branch, beta0 L^-alpha; 0 where there is none."""
        return float(self.beta0 * depth**-self.alpha) if depth else 0.0

    def hidden_rate(self, depth: float) -> float:
        """The factor of the rate of hidden weights, L^(2 alpha - 1), at least 1."""
        return float(max(depth, 1) ** max(0.0, 2 * self.alpha - 1))

    def losses(self, outputs: Float[Array, "*any examples"]) -> Float[Array, "*any"]:
        """The mean loss over all examples."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.objective.value(outputs, self.targets).mean(-1))

    def pull(
        self, step: int, outputs: Float[Array, "*any examples"]
    ) -> Float[Array, "*any examples"]:
        """What the outputs are pulled by in this step: the weighted negative derivative of the loss; zero at the last time."""
        if step >= self.steps:
            return np.zeros_like(outputs)
        return np.asarray(-self.weights[step] * self.objective.slope(outputs, self.targets))

    def check_depth(self, depth: Depth) -> None:
        """Refuse what is no depth.

        Raises:
            MutransferError: it is neither a whole number from 0 on nor infinite, or infinite without depth scaling.
        """
        if depth == math.inf:
            if self.alpha == 0:
                raise MutransferError(
                    "without depth scaling (alpha = 0) there is no limit of infinite depth; give a finite depth"
                )
        elif not isinstance(depth, Real) or not depth >= 0 or depth != int(depth):
            raise MutransferError(f"depth is {depth}: give a whole number of branches, or math.inf")


def _floats(name: str, given: object) -> Array:
    try:
        found = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise MutransferError(f"{name} are not numbers: give an array") from None
    if not np.isfinite(found).all():
        raise MutransferError(f"{name} hold a number that is not finite")
    return found
