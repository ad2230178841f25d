"""Where the sources disagree: every such choice with its name, its default, who stands on which side, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from ..core import MutransferError
from ._abc import Quantities
from ._laws import Law
from ._optimizers import Family
from ._powers import ONE, Powers, powers
from ._roles import Place, Role


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a choice may depend on: the tensor's role, law and place, its optimizer, and the rule's residual exponent."""

    role: Role
    law: Law
    place: Place
    optimizer: Family
    alpha: Fraction | None = None

    @property
    def inside(self) -> bool:
        """Whether the tensor stands in a residual branch that is multiplied."""
        return self.place != Place.OUTSIDE and self.alpha is not None

    @property
    def branch(self) -> Powers:
        """What residual branches are multiplied by."""
        return ONE if self.alpha is None else powers(depth=-self.alpha)

    @property
    def moves(self) -> Powers:
        """What the layer's output should change by in a step, over one outside the branches."""
        return powers(depth=self.alpha - 1) if self.inside and self.alpha is not None else ONE

    @property
    def gradient(self) -> Powers:
        """RMS of an entry of the gradient."""
        inside = self.branch * (self.moves if self.law.learned else ONE)
        return self.law.gradient * (inside if self.inside else ONE)


def _nowhere(situation: Situation) -> bool:
    """No tensor is concerned by itself."""
    return False


