"""Optimizer families: homogeneity and size of their updates, and the published rates."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import MutransferError, rules
from mutransfer.rules import FAMILIES, ONE, Family, Place, Powers, Role, powers

FAN_IN, FAN_OUT, DEPTH, BLOCKS, BLOCK_IN, BLOCK_OUT = (
    powers(**{name: 1})
    for name in ("fan_in", "fan_out", "depth", "blocks", "block_in", "block_out")
)
ENTRYWISE = (
    "adam",
    "adamw",
    "amsgrad",
    "nadam",
    "nadamw",
    "radam",
    "radamw",
    "adagrad",
    "rmsprop",
    "adamax",
    "lion",
    "sophia",
)
RELATIVE = ("lamb", "lars", "adafactor")
MATRICES = ("muon", "muon-spectral", "muon-original", "muon-match-rms", "shampoo", "soap")
VARIANTS = {
    **FAMILIES,
    **{
        f"shampoo {exponent}{' blocked' if blocked else ''}": rules.shampoo(
            exponent, blocked=blocked
        )
        for exponent in ("1/4", "1/2", "1", "3/4")
        for blocked in (False, True)
    },
    **{
        f"soap {left:d}{right:d}{' blocked' if blocked else ''}": rules.soap(
            left=left, right=right, blocked=blocked
        )
        for left in (False, True)
        for right in (False, True)
        for blocked in (False, True)
        if left or right
    },
    "adam#shampoo": rules.grafted(rules.family("adamw"), rules.shampoo()),
}

# Tensor Programs V, Table 8 and Appendix B.3: rates of input, hidden matrix and readout.
VARIANTS_OF_ADAM = [
    *[(name, (ONE, ONE / FAN_IN, ONE)) for name in (*ENTRYWISE, "adafactor-fixed")],
    *[(name, (ONE, FAN_IN ** "-1/2", ONE)) for name in RELATIVE],
    *[(name, (FAN_OUT, FAN_OUT / FAN_IN, FAN_IN)) for name in ("sgd", "sgdw")],
]


@pytest.mark.parametrize(("optimizer", "published"), VARIANTS_OF_ADAM)
def test_variants_in_tensor_programs_v(optimizer: str, published: tuple[Powers, ...]) -> None:
    mup, family = rules.parametrization("mup"), rules.family(optimizer)
    rates = [
        mup.quantities(role, family, form="table8").lr
        for role in (Role.EMBEDDING, Role.HIDDEN, Role.READOUT)
    ]
    assert tuple(rates) == published


def test_every_family_is_in_one_class() -> None:
    assert sorted(FAMILIES) == sorted(
        ["sgd", "sgdw", *ENTRYWISE, "adafactor-fixed", *RELATIVE, *MATRICES]
    )
    assert {name for name, family in FAMILIES.items() if family.matrices} == set(MATRICES)
    assert {name for name, family in FAMILIES.items() if family.relative} == set(RELATIVE)
    assert {name for name, family in FAMILIES.items() if family.degree} == {"sgd", "sgdw"}
    assert all(family.name == name for name, family in FAMILIES.items())


# 2512.05620, Table 1: a hidden matrix in a branch times 1/DEPTH, in its own fan-in and fan-out.
# None where the table has no eps.
SHAPE = FAN_OUT / FAN_IN
QIU = [
    # optimizer, rate, eps
    ("adamw", ONE / FAN_IN, ONE / (DEPTH * FAN_OUT)),
    ("adam#shampoo", ONE / FAN_IN, ONE / (SHAPE * DEPTH**2)),
    ("muon", SHAPE ** "1/2", SHAPE ** "-1/2" / DEPTH),
    *[
        (
            f"shampoo {e}",
            SHAPE ** (1 - Fraction(e)) * DEPTH ** (1 - 2 * Fraction(e)),
            ONE / (SHAPE * DEPTH**2),
        )
        for e in ("1/4", "1/2", "3/4", "1")
    ],
    *[
        (
            f"shampoo {e} blocked",
            SHAPE ** (1 - Fraction(e)) * DEPTH ** (1 - 2 * Fraction(e)) * BLOCKS ** -Fraction(e),
            ONE / (SHAPE * DEPTH**2 * BLOCKS),
        )
        for e in ("1/2", "1")
    ],
    ("soap", SHAPE ** "1/2", SHAPE ** "-1/2" / DEPTH),
    ("soap 10", FAN_OUT ** "1/2" / FAN_IN, FAN_OUT ** "-1/2" / DEPTH),
    ("soap 01", FAN_IN ** "-1/2", FAN_IN ** "1/2" / (FAN_OUT * DEPTH)),
    (
        "soap 11 blocked",
        (BLOCK_OUT * BLOCK_IN) ** "1/2" / FAN_IN,
        (BLOCK_OUT * BLOCK_IN) ** "1/2" / (FAN_OUT * DEPTH),
    ),
    ("soap 10 blocked", BLOCK_OUT ** "1/2" / FAN_IN, BLOCK_OUT ** "1/2" / (FAN_OUT * DEPTH)),
    ("soap 01 blocked", BLOCK_IN ** "1/2" / FAN_IN, BLOCK_IN ** "1/2" / (FAN_OUT * DEPTH)),
    ("sgd", SHAPE * DEPTH, None),
    ("muon-spectral", ONE, None),
]


@pytest.mark.parametrize(("optimizer", "rate", "eps"), QIU)
def test_matrix_optimizers(optimizer: str, rate: Powers, eps: Powers | None) -> None:
    ours = rules.parametrization("completep").quantities(
        Role.HIDDEN, VARIANTS[optimizer], Place.BRANCH
    )
    assert ours.lr == rate
    assert eps is None or ours.eps == eps


def test_the_rate_of_adamuon() -> None:
    adamuon = replace(rules.family("adamw"), name="adamuon", eps=None)
    assert (
        rules.parametrization("completep").quantities(Role.HIDDEN, adamuon, Place.BRANCH).lr
        == ONE / FAN_IN
    )


@pytest.mark.skip(
    reason="no family has AdaMuon's eps, 1/sqrt(d_in d_out), added to orthogonal entries"
)
def test_the_eps_of_adamuon() -> None:
    raise NotImplementedError


@pytest.mark.parametrize("size", ["adamw", "sgd", "muon", "lamb"])
@pytest.mark.parametrize("direction", ["shampoo", "soap", "adamw", "muon"])
def test_grafting_takes_the_rate_of_one_and_the_eps_of_the_other(size: str, direction: str) -> None:
    one, other = rules.family(size), rules.family(direction)
    both = rules.grafted(one, other)
    assert both.name == f"{size}#{direction}"
    for name in ("mup", "completep", "depth-mup", "sp-layerwise"):
        rule = rules.parametrization(name)
        for role in (Role.INPUT, Role.HIDDEN, Role.READOUT):
            for form in ("table3", "table8", "unit"):
                mixed, rate, eps = (
                    rule.quantities(role, family, Place.BRANCH, form=form)
                    for family in (both, one, other)
                )
                assert (mixed.lr, mixed.decay, mixed.eps) == (rate.lr, rate.decay, eps.eps), (
                    name,
                    role,
                    form,
                )


Update = Callable[[np.ndarray], np.ndarray]


def orthogonal(gradient: np.ndarray) -> np.ndarray:
    u, s, vt = np.linalg.svd(gradient, full_matrices=False)
    return (u * (s > 1e-9 * s[0])) @ vt


def by_spectrum(gradient: np.ndarray, exponent: float) -> np.ndarray:
    u, s, vt = np.linalg.svd(gradient, full_matrices=False)
    powered = np.power(s, 1 - 2 * exponent, where=s > 1e-9 * s[0], out=np.zeros_like(s))
    return (u * powered) @ vt


def shampoo_update(exponent: str) -> Update:
    """(G Gᵀ)^-E/2 G (Gᵀ G)^-E/2, on the gradient's range."""
    return lambda gradient: by_spectrum(gradient, float(Fraction(exponent)))


