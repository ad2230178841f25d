"""The register of disagreements.

A new disagreement is one entry here, with the functions that it alone uses before it.
"""

from __future__ import annotations

from dataclasses import replace

from ..core import MutransferError
from ._disagreement import Disagreement
from ._powers import ONE, Powers, powers
from ._principle import derived
from ._quantities import Quantities
from ._roles import Place, Role, Trait
from ._situation import Situation


def _faster(q: Quantities, s: Situation, factor: Powers) -> Quantities:
    """Return another rate; decay still shrinks the tensor by the same fraction a step."""
    keeps = s.optimizer.decay == "independent" or s.optimizer.normalises_decay
    return replace(q, lr=q.lr * factor, decay=q.decay if keeps else q.decay / factor)


def _started(q: Quantities, s: Situation, factor: Powers) -> Quantities:
    """Return another initial scale, which a relative update and its decay follow."""
    init = s.law.init * factor
    before, after = derived(s), derived(replace(s, law=replace(s.law, init=init)))
    lr, decay = after.lr / before.lr, after.decay / before.decay
    return replace(q, init=q.init * factor, lr=q.lr * lr, decay=q.decay * decay)


def _alpha_matters(s: Situation) -> bool:
    return s.inside and s.branch != ONE


_ALPHA = Disagreement(
    name="alpha",
    quantity="the residual exponent: branches are multiplied by depth^-alpha",
    default="by the branches: 1/2 for one matrix, 1 for more",
    sides={
        "1": "CompleteP (2505.01618), 2512.22382, 2603.00541 for two matrices or more, 2512.05620, "
        "Modula",
        "1/2": "Tensor Programs VI (2310.02244), 2309.16620, u-muP (2407.17465), 2603.28743; "
        "values between are stable, too",
    },
    concerns=_alpha_matters,
)


def _depth_rate_matters(s: Situation) -> bool:
    return s.share != ONE and s.normalised and not s.role.has(Trait.VECTOR)


def _constant_depth_rate(q: Quantities, s: Situation) -> Quantities:
    return replace(q, lr=q.lr / s.share) if _depth_rate_matters(s) else q


_DEPTH_RATE = Disagreement(
    name="depth_rate",
    quantity="rate of normalised optimizers in a branch where alpha is below 1",
    default="derived",
    sides={
        "derived": "times depth^(alpha-1): Tensor Programs VI (2310.02244), 2603.00541 Table 12",
        "constant": "2309.16620 (its text; its authors' later code has the other)",
    },
    effects={"constant": _constant_depth_rate},
    concerns=_depth_rate_matters,
)


def _embedding_rate_matters(s: Situation) -> bool:
    return s.role.has(Trait.LOOKUP) and s.normalised


def _sqrt_embedding_rate(q: Quantities, s: Situation) -> Quantities:
    return _faster(q, s, powers(fan_out="-1/2")) if _embedding_rate_matters(s) else q


_EMBEDDING_RATE = Disagreement(
    name="embedding_rate",
    quantity="Adam's rate of the embedding",
    default="constant",
    sides={
        "constant": "Tensor Programs V (2203.03466), CompleteP (2505.01618), 2605.21486",
        "sqrt": "1/sqrt(width): u-muP (2407.17465); 2506.15025 makes it depend on the vocabulary",
    },
    effects={"sqrt": _sqrt_embedding_rate},
    concerns=_embedding_rate_matters,
)


def _embedding_eps_matters(s: Situation) -> bool:
    return s.role.has(Trait.LOOKUP) and s.optimizer.eps is not None


def _block_embedding_eps(q: Quantities, s: Situation) -> Quantities:
    return replace(q, eps=q.eps * s.branch) if _embedding_eps_matters(s) else q


def _constant_embedding_eps(q: Quantities, s: Situation) -> Quantities:
    return replace(q, eps=ONE) if _embedding_eps_matters(s) else q


_EMBEDDING_EPS = Disagreement(
    name="embedding_eps",
    quantity="eps of the embedding",
    default="gradient",
    sides={
        "gradient": "1/width, as its gradient: 2603.00541, 2512.22382, and measured here",
        "block": "width^-1 depth^-alpha, as in a branch: the code of CompleteP",
        "constant": "Tensor Programs V, Appendix B.3, read literally (1/fan_in, and the vocabulary "
        "is finite); microsoft/mup",
    },
    effects={"block": _block_embedding_eps, "constant": _constant_embedding_eps},
    concerns=_embedding_eps_matters,
)


def _vector_eps_matters(s: Situation) -> bool:
    return s.inside and s.role.has(Trait.VECTOR) and s.optimizer.eps is not None


