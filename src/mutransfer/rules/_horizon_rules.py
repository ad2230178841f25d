"""The rules for batch size and duration: data alone.

A new rule is one entry here.
"""

from __future__ import annotations

import math

from ._horizon_rule import HorizonRule, Range
from ._powers import powers

_ANY: Range = (0.0, math.inf)


def _within(factor: float) -> Range:
    return (1 / factor, factor)


HORIZON_RULES = {
    rule.name: rule
    for rule in (
        HorizonRule(
            name="none",
            title="nothing changes: batch size and number of steps transfer as they are",
            source="Tensor Programs V (2203.03466)",
            optimizers=("sgd", "adam", "adamw"),
            assumptions=(
                "observed, not derived",
                "runs of at least 5000 steps on batches of at least 32 sequences",
                "it describes short extrapolations: "
                "later sources that lengthen runs more find a smaller rate",
            ),
            batch=_ANY,
            tokens=_ANY,
            range_source="the source states minima, not a range",
            min_steps=5000,
        ),
        HorizonRule(
            name="linear",
            title="SGD: the rate is proportional to the batch",
            source="1706.02677, Section 2.1",
            optimizers=("sgd", "sgdw"),
            assumptions=(
                "the same number of tokens, so the same schedule in epochs",
                "gradients change little over as many small steps as one large step replaces, "
                "hence a warm-up",
                "momentum and the decay that is added to the gradient stay",
            ),
            batch=_within(32),
            tokens=None,
            range_source="1706.02677: ImageNet errors agree from 256 to 8192 images a batch "
            "and rise beyond",
            lr=powers(batch=1),
        ),
        HorizonRule(
            name="sde",
            title="Adam: square root of the batch, betas and eps with it",
            source="2205.10287; the decay by the same argument",
            optimizers=("adam", "adamw"),
            assumptions=(
                "the same number of tokens and a schedule stretched to the new number of steps",
                "noise dominates the second moment of the gradient: "
                "batches well below the critical one at both ends",
                "both moments remember many steps at either batch: 1 - beta stays well below 1",
            ),
            batch=_within(8),
            tokens=None,
            range_source="this library simulates the rule up to a factor of 8; "
            "beta1 = 0.9 allows less than 10",
            lr=powers(batch="1/2"),
            eps=powers(batch="-1/2"),
            decay=powers(batch="1/2"),
            one_minus_beta=powers(batch=1),
        ),
        HorizonRule(
            name="complete-d",
            title="AdamW: the square-root rule in batch/tokens, for batch and duration",
            source="Complete(d)P (2512.22382), Table 1",
            optimizers=("adamw",),
            assumptions=(
                "in the batch it is the rule 'sde', with its assumptions",
                "in the tokens it is a choice that was validated by training: "
                "a longer run gets the same total noise and sqrt(tokens) of the drift",
                "a schedule stretched to the new number of steps",
            ),
            batch=_within(8),
            tokens=_within(16),
            range_source="2512.22382 goes from 1.6 to 26 billion tokens; "
            "the batch as in the rule 'sde'",
            lr=powers(batch="1/2", tokens="-1/2"),
            eps=powers(batch="-1/2", tokens="1/2"),
            decay=powers(batch="1/2", tokens="-1/2"),
            one_minus_beta=powers(batch=1, tokens=-1),
        ),
        HorizonRule(
            name="bjorck",
            title="AdamW: rate as tokens^-0.32 at a fixed batch",
            source="2409.19913, Section 4",
            optimizers=("adamw",),
            assumptions=(
                "a fixed batch of about half a million tokens and a fixed decay",
                "language models of 760M parameters or more: smaller ones are steeper "
                "(Table 5: -0.38 at 350M, -0.65 at 125M, -0.70 at 50M)",
                "one decaying schedule over the whole run",
            ),
            batch=None,
            tokens=_within(32),
            range_source="2409.19913 trains on 25 to 800 billion tokens",
            lr=powers(tokens="-0.32"),
        ),
        HorizonRule(
            name="ema",
            title="AdamW: decay keeps what the weights remember a constant fraction of the run",
            source="2405.13698; 2505.13738 for the batch",
            optimizers=("adamw",),
            assumptions=(
                "weights average their updates over 1/(rate x decay) steps; "
                "the rate is left alone, so the decay follows the number of steps",
                "tokens grow with the parameters: "
                "at more tokens per parameter 2505.13738 finds a smaller fraction best",
            ),
            batch=_ANY,
            tokens=_within(64),
            range_source="2505.13738 covers 20 to 1280 tokens per parameter; "
            "the batch term counts the memory in samples, whatever the batch",
            decay=powers(batch=1, tokens=-1),
        ),
        HorizonRule(
            name="marin",
            title="AdamH: square root of the batch, tokens^-0.3, "
            "beta2 with a constant half-life in tokens",
            source="github.com/marin-community/marin, "
            "experiments/scaling_law_sweeps/completed_adamh.py",
            optimizers=("adamh",),
            assumptions=(
                "Adam with matrices of a fixed Frobenius norm, without weight decay; "
                "a linear schedule, 10% warm-up and 20% decay",
                "the rate, at most 0.01, is that of the matrices: "
                "the recipe gives other tensors a rate in proportion to sqrt(batch/tokens)",
                "beta1 stays; at most 250 tokens per parameter",
            ),
            batch=(1 / 8, 128.0),
            tokens=_within(180),
            range_source="the recipe: 8 to 8192 sequences from 64; compute of 3e18 to 1e23 FLOP, "
            "whose root is the range of tokens",
            lr=powers(batch="1/2", tokens="-3/10"),
            eps=powers(batch="-1/2", tokens="1/2"),
            one_minus_beta=powers(batch=1),
            half_life=True,
            smallest_beta2=0.9,
            largest_beta2=0.9999,
        ),
        HorizonRule(
            name="nanochat",
            title="Muon and AdamW: square root of the batch, decay keeps its fraction of the run",
            source="github.com/karpathy/nanochat, scripts/base_train.py, after 2405.13698",
            optimizers=("muon", "muon-spectral", "muon-original", "muon-match-rms", "adamw"),
            assumptions=(
                "tokens grow in proportion to the parameters, and the batch about as tokens^0.383",
                "the decay is that of Muon's matrices; "
                "that Muon follows AdamW's rule is assumed there, not studied",
                "betas and eps stay; warm-up of a fixed number of steps",
            ),
            batch=_within(2),
            tokens=_within(10),
            range_source="it was tried at depths 12 and 26, with batches of 2^19 and 2^20 tokens; "
            "its parameters grow as depth^3",
            lr=powers(batch="1/2"),
            decay=powers(batch="1/2", tokens=-1),
        ),
    )
}
"""Every rule for batch size and duration by name."""
