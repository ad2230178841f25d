"""A residual network, its data, and its training: the input of every solver."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, parsed, parsing, plain
from ..statistics import Array
from ._activations import ACTIVATIONS, Activation, activation
from ._arguments import (
    Schedule,
    batch_weights,
    examples,
    factors,
    nonnegative,
    positive,
    whole_steps,
)
from ._losses import LOSSES, Loss, loss

Depth = int | float
"""A number of residual branches, or math.inf."""

MEMORY = 8.0
"""Memory that a solver may use, in gigabytes."""

_LONGEST_REPR = 500


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Problem:
    """A residual network in mean-field (muP) scaling, trained by gradient descent.

    With width N, depth L and all weights drawn from N(0, 1):

        h^0 = W^0 x / sqrt(D)
        h^l = h^(l-1) + beta0 L^-alpha branch(h^(l-1))            l = 1 .. L
        f   = w . h^L / (gamma0 N)

    A "pre" branch of block depth 1 is W phi(h) / sqrt(N), of block depth 2
    W2 phi(W1 phi(h) / sqrt(N)) / sqrt(N). A "post" branch is phi(W h / sqrt(N)), or
    phi(W2 phi(W1 h / sqrt(N)) / sqrt(N)); its mean over the N coordinates is subtracted, as in
    Tensor Programs VI. Gradient descent has the rate lr gamma0^2 N, for hidden weights times
    L^(2 alpha - 1) where alpha exceeds 1/2. So features move by the same amount at every width and
    depth (arXiv 2309.16620; 2310.02244, Section 6.3 with gamma = 1 - alpha).

    Problems are equal, and hash alike, if their contents are.

    Attributes:
        inputs: Examples (examples, D); a vector is taken as D = 1.
        targets: Targets (examples,).
        lr: Learning rate eta0.
        steps: Number of steps. There are steps + 1 times, the first before any step.
        loss: "mse", (f - y)^2 / 2; "logistic", log(1 + exp(-y f)); or a Loss. The loss of a step is
            the mean over its batch.
        activation: Name of an activation, or an Activation.
        block: "pre" or "post".
        block_depth: Matrices in a branch, 1 or 2.
        gamma0: Strength of feature learning; its limit 0 is the kernel regime.
        beta0: Scale of the branches.
        alpha: Exponent of the depth in the branch's scale, from 1/2 to 1; 0 for no depth scaling.
        train_input: True if W^0 is trained.
        train_readout: True if w is trained.
        momentum: Momentum of torch.optim.SGD.
        nesterov: Nesterov momentum of torch.optim.SGD.
        weight_decay: Decay lambda0 in the gradient: a step shrinks weights by lr lambda0. SGD's own
            weight_decay is lambda0 / (gamma0^2 N), for hidden weights times L^(1 - 2 alpha) where
            alpha exceeds 1/2.
        schedule: Factor of the rate at each step, (steps,), or a function of the step.
        batches: Examples that each step sees, (steps, batch); None for all of them.

    Raises:
        MutransferError: an argument is empty, of the wrong shape, unknown or out of range; the
            message names it.
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
    schedule: Schedule | None = None
    batches: Sequence[Sequence[int]] | None = None

    def __post_init__(self) -> None:
        inputs, targets = examples(self.inputs, self.targets)
        self._set(inputs=inputs, targets=targets)
        if self.objective is LOSSES["logistic"] and set(np.unique(targets)) - {-1.0, 1.0}:
            raise MutransferError(
                "the logistic loss needs targets of -1 and 1, "
                f"not {sorted(set(targets.tolist()))[:5]}"
            )
        self._check_branches()
        self._set(steps=whole_steps(self.steps), gamma0=positive("gamma0", self.gamma0))
        for name in ("lr", "beta0", "momentum", "weight_decay"):
            self._set(**{name: nonnegative(name, getattr(self, name))})
        for name in ("train_input", "train_readout", "nesterov"):
            if getattr(self, name) not in (True, False):
                raise MutransferError(f"{name} is {getattr(self, name)!r}: give True or False")
        if self.momentum >= 1:
            raise MutransferError(f"momentum is {self.momentum}: it must be below 1")
        if self.nesterov and not self.momentum:
            raise MutransferError("nesterov needs a momentum above 0")
        # Tuples, so that the problem can be hashed; they are valid once the two arrays are made.
        _ = self.phi, self.rates, self.weights
        if self.schedule is not None and not callable(self.schedule):
            self._set(schedule=tuple(map(float, self.schedule)))
        if self.batches is not None:
            self._set(batches=tuple(tuple(map(int, batch)) for batch in self.batches))

    def _set(self, **values: Any) -> None:
        """Set fields of the frozen problem, while it is made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_branches(self) -> None:
        if self.block not in ("pre", "post") or self.block_depth not in (1, 2):
            raise MutransferError(
                "a block is pre or post, of block depth 1 or 2, "
                f"not {self.block!r} of {self.block_depth!r}"
            )
        if not isinstance(self.alpha, Real) or not (self.alpha == 0 or 0.5 <= self.alpha <= 1):
            raise MutransferError(
                f"alpha is {self.alpha}: "
                "give it from 1/2 to 1, or 0 for branches without depth scaling"
            )

    # Identity: by content

    def _fields(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _content(self) -> tuple[object, ...]:
        arrays = {"inputs": (self.inputs.shape, self.inputs.tobytes())}
        arrays["targets"] = (self.targets.shape, self.targets.tobytes())
        resolved = {"activation": self.phi, "loss": self.objective}
        return tuple((self._fields() | arrays | resolved).items())

    def __eq__(self, other: object) -> bool:
        return self._content == other._content if isinstance(other, Problem) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._content)

    def __reduce__(self) -> tuple[Any, ...]:
        # Derived values are made again: among them are functions, which may not pickle.
        return partial(type(self), **self._fields()), ()

    def __repr__(self) -> str:
        count, dimension = self.inputs.shape
        texts = [f"{count} examples of dimension {dimension}", f"lr={self.lr:g}"]
        texts.append(f"steps={self.steps}")
        for field in fields(self)[4:]:
            value = getattr(self, field.name)
            if field.name in ("schedule", "batches") and value is not None:
                texts.append(f"{field.name}=...")
            elif value != field.default:
                shown = value.name if isinstance(value, Activation | Loss) else value
                texts.append(f"{field.name}={shown!r}")
        text = f"Problem({', '.join(texts)})"
        return text if len(text) <= _LONGEST_REPR else f"{text[: _LONGEST_REPR - 5]} ...)"

    # JSON

    def to_json(self) -> dict[str, Any]:
        """Return the problem as plain data; activation and loss by their names.

        A schedule becomes its factors; the rates, which follow from them, are written for readers.
        """
        names = {"activation": self.phi.name, "loss": self.objective.name}
        schedule = None if self.schedule is None else factors(self.schedule, self.steps)
        derived = {"schedule": schedule, "rates": self.rates}
        data: dict[str, Any] = plain(self._fields() | names | derived)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the problem that `to_json` wrote.

        Raises:
            MutransferError: the data is no problem, or its activation or loss is the user's own.
        """
        with parsing("a problem written by Problem.to_json"):
            given = parsed(data)
            given.pop("rates", None)
            return cls(**given)

    # What solvers need

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
        """Learning rate of every step."""
        return self.lr * factors(self.schedule, self.steps)

    @cached_property
    def weights(self) -> Float[Array, "steps examples"]:
        """Weight of every example in every step's loss; each row sums to 1."""
        return batch_weights(self.batches, self.steps, len(self.targets))

    @cached_property
    def gram(self) -> Float[Array, "examples examples"]:
        """Products of inputs, x . x' / D."""
        return np.asarray(self.inputs @ self.inputs.T / self.inputs.shape[1])

    @property
    def is_linear(self) -> bool:
        """True if branches are linear and of one matrix: their limit needs no sampling."""
        return self.phi is ACTIVATIONS["linear"] and self.block_depth == 1

    @property
    def is_noiseless(self) -> bool:
        """True if initial weights of branches have no effect at infinite depth.

        Their products add up to noise of order L^(1/2 - alpha). A matrix behind the activation
        (block "pre", one matrix) acts linearly, so that this noise is all they do.
        """
        return self.alpha > 0.5 and self.block == "pre" and self.block_depth == 1

    def branch(self, depth: float) -> float:
        """Return the factor of a branch, beta0 L^-alpha; 0 at depth 0."""
        return float(self.beta0 * depth**-self.alpha) if depth else 0.0

    def hidden_rate(self, depth: float) -> float:
        """Return the factor of the rate of hidden weights, L^(2 alpha - 1), at least 1."""
        return float(max(depth, 1) ** max(0.0, 2 * self.alpha - 1))

    def losses(self, outputs: Float[Array, "*any examples"]) -> Float[Array, "*any"]:
        """Return the mean loss over all examples."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.objective.value(outputs, self.targets).mean(-1))

    def pull(
        self, step: int, outputs: Float[Array, "*any examples"]
    ) -> Float[Array, "*any examples"]:
        """Return the negative derivative of a step's loss with respect to each output.

        Examples outside the batch have 0, and so have all of them at the last time, which no step
        follows.
        """
        if step >= self.steps:
            return np.zeros_like(outputs)
        return np.asarray(-self.weights[step] * self.objective.slope(outputs, self.targets))

    def check_depth(self, depth: Depth) -> None:
        """Raise unless the depth is one that this problem has.

        Raises:
            MutransferError: it is neither a whole number from 0 on nor infinite, or it is infinite
                without depth scaling.
        """
        if depth == math.inf:
            if self.alpha == 0:
                raise MutransferError(
                    "without depth scaling (alpha = 0) there is no limit of infinite depth; "
                    "give a finite depth"
                )
        elif not isinstance(depth, Real) or not depth >= 0 or depth != int(depth):
            raise MutransferError(f"depth is {depth}: give a whole number of branches, or math.inf")


def scaling(problem: Problem) -> str:
    """Return how branches scale with depth, in words."""
    if not problem.alpha:
        return "no depth scaling"
    words = {0.5: "1/√depth", 1.0: "1/depth"}
    return f"branches × {words.get(problem.alpha, f'depth^-{problem.alpha:g}')}"