def _constant_vector_eps(q: Quantities, s: Situation) -> Quantities:
    return replace(q, eps=ONE) if _vector_eps_matters(s) else q


_VECTOR_EPS = Disagreement(
    name="vector_eps",
    quantity="eps of biases and gains in branches",
    default="gradient",
    sides={
        "gradient": "width^-1 depth^-alpha: 2603.00541, 2512.22382, and measured here",
        "constant": "Megatron-LM",
    },
    effects={"constant": _constant_vector_eps},
    concerns=_vector_eps_matters,
)


def _alignment_matters(s: Situation) -> bool:
    return s.law.sums_over_width and s.optimizer.unaligned is not None


def _no_alignment(q: Quantities, s: Situation) -> Quantities:
    if not s.law.sums_over_width:
        return q
    if s.optimizer.unaligned is None:
        raise MutransferError(
            f"alignment=none is not defined for {s.optimizer.name}: how much its update changes an "
            "unaligned input is no product of powers (2407.05872 treats entrywise updates); use "
            "alignment=full"
        )
    return _faster(q, s, s.optimizer.gain / s.optimizer.unaligned)


_ALIGNMENT = Disagreement(
    name="alignment",
    quantity="how update and input are aligned",
    default="full",
    sides={
        "full": "as after many steps: they add up over fan-in. Tensor Programs V (2203.03466), "
        "Table 3",
        "none": "as independent ones: over sqrt(fan_in). 2407.05872",
    },
    effects={"none": _no_alignment},
    concerns=_alignment_matters,
)


def _decay_matters(s: Situation) -> bool:
    return s.role.has(Trait.FEATURE_MATRIX) and s.decays_by_rate


def _other_decay(q: Quantities, s: Situation, decay: Powers) -> Quantities:
    if not s.role.has(Trait.FEATURE_MATRIX):
        return q
    if not s.decays_by_rate:
        raise MutransferError(
            "another width rule for decay is known for decoupled decay alone (AdamW, Muon), not "
            f"for {s.optimizer.name}: use decay=fixed-fraction"
        )
    return replace(q, decay=decay)


def _constant_decay(q: Quantities, s: Situation) -> Quantities:
    return _other_decay(q, s, ONE)


def _sqrt_decay(q: Quantities, s: Situation) -> Quantities:
    return _other_decay(q, s, q.decay / powers(fan_in="1/2"))


def _inverse_width_decay(q: Quantities, s: Situation) -> Quantities:
    return _other_decay(q, s, q.decay / powers(fan_in=1))


_DECAY = Disagreement(
    name="decay",
    quantity="weight decay over width, as the number given to the optimizer",
    default="fixed-fraction",
    sides={
        "fixed-fraction": "rate x decay is constant in width: CompleteP (2505.01618), "
        "microsoft/mup, 2603.00541, 2510.19093",
        "constant": "hidden matrices keep the number: nanoGPT-mup, Megatron-LM, one reading of "
        "Tensor Programs V, Appendix B.3",
        "sqrt": "rate x decay of hidden matrices falls as 1/sqrt(width): 2510.15262, for AdamW "
        "(decay nothing but matrices)",
        "inverse-width": "rate x decay of hidden matrices falls as 1/width, where data grow with "
        "width: 2512.05620",
    },
    effects={
        "constant": _constant_decay,
        "sqrt": _sqrt_decay,
        "inverse-width": _inverse_width_decay,
    },
    concerns=_decay_matters,
)


def _branch_decay_matters(s: Situation) -> bool:
    return s.share != ONE and not s.optimizer.normalises_decay


def _constant_branch_decay(q: Quantities, s: Situation) -> Quantities:
    return replace(q, decay=q.decay / s.share) if _branch_decay_matters(s) else q


_BRANCH_DECAY = Disagreement(
    name="branch_decay",
    quantity="what decay shrinks tensors by in a branch where alpha is below 1",
    default="in-proportion",
    sides={
        "in-proportion": "depth^(alpha-1) a step, as their updates: 2603.00541 Table 12",
        "constant": "the same fraction a step at every depth: u-muP (2407.17465)",
    },
    effects={"constant": _constant_branch_decay},
    concerns=_branch_decay_matters,
)


def _branch_end_init_matters(s: Situation) -> bool:
    return s.place == Place.BRANCH_END and s.role.has(Trait.FEATURE_MATRIX)


def _smaller_branch_end(q: Quantities, s: Situation) -> Quantities:
    return _started(q, s, powers(depth="-1/2")) if _branch_end_init_matters(s) else q


