"""Weights of models: all of them, or an adaptive sample where they are too many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from ._arrays import Array, Indices

ROUNDS = 12
"""Rounds of sampling; each learns from those before it."""

_DEFENCE = 0.25
"""Share of the prior in what is sampled, so that no level is lost."""

Evidence = Callable[[Int[Indices, "models choices"]], Float[Array, " models"]]


def weighted(
    priors: Sequence[Float[Array, " levels"]], evidence: Evidence, most: int
) -> tuple[Int[Indices, "models choices"], Float[Array, " models"]]:
    """Return models and their posterior probabilities.

    A model is one level of every choice. All models are taken where they are few. Otherwise levels
    are drawn independently, in rounds: first from the prior, then from the marginals of the
    posterior so far; weights divide by the mixture of all rounds' proposals (Owen and Zhou 2000).

    Args:
        priors: Prior probabilities of the levels of each choice.
        evidence: Logarithm of the marginal likelihood of models.
        most: Most models to look at.
    """
    counts = [len(prior) for prior in priors]
    if np.prod([float(count) for count in counts]) <= most:
        grid = np.meshgrid(*(np.arange(count) for count in counts), indexing="ij")
        picks = np.stack([axis.ravel() for axis in grid], axis=1)
        return picks, _normalised(_log_probability(priors, picks) + evidence(picks))
    return _sampled(priors, evidence, most)


def resampled(
    weights: Float[Array, " models"], most: int
) -> tuple[Int[Indices, " kept"], Float[Array, " kept"]]:
    """Return models that stand for a posterior, and their weights.

    The heavy ones stay, and of the light ones a systematic sample, each with a like weight: means
    over the posterior stay the same in expectation.
    """
    order = np.argsort(-weights)
    ends = np.cumsum(weights[order])
    marks = (np.arange(most) + 0.5) / most * ends[-1]
    picks, counts = np.unique(np.searchsorted(ends, marks), return_counts=True)
    return order[picks], counts / most


def _sampled(
    priors: Sequence[Float[Array, " levels"]], evidence: Evidence, most: int
) -> tuple[Int[Indices, "models choices"], Float[Array, " models"]]:
    random = np.random.default_rng(0)
    size = most // ROUNDS
    proposals = [priors]
    rounds, values = [_draw(priors, size, random)], []
    while True:
        values.append(evidence(rounds[-1]))
        picks = np.concatenate(rounds)
        logs = _log_probability(priors, picks) + np.concatenate(values)
        mixture = [np.exp(_log_probability(proposal, picks)) for proposal in proposals]
        weights = _normalised(logs - np.log(np.mean(mixture, axis=0)))
        if len(rounds) == ROUNDS:
            return picks, weights
        proposals.append(_marginals(priors, picks, weights))
        rounds.append(_draw(proposals[-1], size, random))


def _draw(
    priors: Sequence[Float[Array, " levels"]], size: int, random: np.random.Generator
) -> Int[Indices, "models choices"]:
    """Draw levels of each choice, stratified, in random order."""
    columns = []
    for prior in priors:
        strata = (np.arange(size) + random.random(size)) / size
        levels = np.searchsorted(np.cumsum(prior) / np.sum(prior), strata)
        columns.append(random.permutation(np.minimum(levels, len(prior) - 1)))
    return np.stack(columns, axis=1)


def _marginals(
    priors: Sequence[Float[Array, " levels"]],
    picks: Int[Indices, "models choices"],
    weights: Float[Array, " models"],
) -> list[Float[Array, " levels"]]:
    """Return the posterior of each choice's levels, mixed with the prior."""
    # With few effective models the marginals would be points; their root is flatter.
    flat = _normalised(np.log(np.maximum(weights, 1e-300)) * _temper(weights))
    return [
        _DEFENCE * prior / prior.sum()
        + (1 - _DEFENCE) * np.bincount(column, flat, minlength=len(prior))
        for prior, column in zip(priors, picks.T, strict=True)
    ]


def _temper(weights: Float[Array, " models"]) -> float:
    """Return a power of the weights at which enough models count."""
    for power in (1.0, 0.7, 0.5, 0.35, 0.25, 0.15):
        flat = _normalised(np.log(np.maximum(weights, 1e-300)) * power)
        if 1 / np.sum(flat**2) >= 20:
            return power
    return 0.1


def _log_probability(
    priors: Sequence[Float[Array, " levels"]], picks: Int[Indices, "models choices"]
) -> Float[Array, " models"]:
    logs = np.zeros(len(picks))
    for prior, column in zip(priors, picks.T, strict=True):
        logs += np.log(prior / prior.sum())[column]
    return logs


def _normalised(logs: Float[Array, " models"]) -> Float[Array, " models"]:
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())