Effect = Callable[[Quantities, Situation], Quantities]


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A choice that sources make differently.

    Attributes:
        name: The option's name.
        quantity: What it is about.
        default: The value taken where nothing is said.
        sides: Each value with what it means and who takes it.
        where: How the choice is made: "rule" for an option of a rule, else the argument that makes it.
        effects: What each value but the default does to a tensor's quantities (in Table 3's form, without the branch's multiplier).
        concerns: Whether it matters in a situation.
    """

    name: str
    quantity: str
    default: str
    sides: Mapping[str, str]
    where: str = "rule"
    effects: Mapping[str, Effect] = field(default_factory=dict)
    concerns: Callable[[Situation], bool] = _nowhere

    def __str__(self) -> str:
        sides = "\n".join(
            f"  {value}{' (default)' if value == self.default else ''}: {text}"
            for value, text in self.sides.items()
        )
        chosen = (
            f"an option of rules: {self.name}=..."
            if self.where == "rule"
            else f"chosen by {self.where}"
        )
        return f"{self.name}: {self.quantity}; {chosen}\n{sides}"


VECTORS = (Role.BIAS, Role.GAIN, Role.HEAD_GAIN, Role.LAYER_SCALE, Role.VECTOR)
_TABLES = (Role.EMBEDDING, Role.TIED)
_FEATURE_MATRICES = (Role.HIDDEN, Role.KEY_VALUE, Role.EXPERT, Role.ROUTER)


def _adaptive(s: Situation) -> bool:
    return s.optimizer.degree == 0


def _faster(q: Quantities, s: Situation, factor: Powers) -> Quantities:
    """Another rate; decay still shrinks the tensor by the same fraction a step."""
    keeps = s.optimizer.decay == "independent" or s.optimizer.normalises_decay
    return replace(q, lr=q.lr * factor, decay=q.decay if keeps else q.decay / factor)


def _no_alignment(q: Quantities, s: Situation) -> Quantities:
    if not s.law.sums_over_width:
        return q
    if s.optimizer.unaligned is None:
        raise MutransferError(
            f"alignment=none is not defined for {s.optimizer.name}: how much its update changes an unaligned input is no product of powers "
            "(2407.05872 treats entrywise updates); use alignment=full"
        )
    return _faster(q, s, s.optimizer.gain / s.optimizer.unaligned)


def _constant_depth_rate(q: Quantities, s: Situation) -> Quantities:
    return replace(q, lr=q.lr / s.moves) if _adaptive(s) and s.role not in VECTORS else q


def _constant_vector_rate(q: Quantities, s: Situation) -> Quantities:
    return replace(q, lr=q.lr / s.moves) if _adaptive(s) and s.role in VECTORS else q


def _embedding_rate(q: Quantities, s: Situation) -> Quantities:
    return _faster(q, s, powers(fan_out="-1/2")) if _adaptive(s) and s.role in _TABLES else q


def _embedding_eps(factor: Callable[[Quantities, Situation], Powers]) -> Effect:
    return lambda q, s: (
        replace(q, eps=factor(q, s)) if s.role in _TABLES and s.optimizer.eps is not None else q
    )


def _constant_vector_eps(q: Quantities, s: Situation) -> Quantities:
    return replace(q, eps=ONE) if s.inside and s.role in VECTORS else q


def _width_decay(value: Callable[[Quantities], Powers]) -> Effect:
    """Another decay of the matrices between features, for optimizers whose decay shrinks them by rate x decay."""

    def effect(q: Quantities, s: Situation) -> Quantities:
        if s.role not in _FEATURE_MATRICES:
            return q
        if s.optimizer.decay != "decoupled" or s.optimizer.relative:
            raise MutransferError(
                f"another width rule for decay is known for decoupled decay alone (AdamW, Muon), not for {s.optimizer.name}: use "
                "decay=fixed-fraction"
            )
        return replace(q, decay=value(q))

    return effect


def _constant_branch_decay(q: Quantities, s: Situation) -> Quantities:
    return q if s.optimizer.normalises_decay else replace(q, decay=q.decay / s.moves)


def _smaller_branch_end(q: Quantities, s: Situation) -> Quantities:
    return (
        replace(q, init=q.init * powers(depth="-1/2"))
        if s.place == Place.BRANCH_END and s.role in _FEATURE_MATRICES
        else q
    )


def _random_router(q: Quantities, s: Situation) -> Quantities:
    return replace(q, init=powers(fan_in="-1/2")) if s.role == Role.ROUTER else q


# Effects act in this order: what changes a rate comes before what sets a decay.
DISAGREEMENTS = {
    each.name: each
    for each in (
        Disagreement(
            name="alpha",
            quantity="the residual exponent: branches are multiplied by depth^-alpha",
            default="by the branches: 1/2 for one matrix, 1 for more",
            sides={
                "1": "CompleteP (2505.01618), 2512.22382, 2603.00541 for two matrices or more, 2512.05620, Modula",
                "1/2": "Tensor Programs VI (2310.02244), 2309.16620, u-muP (2407.17465), 2603.28743; values between are stable, too",
            },
            concerns=lambda s: s.inside and s.branch != ONE,
        ),
        Disagreement(
            name="depth_rate",
            quantity="rate of normalised optimizers in a branch where alpha is below 1",
            default="derived",
            sides={
                "derived": "times depth^(alpha-1): Tensor Programs VI (2310.02244), 2603.00541 Table 12",
                "constant": "2309.16620 (its text; its authors' later code has the other)",
            },
            effects={"constant": _constant_depth_rate},
            concerns=lambda s: (
                s.inside and s.moves != ONE and _adaptive(s) and s.role not in VECTORS
            ),
        ),
        Disagreement(
            name="embedding_rate",
            quantity="Adam's rate of the embedding",
            default="constant",
            sides={
                "constant": "Tensor Programs V (2203.03466), CompleteP (2505.01618), 2605.21486",
                "sqrt": "1/sqrt(width): u-muP (2407.17465); 2506.15025 makes it depend on the vocabulary",
            },
            effects={"sqrt": _embedding_rate},
            concerns=lambda s: s.role in _TABLES and _adaptive(s),
        ),
        Disagreement(
            name="embedding_eps",
            quantity="eps of the embedding",
            default="gradient",
            sides={
                "gradient": "1/width, as its gradient: 2603.00541, 2512.22382, and measured here",
                "block": "width^-1 depth^-alpha, as in a branch: the code of CompleteP",
                "constant": "Tensor Programs V, Appendix B.3, read literally (1/fan_in, and the vocabulary is finite); microsoft/mup",
            },
            effects={
                "block": _embedding_eps(lambda q, s: q.eps * s.branch),
                "constant": _embedding_eps(lambda q, s: ONE),
            },
            concerns=lambda s: s.role in _TABLES and s.optimizer.eps is not None,
        ),
        Disagreement(
            name="vector_eps",
            quantity="eps of biases and gains in branches",
            default="gradient",
            sides={
                "gradient": "width^-1 depth^-alpha: 2603.00541, 2512.22382, and measured here",
                "constant": "Megatron-LM",
            },
            effects={"constant": _constant_vector_eps},
            concerns=lambda s: s.inside and s.role in VECTORS and s.optimizer.eps is not None,
        ),
        Disagreement(
            name="alignment",
            quantity="how update and input are aligned",
            default="full",
            sides={
                "full": "as after many steps: they add up over fan-in. Tensor Programs V (2203.03466), Table 3",
                "none": "as independent ones: over sqrt(fan_in). 2407.05872",
            },
            effects={"none": _no_alignment},
            concerns=lambda s: s.law.sums_over_width and s.optimizer.unaligned is not None,
        ),
        Disagreement(
            name="decay",
            quantity="weight decay over width, as the number given to the optimizer",
            default="fixed-fraction",
            sides={
                "fixed-fraction": "rate x decay is constant in width: CompleteP (2505.01618), microsoft/mup, 2603.00541, 2510.19093",
                "constant": "hidden matrices keep the number: nanoGPT-mup, Megatron-LM, one reading of Tensor Programs V, Appendix B.3",
                "sqrt": "rate x decay of hidden matrices falls as 1/sqrt(width): 2510.15262, for AdamW (decay nothing but matrices)",
                "inverse-width": "rate x decay of hidden matrices falls as 1/width, where data grow with width: 2512.05620",
            },
            effects={
                "constant": _width_decay(lambda q: ONE),
                "sqrt": _width_decay(lambda q: q.decay / powers(fan_in="1/2")),
                "inverse-width": _width_decay(lambda q: q.decay / powers(fan_in=1)),
            },
            concerns=lambda s: (
                s.role in _FEATURE_MATRICES
                and s.optimizer.decay == "decoupled"
                and not s.optimizer.relative
            ),
        ),
        Disagreement(
            name="branch_decay",
            quantity="what decay shrinks tensors by in a branch where alpha is below 1",
            default="in-proportion",
            sides={
                "in-proportion": "depth^(alpha-1) a step, as their updates: 2603.00541 Table 12",
                "constant": "the same fraction a step at every depth: u-muP (2407.17465)",
            },
            effects={"constant": _constant_branch_decay},
            concerns=lambda s: s.inside and s.moves != ONE and not s.optimizer.normalises_decay,
        ),
        Disagreement(
            name="branch_end_init",
            quantity="initial scale of the matrices that end a branch",
            default="same",
            sides={
                "same": "as any hidden matrix: CompleteP (2505.01618)",
                "sqrt-depth": "times depth^-1/2 more, as GPT-2: nanoGPT-mup, Megatron-LM; not where the model does it itself",
            },
            effects={"sqrt-depth": _smaller_branch_end},
            concerns=lambda s: s.place == Place.BRANCH_END and s.role in _FEATURE_MATRICES,
        ),
        Disagreement(
            name="bias_rate",
            quantity="Adam's rate of biases and gains in a branch where alpha is below 1",
            default="derived",
            sides={
                "derived": "times depth^(alpha-1), as matrices: 2603.00541 Table 12",
                "constant": "2309.16620",
            },
            effects={"constant": _constant_vector_rate},
            concerns=lambda s: s.inside and s.moves != ONE and _adaptive(s) and s.role in VECTORS,
        ),
        Disagreement(
            name="muon_scale",
            quantity="what Muon's orthogonal update is multiplied by",
            default="muon",
            sides={
                "muon": "nothing: 2512.05620, 2603.00541",
                "muon-spectral": "sqrt(fan_out/fan_in): Scion, dion's spectral_norm",
                "muon-original": "sqrt(max(1, fan_out/fan_in)): torch.optim.Muon, optax",
                "muon-match-rms": "0.2 sqrt(max(fan_out, fan_in)): Moonlight, Megatron-LM, torch's match_rms_adamw",
            },
            where="the optimizer's name: optimizer=...",
            concerns=lambda s: s.optimizer.name.startswith("muon"),
        ),
        Disagreement(
            name="horizon",
            quantity="rate over training duration and batch size",
            default="none",
            sides={
                "none": "steps transfer empirically: Tensor Programs V (2203.03466)",
                "a rule": "tokens^-0.28 to tokens^-0.5 at fixed batch: 2409.19913, 2512.22382 and others",
            },
            where="mutransfer.horizon(...)",
        ),
        Disagreement(
            name="router",
            quantity="initial scale of a mixture's router",
            default="readout",
            sides={
                "readout": "1/fan_in: 2508.09752, 2605.14200 for a fixed number of experts",
                "hidden": "1/sqrt(fan_in): 2605.14200 where the experts' number grows too",
            },
            effects={"hidden": _random_router},
            concerns=lambda s: s.role == Role.ROUTER,
        ),
        Disagreement(
            name="clip",
            quantity="threshold of the global gradient norm, with the readout's multiplier 1/fan_in explicit",
            default="constant",
            sides={
                "constant": "Tensor Programs V, Appendix B.3, and all code; as measured where embedding and readout have most of the norm",
                "derived": "times depth^(1/2-alpha), as the norm itself where hidden matrices have most of it: large width, many layers",
            },
        ),
        Disagreement(
            name="modules",
            quantity="whether all tensors share one base rate",
            default="global",
            sides={
                "global": "Tensor Programs V (2203.03466), CompleteP (2505.01618)",
                "per module": "a base rate for each kind of module, tuned at base size: 2407.05872, 2512.22382",
            },
            where="plan.param_groups(modules=...)",
        ),
    )
}