_BRANCH_END_INIT = Disagreement(
    name="branch_end_init",
    quantity="initial scale of the matrices that end a branch",
    default="same",
    sides={
        "same": "as any hidden matrix: CompleteP (2505.01618)",
        "sqrt-depth": "times depth^-1/2 more, as GPT-2: nanoGPT-mup, Megatron-LM; not where the "
        "model does it itself",
    },
    effects={"sqrt-depth": _smaller_branch_end},
    concerns=_branch_end_init_matters,
)


def _bias_rate_matters(s: Situation) -> bool:
    return s.share != ONE and s.normalised and s.role.has(Trait.VECTOR)


def _constant_bias_rate(q: Quantities, s: Situation) -> Quantities:
    return replace(q, lr=q.lr / s.share) if _bias_rate_matters(s) else q


_BIAS_RATE = Disagreement(
    name="bias_rate",
    quantity="Adam's rate of biases and gains in a branch where alpha is below 1",
    default="derived",
    sides={
        "derived": "times depth^(alpha-1), as matrices: 2603.00541 Table 12",
        "constant": "2309.16620",
    },
    effects={"constant": _constant_bias_rate},
    concerns=_bias_rate_matters,
)


def _muon_scale_matters(s: Situation) -> bool:
    return s.optimizer.name.startswith("muon")


_MUON_SCALE = Disagreement(
    name="muon_scale",
    quantity="what Muon's orthogonal update is multiplied by",
    default="muon",
    sides={
        "muon": "nothing: 2512.05620, 2603.00541",
        "muon-spectral": "sqrt(fan_out/fan_in): Scion, dion's spectral_norm",
        "muon-original": "sqrt(max(1, fan_out/fan_in)): torch.optim.Muon, optax",
        "muon-match-rms": "0.2 sqrt(max(fan_out, fan_in)): Moonlight, Megatron-LM, torch's "
        "match_rms_adamw",
    },
    where="the optimizer's name: optimizer=...",
    concerns=_muon_scale_matters,
)

_HORIZON = Disagreement(
    name="horizon",
    quantity="rate over training duration and batch size",
    default="none",
    sides={
        "none": "steps transfer empirically: Tensor Programs V (2203.03466)",
        "a rule": "tokens^-0.28 to tokens^-0.5 at fixed batch: 2409.19913, 2512.22382 and others",
    },
    where="mutransfer.horizon(...)",
)


def _router_matters(s: Situation) -> bool:
    return s.role == Role.ROUTER


def _hidden_router(q: Quantities, s: Situation) -> Quantities:
    return _started(q, s, powers(fan_in="-1/2") / s.law.init) if _router_matters(s) else q


_ROUTER = Disagreement(
    name="router",
    quantity="initial scale of a mixture's router",
    default="readout",
    sides={
        "readout": "1/fan_in: 2508.09752, 2605.14200 for a fixed number of experts",
        "hidden": "1/sqrt(fan_in): 2605.14200 where the experts' number grows too",
    },
    effects={"hidden": _hidden_router},
    concerns=_router_matters,
)

# Its effect is on the threshold, which belongs to no tensor: `Parametrization.clip`.
_CLIP = Disagreement(
    name="clip",
    quantity="threshold of the global gradient norm, with the readout's multiplier 1/fan_in "
    "explicit",
    default="constant",
    sides={
        "constant": "Tensor Programs V, Appendix B.3, and all code; as measured where embedding "
        "and readout have most of the norm",
        "derived": "times depth^(1/2-alpha), as the norm itself where hidden matrices have most of "
        "it: large width, many layers",
    },
)

_MODULES = Disagreement(
    name="modules",
    quantity="whether all tensors share one base rate",
    default="global",
    sides={
        "global": "Tensor Programs V (2203.03466), CompleteP (2505.01618)",
        "per module": "a base rate for each kind of module, tuned at base size: 2407.05872, "
        "2512.22382",
    },
    where="plan.param_groups(modules=...)",
)

# Effects act in this order: what changes a rate comes before what sets a decay.
DISAGREEMENTS = {
    disagreement.name: disagreement
    for disagreement in (
        *(_ALPHA, _DEPTH_RATE, _EMBEDDING_RATE, _EMBEDDING_EPS, _VECTOR_EPS, _ALIGNMENT),
        *(_DECAY, _BRANCH_DECAY, _BRANCH_END_INIT, _BIAS_RATE, _MUON_SCALE, _HORIZON),
        *(_ROUTER, _CLIP, _MODULES),
    )
}
"""Every disagreement by name."""
