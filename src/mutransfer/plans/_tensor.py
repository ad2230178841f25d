"""The plan of one tensor, and of the output of one module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..core import FrozenDict
from ..rules import QUANTITIES, Place, Powers, Reason, Role, powers


@dataclass(frozen=True, kw_only=True, repr=False)
class TensorPlan:
    """The scaling of one tensor.

    Attributes:
        name: Its fully qualified name.
        role: Its role in the network.
        shape: Its shape in the model.
        base_shape: The shape of its counterpart in the base.
        run: Names of the model's tensors with its shape and factors, itself among them; their
            initial scale is measured together.
        place: Its place in the residual network.
        optimizer: Name of the family that trains it.
        ratios: The ratios that the powers are evaluated at, target over base.
        init: Power of the standard deviation at initialisation.
        lr: Power of the learning rate.
        eps: Power of the optimizer's eps.
        decay: Power of the weight decay that the optimizer is given.
        multiplier: The explicit multiplier (readout, branch or attention) that is folded into it.
        base_rms: RMS of its counterparts at initialisation; None where the base has no values.
        reasons: The derivation, with its source.
        aliases: The other names under which modules share it, as a tied head does.
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    base_shape: tuple[int, ...]
    run: tuple[str, ...]
    place: Place
    optimizer: str
    ratios: Mapping[str, Fraction]
    init: Powers
    lr: Powers
    eps: Powers
    decay: Powers
    multiplier: Powers
    base_rms: float | None
    reasons: tuple[Reason, ...]
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratios", FrozenDict(self.ratios))

    def __repr__(self) -> str:
        return f"<TensorPlan {self.name!r}: {self.role}, {self.place}, {self.optimizer}>"

    def factor(self, quantity: str) -> float:
        """Return the factor of a quantity ("init", "lr", "eps", ...) over base size."""
        power: Powers = getattr(self, quantity)
        return power.evaluate(self.ratios)

    @property
    def is_trained(self) -> bool:
        """True unless the tensor is declared frozen."""
        return self.role != Role.FROZEN


@dataclass(frozen=True, kw_only=True)
class ForwardMultiplier:
    """A factor on the output of a module, where no learned tensor can carry it.

    Attributes:
        module: The module's fully qualified name.
        multiplier: The power.
        ratios: The ratios that it is evaluated at, target over base.
        reasons: The derivation.
    """

    module: str
    multiplier: Powers
    ratios: Mapping[str, Fraction]
    reasons: tuple[Reason, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratios", FrozenDict(self.ratios))

    @property
    def factor(self) -> float:
        """The number that the output is multiplied by."""
        return self.multiplier.evaluate(self.ratios)


def tensor_to_json(tensor: TensorPlan) -> dict[str, Any]:
    """Return a tensor's plan as exact data, but for its run, which the plan writes."""
    exact = {quantity: getattr(tensor, quantity).to_json() for quantity in QUANTITIES}
    lists = {name: list(getattr(tensor, name)) for name in ("shape", "base_shape", "aliases")}
    words = {"role": tensor.role.value, "place": tensor.place.value}
    fields = {key: value for key, value in vars(tensor).items() if key != "run"}
    return fields | exact | lists | words | _explained(tensor)


def tensor_from_json(data: Mapping[str, Any], run: tuple[str, ...]) -> TensorPlan:
    """Return the tensor's plan that `tensor_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: the data is of another kind.
    """
    exact = {quantity: powers(**data[quantity]) for quantity in QUANTITIES}
    lists = {name: tuple(data[name]) for name in ("shape", "base_shape", "aliases")}
    words = {"role": Role(data["role"]), "place": Place(data["place"])}
    tensor = TensorPlan(**{**data, **exact, **lists, **words, **_exact_ratios(data), "run": run})
    for power in exact.values():
        power.evaluate(tensor.ratios)
    return tensor


def forward_to_json(forward: ForwardMultiplier) -> dict[str, Any]:
    """Return a forward multiplier as data, exact."""
    multiplier = forward.multiplier.to_json()
    return {"module": forward.module, "multiplier": multiplier, **_explained(forward)}


def forward_from_json(data: Mapping[str, Any]) -> ForwardMultiplier:
    """Return the forward multiplier that `forward_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: the data is of another kind.
    """
    multiplier = powers(**data["multiplier"])
    forward = ForwardMultiplier(**{**data, "multiplier": multiplier, **_exact_ratios(data)})
    multiplier.evaluate(forward.ratios)
    return forward


def _explained(part: TensorPlan | ForwardMultiplier) -> dict[str, Any]:
    ratios = {name: str(ratio) for name, ratio in part.ratios.items()}
    return {"ratios": ratios, "reasons": [reason.to_json() for reason in part.reasons]}


def _exact_ratios(data: Mapping[str, Any]) -> dict[str, Any]:
    ratios = {name: Fraction(ratio) for name, ratio in data["ratios"].items()}
    return {"ratios": ratios, "reasons": tuple(map(Reason.from_json, data["reasons"]))}
