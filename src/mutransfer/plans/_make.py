"""A plan made from the readings of a model and its base, and a parametrization."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from ..core import MutransferError
from ..reading import Axes, Reading, pattern
from ..rules import (
    ONE,
    Family,
    Parametrization,
    Place,
    Powers,
    Quantities,
    Reason,
    Role,
    is_default,
    parametrization,
)
from ._accounts import Account
from ._carry import Carried, multipliers
from ._families import assigned
from ._joint import check_joint
from ._match import Match, match
from ._plan import Plan
from ._roles import declared_roles, role_of
from ._structure import Structure, structure_of
from ._tensor import ForwardMultiplier, TensorPlan
from ._warnings import Facts, warnings_of


def make_plan(
    target: Reading,
    base: Reading,
    *,
    rule: str | Parametrization | None = None,
    families: Mapping[str, Family],
    roles: Mapping[str, Role | str] | None = None,
    hooks: bool = False,
) -> Plan:
    """Plan how every tensor scales, from what was read off the model and its base.

    Args:
        target: The reading of the model.
        base: The reading of the model at the size where the hyperparameters were found.
        rule: A parametrization or its name; chosen by the residual branches by default.
        families: The optimizer families by role or name pattern; the first that matches counts.
        roles: Roles that cannot be read off the model, by name pattern.
        hooks: True if a multiplier that no learned tensor can carry may become a forward hook.

    Raises:
        MutransferError: the two are not one family of sizes, something grew that no rule explains,
            or a multiplier cannot be folded; the message names the tensor.
    """
    matches = match(target.parameters, base.parameters)
    structure = structure_of(matches, target, base) if needs_trace(rule) else Structure()
    matches = _with_axes(matches, structure)
    chosen, why = _rule(rule, structure)
    # A tensor without a role is the cause of what nothing can carry.
    tensor_roles = _roles(chosen, matches, structure, roles or {})
    carried = multipliers(chosen, matches, structure, hooks=hooks)
    dimensions = {name: len(m.parameter.shape) for name, m in matches.items()}
    trained = assigned(families, {n: (role, dimensions[n]) for n, role in tensor_roles.items()})
    derivations = _Derivations(chosen)
    tensors = {}
    for name, m in matches.items():
        place, depth = carried.places.get(name, (Place.OUTSIDE, structure.ratio))
        growth = _Growth(m, structure.accounts.get(name), tensor_roles[name], place, depth)
        tensors[name] = _tensor(growth, derivations, trained[name], carried.tensors[name])
    tensors = _in_runs(tensors, matches, base)
    facts = Facts(
        rule=chosen,
        optimizers={family.name: family for family in trained.values()},
        tensors=tensors,
        multipliers=carried,
        matches=matches,
        structure=structure,
        target=target,
    )
    return Plan(
        parametrization=chosen,
        why=why,
        optimizers=facts.optimizers,
        depth=structure.depth,
        tensors=tensors,
        forward={name: _forward(name, each) for name, each in carried.modules.items()},
        warnings=warnings_of(facts),
        tunable=structure.tunable,
    )


def _with_axes(matches: Mapping[str, Match], structure: Structure) -> dict[str, Match]:
    """Return the matches with the axes that the uses of each tensor show."""
    found = {}
    for name, m in matches.items():
        account = structure.accounts.get(name)
        known = account is not None and account.kind != "unused" and not m.parameter.is_declared
        found[name] = replace(m, axes=_axes(m, account)) if known and account is not None else m
    return found


def needs_trace(rule: str | Parametrization | None) -> bool:
    """Return True if a plan of this rule needs the forward pass.

    Standard parametrization does not.

    Raises:
        MutransferError: there is no such rule.
    """
    return is_default(rule) or not parametrization(rule).one_rate


def _axes(m: Match, account: Account) -> Axes:
    """Return the axes that the uses show; an index of experts is known by its layer."""
    given = m.parameter.axes or account.axes
    pairs = zip(account.axes, given, strict=True)
    return tuple("expert" if known == "expert" else axis for axis, known in pairs)


def _rule(rule: str | Parametrization | None, structure: Structure) -> tuple[Parametrization, str]:
    """Return the parametrization, and why it is this one."""
    if not is_default(rule):
        return parametrization(rule), "asked for"
    if structure.ratio == 1:
        name, why = "mup", "width may grow, depth does not"
    elif structure.deepest <= 1:
        name, why = "depth-mup", "depth grows, and every residual branch has one matrix"
    else:
        name = "completep"
        why = "depth grows, and residual branches have two matrices or more in series"
    return parametrization(rule, default=parametrization(name)), why


def _roles(
    rule: Parametrization,
    matches: Mapping[str, Match],
    structure: Structure,
    declared: Mapping[str, Role | str],
) -> dict[str, Role]:
    """Return the role of every tensor; raise where a dimension grew for no reason."""
    accounts = structure.accounts
    wide = [each for each in accounts.values() if set(each.axes) - {"layer", "finite"}]
    width = any(
        m.ratio(axis) != 1 for m in matches.values() for axis in ("in", "out", "flat")
    ) or any(each.fan_in != 1 or each.fan_out != 1 for each in wide)
    roles = declared_roles(matches, declared)
    if not rule.one_rate:
        _check_explained(structure, roles)
        check_joint(matches, structure.accounts, roles)
        _check_ranks(matches, roles)
    return {
        name: roles.get(name) or role_of(m, structure, width=width) for name, m in matches.items()
    }


def _check_explained(structure: Structure, declared: Mapping[str, Role]) -> None:
    """Raise where uses contradict each other, or where what grew is no width."""
    for name, each in structure.accounts.items():
        if each.problem and name not in declared:
            raise MutransferError(each.problem)
    for name, ratio in structure.strange.items():
        if name not in declared:
            raise MutransferError(
                f"{name}: its number of outputs is {ratio} times that of the base, but no layer's "
                "number of inputs grew by that much, so it is no width; build base and model for "
                "the same data, or say what it is with "
                f'roles={{"{pattern(name)}": "router"}} (a router of more experts)'
            )


def _check_ranks(matches: Mapping[str, Match], declared: Mapping[str, Role]) -> None:
    """Raise where the rank of a declared adapter grew."""
    for name, role in declared.items():
        axis = {Role.LORA_A: "out", Role.LORA_B: "in"}.get(role)
        if axis and (rank := matches[name].ratio(axis)) != 1:
            raise MutransferError(
                f"{name} is declared {role} and its rank is {rank} times that of the base: the "
                "rules of adapters hold at one rank; keep the rank, or leave its role out of "
                "roles=, so that the rank is scaled as a width"
            )


def _in_runs(
    tensors: Mapping[str, TensorPlan], matches: Mapping[str, Match], base: Reading
) -> dict[str, TensorPlan]:
    """Return the tensors in runs, whose initial scale is measured together.

    Of layers of one shape only some may end a residual branch, and these start at another scale.
    """
    runs: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in tensors.items():
        layer, shapes = matches[name].parameter.layer, (tensor.shape, tensor.base_shape)
        key = pattern(name), layer, shapes, tensor.factor("init"), tensor.role
        runs.setdefault(key, []).append(name)
    found = {}
    for names in runs.values():
        base_names = dict.fromkeys(each for name in names for each in matches[name].base_run)
        scale = base.scale(base_names)
        for name in names:
            found[name] = replace(tensors[name], run=tuple(names), base_rms=scale)
    return {name: found[name] for name in tensors}


def _forward(module: str, carried: list[Carried]) -> ForwardMultiplier:
    return ForwardMultiplier(
        module=module,
        multiplier=math.prod((each.multiplier for each in carried), start=ONE),
        ratios={name: ratio for each in carried for name, ratio in each.ratios.items()},
        reasons=tuple(each.reason for each in carried),
    )


class _Growth(NamedTuple):
    """The growth of one tensor from the base to the model."""

    match: Match
    account: Account | None
    role: Role
    place: Place
    depth: Fraction

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.match.parameter.name

    def ratios(self) -> dict[str, Fraction]:
        """Return every ratio that a rule may use, target over base."""
        m = self.match
        (fan_in, fan_out), (base_in, base_out) = m.fans(m.parameter.shape), m.fans(m.base.shape)
        # A tensor without elements has no fans.
        expansion = max(Fraction(1), Fraction(fan_out, max(1, fan_in)))
        base_expansion = max(Fraction(1), Fraction(base_out, max(1, base_in)))
        return {
            "fan_in": self._fan("in"),
            "fan_out": self._fan("out"),
            "depth": self.depth,
            "experts": m.ratio("expert") * (m.ratio("out") if self.role == Role.ROUTER else 1),
            "expansion": expansion / base_expansion,
            "fan_max": Fraction(max(fan_in, fan_out, 1), max(base_in, base_out, 1)),
        }

    def _fan(self, axis: str) -> Fraction:
        """Return the ratio of fan-in or fan-out, as the tensor is used."""
        known = self.account is not None and self.account.kind != "unused"
        if not known or self.match.parameter.is_declared or self.account is None:
            return self.match.ratio(axis)
        return self.account.fan_in if axis == "in" else self.account.fan_out


class _Derivation(NamedTuple):
    """The derivation for one role, optimizer, place and carried multiplier."""

    reasons: list[Reason]
    disagreements: list[Reason]
    quantities: Quantities


class _Derivations:
    """The derivations of a rule, each made once for tensors that are alike."""

    def __init__(self, rule: Parametrization) -> None:
        self.rule = rule
        self._known: dict[tuple[object, ...], _Derivation] = {}

    def of(self, role: Role, family: Family, place: Place, carries: Powers) -> _Derivation:
        """Return the derivation for one kind of tensor."""
        key = role, family.name, place, carries
        if key not in self._known:
            rule, sides = self.rule, []
            for each in rule.disagreements(role, family, place):
                side = rule.side(each, family)
                others = "; ".join(
                    f"{value}: {text}" for value, text in each.sides.items() if value != side
                )
                taken = f"{each.name}={side} ({each.sides.get(side, 'declared')})"
                text = f"sources disagree on {each.quantity}: {taken}, not {others}"
                sides.append(Reason("disagreement", text))
            quantities = rule.quantities(role, family, place, form="plain", carries=carries)
            reasons = rule.derivation(role, family, place)
            self._known[key] = _Derivation(reasons, sides, quantities)
        return self._known[key]


def _tensor(
    growth: _Growth,
    derivations: _Derivations,
    family: Family,
    carried: list[Carried],
) -> TensorPlan:
    rule, parameter = derivations.rule, growth.match.parameter
    carries = math.prod((each.multiplier for each in carried), start=ONE)
    derivation = derivations.of(growth.role, family, growth.place, carries)
    ends_branch = growth.place == Place.BRANCH_END
    branch = rule.branch_multiplier if ends_branch else ONE
    ratios = growth.ratios()
    for each in carried:
        ratios |= each.ratios
    quantities = derivation.quantities
    scaled = (quantities.init, quantities.lr, quantities.eps, quantities.decay, carries)
    needed = {"fan_in", "fan_out", "depth"} | {name for p in scaled for name, _ in p.exponents}
    _check_ratios(growth, family, needed - ratios.keys())
    _check_frozen(growth, carries * branch, ratios)
    ends = "ends a residual branch and carries the branch's multiplier"
    reasons = [
        *derivation.reasons,
        *([Reason("branch", ends, branch)] if branch != ONE else []),
        *(each.reason for each in carried),
        *derivation.disagreements,
    ]
    return TensorPlan(
        name=growth.name,
        role=growth.role,
        shape=parameter.shape,
        base_shape=growth.match.base.shape,
        run=growth.match.run,
        place=growth.place,
        optimizer=family.name,
        ratios={name: ratio for name, ratio in ratios.items() if name in needed},
        init=quantities.init,
        lr=quantities.lr,
        eps=quantities.eps,
        decay=quantities.decay,
        multiplier=carries * branch * rule.multiplier(growth.role, "table8"),
        base_rms=None,
        reasons=tuple(reasons),
        aliases=parameter.aliases,
    )


def _check_frozen(growth: _Growth, carried: Powers, ratios: Mapping[str, Fraction]) -> None:
    if growth.role == Role.FROZEN and carried.evaluate(ratios) != 1:
        raise MutransferError(
            f"{growth.name} is declared frozen, but would have to carry the multiplier {carried} "
            "of a signal it makes: leave it trainable, or put a learned gain after it"
        )


def _check_ratios(growth: _Growth, family: Family, unknown: set[str]) -> None:
    if unknown:
        raise MutransferError(
            f"{growth.name}: the rule of {family.name} needs the ratio {min(unknown)}, "
            "which is not read off a model"
        )
