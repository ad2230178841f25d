"""Makes a Plan: what was read off the model and its base, put together with a parametrization."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

from torch import nn

from .._errors import MutransferError
from ..rules import ONE, Family, Parametrization, Place, Powers, Quantities, Role, is_default, parametrization
from ._axes import Axes
from ._carry import Carried, multipliers
from ._forward import ForwardMultiplier
from ._optimizer import assigned, recognised
from ._plan import Plan, TensorPlan
from ._read import Match, check_explained, match
from ._reading import Branches, Reading, reading
from ._roles import declared_roles, role_of
from ._trace import Trace
from ._warnings import warnings_of


def plan(
    model: nn.Module,
    base: nn.Module | Callable[[], nn.Module] | Reading,
    *,
    rule: str | Parametrization | None = None,
    optimizer: Any = "adamw",
    example_inputs: Any = None,
    axes: Mapping[str, Axes] | None = None,
    roles: Mapping[str, Role | str] | None = None,
    branches: Branches | None = None,
    hooks: bool = False,
) -> Plan:
    """Plan how to initialise and train a model so that its base's hyperparameters stay right.

    Reads the dimensions that grew off the shapes, and residual branches, tied heads and attention scales off one forward pass on the
    meta device. Every multiplier that the parametrization wants is folded into the tensors, so the model itself stays as it is.

    Args:
        model: The model to train; its values are not touched, and it may live on the meta device.
        base: The same architecture at the size where the hyperparameters were found; a model, what builds one, or what `read` read of one.
        rule: A parametrization or the name of one, with options and ablations after commas: "mup", "completep, decay=sqrt, without eps";
            `mutransfer rules` lists them. By default, which "default" names too, muP in width and, where depth grows, alpha = 1/2 for
            residual branches with one matrix (Depth-muP) and alpha = 1 for deeper ones (CompleteP).
        optimizer: What trains the model: the name of a family, one of torch's optimizer classes or objects, or a `rules.Family`. Several,
            by role or name pattern, where they share the work: {"hidden": torch.optim.Muon, "*": "adamw"}; the first that matches counts.
        example_inputs: What the forward pass takes, a tensor or a tuple; guessed from the first layer by default.
        axes: Axes of parameters that no rule knows, by name pattern: {"experts.*.weight": ("out", "in")}; also "finite", and "expert" for
            the index of an expert where the number of experts grows, and of active ones with it.
        branches: Residual branches of a model that cannot be traced, because it branches on the values of its data: patterns of the modules
            that end a branch, each with patterns of all tensors in its branch; a star is the number of a layer. {} if there are none.
        hooks: Whether a multiplier that no learned tensor can carry may become a forward hook on a module, which `Plan.attach` puts there.
            Without, such a model is refused.
        roles: Roles that cannot be read off the model, by name pattern: {"*.gate.weight": "router", "*.lora_A.*": "lora-a"}.

    Raises:
        MutransferError: base and model are not one family of sizes, something grew that no rule explains, or a multiplier
            cannot be folded; the message names the tensor.
    """
    if not isinstance(optimizer, Mapping):
        recognised(optimizer)
    chosen = None if is_default(rule) else parametrization(rule)
    traced = chosen is None or not chosen.one_rate
    if not isinstance(model, nn.Module):
        raise MutransferError(
            f"the model is a {type(model).__name__}: give the torch.nn.Module itself; only a base may be a Reading or a builder"
        )
    target = reading(model, example_inputs, axes, branches, traced=traced, scaled=False)
    source = base if isinstance(base, Reading) else reading(base, example_inputs, axes, branches, traced=traced)
    own, base_trace = (each.trace if traced else Trace() for each in (target, source))
    matches = match(target.parameters, source.parameters)
    if traced:
        _check_uses(matches, own, base_trace)
        _check_depth(matches, own, base_trace)
        _check_attention_modules(target, source)
    depth = len(base_trace.branches), len(own.branches)
    why = "asked for"
    if chosen is None:
        default, why = _default_rule(own, depth)
        chosen = parametrization(rule, default=default)
    ratio = Fraction(depth[1], depth[0]) if depth[0] else Fraction(1)
    given = multipliers(chosen, matches, own, base_trace, ratio, hooks=hooks)
    width = any(m.ratio(axis) != 1 for m in matches.values() for axis in ("in", "out"))
    declared = declared_roles(matches, roles or {})
    if not chosen.one_rate:
        known = declared.keys() | {name for each in own.attention for name in each.key_value}
        check_explained(matches, known | {name for name in matches if name.startswith(tuple(f"{each}." for each in own.state_space))})
    found = {name: declared.get(name) or role_of(m, own, width) for name, m in matches.items()}
    trained = assigned(optimizer, {name: (role, len(matches[name].parameter.shape)) for name, role in found.items()})
    sayings = _Sayings(chosen)
    tensors = {
        name: _tensor(
            _Growth(m, found[name], given.places.get(name, Place.OUTSIDE), ratio),
            sayings,
            trained[name],
            given.tensors[name],
            source.scale(m.base_run),
        )
        for name, m in matches.items()
    }
    runs: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in tensors.items():
        runs.setdefault((tensor.run, tensor.factor("init"), tensor.role), []).append(name)
    shared = {name: tuple(names) for names in runs.values() for name in names}
    tensors = {name: replace(tensor, run=shared[name]) for name, tensor in tensors.items()}
    optimizers = {each.name: each for each in trained.values()}
    return Plan(
        rule=chosen.name,
        title=chosen.title,
        why=why,
        cites=_cites(chosen, optimizers),
        rescales=not chosen.one_rate,
        clip=chosen.clip.evaluate({"depth": ratio}),
        optimizers=optimizers,
        depth=depth,
        tensors=tensors,
        forward={name: _forward(name, each) for name, each in given.modules.items()},
        warnings=warnings_of(chosen, optimizers, tensors, given.modules, matches, own, base_trace, depth),
    )


def _cites(rule: Parametrization, optimizers: Mapping[str, Family]) -> tuple[str, ...]:
    """The papers of the rule and of the optimizers, each once."""
    return tuple(dict.fromkeys((*rule.cites, *(key for each in optimizers.values() for key in each.cites))))


def _default_rule(own: Trace, depth: tuple[int, int]) -> tuple[Parametrization, str]:
    if depth[0] == depth[1]:
        return parametrization("mup"), "width may grow, depth does not"
    if max(b.matrices for b in own.branches) <= 1:
        return parametrization("depth-mup"), "depth grows, and every residual branch has one matrix"
    return parametrization("completep"), "depth grows, and residual branches have two matrices or more in series"


def _check_uses(matches: Mapping[str, Match], own: Trace, base: Trace) -> None:
    """Refuse a growing number of uses of one tensor, as in a looped block, and a declared model beside a traced one."""
    if own.declared != base.declared:
        raise MutransferError(
            f"the branches of the {'model' if own.declared else 'base'} were declared and those of the other were traced: "
            "give branches= to both (mutransfer.read takes it, too), or to neither"
        )
    for name, m in matches.items():
        uses = {base.uses.get(each, 0) for each in m.base_run}
        if m.parameter.kind == "matrix" and not own.declared and own.uses.get(name, 0) not in uses:
            raise MutransferError(
                f"{name} is used {own.uses.get(name, 0)} times in a forward pass, in the base {min(uses)} times: no rule is known for a "
                "growing number of loops or uses; keep it, and grow width or the number of blocks that have tensors of their own"
            )


def _check_depth(matches: Mapping[str, Match], own: Trace, base: Trace) -> None:
    """Refuse a depth that grew in a way that the residual branches do not tell."""
    count, base_count = len(own.branches), len(base.branches)
    inside = frozenset[str]().union(*(branch.tensors for branch in own.branches))
    layers = {Fraction(len(m.run), len(m.base_run)): name for name, m in matches.items() if name in inside or not count}
    if count < base_count or (count > base_count == 0):
        raise MutransferError(
            f"the model has {count} residual branches and the base {base_count}; "
            "the base must have at least one and not more than the model"
        )
    ratio = Fraction(count, base_count) if base_count else Fraction(1)
    outside = {name: Fraction(len(m.run), len(m.base_run)) for name, m in matches.items() if name not in inside}
    if own.declared and (forgotten := [name for name, grown in outside.items() if grown != 1]):
        raise MutransferError(
            f"there are {outside[forgotten[0]]} times as many layers like {forgotten[0]} as in the base, and no declared branch has them: "
            "name all tensors of every residual branch in branches="
        )
    if (len(layers) == 1 or ratio == 1) and {ratio} != layers.keys():
        grown, name = next((r, n) for r, n in layers.items() if r != ratio)
        raise MutransferError(
            f"there are {grown} times as many layers like {name} as in the base, but {ratio} times as many residual branches ({count}, "
            f"in the base {base_count}): no rule is known for depth without residual branches of one kind"
        )
    if own.branches and (deep := max(b.matrices for b in own.branches)) != (base_deep := max(b.matrices for b in base.branches)):
        raise MutransferError(f"a residual branch has {deep} matrices in series, in the base {base_deep}: keep the branches as deep")


def _check_attention_modules(own: Reading, base: Reading) -> None:
    """torch's own attention module keeps 1/sqrt(head_dim) to itself, where no trace sees it."""
    if own.head_dims != base.head_dims:
        raise MutransferError(
            f"the head dimension of nn.MultiheadAttention grows from {list(base.head_dims)} to {list(own.head_dims)}, "
            "and its scale cannot be read: grow the number of heads instead"
        )


