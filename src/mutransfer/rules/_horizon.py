"""Batch size and training duration: published rules for what else changes with them, each with its assumptions and its measured range.

What to do with a longer run is an open question. At a fixed batch the published exponents of the rate in the number of tokens are 0
(2203.03466: the number of steps transfers as it is), -0.3 (Marin's recipe), -0.32 (2409.19913, whose fits for single model sizes run
from -0.32 to -0.70; 2603.28743 on a sphere) and -1/2 (2512.22382), and 2503.04715 fits a positive one, +0.307, along a batch size that
grows with the data. They differ in optimizer, schedule and in what else was scaled. So no rule is a default: `horizon` takes the rule's
name.

How Adam's rule in the batch comes about. A batch κ times as large leaves the gradient's mean alone and divides its variance by κ. Where
noise dominates, the second moment is that variance, so its root falls as κ^-1/2, and so must the eps that is added to it. A step along
the normalised gradient then gains κ^1/2 in signal and nothing in noise; κ times fewer steps have to add up to the same drift and the
same variance, which a rate times κ^1/2 does for both. Memory is counted in samples, so 1 - beta is multiplied by κ, and a decoupled
decay shrinks by rate x decay a step, so the decay is multiplied by κ^1/2. 2205.10287 proves it without decay;
2512.22382 scales the decay alike at a fixed number of tokens.

Left out. The optimal fraction of a run that AdamW remembers falls with tokens per parameter (2505.13738), a law in the model's size as
well. Laws for rate or batch as absolute numbers (2503.04715, 2601.05049), rules for normalised networks and for other optimizers
(Scion's B^0.62 D^-0.56, 2510.03871), and schedules that make the rate independent of duration are not factors of these two ratios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from ..core import MutransferError
from ._optimizers import FAMILIES
from ._powers import ONE, Powers, Ratio, powers

Range = tuple[float, float]

_ANY: Range = (0.0, math.inf)


def _within(factor: float) -> Range:
    return (1 / factor, factor)


@dataclass(frozen=True, kw_only=True)
class HorizonRule:
    """What a source says about training on another batch size or for longer.

    All powers are in two ratios, target over base: `batch`, of the batch sizes, and `tokens`, of the samples seen in the run.

    Attributes:
        name: The name that `horizon` looks up.
        title: One line for people.
        source: Where the rule comes from.
        optimizers: Families that it is stated for.
        assumptions: What has to hold, one clause each.
        batch: Smallest and largest ratio of batch sizes; None where the rule says nothing about the batch.
        tokens: Smallest and largest ratio of tokens; None where the rule says nothing about duration.
        range_source: Where these ranges come from.
        lr: What the rate is multiplied by.
        eps: What eps is multiplied by.
        decay: What the weight decay given to a decoupled optimizer is multiplied by.
        one_minus_beta: What 1 - beta is multiplied by.
        half_life: Beta2 alone changes, to beta2^one_minus_beta, so that its half-life in tokens is kept exactly; otherwise both change.
        smallest_beta2: What beta2 may not fall below.
        largest_beta2: What it may not rise above.
        min_steps: Fewest steps of either run.
    """

    name: str
    title: str
    source: str
    optimizers: tuple[str, ...]
    assumptions: tuple[str, ...]
    batch: Range | None
    tokens: Range | None
    range_source: str
    lr: Powers = ONE
    eps: Powers = ONE
    decay: Powers = ONE
    one_minus_beta: Powers = ONE
    half_life: bool = False
    smallest_beta2: float = 0.0
    largest_beta2: float = 1.0
    min_steps: int = 0


NONE = HorizonRule(
    name="none",
    title="nothing changes: batch size and number of steps transfer as they are",
    source="Tensor Programs V (2203.03466)",
    optimizers=("sgd", "adam", "adamw"),
    assumptions=(
        "observed, not derived",
        "runs of at least 5000 steps on batches of at least 32 sequences",
        "it describes short extrapolations: later sources that lengthen runs more find a smaller rate",
    ),
    batch=_ANY,
    tokens=_ANY,
    range_source="the source states minima, not a range",
    min_steps=5000,
)
LINEAR = HorizonRule(
    name="linear",
    title="SGD: the rate is proportional to the batch",
    source="1706.02677, Section 2.1",
    optimizers=("sgd", "sgdw"),
    assumptions=(
        "the same number of tokens, so the same schedule in epochs",
        "gradients change little over as many small steps as one large step replaces, hence a warm-up",
        "momentum and the decay that is added to the gradient stay",
    ),
    batch=_within(32),
    tokens=None,
    range_source="1706.02677: ImageNet errors agree from 256 to 8192 images a batch and rise beyond",
    lr=powers(batch=1),
)
SDE = HorizonRule(
    name="sde",
    title="Adam: square root of the batch, betas and eps with it",
    source="2205.10287; the decay by the same argument",
    optimizers=("adam", "adamw"),
    assumptions=(
        "the same number of tokens and a schedule stretched to the new number of steps",
        "noise dominates the second moment of the gradient: batches well below the critical one at both ends",
        "both moments remember many steps at either batch: 1 - beta stays well below 1",
    ),
    batch=_within(8),
    tokens=None,
    range_source="this library simulates the rule up to a factor of 8; beta1 = 0.9 allows less than 10",
    lr=powers(batch="1/2"),
    eps=powers(batch="-1/2"),
    decay=powers(batch="1/2"),
    one_minus_beta=powers(batch=1),
)
COMPLETE_D = HorizonRule(
    name="complete-d",
    title="AdamW: the square-root rule in batch/tokens, for batch and duration",
    source="Complete(d)P (2512.22382), Table 1",
    optimizers=("adamw",),
    assumptions=(
        "in the batch it is the rule 'sde', with its assumptions",
        "in the tokens it is a choice that was validated by training: a longer run gets the same total noise and sqrt(tokens) of the drift",
        "a schedule stretched to the new number of steps",
    ),
    batch=_within(8),
    tokens=_within(16),
    range_source="2512.22382 goes from 1.6 to 26 billion tokens; the batch as in the rule 'sde'",
    lr=powers(batch="1/2", tokens="-1/2"),
    eps=powers(batch="-1/2", tokens="1/2"),
    decay=powers(batch="1/2", tokens="-1/2"),
    one_minus_beta=powers(batch=1, tokens=-1),
)
BJORCK = HorizonRule(
    name="bjorck",
    title="AdamW: rate as tokens^-0.32 at a fixed batch",
    source="2409.19913, Section 4",
    optimizers=("adamw",),
    assumptions=(
        "a fixed batch of about half a million tokens and a fixed decay",
        "language models of 760M parameters or more: smaller ones are steeper (Table 5: -0.38 at 350M, -0.65 at 125M, -0.70 at 50M)",
        "one decaying schedule over the whole run",
    ),
    batch=None,
    tokens=_within(32),
    range_source="2409.19913 trains on 25 to 800 billion tokens",
    lr=powers(tokens="-0.32"),
)
EMA = HorizonRule(
    name="ema",
    title="AdamW: decay keeps what the weights remember a constant fraction of the run",
    source="2405.13698; 2505.13738 for the batch",
    optimizers=("adamw",),
    assumptions=(
        "weights average their updates over 1/(rate x decay) steps; the rate is left alone, so the decay follows the number of steps",
        "tokens grow with the parameters: at more tokens per parameter 2505.13738 finds a smaller fraction best",
    ),
    batch=_ANY,
    tokens=_within(64),
    range_source="2505.13738 covers 20 to 1280 tokens per parameter; the batch term counts the memory in samples, whatever the batch",
    decay=powers(batch=1, tokens=-1),
)
MARIN = HorizonRule(
    name="marin",
    title="AdamH: square root of the batch, tokens^-0.3, beta2 with a constant half-life in tokens",
    source="github.com/marin-community/marin, experiments/scaling_law_sweeps/completed_adamh.py",
    optimizers=("adamh",),
    assumptions=(
        "Adam with matrices of a fixed Frobenius norm, without weight decay; a linear schedule, 10% warm-up and 20% decay",
        "the rate, at most 0.01, is that of the matrices: the recipe gives other tensors a rate in proportion to sqrt(batch/tokens)",
        "beta1 stays; at most 250 tokens per parameter",
    ),
    batch=(1 / 8, 128.0),
    tokens=_within(180),
    range_source="the recipe: 8 to 8192 sequences from 64; compute of 3e18 to 1e23 FLOP, whose root is the range of tokens",
    lr=powers(batch="1/2", tokens="-3/10"),
    eps=powers(batch="-1/2", tokens="1/2"),
    one_minus_beta=powers(batch=1),
    half_life=True,
    smallest_beta2=0.9,
    largest_beta2=0.9999,
)
NANOCHAT = HorizonRule(
    name="nanochat",
    title="Muon and AdamW: square root of the batch, decay keeps its fraction of the run",
    source="github.com/karpathy/nanochat, scripts/base_train.py, after 2405.13698",
    optimizers=("muon", "muon-spectral", "muon-original", "muon-match-rms", "adamw"),
    assumptions=(
        "tokens grow in proportion to the parameters, and the batch about as tokens^0.383",
        "the decay is that of Muon's matrices; that Muon follows AdamW's rule is assumed there, not studied",
        "betas and eps stay; warm-up of a fixed number of steps",
    ),
    batch=_within(2),
    tokens=_within(10),
    range_source="it was tried at depths 12 and 26, with batches of 2^19 and 2^20 tokens; its parameters grow as depth^3",
    lr=powers(batch="1/2"),
    decay=powers(batch="1/2", tokens=-1),
)

HORIZON_RULES = {
    each.name: each for each in (NONE, LINEAR, SDE, COMPLETE_D, BJORCK, EMA, MARIN, NANOCHAT)
}


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """What a rule makes of one change of batch size and duration: factors, target over base.

    Attributes:
        rule: The rule.
        batch: Ratio of the batch sizes.
        tokens: Ratio of the samples seen.
        lr: Factor of the rate.
        eps: Factor of eps.
        decay: Factor of the weight decay, as the optimizer takes it.
        one_minus_beta: Factor of 1 - beta; `betas` are the numbers to use.
        betas: The new betas; None where none were given.
    """

    rule: HorizonRule
    batch: float
    tokens: float
    lr: float
    eps: float
    decay: float
    one_minus_beta: float
    betas: tuple[float, float] | None = None

    @property
    def steps(self) -> float:
        """Factor of the number of steps."""
        return self.tokens / self.batch

    def explain(self) -> str:
        """What changes and by how much, why, whose rule it is and what it assumes."""
        rule = self.rule
        changes = [
            f"{label} by {factor:.4g} ({power})"
            for label, factor, power in (
                ("rate", self.lr, rule.lr),
                ("eps", self.eps, rule.eps),
                ("weight decay", self.decay, rule.decay),
                (
                    "1 - beta2" if rule.half_life else "1 - beta",
                    self.one_minus_beta,
                    rule.one_minus_beta,
                ),
            )
            if factor != 1
        ]
        sentences = [
            f"Batch x{self.batch:g} and tokens x{self.tokens:g} make x{self.steps:g} as many steps.",
            f"Multiply the {', '.join(changes)}."
            if changes
            else "Rate, eps, weight decay and betas stay as they are.",
        ]
        if self.betas is not None:
            sentences.append(f"The betas become {self.betas[0]:.6g} and {self.betas[1]:.6g}.")
        sentences += [
            f"This is the rule {rule.name!r} ({rule.title}), from {rule.source}.",
            f"It assumes: {'; '.join(rule.assumptions)}.",
            f"Its range: {rule.range_source}.",
        ]
        return " ".join(sentences)


def horizon(
    rule: str,
    *,
    batch: Ratio = 1,
    tokens: Ratio = 1,
    betas: tuple[float, float] | None = None,
    optimizer: str | None = None,
    critical_batch: float | None = None,
    steps: int | None = None,
) -> Horizon:
    """What a rule says about a batch size and a duration other than those of the base run.

    >>> change = horizon("sde", batch=4, betas=(0.9, 0.99))
    >>> change.lr, change.eps, change.steps
    (2.0, 0.5, 0.25)
    >>> [round(beta, 6) for beta in change.betas]
    [0.6, 0.96]

    Args:
        rule: A name in `HORIZON_RULES`. There is no default: the sources disagree.
        batch: Target batch size over the base's.
        tokens: Samples that the target sees over those that the base saw.
        betas: The base's betas, to be told the target's.
        optimizer: Family of the optimizer; a rule that is not stated for it is refused. A family whose weight decay is added to the
            gradient has it in the loss, which batch and duration do not change: its decay stays.
        critical_batch: Base batch size over the critical one, if known: rules for the batch end there.
        steps: Steps of the base run, if known, for rules that need a long one.

    Raises:
        MutransferError: there is no rule of this name, an argument is not the number it should be, or the rule does not cover the change.
    """
    for what, name in {"rule": rule, "optimizer": optimizer or ""}.items():
        if not isinstance(name, str):
            raise MutransferError(
                f"{what} is {name!r}: give a name, such as {'sde' if what == 'rule' else 'adamw'!r}"
            )
    found = HORIZON_RULES.get(rule.lower())
    if found is None:
        raise MutransferError(
            f"unknown horizon rule {rule!r}; choose one of {', '.join(HORIZON_RULES)}"
        )
    if optimizer is not None and optimizer.lower() not in found.optimizers:
        stated = ", ".join(found.optimizers)
        others = [
            each.name for each in HORIZON_RULES.values() if optimizer.lower() in each.optimizers
        ]
        hint = (
            f"rules for {optimizer!r}: {', '.join(others)}"
            if others
            else "no rule here is stated for it"
        )
        raise MutransferError(
            f"horizon rule {rule!r} is stated for {stated} ({found.source}), not for {optimizer!r}; {hint}"
        )
    ratios = {
        "batch": _cover(found, "batch", batch, found.batch),
        "tokens": _cover(found, "tokens", tokens, found.tokens),
    }
    _check_critical(found, ratios["batch"], critical_batch)
    _check_steps(found, ratios["tokens"] / ratios["batch"], steps)
    family = None if optimizer is None else FAMILIES.get(optimizer.lower())
    coupled = family is not None and family.decay == "coupled"
    factor = found.one_minus_beta.evaluate(ratios)
    return Horizon(
        rule=found,
        **ratios,
        lr=found.lr.evaluate(ratios),
        eps=found.eps.evaluate(ratios),
        decay=1.0 if coupled else found.decay.evaluate(ratios),
        one_minus_beta=factor,
        betas=None if betas is None else _new_betas(found, betas, factor),
    )


def ema_time(lr: float, decay: float, steps: int) -> tuple[float, float]:
    """How long AdamW's weights remember their updates: in steps, and as a fraction of the run (2405.13698).

    With a schedule, give its mean rate for the mean memory, or its peak to compare runs of one schedule.

    >>> steps, fraction = ema_time(lr=0.001, decay=0.1, steps=20_000)
    >>> round(steps), round(fraction, 6)
    (10000, 0.5)

    Raises:
        MutransferError: a number is not positive and finite; without decay nothing is forgotten.
    """
    for name, value in (("lr", lr), ("decay", decay), ("steps", steps)):
        _positive(
            name, value, "weights forget only with a positive rate, decay and number of steps"
        )
    memory = 1 / (lr * decay)
    return memory, memory / steps


def _positive(name: str, value: Ratio, advice: str) -> float:
    if (
        not isinstance(value, Real)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or value <= 0
    ):
        raise MutransferError(f"{name} is {value!r}, not a positive finite number: {advice}")
    return float(value)


def _cover(rule: HorizonRule, name: str, value: Ratio, allowed: Range | None) -> float:
    """The ratio as a number, if the rule covers it."""
    ratio = _positive(name, value, "it is the target's over the base's")
    if allowed is None:
        if ratio != 1:
            covering = [
                each.name for each in HORIZON_RULES.values() if getattr(each, name) is not None
            ]
            raise MutransferError(
                f"horizon rule {rule.name!r} says nothing about {name} ({rule.source}) and {name} is {ratio:g}, not 1; "
                f"rules that do: {', '.join(covering)}"
            )
        return ratio
    low, high = allowed
    slack = 1e-9
    if not low * (1 - slack) <= ratio <= high * (1 + slack):
        raise MutransferError(
            f"{name} ratio {ratio:g} is outside {low:g} to {high:g}, the range of horizon rule {rule.name!r} ({rule.range_source}); "
            f"tune a base that is nearer to the target"
        )
    return ratio


def _check_critical(rule: HorizonRule, batch: float, critical_batch: float | None) -> None:
    if critical_batch is None:
        return
    base = _positive(
        "critical_batch", critical_batch, "it is the base batch size over the critical one"
    )
    largest = base * max(batch, 1.0)
    if batch != 1 and largest > 1:
        raise MutransferError(
            f"a batch {largest:g} times the critical one is in reach of batch ratio {batch:g}: no rule for the batch holds there, "
            f"{rule.name!r} ({rule.source}) included, because gradients are no longer mostly noise; keep base and target below it"
        )


def _check_steps(rule: HorizonRule, factor: float, steps: int | None) -> None:
    if steps is None:
        return
    base = _positive("steps", steps, "it is the number of steps of the base run")
    shortest = base * min(factor, 1.0)
    if shortest < rule.min_steps:
        raise MutransferError(
            f"the shorter run has {shortest:g} steps and horizon rule {rule.name!r} is stated for {rule.min_steps} or more "
            f"({rule.source}); lengthen it or choose a rule that scales the rate"
        )


def _new_betas(rule: HorizonRule, betas: tuple[float, float], factor: float) -> tuple[float, float]:
    if not isinstance(betas, Sequence) or len(betas) != 2:
        raise MutransferError(
            f"betas is {betas!r}: give both betas of the base run, such as (0.9, 0.95)"
        )
    for name, beta in zip(("beta1", "beta2"), betas, strict=True):
        if not isinstance(beta, Real) or not 0 < beta < 1:
            raise MutransferError(
                f"{name} is {beta!r}, not a number between 0 and 1: give both betas of the base run"
            )
    beta1, beta2 = betas
    if factor == 1:
        return beta1, beta2
    result = (
        (beta1, beta2**factor)
        if rule.half_life
        else (1 - (1 - beta1) * factor, 1 - (1 - beta2) * factor)
    )
    ranges = ((0.0, 1.0), (rule.smallest_beta2, rule.largest_beta2))
    for name, old, new, (least, most) in zip(
        ("beta1", "beta2"), betas, result, ranges, strict=True
    ):
        if new != old and not least < new < most:
            raise MutransferError(
                f"horizon rule {rule.name!r} makes {name} {new:g} from {old:g}, outside {least:g} to {most:g} ({rule.source}): "
                f"change the batch less or tune {name} anew"
            )
    return result