def soap_update(left: bool, right: bool) -> Update:
    """Adam's first step in the eigenbasis of one or both of the factors."""

    def update(gradient: np.ndarray) -> np.ndarray:
        u, s, vt = np.linalg.svd(gradient)
        rows, columns = u if left else np.eye(len(u)), vt.T if right else np.eye(len(vt))
        rotated = rows.T @ gradient @ columns
        signs = np.where(abs(rotated) > 1e-9 * s[0], np.sign(rotated), 0.0)
        return rows @ signs @ columns.T

    return update


def frobenius(gradient: np.ndarray) -> np.ndarray:
    """The update of LARS and LAMB for a tensor of unit entries: as large as the tensor."""
    return gradient / np.sqrt(np.mean(gradient**2))


def in_blocks(update: Update, size_out: int, size_in: int) -> Update:
    def blocked(gradient: np.ndarray) -> np.ndarray:
        result = np.empty_like(gradient)
        for i in range(0, gradient.shape[0], size_out):
            for j in range(0, gradient.shape[1], size_in):
                result[i : i + size_out, j : j + size_in] = update(
                    gradient[i : i + size_out, j : j + size_in]
                )
        return result

    return blocked


def scaled(scale: Callable[[int, int], float]) -> Update:
    return lambda gradient: scale(*gradient.shape) * orthogonal(gradient)


