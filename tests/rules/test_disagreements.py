"""Disagreements between papers: the sides, their effects, and where they apply."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from mutransfer import rules
from mutransfer.rules import (
    DISAGREEMENTS,
    FAMILIES,
    ONE,
    PARAMETRIZATIONS,
    Parametrization,
    Place,
    Powers,
    Quantities,
    Role,
    parametrization,
)
from tests.rules.tables import DEPTH, FAN_IN, FAN_OUT, ROOT, Rows, table

VECTORS = {Role.BIAS, Role.GAIN, Role.HEAD_GAIN, Role.LAYER_SCALE, Role.VECTOR}
MATRICES = {Role.HIDDEN, Role.KEY_VALUE, Role.EXPERT, Role.ROUTER}
SUMS = {*MATRICES, Role.READOUT, Role.LORA_A}

Region = tuple[set[Role], set[Place]]
EVERYWHERE, IN_BRANCHES = set(Place), {Place.BRANCH, Place.BRANCH_END}
BRANCHES: Region = (set(Role), IN_BRANCHES)
BRANCH_WEIGHTS: Region = (set(Role) - VECTORS, IN_BRANCHES)
BRANCH_VECTORS: Region = (VECTORS, IN_BRANCHES)
BRANCH_ENDS: Region = (MATRICES, {Place.BRANCH_END})
LOOKUPS: Region = ({Role.EMBEDDING, Role.TIED}, EVERYWHERE)
HIDDEN: Region = (MATRICES, EVERYWHERE)
READERS: Region = (SUMS, EVERYWHERE)
ROUTERS: Region = ({Role.ROUTER}, EVERYWHERE)

OPTIONS = {name: option for name, option in DISAGREEMENTS.items() if option.where == "rule"}
SIDES = [(name, value) for name, option in OPTIONS.items() for value in option.sides]
SIZED = [name for name, rule in PARAMETRIZATIONS.items() if not rule.one_rate]


Change = Callable[[Quantities], Quantities]


def changed(rows: Rows, region: Region, change: Change) -> Rows:
    roles, places = region
    return {
        (role, place): change(row) if role in roles and place in places else row
        for (role, place), row in rows.items()
    }


def times(**factors: Powers) -> Change:
    return lambda row: replace(
        row, **{name: getattr(row, name) * factor for name, factor in factors.items()}
    )


def become(**values: Powers) -> Change:
    return lambda row: replace(row, **values)


SMALLER = times(lr=FAN_OUT ** "-1/2", decay=FAN_OUT ** "1/2")
UNALIGNED = times(lr=FAN_IN ** "1/2", decay=FAN_IN ** "-1/2")
EFFECTS = [
    # option, rule, optimizers, tensors, change of their rows in Table 3's form
    ("depth_rate=constant", "depth-mup", "adamw lion muon shampoo", BRANCH_WEIGHTS, times(lr=ROOT)),
    (
        "depth_rate=constant",
        "completep, alpha=3/4",
        "adamw",
        BRANCH_WEIGHTS,
        times(lr=DEPTH ** "1/4"),
    ),
    ("depth_rate=constant", "depth-mup", "sgd", None, None),
    ("depth_rate=constant", "completep", "adamw sgd", None, None),
    ("depth_rate=derived", "sqrt-depth", "adamw lion", BRANCH_WEIGHTS, times(lr=ONE / ROOT)),
    ("bias_rate=constant", "depth-mup", "adamw lion", BRANCH_VECTORS, times(lr=ROOT)),
    ("bias_rate=constant", "depth-mup", "sgd", None, None),
    ("bias_rate=derived", "sqrt-depth", "adamw", BRANCH_VECTORS, times(lr=ONE / ROOT)),
    ("embedding_rate=sqrt", "completep", "adamw lion", LOOKUPS, SMALLER),
    ("embedding_rate=sqrt", "completep", "sgd", None, None),
    ("embedding_eps=block", "completep", "adamw", LOOKUPS, become(eps=ONE / (FAN_OUT * DEPTH))),
    ("embedding_eps=block", "mup", "adamw", None, None),
    ("embedding_eps=constant", "completep", "adamw", LOOKUPS, become(eps=ONE)),
    ("embedding_eps=constant", "completep", "lion sgd", None, None),
    ("vector_eps=constant", "completep", "adamw", BRANCH_VECTORS, become(eps=ONE)),
    ("vector_eps=constant", "completep", "lion sgd", None, None),
    ("decay=constant", "completep", "adamw lion muon", HIDDEN, become(decay=ONE)),
    ("decay=sqrt", "completep", "adamw", HIDDEN, become(decay=FAN_IN ** "1/2")),
    ("decay=inverse-width", "completep", "adamw muon", HIDDEN, times(decay=ONE / FAN_IN)),
    ("decay=sqrt", "mup", "muon", HIDDEN, times(decay=FAN_IN ** "-1/2")),
    ("branch_decay=constant", "depth-mup", "adamw sgd muon", BRANCHES, times(decay=ROOT)),
    ("branch_end_init=sqrt-depth", "completep", "adamw sgd", BRANCH_ENDS, times(init=ONE / ROOT)),
    ("router=hidden", "completep", "adamw muon", ROUTERS, become(init=FAN_IN ** "-1/2")),
    # A relative update is in proportion to the tensor: a smaller one needs a larger rate.
    (
        "branch_end_init=sqrt-depth",
        "completep",
        "lamb lars",
        BRANCH_ENDS,
        times(init=ONE / ROOT, lr=ROOT, decay=ROOT),
    ),
    (
        "branch_end_init=sqrt-depth",
        "completep",
        "adafactor",
        BRANCH_ENDS,
        times(init=ONE / ROOT, lr=ROOT, decay=ONE / ROOT),
    ),
    (
        "router=hidden",
        "mup",
        "lamb lars",
        ROUTERS,
        times(init=FAN_IN ** "1/2", lr=FAN_IN ** "-1/2", decay=FAN_IN ** "-1/2"),
    ),
    ("alignment=none", "completep", "adamw lion sgdw", READERS, UNALIGNED),
    ("clip=derived", "completep", "adamw", None, None),
]


@pytest.mark.parametrize(
    ("option", "rule", "optimizers", "region", "change"),
    EFFECTS,
    ids=[f"{rule}, {option} {optimizers}" for option, rule, optimizers, *_ in EFFECTS],
)
def test_an_option_changes_what_it_names_and_nothing_else(
    option: str, rule: str, optimizers: str, region: Region | None, change: Change | None
) -> None:
    name, value = option.split("=")
    for optimizer in optimizers.split():
        before = parametrization(rule)
        after = before.using(**{name: value})
        rows = table(before, optimizer)
        expected = changed(rows, region, change) if region and change else rows
        assert table(after, optimizer) == expected, optimizer
        assert signals(after) == signals(before)
        assert (after.clip == before.clip) == (name != "clip")


def signals(rule: Parametrization) -> tuple[Powers, ...]:
    return rule.attention_scale, rule.logit_multiplier, rule.branch_multiplier


CHOICES = [(name, value) for name, option in OPTIONS.items() for value in option.effects]


def test_every_side_is_tried() -> None:
    assert set(CHOICES) <= {tuple(option.split("=")) for option, *_ in EFFECTS}
    assert {name for name, option in OPTIONS.items() if not option.effects} == {"alpha", "clip"}


def test_the_threshold_of_the_gradient_norm() -> None:
    names = ("mup", "depth-mup", "completep", "completep, alpha=3/4")
    thresholds = {name: parametrization(name).using(clip="derived").clip for name in names}
    assert thresholds == {
        "mup": ONE,
        "depth-mup": ONE,
        "completep": ONE / ROOT,
        "completep, alpha=3/4": DEPTH ** "-1/4",
    }
    assert parametrization("completep").clip == ONE


def test_alpha_leads_from_one_rule_for_depth_to_the_other() -> None:
    completep, depth_mup = parametrization("completep"), parametrization("depth-mup")
    halved, whole = completep.using(alpha="1/2"), depth_mup.using(alpha=1)
    for optimizer in FAMILIES:
        assert table(halved, optimizer, "plain") == table(depth_mup, optimizer, "plain")
        assert table(whole, optimizer, "plain") == table(completep, optimizer, "plain")
    assert (halved.branch_multiplier, whole.branch_multiplier) == (ONE / ROOT, ONE / DEPTH)


def test_defaults() -> None:
    assert {name: disagreement.default for name, disagreement in DISAGREEMENTS.items()} == {
        "alpha": "by the branches: 1/2 for one matrix, 1 for more",
        "depth_rate": "derived",
        "embedding_rate": "constant",
        "embedding_eps": "gradient",
        "vector_eps": "gradient",
        "decay": "fixed-fraction",
        "branch_decay": "in-proportion",
        "branch_end_init": "same",
        "bias_rate": "derived",
        "muon_scale": "muon",
        "horizon": "none",
        "router": "readout",
        "clip": "constant",
        "modules": "global",
        "alignment": "full",
    }


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_a_disagreement_has_sides_and_a_default_among_them(name: str) -> None:
    disagreement = DISAGREEMENTS[name]
    sides, default = disagreement.sides, disagreement.default
    assert disagreement.name == name and len(sides) >= 2
    assert name == "alpha" or default in sides
    assert set(disagreement.effects) <= set(sides) - {default}
    text = str(disagreement)
    assert text.startswith(f"{name}: {disagreement.quantity}; ")
    assert all(f"  {value}" in text and title in text for value, title in sides.items())


TAKEN = {
    "sqrt-depth": {"depth_rate": "constant", "bias_rate": "constant"},
    "u-mup": {"embedding_rate": "sqrt", "branch_decay": "constant"},
}


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, option)
        for name in SIZED
        for option in OPTIONS
        if option != "alpha" and option not in TAKEN.get(name, {})
    ],
)
def test_defaults_change_only_the_name(name: str, option: str) -> None:
    rule = parametrization(name)
    same = rule.using(**{option: OPTIONS[option].default})
    assert same.name == f"{name}, {option}={OPTIONS[option].default}"
    assert table(same) == table(rule) and same.clip == rule.clip


@pytest.mark.parametrize(("option", "value"), [side for side in SIDES if side[0] != "clip"])
def test_cells_that_an_option_changes_are_listed_as_disputed(option: str, value: str) -> None:
    unlisted = []
    optimizers = ["adamw", "muon"] if option == "decay" else ["adamw", "sgd", "lamb"]
    for name, optimizer in itertools.product(["ntk", "sqrt-depth", "completep"], optimizers):
        rule, family = parametrization(name), rules.family(optimizer)
        if option == "alpha" and rule.alpha is None:
            continue
        before, after = table(rule, optimizer), table(rule.using(**{option: value}), optimizer)
        moved = [cell for cell in before if before[cell] != after[cell]]
        unlisted += [
            (name, optimizer, role, place)
            for role, place in moved
            if option not in {dispute.name for dispute in rule.disagreements(role, family, place)}
        ]
    assert unlisted == []


def test_nothing_is_disputed_about_one_rate_for_all() -> None:
    for role in Role:
        for place in Place:
            assert parametrization("sp").disagreements(role, rules.family("adamw"), place) == []


def disputes(rule: str, role: Role, place: Place, optimizer: str) -> set[str]:
    family = rules.family(optimizer)
    return {dispute.name for dispute in parametrization(rule).disagreements(role, family, place)}


@pytest.mark.parametrize(
    ("rule", "role", "place", "optimizer", "names"),
    [
        ("completep", Role.HIDDEN, Place.BRANCH, "adamw", "alpha decay alignment"),
        (
            "completep",
            Role.HIDDEN,
            Place.BRANCH_END,
            "adamw",
            "alpha decay alignment branch_end_init",
        ),
        (
            "depth-mup",
            Role.HIDDEN,
            Place.BRANCH,
            "muon",
            "alpha depth_rate decay branch_decay muon_scale",
        ),
        ("mup", Role.HIDDEN, Place.BRANCH, "sgd", "alignment"),
        ("depth-mup", Role.GAIN, Place.BRANCH, "adamw", "alpha bias_rate vector_eps branch_decay"),
    ],
)
def test_disputes_about_a_tensor(
    rule: str, role: Role, place: Place, optimizer: str, names: str
) -> None:
    assert disputes(rule, role, place, optimizer) == set(names.split())


def test_disputes_about_embeddings_and_routers() -> None:
    rate_and_eps = {"embedding_rate", "embedding_eps"}
    assert rate_and_eps <= disputes("completep", Role.EMBEDDING, Place.OUTSIDE, "adamw")
    assert not rate_and_eps & disputes("completep", Role.EMBEDDING, Place.OUTSIDE, "sgd")
    assert "router" in disputes("mup", Role.ROUTER, Place.OUTSIDE, "adamw")


@pytest.mark.parametrize("name", SIZED)
def test_the_embeddings_rate_is_the_side_that_is_taken(name: str) -> None:
    lazy = FAN_OUT ** "-1/2" if name == "ntk" else ONE
    taken = [parametrization(name).using(embedding_rate=value) for value in ("constant", "sqrt")]
    rates = [rule.quantities(Role.EMBEDDING, rules.family("adamw")).lr for rule in taken]
    assert rates == [lazy, lazy * FAN_OUT ** "-1/2"]


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("completep", {}),
        *TAKEN.items(),
        ("mup, decay=sqrt, router=hidden", {"decay": "sqrt", "router": "hidden"}),
    ],
)
def test_sides_that_a_rule_takes(name: str, taken: dict[str, str]) -> None:
    rule, adamw = parametrization(name), rules.family("adamw")
    sides = {
        option: rule.side(disagreement, adamw)
        for option, disagreement in DISAGREEMENTS.items()
        if option not in ("alpha", "muon_scale")
    }
    assert sides == {option: DISAGREEMENTS[option].default for option in sides} | taken


def test_sides_that_follow_from_rule_and_optimizer() -> None:
    adamw, muon = rules.family("adamw"), rules.family("muon-original")
    assert parametrization("depth-mup").side(DISAGREEMENTS["alpha"], adamw) == "1/2"
    assert parametrization("completep").side(DISAGREEMENTS["alpha"], adamw) == "1"
    assert parametrization("mup").side(DISAGREEMENTS["muon_scale"], muon) == "muon-original"


@pytest.mark.parametrize(
    ("one", "other"),
    [pair for pair in itertools.combinations(CHOICES, 2) if pair[0][0] != pair[1][0]],
    ids=lambda choice: "=".join(choice),
)
def test_the_order_of_options_does_not_matter(one: tuple[str, str], other: tuple[str, str]) -> None:
    rule = parametrization("depth-mup")
    orders = [rule.using(**dict(order)) for order in ([one, other], [other, one])]
    assert orders[0].options == orders[1].options
    first, second = map(table, orders)
    assert [cell for cell in first if first[cell] != second[cell]] == []
