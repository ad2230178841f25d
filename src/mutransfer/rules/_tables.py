"""The parametrizations: data with their sources, and the one principle that turns them into rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from .._errors import MutransferError
from ._abc import Quantities, form_multiplier
from ._optimizers import Family
from ._powers import ONE, Powers, powers
from ._roles import Role


@dataclass(frozen=True, kw_only=True)
class Law:
    """What a parametrization says about a role, for a tensor that is used without a multiplier.

    Attributes:
        init: Standard deviation of an entry.
        gradient: RMS of an entry of the gradient.
        sums_over_width: Whether the output sums over a growing fan-in; an input has a finite one, a bias or a gain none.
    """

    init: Powers
    gradient: Powers
    sums_over_width: bool = True


_VECTOR = Law(init=ONE, gradient=powers(fan_out=-1), sums_over_width=False)

_MUP: Mapping[Role, Law] = {
    Role.INPUT: Law(init=powers(fan_in="-1/2"), gradient=powers(fan_out=-1), sums_over_width=False),
    Role.EMBEDDING: _VECTOR,
    Role.TIED: _VECTOR,
    Role.HIDDEN: Law(init=powers(fan_in="-1/2"), gradient=powers(fan_out=-1)),
    Role.READOUT: Law(init=powers(fan_in=-1), gradient=ONE),
    Role.BIAS: _VECTOR,
    Role.GAIN: _VECTOR,
    Role.VECTOR: _VECTOR,
    Role.SCALAR: Law(init=ONE, gradient=ONE, sums_over_width=False),
}
"""Maximal update in width (Tensor Programs V, Table 3); the gradients are what eps is compared with (2505.01618, Table 1)."""

_MATRICES = (Role.INPUT, Role.HIDDEN, Role.READOUT)


@dataclass(frozen=True, kw_only=True)
class Parametrization:
    """How initial scale, multiplier, rate, eps and weight decay of every role scale with the model's size.

    Attributes:
        name: The name that `parametrization` looks up.
        title: One line for people.
        source: Where the rule comes from.
        alpha: A residual branch is multiplied by depth^-alpha; None leaves branches as they are.
        maximal: Whether every layer's features move by the same amount at every size; otherwise (standard parametrization)
            one rate, eps and decay serve all tensors at all sizes and the model's own initial law is kept.
    """

    name: str
    title: str
    source: str
    alpha: Fraction | None = None
    maximal: bool = True

    @property
    def branch_multiplier(self) -> Powers:
        """What the output of every residual branch is multiplied by."""
        return ONE if self.alpha is None else powers(depth=-self.alpha)

    @property
    def logit_multiplier(self) -> Powers:
        """What the logits of a tied head are multiplied by, as a power of the head's fan-in (Table 8's multiplier)."""
        return powers(fan_in=-1) if self.maximal else ONE

    @property
    def attention_scale(self) -> Powers:
        """What the attention logits q·k are multiplied by (Tensor Programs V, Definition 4.1)."""
        return powers(head_dim=-1) if self.maximal else powers(head_dim="-1/2")

    def quantities(self, role: Role, optimizer: Family, *, in_branch: bool = False, form: str = "table3") -> Quantities:
        """How the five quantities of a tensor scale.

        The rate is the wanted change of the layer's output, divided by the change that a unit rate makes. Wanted is a constant, and
        depth^(alpha - 1) inside a residual branch, so that all branches together move the features by a constant (2603.00541,
        Section 4). Decay shrinks a tensor by the same fraction a step at every width, and inside a branch in proportion to the wanted
        change (2603.00541, Tables 6 and 12); where it is added to a gradient that is normalised afterwards, it has the gradient's scale.

        Args:
            role: What the tensor is to its network.
            optimizer: The family that trains it.
            in_branch: Whether it lies in a residual branch, whose multiplier (`branch_multiplier`) is not in the result.
            form: "plain" or "table3" (no multipliers), "table8" or "table9": equal training by the abc symmetry. Standard
                parametrization looks the same in all of them.

        Raises:
            MutransferError: there is no form of this name.
        """
        shown = form_multiplier(form, role)
        if not self.maximal:
            init = powers(fan_in="-1/2") if role in _MATRICES else ONE
            return Quantities(init=init, lr=ONE, eps=ONE, decay=ONE)
        change, gradient, gain = self._scales(role, optimizer, in_branch)
        lr = change / gain
        eps = ONE if optimizer.eps is None else gradient * optimizer.eps
        decay = change / lr
        if optimizer.decay == "coupled":
            decay *= gradient ** (1 - optimizer.homogeneity)
        return Quantities(init=_MUP[role].init, lr=lr, eps=eps, decay=decay).rescale(shown, optimizer)

    def derivation(self, role: Role, optimizer: Family, *, in_branch: bool = False) -> list[str]:
        """How `quantities` come about, one sentence each, before any multiplier is folded into the tensor."""
        if not self.maximal:
            return [f"{self.source}: one rate, eps and decay for all tensors, and the model's own initial law"]
        change, gradient, gain = self._scales(role, optimizer, in_branch)
        found = self.quantities(role, optimizer, in_branch=in_branch)
        sentences = [
            f"{self.source}",
            f"init {found.init}: the law of the role {role}",
            f"lr {found.lr}: the output should change by {change} a step, and a unit rate of {optimizer.name} changes it by {gain}",
            f"decay {found.decay}: {optimizer.decay}, it should shrink the tensor by {change} a step (2603.00541, Section 4)",
        ]
        return sentences if optimizer.eps is None else [*sentences, f"eps {found.eps}: entries of the gradient are {gradient}"]

    def _scales(self, role: Role, optimizer: Family, in_branch: bool) -> tuple[Powers, Powers, Powers]:
        """The wanted change of the output, an entry of the gradient, and the change that a unit rate makes."""
        law, change, gradient = _MUP[role], ONE, _MUP[role].gradient
        if in_branch and self.alpha is not None:
            change = powers(depth=self.alpha - 1)
            gradient *= self.branch_multiplier
        gain = optimizer.gain if law.sums_over_width else optimizer.gain.substitute(fan_in=None)
        return change, gradient, gain * gradient**optimizer.homogeneity


SP = Parametrization(
    name="sp",
    title="standard parametrization: plain PyTorch, one rate for every tensor",
    source="Tensor Programs V (2203.03466), Table 3, bracketed values",
    maximal=False,
)
MUP = Parametrization(
    name="mup",
    title="maximal update parametrization: transfers in width",
    source="Tensor Programs V (2203.03466), Table 3",
)
DEPTH_MUP = Parametrization(
    name="depth-mup",
    title="muP in width; residual branches times depth^-1/2, for branches with one matrix",
    source="Tensor Programs VI (2310.02244), Tables 1 and 2",
    alpha=Fraction(1, 2),
)
COMPLETEP = Parametrization(
    name="completep",
    title="muP in width; residual branches times 1/depth, for branches with two matrices or more",
    source="CompleteP (2505.01618), Table 1",
    alpha=Fraction(1),
)

PARAMETRIZATIONS = {each.name: each for each in (SP, MUP, DEPTH_MUP, COMPLETEP)}


def parametrization(name: str) -> Parametrization:
    """The parametrization of this name.

    >>> print(parametrization("completep").branch_multiplier)
    depth^-1

    Raises:
        MutransferError: there is no rule of this name.
    """
    try:
        return PARAMETRIZATIONS[name.lower()]
    except KeyError:
        raise MutransferError(f"unknown rule {name!r}; choose one of {', '.join(PARAMETRIZATIONS)}") from None