UPDATES: dict[str, Update] = {
    **dict.fromkeys(("sgd", "sgdw"), lambda gradient: gradient),
    **dict.fromkeys((*ENTRYWISE, "adafactor-fixed"), np.sign),
    **dict.fromkeys(RELATIVE, frobenius),
    "muon": orthogonal,
    "muon-spectral": scaled(lambda out, into: (out / into) ** 0.5),
    "muon-original": scaled(lambda out, into: max(1.0, out / into) ** 0.5),
    "muon-match-rms": scaled(lambda out, into: max(out, into) ** 0.5),
    **{
        name: shampoo_update(name.split()[1])
        for name in VARIANTS
        if name.startswith("shampoo ") and "blocked" not in name
    },
    "shampoo": shampoo_update("1/2"),
    **{
        f"soap {left:d}{right:d}": soap_update(left, right)
        for left in (False, True)
        for right in (False, True)
        if left or right
    },
    "soap": soap_update(True, True),
}
SHAPES = [(6, 6), (12, 6), (6, 12), (24, 4)]


def signs(*shape: int) -> np.ndarray:
    return np.sign(np.random.default_rng(sum(shape)).standard_normal(shape))


def ratios(out: int, into: int, size_out: int, size_in: int) -> dict[str, float]:
    return {
        "fan_in": into,
        "fan_out": out,
        "expansion": max(1.0, out / into),
        "fan_max": max(out, into),
        "block_in": size_in,
        "block_out": size_out,
        "blocks": out * into / (size_out * size_in),
    }


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "name", [*UPDATES, *[f"{name} blocked" for name in UPDATES if f"{name} blocked" in VARIANTS]]
)
def test_gain_is_the_response_to_an_aligned_input_at_unit_rate(
    name: str, shape: tuple[int, int]
) -> None:
    """A gradient of unit entries is an outer product with the input, to which the update aligns."""
    out, into = shape
    size_out, size_in = out // 2, into // 2
    plain = UPDATES[name.removesuffix(" blocked")]
    update = in_blocks(plain, size_out, size_in) if name.endswith("blocked") else plain
    back, x = signs(out), signs(into)
    change = update(np.outer(back, x)) @ x
    assert np.sqrt(np.mean(change**2)) == pytest.approx(
        VARIANTS[name].gain.evaluate(ratios(out, into, size_out, size_in)), rel=1e-9
    )


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("factor", [3.0, 1 / 8])
def test_homogeneity_is_the_degree_of_the_update(name: str, factor: float) -> None:
    gradient = np.random.default_rng(0).standard_normal((5, 7))
    update = UPDATES[name]
    assert np.allclose(
        update(factor * gradient),
        factor ** float(VARIANTS[name].degree) * update(gradient),
        rtol=1e-9,
        atol=0,
    )