def _forward(module: str, carried: list[Carried]) -> ForwardMultiplier:
    """What a module's output is multiplied by."""
    return ForwardMultiplier(
        module=module,
        multiplier=math.prod((each.multiplier for each in carried), start=ONE),
        ratios={name: ratio for each in carried for name, ratio in each.ratios.items()},
        reasons=tuple(f"{each.why} {each.multiplier}" for each in carried),
    )


class _Growth(NamedTuple):
    """What was read off the models about one tensor."""

    match: Match
    role: Role
    place: Place
    depth: Fraction

    def ratios(self) -> dict[str, Fraction]:
        """Every ratio that a rule may use, target over base."""
        m = self.match
        (fan_in, fan_out), (base_in, base_out) = m.fans(m.parameter.shape), m.fans(m.base.shape)
        return {
            "fan_in": m.ratio("in"),
            "fan_out": m.ratio("out"),
            "depth": self.depth,
            "experts": m.ratio("expert") * (m.ratio("out") if self.role == Role.ROUTER else 1),
            "expansion": max(Fraction(1), Fraction(fan_out, fan_in)) / max(Fraction(1), Fraction(base_out, base_in)),
            "fan_max": Fraction(max(fan_in, fan_out), max(base_in, base_out)),
        }


class _Said(NamedTuple):
    """What a rule says of all tensors of one role, optimizer, place and carried multiplier."""

    derivation: list[str]
    disagreements: list[str]
    quantities: Quantities


