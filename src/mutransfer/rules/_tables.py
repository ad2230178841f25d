"""The parametrizations: data with their sources, and the one principle that turns them into rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from ..core import FrozenDict, MutransferError
from ._abc import FORMS, QUANTITIES, Quantities
from ._laws import Law, laws
from ._optimizers import Family
from ._powers import ONE, Exponent, Powers, exact, powers
from ._reasons import Reason
from ._register import DISAGREEMENTS, Disagreement, Situation
from ._roles import Place, Role

_STANDARD = laws(readout="1/2")
_FULL = Fraction(1)
_OPTIONS = {name: each for name, each in DISAGREEMENTS.items() if each.where == "rule"}
_FACTORS = ("init", "lr", "eps", "decay", "branch", "attention")


@dataclass(frozen=True, kw_only=True)
class Parametrization:
    """How initial scale, multiplier, rate, eps and weight decay of every role scale with the model's size.

    Attributes:
        name: Its name, and after a comma each option and each factor that is switched off.
        title: One line for people.
        source: Where the rule comes from.
        cites: arXiv numbers of the papers to cite, or BibTeX entries of one's own.
        laws: What it says about each role.
        alpha: A residual branch is multiplied by depth^-alpha; None leaves branches as they are.
        attention: The attention logits q·k are multiplied by head_dim^-attention.
        one_rate: Whether one rate, eps and decay serve all tensors at all sizes and the model's own initial law is kept (standard
            parametrization); otherwise they are derived for each tensor.
        options: Sides taken in disagreements, where not the default's.
        off: Factors and roles that are switched off.
    """

    name: str
    title: str
    source: str
    cites: tuple[str, ...] = ()
    laws: Mapping[Role, Law] = field(default_factory=laws)
    alpha: Fraction | None = None
    attention: Fraction = _FULL
    one_rate: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    off: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, value in {"alpha": self.alpha, "attention": self.attention}.items():
            if value is not None:
                object.__setattr__(self, name, exact(name, value))
        for name in ("laws", "options"):
            object.__setattr__(self, name, FrozenDict(getattr(self, name)))

    @property
    def branch_multiplier(self) -> Powers:
        """What the output of every residual branch is multiplied by."""
        return ONE if self.alpha is None or "branch" in self.off else powers(depth=-self.alpha)

    @property
    def logit_multiplier(self) -> Powers:
        """What the logits of a tied head are multiplied by, as a power of the head's fan-in (Table 8's multiplier)."""
        return ONE if self.one_rate or Role.TIED in self.off else self.law(Role.READOUT).init

    @property
    def attention_scale(self) -> Powers:
        """What the attention logits q·k are multiplied by (Tensor Programs V, Definition 4.1)."""
        return (
            powers(head_dim="-1/2") if "attention" in self.off else powers(head_dim=-self.attention)
        )

    @property
    def clip(self) -> Powers:
        """Threshold of the global gradient norm where multipliers are explicit (Table 8): constant, or as hidden matrices have it.

        These have depth · n² entries of size depth^-alpha / n.
        """
        derived = self.alpha is not None and self.options.get("clip") == "derived"
        return (
            powers(depth=Fraction(1, 2) - self.alpha) if derived and self.alpha is not None else ONE
        )

    def law(self, role: Role) -> Law:
        """What the parametrization says about a role.

        Raises:
            MutransferError: it says nothing.
        """
        if role not in self.laws:
            raise MutransferError(
                f"rule {self.name!r} says nothing about the role {role} ({self.source}); give it a Law in laws="
            )
        return self.laws[role]

    def using(self, **options: Exponent) -> Parametrization:
        """The same rule with other sides taken in disagreements, and its alpha changed.

        >>> print(parametrization("completep").using(alpha="3/4", decay="sqrt").name)
        completep, alpha=3/4, decay=sqrt

        Raises:
            MutransferError: there is no such option or side, or alpha is no number.
        """
        self._check_changeable()
        made = self
        for name, value in options.items():
            made = (
                made._with_alpha(value) if name == "alpha" else made._with_option(name, str(value))
            )
            made = replace(made, name=_named(made.name, f"{name}={value}"))
        return made

    def without(self, *factors: str) -> Parametrization:
        """The same rule with factors switched off, for experiments; the other factors stay as they are.

        A quantity ("lr", "eps", "decay") is then what an implementation with explicit multipliers (Table 8) would leave at its base value;
        in the other forms it follows by the abc symmetry, so that they remain one training. "init" is the standard initial scale there. A
        role ("embedding") is treated as under standard parametrization; "branch" is the branches' multiplier, "attention" the scale of
        the attention logits.

        >>> print(parametrization("mup").without("eps").name)
        mup, without eps

        Raises:
            MutransferError: there is no such factor.
        """
        self._check_changeable()
        known = (*_FACTORS, *Role)
        for factor in factors:
            if factor not in known:
                raise MutransferError(
                    f"a rule has no factor {factor!r} to switch off; choose one of {', '.join(known)}"
                )
        return replace(
            self,
            name=_named(self.name, *(f"without {factor}" for factor in factors)),
            off=self.off | frozenset(factors),
        )

    def quantities(
        self,
        role: Role,
        optimizer: Family,
        place: Place = Place.OUTSIDE,
        *,
        form: str = "table3",
        carries: Powers = ONE,
    ) -> Quantities:
        """How the five quantities of a tensor scale.

        The rate is the wanted change of the layer's output, divided by the change that a unit rate makes. Wanted is a constant, and
        depth^(alpha - 1) inside a residual branch, so that all branches together move the features by a constant (2603.00541,
        Section 4). Decay shrinks a tensor by the same fraction a step at every width, and inside a branch in proportion to the wanted
        change (2603.00541, Tables 6 and 12); where it is added to a gradient that is normalised afterwards, it has the gradient's scale;
        where the update is relative to the tensor, it keeps its share of the update.

        Args:
            role: What the tensor is to its network.
            optimizer: The family that trains it.
            place: Where it stands. In the plain form a tensor that ends a branch carries the branch's multiplier; in the other forms
                the multiplier stands beside it and is not in the result.
            form: "plain", "table3" (no multipliers), "table8", "table9" or "unit": equal training by the abc symmetry. Standard
                parametrization looks the same in all of them.
            carries: Another multiplier that is folded into the tensor.

        Raises:
            MutransferError: there is no form of this name, or the rule says nothing about the role.
        """
        theta = self.multiplier(role, form)
        own = self._chosen(self._situation(role, optimizer, place))[0]
        if form == "plain" and place == Place.BRANCH_END:
            carries = carries * self.branch_multiplier
        return own.fold(carries, optimizer).rescale(theta, optimizer)

    def multiplier(self, role: Role, form: str) -> Powers:
        """The multiplier that a tensor of this role has in this form.

        Raises:
            MutransferError: there is no form of this name.
        """
        if form not in FORMS:
            raise MutransferError(f"unknown form {form!r}; choose one of {', '.join(FORMS)}")
        if self.one_rate:
            return ONE
        return self.law(role).init if form == "unit" else FORMS[form].get(role, ONE)

    def disagreements(
        self, role: Role, optimizer: Family, place: Place = Place.OUTSIDE
    ) -> list[Disagreement]:
        """The choices that sources make differently and that matter for such a tensor."""
        situation = self._situation(role, optimizer, place)
        return (
            []
            if self.one_rate
            else [each for each in DISAGREEMENTS.values() if each.concerns(situation)]
        )

    def side(self, disagreement: Disagreement, optimizer: Family) -> str:
        """The side that is taken in a disagreement."""
        taken = {"muon_scale": optimizer.name, "alpha": str(self.alpha)} | dict(self.options)
        return taken.get(disagreement.name, disagreement.default)

    def derivation(
        self, role: Role, optimizer: Family, place: Place = Place.OUTSIDE
    ) -> list[Reason]:
        """Return how `quantities` come about, before any multiplier is folded into the tensor."""
        if self.one_rate:
            what = "one rate, eps and decay for all tensors, and the model's own initial law"
            return [Reason("source", f"{self.source}: {what}")]
        situation = self._situation(role, optimizer, place)
        own, (found, said) = self._derived(situation), self._chosen(situation)
        change = situation.law.change * situation.moves
        reasons = [
            Reason("source", self.source),
            Reason("init", f"the law of the role {role}", own.init),
            Reason(
                "lr",
                f"the output should change by {change} a step, and a unit rate of "
                f"{optimizer.name} changes it by {_response(situation)}",
                own.lr,
            ),
            Reason(
                "decay",
                f"{optimizer.decay}, it should shrink the tensor by {_shrink(situation, own)} "
                "a step (2603.00541, Section 4)",
                own.decay,
            ),
        ]
        if optimizer.eps is not None:
            entries = f"entries of the gradient are {situation.gradient}"
            reasons.append(Reason("eps", entries, own.eps))
        changes = [
            f"{quantity} {getattr(found, quantity)}"
            for quantity in QUANTITIES
            if getattr(found, quantity) != getattr(own, quantity)
        ]
        if changes:
            text = f"then {', '.join(changes)}, because of {', '.join(said)}"
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
    def from_json(cls, data: Mapping[str, Any]) -> Parametrization:
        """Return the parametrization that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: the data is no parametrization.
        """
        lists = {"cites": tuple(data["cites"]), "off": frozenset(data["off"])}
        laws = {Role(role): Law.from_json(law) for role, law in data["laws"].items()}
        return cls(**{**data, **lists, "laws": laws})

    def _situation(self, role: Role, optimizer: Family, place: Place) -> Situation:
        return Situation(
            role=role, law=self.law(role), place=place, optimizer=optimizer, alpha=self.alpha
        )

    def _chosen(self, s: Situation) -> tuple[Quantities, list[str]]:
        """The quantities without any multiplier after options and ablations, and which of these mattered."""
        standard, said = Quantities(init=_STANDARD[s.role].init), list[str]()
        if self.one_rate or s.role in self.off:
            return standard, [f"without {s.role}"]
        own = self._derived(s)
        for name, each in _OPTIONS.items():
            value = self.options.get(name, each.default)
            changed = each.effects[value](own, s) if value in each.effects else own
            said += [f"{name}={value}"] if changed != own else []
            own = changed
        explicit = self.multiplier(s.role, "table8")
        for factor in sorted(self.off & set(QUANTITIES)):
            shown = own.rescale(explicit, s.optimizer)
            changed = replace(shown, **{factor: getattr(standard, factor)}).rescale(
                ONE / explicit, s.optimizer
            )
            said += [f"without {factor}"] if changed != own else []
            own = changed
        return own, said

    def _derived(self, s: Situation) -> Quantities:
        """The quantities by the principle, without any multiplier."""
        optimizer, gradient = s.optimizer, s.gradient
        lr = s.law.change * s.moves / _response(s)
        eps = ONE if optimizer.eps is None else gradient**optimizer.eps_degree * optimizer.eps
        own = Quantities(init=s.law.init, lr=lr, eps=eps)
        beside = {
            "coupled": gradient ** (1 - optimizer.degree),
            "decoupled": ONE,
            "normalised": ONE,
            "independent": lr,
        }
        decay = _shrink(s, own) / lr * beside[optimizer.decay]
        return replace(own, decay=decay / s.law.init if optimizer.normalises_decay else decay)

    def _check_changeable(self) -> None:
        if self.one_rate:
            raise MutransferError(
                f"rule {self.name!r} scales nothing: it has no options, and nothing to switch off"
            )

    def _with_alpha(self, value: Exponent) -> Parametrization:
        alpha = exact("alpha", value)
        if not Fraction(1, 2) <= alpha <= 1:
            raise MutransferError(
                f"alpha is {alpha}: features are stable and faithful only for alpha from 1/2 to 1 (Tensor Programs VI, Claims 7.1 to 7.3)"
            )
        return replace(
            self,
            alpha=alpha,
            title=f"{self.title.split(';')[0]}; residual branches times {powers(depth=-alpha)}",
        )

    def _with_option(self, name: str, value: str) -> Parametrization:
        if name not in _OPTIONS:
            elsewhere = (
                f"{name} is chosen by {DISAGREEMENTS[name].where}; "
                if name in DISAGREEMENTS
                else ""
            )
            raise MutransferError(
                f"rules have no option {name!r}; {elsewhere}choose one of {', '.join(_OPTIONS)}"
            )
        if value not in _OPTIONS[name].sides:
            raise MutransferError(
                f"{name}={value} is no side of that disagreement; choose one of {', '.join(_OPTIONS[name].sides)}"
            )
        return replace(self, options={**self.options, name: value})


def _named(name: str, *changes: str) -> str:
    """The name with changes after it, each once; a side that is taken anew replaces the one before."""
    base, *parts = name.split(", ")
    for change in changes:
        option = change.partition("=")[0]
        parts = [part for part in parts if part.partition("=")[0] != option] + [change]
    return ", ".join([base, *parts])


def _response(s: Situation) -> Powers:
    """What a unit rate changes the layer's output by."""
    gain = s.optimizer.gain if s.law.sums_over_width else s.optimizer.gain.substitute(fan_in=None)
    return gain * s.gradient**s.optimizer.degree * s.law.init ** int(s.optimizer.relative)


