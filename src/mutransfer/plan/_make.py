"""Makes a Plan: what was read off the model and its base, put together with a parametrization."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from torch import nn

from .._errors import MutransferError
from ..rules import ONE, Family, Parametrization, Powers, Role, family, matrix_role, parametrization, powers
from ._apply import rms
from ._axes import Axes, canonical
from ._plan import Plan, TensorPlan
from ._read import Match, match, parameters_of
from ._trace import Attention, Trace, trace


class Carried(NamedTuple):
    """A multiplier of some signal that a learned tensor carries, the ratio it is a power of, and why."""

    multiplier: Powers
    ratio: Fraction
    why: str


def plan(
    model: nn.Module,
    base: nn.Module,
    *,
    rule: str | None = None,
    optimizer: str = "adamw",
    example_inputs: Any = None,
    axes: Mapping[str, Axes] | None = None,
) -> Plan:
    """Plan how to initialise and train a model so that its base's hyperparameters stay right.

    Reads the dimensions that grew off the shapes, and residual branches, tied heads and attention scales off one forward pass on the
    meta device. Every multiplier that the parametrization wants is folded into the tensors, so the model itself stays as it is.

    Args:
        model: The model to train; its values are not touched, and it may live on the meta device.
        base: The same architecture at the size where the hyperparameters were found.
        rule: Name of the parametrization: "sp", "mup", "depth-mup" or "completep". By default muP in width and, where depth
            grows, alpha = 1/2 for residual branches with one matrix (Depth-muP) and alpha = 1 for deeper ones (CompleteP).
        optimizer: Family of the optimizer that trains all tensors: "sgd", "adam", "adamw" or "lion".
        example_inputs: What the forward pass takes, a tensor or a tuple; guessed from the first layer by default.
        axes: Axes of parameters that no rule knows, by name pattern: {"experts.*.weight": ("out", "in")}; also "finite".

    Raises:
        MutransferError: base and model are not one family of sizes, something grew that no rule explains, or a multiplier
            cannot be folded; the message names the tensor.
    """
    train = family(optimizer)
    if train.name == "muon":
        raise MutransferError(
            "Muon updates matrices only and a plan covers every tensor: plan with optimizer='adamw', "
            "or take the rule of the matrices from mutransfer.rules"
        )
    chosen = parametrization(rule) if rule is not None else None
    matches = match(parameters_of(model, axes or {}), parameters_of(base, axes or {}))
    if chosen is not None and not chosen.maximal:
        own = base_trace = Trace()
    else:
        own, base_trace = trace(model, example_inputs), trace(base, example_inputs)
        _check_depth(matches, own, base_trace)
        _check_attention_modules(model, base)
    depth = len(base_trace.branches), len(own.branches)
    if chosen is None:
        chosen, why = _default_rule(own, depth)
    else:
        why = "asked for"
    ratio = Fraction(depth[1], depth[0]) if depth[0] else Fraction(1)
    carried = _carried(chosen, matches, own, base_trace, ratio)
    branch = frozenset[str]().union(*(b.tensors for b in own.branches))
    values = {canonical(name): parameter for name, parameter in base.named_parameters()}
    scales = {run: rms([values[name] for name in run]) for run in {m.base_run for m in matches.values()}}
    width = any(m.ratio(axis) != 1 for m in matches.values() for axis in ("in", "out"))
    tensors = {
        name: _tensor(
            chosen, train, m, _role(m, own, width), ratio, in_branch=name in branch, carried=carried[name], scale=scales[m.base_run]
        )
        for name, m in matches.items()
    }
    return Plan(rule=chosen.name, why=why, optimizer=train.name, depth=depth, tensors=tensors)


def _default_rule(own: Trace, depth: tuple[int, int]) -> tuple[Parametrization, str]:
    if depth[0] == depth[1]:
        return parametrization("mup"), "width may grow, depth does not"
    if max(b.matrices for b in own.branches) <= 1:
        return parametrization("depth-mup"), "depth grows, and every residual branch has one matrix"
    return parametrization("completep"), "depth grows, and residual branches have two matrices or more in series"


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
    if (len(layers) == 1 or ratio == 1) and {ratio} != layers.keys():
        grown, name = next((r, n) for r, n in layers.items() if r != ratio)
        raise MutransferError(
            f"there are {grown} times as many layers like {name} as in the base, but {ratio} times as many residual branches ({count}, "
            f"in the base {base_count}): no rule is known for depth without residual branches of one kind"
        )
    if own.branches and (deep := max(b.matrices for b in own.branches)) != (base_deep := max(b.matrices for b in base.branches)):
        raise MutransferError(f"a residual branch has {deep} matrices in series, in the base {base_deep}: keep the branches as deep")


def _role(m: Match, own: Trace, width: bool) -> Role:
    """What the tensor is to its network: by which axes grew, or by its place where no width grew at all."""
    kind, name = m.parameter.kind, m.parameter.name
    if kind == "embedding":
        return Role.TIED if name in own.feeds else Role.EMBEDDING
    if kind != "matrix":
        return Role(kind)
    if not width:
        return matrix_role(name not in own.first, name not in own.final)
    if m.parameter.axes is None:
        if name in own.feeds and m.ratio("out") != 1:
            raise MutransferError(
                f"{name}: signals are multiplied by it, and no rule says which dimension is its fan-in; "
                f"say so with axes={{{name!r}: ('in', 'out')}}"
            )
        return Role.VECTOR
    return matrix_role(m.ratio("in") != 1, m.ratio("out") != 1)


def _check_attention_modules(model: nn.Module, base: nn.Module) -> None:
    """torch's own attention module keeps 1/sqrt(head_dim) to itself, where no trace sees it."""
    sizes = [{m.head_dim for m in each.modules() if isinstance(m, nn.MultiheadAttention)} for each in (model, base)]
    if sizes[0] != sizes[1]:
        raise MutransferError(
            f"the head dimension of nn.MultiheadAttention grows from {sorted(sizes[1])} to {sorted(sizes[0])}, "
            "and its scale cannot be read: grow the number of heads instead"
        )