class _Sayings:
    """What a rule says, asked once for tensors that are alike."""

    def __init__(self, rule: Parametrization) -> None:
        self.rule = rule
        self._known: dict[tuple[object, ...], _Said] = {}

    def of(self, role: Role, optimizer: Family, place: Place, carries: Powers) -> _Said:
        """Of one kind of tensor."""
        key = role, optimizer.name, place, carries
        if key not in self._known:
            rule = self.rule
            derivation, sides = rule.derivation(role, optimizer, place), []
            for each in rule.disagreements(role, optimizer, place):
                side = rule.side(each, optimizer)
                others = "; ".join(f"{value}: {text}" for value, text in each.sides.items() if value != side)
                taken = each.sides.get(side, "declared")
                sides.append(f"sources disagree on {each.quantity}: {each.name}={side} ({taken}), not {others}")
            self._known[key] = _Said(derivation, sides, rule.quantities(role, optimizer, place, form="plain", carries=carries))
        return self._known[key]


def _tensor(own: _Growth, sayings: _Sayings, optimizer: Family, carried: list[Carried], scale: float | None) -> TensorPlan:
    rule = sayings.rule
    ratios, carries = own.ratios(), math.prod((each.multiplier for each in carried), start=ONE)
    said = sayings.of(own.role, optimizer, own.place, carries)
    reasons = list(said.derivation)
    if own.place == Place.BRANCH_END and rule.branch_multiplier != ONE:
        reasons.append(f"ends a residual branch and carries the branch's multiplier {rule.branch_multiplier}")
    for multiplier, known, why in carried:
        ratios |= known
        reasons.append(f"{why} {multiplier}")
    reasons += said.disagreements
    quantities = said.quantities
    powers_used = (quantities.init, quantities.lr, quantities.eps, quantities.decay, carries)
    needed = {"fan_in", "fan_out", "depth"} | {name for power in powers_used for name, _ in power.exponents}
    if unknown := needed - ratios.keys():
        raise MutransferError(
            f"{own.match.parameter.name}: the rule of {optimizer.name} needs the ratio {min(unknown)}, which is not read off a model"
        )
    made = carries * (rule.branch_multiplier if own.place == Place.BRANCH_END else ONE)
    if own.role == Role.FROZEN and made.evaluate(ratios) != 1:
        raise MutransferError(
            f"{own.match.parameter.name} is declared frozen, but would have to carry the multiplier {made} of a signal it makes: "
            "leave it trainable, or put a learned gain after it"
        )
    return TensorPlan(
        name=own.match.parameter.name,
        role=own.role,
        shape=own.match.parameter.shape,
        base_shape=own.match.base.shape,
        run=own.match.run,
        place=own.place,
        optimizer=optimizer.name,
        ratios={name: ratio for name, ratio in ratios.items() if name in needed},
        init=quantities.init,
        lr=quantities.lr,
        eps=quantities.eps,
        decay=quantities.decay,
        multiplier=made * rule.multiplier(own.role, "table8"),
        base_rms=scale,
        reasons=tuple(reasons),
    )