def _shrink(s: Situation, own: Quantities) -> Powers:
    """What decay should shrink the tensor by in a step."""
    return own.lr if s.optimizer.normalises_decay else s.moves


_TP5 = "Tensor Programs V (2203.03466), Table 3"
_DEEP = Fraction(1)
_SHALLOW = Fraction(1, 2)
_NARROW = Law(
    init=powers(fan_in=-1, fan_out="1/2"), gradient=powers(fan_out=-1), sums_over_width=True
)
_LAZY = laws(readout="1/2", change=powers(fan_out="-1/2"))

PARAMETRIZATIONS = {
    each.name: each
    for each in (
        Parametrization(
            name="sp",
            title="standard parametrization: plain PyTorch, one rate for every tensor",
            source="Tensor Programs V (2203.03466), Table 3, bracketed values",
            cites=("2203.03466",),
            attention=Fraction(1, 2),
            one_rate=True,
        ),
        Parametrization(
            name="sp-layerwise",
            title="standard parametrization with a rate for each kind of layer; its output's first changes grow with width",
            source="Scaling Exponents Across Parameterizations and Optimizers (2407.05872)",
            cites=("2407.05872",),
            laws=_STANDARD,
            attention=Fraction(1, 2),
        ),
        Parametrization(
            name="ntk",
            title="neural tangent parametrization: features stop moving as width grows (kernel regime), under Adam, too",
            source="Neural Tangent Kernel (1806.07572); Tensor Programs IV (2011.14522)",
            cites=("1806.07572", "2011.14522"),
            laws=_LAZY,
            attention=Fraction(1, 2),
        ),
        Parametrization(
            name="mean-field",
            title="mean-field parametrization: muP with unit initial scale and explicit multipliers (form unit)",
            source="A Mean Field View of the Landscape of Two-Layer Neural Networks (1804.06561); Tensor Programs IV (2011.14522)",
            cites=("1804.06561", "2011.14522"),
        ),
        Parametrization(
            name="mup",
            title="maximal update parametrization: transfers in width",
            source=_TP5,
            cites=("2203.03466",),
        ),
        Parametrization(
            name="spectral",
            title="muP from a condition on spectral norms; other than muP for matrices whose fan-out grows less than their fan-in",
            source="A Spectral Condition for Feature Learning (2310.17813), Condition 1; in depth 2603.00541",
            cites=("2310.17813", "2603.00541"),
            laws={**laws(), Role.KEY_VALUE: _NARROW},
        ),
        Parametrization(
            name="depth-mup",
            title="muP in width; residual branches times depth^-1/2, for branches with one matrix",
            source="Tensor Programs VI (2310.02244), Tables 1 and 2",
            cites=("2310.02244", "2203.03466"),
            alpha=_SHALLOW,
        ),
        Parametrization(
            name="sqrt-depth",
            title="muP in width; residual branches times depth^-1/2, Adam's rate constant in depth",
            source="Depthwise Hyperparameter Transfer in Residual Networks (2309.16620)",
            cites=("2309.16620",),
            alpha=_SHALLOW,
            options={"depth_rate": "constant", "bias_rate": "constant"},
        ),
        Parametrization(
            name="completep",
            title="muP in width; residual branches times 1/depth, for branches with two matrices or more",
            source="CompleteP (2505.01618), Table 1",
            cites=("2505.01618", "2203.03466"),
            alpha=_DEEP,
        ),
        Parametrization(
            name="u-mup",
            title="unit-scaled muP: branches times depth^-1/2, embedding rate times 1/sqrt(width)",
            source="u-muP (2407.17465), Table 2 and Appendix G",
            cites=("2407.17465", "2203.03466"),
            alpha=_SHALLOW,
            options={"embedding_rate": "sqrt", "branch_decay": "constant"},
        ),
    )
}