def preconditioner(gradient: np.ndarray) -> float:
    """The largest eigenvalue of G Gᵀ, to which Shampoo adds eps."""
    return float(np.linalg.norm(gradient @ gradient.T, 2))


ADDED_TO_EPS: dict[str, Callable[[np.ndarray], float]] = {
    "adamw": lambda gradient: float(np.sqrt(np.mean(gradient**2))),
    "muon": lambda gradient: float(np.linalg.norm(gradient)),
    "lars": lambda gradient: float(np.linalg.norm(gradient)),
    "shampoo": preconditioner,
    "soap": lambda gradient: float(np.linalg.svd(gradient)[1].max()),
    "soap 10": lambda gradient: float(abs(np.linalg.svd(gradient)[0].T @ gradient).max()),
    "soap 01": lambda gradient: float(abs(gradient @ np.linalg.svd(gradient)[2].T).max()),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ADDED_TO_EPS)
def test_eps_has_the_size_of_its_summand(name: str, shape: tuple[int, int]) -> None:
    gradient, size, family = (
        np.outer(signs(shape[0]), signs(shape[1])),
        ADDED_TO_EPS[name],
        VARIANTS[name],
    )
    assert family.eps is not None
    assert size(gradient) == pytest.approx(
        family.eps.evaluate({"fan_in": shape[1], "fan_out": shape[0]}), rel=1e-9
    )
    assert size(3 * gradient) == pytest.approx(3**family.eps_degree * size(gradient), rel=1e-9)


def test_eps_of_optimizers_that_have_none() -> None:
    assert {name for name, family in FAMILIES.items() if family.eps is None} == {
        "sgd",
        "sgdw",
        "lion",
    }
    for name in ("sgd", "lion"):
        assert (
            rules.parametrization("completep")
            .quantities(Role.HIDDEN, rules.family(name), Place.BRANCH_END)
            .eps
            == ONE
        )


WIDTHS = 2 ** np.arange(7, 12)


def gaussian(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal(n)


# Tensor Programs V, Table 14: the size of an entry of A v for entries of A and v of size 1.
TABLE_14 = {
    # name: (A v, exponent of the width)
    "random matrix, independent vector": (
        lambda rng, n: gaussian(rng, n * 64).reshape(64, n) @ gaussian(rng, n),
        1 / 2,
    ),
    "tensor product, correlated vector": (
        lambda rng, n: (x := gaussian(rng, n)) @ x * gaussian(rng, 64),
        1,
    ),
    "nonlinear tensor product, correlated vector": (
        lambda rng, n: np.sign(np.outer(gaussian(rng, 64), x := gaussian(rng, n))) @ x,
        1,
    ),
    "tensor product, independent vector": (
        lambda rng, n: gaussian(rng, n) @ gaussian(rng, n) * gaussian(rng, 64),
        1 / 2,
    ),
    "vector, correlated vector": (
        lambda rng, n: np.atleast_1d((1 + (x := gaussian(rng, n))) @ x),
        1,
    ),
    "vector, independent vector": (
        lambda rng, n: np.atleast_1d(gaussian(rng, n) @ gaussian(rng, n)),
        1 / 2,
    ),
}


@pytest.mark.parametrize("kind", TABLE_14)
def test_sizes_of_products(kind: str) -> None:
    product, published = TABLE_14[kind]
    rng = np.random.default_rng(1)
    sizes = [
        np.sqrt(np.mean([np.mean(product(rng, int(n)) ** 2) for _ in range(64)])) for n in WIDTHS
    ]
    assert np.polyfit(np.log(WIDTHS), np.log(sizes), 1)[0] == pytest.approx(published, abs=0.1)


def test_full_alignment_and_none_of_entrywise_updates() -> None:
    for name in (*ENTRYWISE, "sgd", "lamb", "adafactor"):
        assert (FAMILIES[name].gain, FAMILIES[name].unaligned) == (FAN_IN, FAN_IN ** "1/2"), name
    assert all(FAMILIES[name].unaligned is None for name in MATRICES)


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        ("sgd", "coupled"),
        ("adam", "coupled"),
        ("rmsprop", "coupled"),
        ("sgdw", "decoupled"),
        ("adamw", "decoupled"),
        ("lion", "decoupled"),
        ("muon", "decoupled"),
        ("lamb", "normalised"),
        ("lars", "coupled"),
    ],
)
def test_what_decay_means(optimizer: str, kind: str) -> None:
    assert rules.family(optimizer).decay == kind


