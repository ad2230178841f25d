"""The engine: a parametrization turns laws of roles into quantities of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any

from ..core import FrozenDict, MutransferError, parsed, parsing
from ._disagreement import Disagreement, Effect
from ._family import Family
from ._forms import FORMS, check_form
from ._powers import ONE, Exponent, Powers, exact, powers
from ._principle import derived, explained
from ._quantities import QUANTITIES, Quantities
from ._reasons import Reason
from ._register import DISAGREEMENTS
from ._roles import Law, Place, Role, laws
from ._situation import Situation

_STANDARD = laws(readout="1/2")
_OPTIONS = {name: choice for name, choice in DISAGREEMENTS.items() if choice.is_option}
_FACTORS = ("init", "lr", "eps", "decay", "branch", "attention")


@dataclass(frozen=True, kw_only=True, repr=False)
class Parametrization:
    """A rule by which the five quantities of every role scale.

    Attributes:
        name: Its name, and after a comma each option and each factor that is switched off.
        title: One line for people.
        source: The paper or code that the rule comes from.
        cites: arXiv numbers of the papers to cite, or BibTeX entries of one's own.
        laws: The law of each role.
        alpha: A residual branch is multiplied by depth^-alpha; None leaves branches as they are.
        attention: The attention logits q·k are multiplied by head_dim^-attention.
        one_rate: True if one rate, eps and decay serve all tensors at all sizes, and the model
            keeps its own initial law (standard parametrization). Otherwise they are derived for
            each tensor.
        options: Sides taken in disagreements, where they are not the default.
        off: Factors and roles that are switched off.
    """

    name: str
    title: str
    source: str
    cites: tuple[str, ...] = ()
    laws: Mapping[Role, Law] = field(default_factory=laws)
    alpha: Fraction | None = None
    attention: Fraction = Fraction(1)
    one_rate: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    off: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, value in {"alpha": self.alpha, "attention": self.attention}.items():
            if value is not None:
                object.__setattr__(self, name, exact(name, value))
        for name in ("laws", "options"):
            object.__setattr__(self, name, FrozenDict(getattr(self, name)))
        object.__setattr__(self, "cites", tuple(self.cites))
        object.__setattr__(self, "off", frozenset(self.off))

    def __repr__(self) -> str:
        return f"<Parametrization {self.name!r}>"

    @property
    def branch_multiplier(self) -> Powers:
        """Multiplier of the output of every residual branch."""
        return ONE if self.alpha is None or "branch" in self.off else powers(depth=-self.alpha)

    @property
    def logit_multiplier(self) -> Powers:
        """Multiplier of the logits of a tied head, in the head's fan-in (Table 8)."""
        return ONE if self.one_rate or Role.TIED in self.off else self.law(Role.READOUT).init

    @property
    def attention_scale(self) -> Powers:
        """Multiplier of the attention logits q·k (Tensor Programs V, Definition 4.1)."""
        standard = Fraction(1, 2)
        return powers(head_dim=-(standard if "attention" in self.off else self.attention))

    @property
    def clip(self) -> Powers:
        """Threshold of the global gradient norm where multipliers are explicit (Table 8).

        It is a constant, or with the option "derived" the norm of the hidden matrices' gradient,
        which has depth · n² entries of size depth^-alpha / n.
        """
        if self.alpha is None or self.options.get("clip") != "derived":
            return ONE
        return powers(depth=Fraction(1, 2) - self.alpha)

    def law(self, role: Role) -> Law:
        """Return the law of a role.

        Raises:
            MutransferError: the parametrization has none for it.
        """
        if role not in self.laws:
            raise MutransferError(
                f"rule {self.name!r} says nothing about the role {role} ({self.source}); "
                "give it a Law in laws="
            )
        return self.laws[role]

    def using(self, /, **options: Exponent) -> Parametrization:
        """Return the rule with other sides taken in disagreements, or with another alpha.

        >>> from mutransfer.rules import parametrization
        >>> print(parametrization("completep").using(alpha="3/4", decay="sqrt").name)
        completep, alpha=3/4, decay=sqrt

        Raises:
            MutransferError: there is no such option or side, or alpha is no number.
        """
        self._check_changeable()
        rule = self
        for option, value in options.items():
            if option == "alpha":
                rule = rule._with_alpha(value)
            else:
                rule = rule._with_option(option, str(value))
            rule = replace(rule, name=_named(rule.name, f"{option}={value}"))
        return rule

    def without(self, *factors: str) -> Parametrization:
        """Return the rule with factors switched off, for experiments; other factors stay.

        >>> from mutransfer.rules import parametrization
        >>> print(parametrization("mup").without("eps").name)
        mup, without eps

        Args:
            factors: Each is a quantity, a role, "branch" or "attention". A quantity ("lr", "eps",
                "decay") is left at its base value as an implementation with explicit multipliers
                (Table 8) would leave it; "init" is the standard initial scale there. The other
                forms follow by the abc symmetry, so all remain one training. A role ("embedding")
                is treated as under standard parametrization. "branch" is the multiplier of
                residual branches, "attention" the scale of the attention logits.

        Raises:
            MutransferError: there is no such factor.
        """
        self._check_changeable()
        known = (*_FACTORS, *Role)
        for factor in factors:
            if factor not in known:
                raise MutransferError(
                    f"a rule has no factor {factor!r} to switch off; "
                    f"choose one of {', '.join(known)}"
                )
        name = _named(self.name, *(f"without {factor}" for factor in factors))
        return replace(self, name=name, off=self.off | frozenset(factors))

    def quantities(
        self,
        role: Role,
        optimizer: Family,
        place: Place = Place.OUTSIDE,
        *,
        form: str = "table3",
        carries: Powers = ONE,
    ) -> Quantities:
        """Return the powers by which the five quantities of a tensor scale.

        The rate is the wanted change of the layer's output, divided by the change at rate 1. Wanted
        is a constant, and depth^(alpha - 1) inside a residual branch, so that all branches together
        move the features by a constant (2603.00541, Section 4).

        Decay shrinks a tensor by the same fraction a step at every width, and inside a branch in
        proportion to the wanted change (2603.00541, Tables 6 and 12). Where it is added to a
        gradient that is normalised afterwards, it scales as the gradient. Where the update is
        relative to the tensor, it keeps its share of the update.

        Args:
            role: The tensor's role.
            optimizer: The family that trains it.
            place: Its place. In the plain form a tensor that ends a branch carries the branch's
                multiplier; in the other forms that multiplier is explicit and not in the result.
            form: "plain", "table3" (no multipliers), "table8", "table9" or "unit": equal training
                by the abc symmetry. Standard parametrization looks the same in all of them.
            carries: Another multiplier that is folded into the tensor.

        Raises:
            MutransferError: there is no form of this name, or the rule has no law for the role.
        """
        theta = self.multiplier(role, form)
        quantities, _ = self._chosen(self._situation(role, optimizer, place))
        if form == "plain" and place == Place.BRANCH_END:
            carries = carries * self.branch_multiplier
        return quantities.fold(carries, optimizer).rescale(theta, optimizer)

    def multiplier(self, role: Role, form: str) -> Powers:
        """Return the multiplier that a tensor of this role has in this form.

        Raises:
            MutransferError: there is no form of this name.
        """
        check_form(form)
        if self.one_rate:
            return ONE
        return self.law(role).init if form == "unit" else FORMS[form].get(role, ONE)

    def disagreements(
        self, role: Role, optimizer: Family, place: Place = Place.OUTSIDE
    ) -> list[Disagreement]:
        """Return the disagreements of sources that matter for such a tensor."""
        situation = self._situation(role, optimizer, place)
        if self.one_rate:
            return []
        return [choice for choice in DISAGREEMENTS.values() if choice.concerns(situation)]

    def side(self, disagreement: Disagreement, optimizer: Family) -> str:
        """Return the side that the rule takes in a disagreement."""
        taken = {"muon_scale": optimizer.name, "alpha": str(self.alpha)} | dict(self.options)
        return taken.get(disagreement.name, disagreement.default)

    def derivation(
        self, role: Role, optimizer: Family, place: Place = Place.OUTSIDE
    ) -> list[Reason]:
        """Return the reasons for `quantities`, before any multiplier is folded."""
        if self.one_rate:
            what = "one rate, eps and decay for all tensors, and the model's own initial law"
            return [Reason("source", f"{self.source}: {what}")]
        situation = self._situation(role, optimizer, place)
        before, (after, causes) = derived(situation), self._chosen(situation)
        changes = [
            f"{quantity} {getattr(after, quantity)}"
            for quantity in QUANTITIES
            if getattr(after, quantity) != getattr(before, quantity)
        ]
        reasons = [Reason("source", self.source), *explained(situation)]
        if changes:
            text = f"then {', '.join(changes)}, because of {', '.join(causes)}"
            reasons.append(Reason("options", text))
        if optimizer.caveat:
            reasons.append(Reason("caveat", optimizer.caveat))
        return reasons

    def to_json(self) -> dict[str, Any]:
        """Return the parametrization as data, exact."""
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "cites": list(self.cites),
            "laws": {role.value: law.to_json() for role, law in self.laws.items()},
            "alpha": None if self.alpha is None else str(self.alpha),
            "attention": str(self.attention),
            "one_rate": self.one_rate,
            "options": dict(self.options),
            "off": sorted(self.off),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Parametrization:
        """Return the parametrization that `to_json` wrote.

        Raises:
            MutransferError: the data is no parametrization.
        """
        with parsing("a rule written by Parametrization.to_json"):
            fields = parsed(data)
            laws = {Role(role): Law.from_json(law) for role, law in fields["laws"].items()}
            return cls(**fields | {"laws": laws})

    def _situation(self, role: Role, optimizer: Family, place: Place) -> Situation:
        return Situation(
            role=role, law=self.law(role), place=place, optimizer=optimizer, alpha=self.alpha
        )

    def _chosen(self, s: Situation) -> tuple[Quantities, list[str]]:
        """Return the quantities after options and ablations, and which of these mattered."""
        if self.one_rate or s.role in self.off:
            return _standard(s.role), [f"without {s.role}"]
        quantities, causes = derived(s), list[str]()
        for cause, effect in self._effects():
            changed = effect(quantities, s)
            causes += [cause] if changed != quantities else []
            quantities = changed
        return quantities, causes

    def _effects(self) -> Iterator[tuple[str, Effect]]:
        """Yield the sides taken, then the quantities switched off, each with its effect."""
        for name, option in _OPTIONS.items():
            side = self.options.get(name, option.default)
            if side in option.effects:
                yield f"{name}={side}", option.effects[side]
        for quantity in sorted(self.off & set(QUANTITIES)):
            yield f"without {quantity}", partial(self._switched_off, quantity=quantity)

    def _switched_off(self, q: Quantities, s: Situation, quantity: str) -> Quantities:
        """Return the quantities with one as Table 8 would have it without the rule."""
        explicit = self.multiplier(s.role, "table8")
        shown = q.rescale(explicit, s.optimizer)
        shown = replace(shown, **{quantity: getattr(_standard(s.role), quantity)})
        return shown.rescale(ONE / explicit, s.optimizer)

    def _check_changeable(self) -> None:
        if self.one_rate:
            raise MutransferError(
                f"rule {self.name!r} scales nothing: it has no options, and nothing to switch off"
            )

    def _with_alpha(self, value: Exponent) -> Parametrization:
        alpha = exact("alpha", value)
        if not Fraction(1, 2) <= alpha <= 1:
            raise MutransferError(
                f"alpha is {alpha}: features are stable and faithful only for alpha from 1/2 to 1 "
                "(Tensor Programs VI, Claims 7.1 to 7.3)"
            )
        base_title, multiplier = self.title.split(";")[0], powers(depth=-alpha)
        title = f"{base_title}; residual branches times {multiplier}"
        return replace(self, alpha=alpha, title=title)

    def _with_option(self, name: str, value: str) -> Parametrization:
        if name not in _OPTIONS:
            elsewhere = DISAGREEMENTS.get(name)
            hint = "" if elsewhere is None else f"{name} is chosen by {elsewhere.where}; "
            raise MutransferError(
                f"rules have no option {name!r}; {hint}choose one of {', '.join(_OPTIONS)}"
            )
        sides = _OPTIONS[name].sides
        if value not in sides:
            raise MutransferError(
                f"{name}={value} is no side of that disagreement; choose one of {', '.join(sides)}"
            )
        return replace(self, options={**self.options, name: value})


def _standard(role: Role) -> Quantities:
    return Quantities(init=_STANDARD[role].init)


def _named(name: str, *changes: str) -> str:
    """Return a rule's name with changes; a new side replaces the one before."""
    base, *parts = name.split(", ")
    for change in changes:
        option = change.partition("=")[0]
        parts = [part for part in parts if part.partition("=")[0] != option] + [change]
    return ", ".join([base, *parts])