DEFAULT = "default"


def is_default(name: str | Parametrization | None) -> bool:
    """Whether the rule is to be chosen by the model: none is named, or "default", with whatever changes after a comma."""
    return name is None or (isinstance(name, str) and name.split(",")[0].strip().lower() == DEFAULT)


def parametrization(
    name: str | Parametrization | None, default: Parametrization | None = None
) -> Parametrization:
    """The parametrization of this name, with options and ablations after commas.

    Args:
        name: The name, or a parametrization itself.
        default: What "default", or no name, stands for.

    >>> print(parametrization("completep").branch_multiplier)
    depth^-1
    >>> parametrization("mup, embedding_rate=sqrt, without eps").off
    frozenset({'eps'})

    Raises:
        MutransferError: there is no rule of this name, or no such option.
    """
    if isinstance(name, Parametrization):
        return name
    if not isinstance(name, str | None):
        raise MutransferError(
            f"a rule is named by text or given as a Parametrization, not as {name!r}"
        )
    base, *changes = (part.strip() for part in (DEFAULT if name is None else name).split(","))
    rule = default if is_default(name) else PARAMETRIZATIONS.get(base.lower())
    if rule is None:
        what = (
            f"{base!r} is chosen by a model's residual branches"
            if is_default(name)
            else f"unknown rule {base!r}"
        )
        raise MutransferError(f"{what}; choose one of {', '.join(PARAMETRIZATIONS)}")
    options = [change.partition("=")[0].strip() for change in changes]
    if twice := [option for option in options if options.count(option) > 1]:
        raise MutransferError(f"{twice[0]!r} stands twice in {name!r}")
    for change in changes:
        option, equals, value = (part.strip() for part in change.partition("="))
        if change.startswith("without "):
            rule = rule.without(change.removeprefix("without ").strip())
        elif equals:
            rule = rule.using(**{option: value})
        else:
            raise MutransferError(
                f"{change!r} changes no rule; say for example 'decay=sqrt' or 'without eps'"
            )
    return rule