def _carried(rule: Parametrization, matches: Mapping[str, Match], own: Trace, base: Trace, depth: Fraction) -> dict[str, list[Carried]]:
    """The multipliers that each tensor carries for a signal it makes."""
    parts = (_branch_ends(rule, own, depth), _head_inputs(rule, matches, own), _queries(rule, own, base))
    return {name: [part[name] for part in parts if name in part] for name in matches}


def _branch_ends(rule: Parametrization, own: Trace, depth: Fraction) -> dict[str, Carried]:
    """The last tensors of the residual branches."""
    if rule.branch_multiplier == ONE or depth == 1:
        return {}
    if own.post_norm:
        raise MutransferError(
            "a normalisation follows the residual joins (post-norm), and no rule is known for its depth (2203.03466, Table 1); "
            'keep the depth, or scale width alone with rule="mup"'
        )
    what = Carried(rule.branch_multiplier, depth, "ends a residual branch and carries the branch's multiplier")
    ends = dict[str, Carried]()
    for number, branch in enumerate(own.branches):
        if branch.last is None:
            raise MutransferError(
                f"residual branch {number + 1} of {len(own.branches)} (with {min(branch.tensors)}) does not end in learned tensors "
                f"that could carry its multiplier {rule.branch_multiplier}: end it with a linear layer or an affine norm"
            )
        ends |= dict.fromkeys(branch.last, what)
    return ends