def test_decay_of_optimizers_that_normalise_keeps_its_share() -> None:
    """Decay keeps its share in what it is added to.

    LAMB adds it to an update of unit entries, LARS to the gradient.
    """
    for optimizer, size in [("lamb", ONE), ("lars", ONE / (FAN_OUT * DEPTH))]:
        family = rules.family(optimizer)
        assert family.normalises_decay and not family.decays_badly
        ours = rules.parametrization("completep").quantities(Role.HIDDEN, family, Place.BRANCH)
        assert ours.decay == size / ours.init
    assert (
        rules.family("adam").decays_badly
        and not rules.family("adamw").decays_badly
        and not rules.family("sgd").decays_badly
    )


def test_independent_decay_is_a_constant() -> None:
    independent = replace(rules.family("adamw"), name="adamw-independent", decay="independent")
    for form in rules.FORMS:
        for role in Role:
            assert (
                rules.parametrization("mup").quantities(role, independent, form=form).decay == ONE
            )


def test_a_family_without_homogeneity_is_refused() -> None:
    with pytest.raises(
        MutransferError,
        match=r"'mine' does not declare how its update answers.*Lemma J\.1.*homogeneity=1",
    ):
        Family(name="mine", gain=FAN_IN, decay="decoupled")


def test_an_unknown_kind_of_decay_is_refused() -> None:
    kinds = "coupled, decoupled, independent, normalised"
    with pytest.raises(MutransferError, match=f"'mine': decay is 'weights'; choose one of {kinds}"):
        Family(name="mine", homogeneity=0, gain=FAN_IN, decay="weights")


def test_a_family_of_ones_own() -> None:
    own = Family(name="mine", homogeneity="1/2", gain=FAN_IN, eps=ONE, decay="decoupled")
    assert rules.family(own) is own
    ours = rules.parametrization("mup").quantities(Role.HIDDEN, own)
    assert (own.degree, ours.lr, ours.eps) == (
        Fraction(1, 2),
        FAN_OUT ** "1/2" / FAN_IN,
        ONE / FAN_OUT,
    )


products = st.dictionaries(
    st.sampled_from(["fan_in", "fan_out", "blocks"]),
    st.fractions(min_value=-2, max_value=2, max_denominator=6),
    max_size=3,
).map(lambda exponents: powers(**exponents))
families = st.builds(
    Family,
    name=st.text(min_size=1, max_size=8),
    homogeneity=st.fractions(min_value=-1, max_value=1, max_denominator=8),
    relative=st.booleans(),
    gain=products,
    unaligned=st.none() | products,
    eps=st.none() | products,
    eps_degree=st.integers(1, 2),
    curvature=st.booleans(),
    decay=st.sampled_from(["coupled", "decoupled", "independent", "normalised"]),
    matrices=st.booleans(),
    caveat=st.text(max_size=8),
    cites=st.lists(st.text(max_size=8), max_size=2).map(tuple),
)


@pytest.mark.parametrize("name", VARIANTS)
def test_families_survive_json(name: str) -> None:
    assert Family.from_json(json.loads(json.dumps(VARIANTS[name].to_json()))) == VARIANTS[name]


@settings(deadline=None, max_examples=50, derandomize=True)
@given(families)
def test_any_family_survives_json(family: Family) -> None:
    assert Family.from_json(json.loads(json.dumps(family.to_json()))) == family


def test_soap_that_rotates_nothing_is_adam() -> None:
    with pytest.raises(MutransferError, match="is Adam"):
        rules.soap(left=False, right=False)
