"""Rows of a table that a signal is compared with: nearest codes, and heads of distances."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.rules import Role
from tests.factors import table, warning_ids
from tests.models import Net, square

ROWS = torch.linspace(-1, 1, 10).view(2, 5)
Distance = Callable[[Tensor, Tensor], Tensor]


def differences(z: Tensor, codes: Tensor) -> Tensor:
    return (z[:, None] - codes).pow(2).sum(-1)


def expanded(z: Tensor, codes: Tensor) -> Tensor:
    return z.pow(2).sum(1, keepdim=True) - 2 * z @ codes.T + codes.pow(2).sum(1)


def without_gradients(z: Tensor, codes: Tensor) -> Tensor:
    with torch.no_grad():
        return expanded(z.detach(), codes.detach())


def fused(z: Tensor, codes: Tensor) -> Tensor:
    lengths = z.pow(2).sum(1, keepdim=True) + codes.pow(2).sum(1)
    return torch.addmm(lengths, z, codes.T, alpha=-2)


def means(z: Tensor, codes: Tensor) -> Tensor:
    return expanded(z, codes) / z.shape[1]


DISTANCES: dict[str, Distance] = {
    "expanded": expanded,
    "without gradients": without_gradients,
    "fused": fused,
    "means": means,
    "torch": torch.cdist,
    "a product": lambda z, codes: -z @ codes.T,
}


def nearest(m: Any, z: Tensor, distances: Tensor) -> Tensor:
    return m.decoder(z + (m.codes(distances.argmin(1)) - z).detach())


def quantised(distance: Distance, end: Callable[..., Any] = nearest) -> Callable[[int], nn.Module]:
    """Return a builder of an autoencoder with a codebook."""

    def run(m: Any, x: Tensor) -> Any:
        z = m.layer(torch.relu(m.encoder(x)))
        return end(m, z, distance(z, m.codes.weight))

    def make(width: int) -> nn.Module:
        torch.manual_seed(0)
        ends = {"encoder": nn.Linear(5, width), "decoder": nn.Linear(width, 5)}
        return Net(run, **ends, layer=square(width), codes=nn.Embedding(4, width))

    return make


def planned(make: Callable[[int], nn.Module]) -> mt.Plan:
    return mt.plan(make(32), make(8), example_inputs=ROWS)


@pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)
def test_a_codebook_is_planned_as_with_differences(distance: Distance) -> None:
    plan, reference = planned(quantised(distance)), planned(quantised(differences))
    assert table(plan) == table(reference)
    assert plan.tensors["codes.weight"].role == Role.EMBEDDING
    assert not plan.forward and warning_ids(plan) == warning_ids(reference)


def by_places_of_the_least(m: Any, z: Tensor, distances: Tensor) -> Tensor:
    return m.decoder(z + (m.codes(distances.min(1)[1]) - z).detach())


def by_one_hot(m: Any, z: Tensor, distances: Tensor) -> Tensor:
    chosen = F.one_hot(distances.argmin(1), 4).float() @ m.codes.weight
    return m.decoder(z + (chosen - z).detach())


@pytest.mark.parametrize("end", [by_places_of_the_least, by_one_hot])
def test_codes_are_taken_in_other_ways(end: Callable[..., Tensor]) -> None:
    plan = planned(quantised(expanded, end))
    assert {plan.tensors["codes.weight"].factor(kind) for kind in ("init", "lr")} == {1.0}


def with_distances(m: Any, z: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
    return nearest(m, z, distances), distances


def times_their_share(m: Any, z: Tensor, distances: Tensor) -> Tensor:
    shares = torch.softmax(-distances, 1).amax(1, keepdim=True)
    return m.decoder(m.codes(distances.argmin(1)) * shares)


@pytest.mark.parametrize("end", [with_distances, times_their_share])
def test_scores_that_do_more_than_choose_are_still_refused(end: Callable[..., Any]) -> None:
    with pytest.raises(mt.MutransferError, match="sum of its own entries"):
        planned(quantised(expanded, end))


def test_a_table_whose_scores_are_used_is_a_tied_head() -> None:
    plan = planned(quantised(DISTANCES["a product"], times_their_share))
    assert plan.tensors["codes.weight"].role == Role.TIED
    with pytest.raises(mt.MutransferError, match="is also the head"):
        planned(quantised(DISTANCES["a product"], with_distances))


def unlike(z: Tensor, codes: Tensor) -> Tensor:
    return z.pow(2).mean(1, keepdim=True) - 2 * z @ codes.T


def test_scores_whose_terms_grow_differently_are_refused() -> None:
    with pytest.raises(mt.MutransferError, match="grows from 8 to 32"):
        planned(quantised(unlike))


def test_words_that_are_chosen_by_their_own_table_alone_keep_a_tied_head() -> None:
    plan = planned(quantised(lambda z, codes: z @ codes.T, lambda m, z, scores: scores.argmax(1)))
    assert plan.tensors["codes.weight"].role in {Role.READOUT, Role.ROUTER, Role.TIED}


def centroids(score: Distance) -> Callable[[int], nn.Module]:
    """Return a builder of a classifier by the nearest of some vectors."""

    def make(width: int) -> nn.Module:
        parts: dict[str, Any] = {"stem": nn.Linear(5, width), "layer": square(width)}
        parts["centres"] = nn.Parameter(torch.randn(4, width))
        return Net(lambda m, x: score(m.layer(torch.relu(m.stem(x))), m.centres), **parts)

    return make


def test_a_head_of_vectors_beside_their_lengths_is_refused() -> None:
    with pytest.raises(mt.MutransferError, match=r"centres.*sum of its own entries.*mean\(-1\)"):
        planned(centroids(lambda h, c: 2 * h @ c.T - c.pow(2).sum(1)))


def test_the_way_out_of_a_head_with_lengths() -> None:
    written_out = planned(centroids(lambda h, c: -((h[:, None] - c) ** 2).mean(-1)))
    assert written_out.tensors["centres"].factor("lr") == 1
    without = planned(centroids(lambda h, c: 2 * h @ c.T))
    assert without.tensors["centres"].role == Role.READOUT


DIRECTIONS: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "normalize": (lambda y: F.normalize(y, dim=-1), True),
    "by hand": (lambda y: y / (y.norm(dim=-1, keepdim=True) + 1e-8), True),
    "bounded": (lambda y: y / (1 + y.norm(dim=-1, keepdim=True)), False),
    "compared": (lambda y: y.masked_fill(y / y.sum(-1, keepdim=True) > 0.1, 0).topk(1)[0], False),
    "plain": (lambda y: y, False),
}


@pytest.mark.parametrize(("function", "expected"), DIRECTIONS.values(), ids=DIRECTIONS)
def test_outputs_of_which_the_direction_alone_counts(function: Any, expected: bool) -> None:
    plan = planned(centroids(lambda h, c: function(h @ c.T)))
    assert ("unproven-bottleneck" in warning_ids(plan)) == expected