def _head_inputs(rule: Parametrization, matches: Mapping[str, Match], own: Trace) -> dict[str, Carried]:
    """The tensors that feed tied heads."""
    inputs = dict[str, Carried]()
    for name, m in matches.items():
        if m.parameter.kind != "embedding" or name not in own.feeds or m.ratio("out") == 1:
            continue
        feeds = own.feeds[name]
        if feeds is None:
            raise MutransferError(
                f"{name} is also the head, and its input is not made by learned tensors that could carry "
                "the logits' multiplier 1/fan_in: put a norm with a gain before the head, or untie it"
            )
        multiplier = rule.logit_multiplier.substitute(fan_in="head_fan_in")
        inputs |= dict.fromkeys(
            feeds, Carried(multiplier, m.ratio("out"), f"feeds the tied head {name} and carries the logits' multiplier")
        )
    return inputs


def _queries(rule: Parametrization, own: Trace, base: Trace) -> dict[str, Carried]:
    """The tensors that make queries of growing heads."""
    queries = dict[str, Carried]()
    for own_attention, base_attention in _paired(own.attention, base.attention):
        ratio = Fraction(own_attention.head_dim, base_attention.head_dim)
        missing = _missing_scale(rule, own_attention, base_attention, ratio)
        if missing == ONE:
            continue
        if own_attention.query is None:
            raise MutransferError(
                f"the head dimension grows from {base_attention.head_dim} to {own_attention.head_dim} and no learned tensor can carry "
                f"the factor {missing} of the attention logits: grow the number of heads instead, "
                "or give scale=1/head_dim to scaled_dot_product_attention"
            )
        what = Carried(missing, ratio, "makes the queries and carries what the attention logits lack to 1/head_dim")
        queries |= dict.fromkeys(own_attention.query, what)
    return queries


def _paired(own: tuple[Attention, ...], base: tuple[Attention, ...]) -> list[tuple[Attention, Attention]]:
    if len(own) == len(base):
        return list(zip(own, base, strict=True))
    if len({(a.head_dim, a.scale) for a in base}) != 1:
        raise MutransferError("depth grows and the base's attentions have several head sizes or scales: give all layers the same")
    return [(a, base[0]) for a in own]


def _missing_scale(rule: Parametrization, own: Attention, base: Attention, head_dim: Fraction) -> Powers:
    """What the model's own attention scale lacks, as a power of the head dimension's ratio."""
    if head_dim == 1:
        return ONE
    if own.scale is None or base.scale is None:
        raise MutransferError(
            f"the head dimension grows from {base.head_dim} to {own.head_dim} in an attention written out by hand, "
            "whose scale cannot be read: use scaled_dot_product_attention, or grow the number of heads instead"
        )
    change = own.scale / base.scale
    for exponent in ("0", "-1/2", "-1"):
        if abs(change - powers(head_dim=exponent).evaluate({"head_dim": head_dim})) < 1e-9:
            return rule.attention_scale / powers(head_dim=exponent)
    raise MutransferError(
        f"the attention scale changes by {change:g} while the head dimension grows {head_dim} times: "
        "neither constant, 1/sqrt(head_dim) nor 1/head_dim"
    )


def _tensor(
    rule: Parametrization,
    optimizer: Family,
    m: Match,
    role: Role,
    depth: Fraction,
    *,
    in_branch: bool,
    carried: list[Carried],
    scale: float | None,
) -> TensorPlan:
    quantities = rule.quantities(role, optimizer, in_branch=in_branch)
    ratios = {"fan_in": m.ratio("in"), "fan_out": m.ratio("out"), "depth": depth}
    reasons = rule.derivation(role, optimizer, in_branch=in_branch)
    for multiplier, ratio, why in carried:
        quantities = quantities.fold(multiplier, optimizer)
        ratios |= {name: ratio for name, _ in multiplier.exponents}
        reasons.append(f"{why} {multiplier}")
    return TensorPlan(
        name=m.parameter.name,
        role=role,
        shape=m.parameter.shape,
        base_shape=m.base.shape,
        run=m.run,
        in_branch=in_branch,
        ratios=ratios,
        init=quantities.init,
        lr=quantities.lr,
        eps=quantities.eps,
        decay=quantities.decay,
        base_rms=scale,
        reasons=tuple(reasons),
    )
