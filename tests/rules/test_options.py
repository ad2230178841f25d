"""Disagreements, ablations, the text that names a rule, and parametrizations of one's own."""

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import rules
from mutransfer import MutransferError
from mutransfer.rules import (
    DISAGREEMENTS,
    FAMILIES,
    FORMS,
    ONE,
    PARAMETRIZATIONS,
    QUANTITIES,
    Law,
    Parametrization,
    Place,
    Powers,
    Quantities,
    Role,
    laws,
    parametrization,
    powers,
)

FAN_IN, FAN_OUT, DEPTH = powers(fan_in=1), powers(fan_out=1), powers(depth=1)
VECTORS = {Role.BIAS, Role.GAIN, Role.HEAD_GAIN, Role.LAYER_SCALE, Role.VECTOR}
MATRICES = {Role.HIDDEN, Role.KEY_VALUE, Role.EXPERT, Role.ROUTER}
TABLES = {Role.EMBEDDING, Role.TIED}
SUMS = {*MATRICES, Role.READOUT, Role.LORA_A}
IN_BRANCHES = {Place.BRANCH, Place.BRANCH_END}
ALL_ROLES, EVERYWHERE, NOWHERE = set(Role), set(Place), set[Place]()

NEVER_INSIDE = {Role.EMBEDDING, Role.POSITION, Role.INPUT, Role.READOUT, Role.TIED, Role.FROZEN}
NEVER_LAST = {*NEVER_INSIDE, Role.KEY_VALUE, Role.ROUTER, Role.LORA_A, Role.HEAD_GAIN, Role.ATTENTION_SCALE}

Cell = tuple[Role, Place]
CELLS: list[Cell] = [
    *((role, Place.OUTSIDE) for role in Role),
    *((role, Place.BRANCH) for role in Role if role not in NEVER_INSIDE),
    *((role, Place.BRANCH_END) for role in Role if role not in NEVER_LAST),
]
Rows = dict[Cell, Quantities]
OPTIONS = {name: each for name, each in DISAGREEMENTS.items() if each.where == "rule"}
SIDES = [(name, value) for name, each in OPTIONS.items() for value in each.sides]
SIZED = [name for name, rule in PARAMETRIZATIONS.items() if not rule.one_rate]


def table(rule: Parametrization, optimizer: str = "adamw", form: str = "table3") -> Rows:
    family = rules.family(optimizer)
    return {(role, place): rule.quantities(role, family, place, form=form) for role, place in CELLS}


def changed(before: Rows, roles: set[Role], places: set[Place], change: Callable[[Quantities, Role], Quantities]) -> Rows:
    return {(role, place): change(row, role) if role in roles and place in places else row for (role, place), row in before.items()}


def times(**factors: Powers) -> Callable[[Quantities, Role], Quantities]:
    return lambda row, role: replace(row, **{name: getattr(row, name) * factor for name, factor in factors.items()})


def become(**values: Powers) -> Callable[[Quantities, Role], Quantities]:
    return lambda row, role: replace(row, **values)


ROOT = DEPTH ** "1/2"
EFFECTS = [
    # option, value, rule, optimizers, roles, places, what happens to the row of Table 3's form
    ("depth_rate", "constant", "depth-mup", "adamw lion muon shampoo", ALL_ROLES - VECTORS, IN_BRANCHES, times(lr=ROOT)),
    ("depth_rate", "constant", "completep, alpha=3/4", "adamw", ALL_ROLES - VECTORS, IN_BRANCHES, times(lr=DEPTH ** "1/4")),
    ("depth_rate", "constant", "depth-mup", "sgd", ALL_ROLES, NOWHERE, None),
    ("depth_rate", "constant", "completep", "adamw sgd", ALL_ROLES, NOWHERE, None),
    ("depth_rate", "derived", "sqrt-depth", "adamw lion", ALL_ROLES - VECTORS, IN_BRANCHES, times(lr=ONE / ROOT)),
    ("bias_rate", "constant", "depth-mup", "adamw lion", VECTORS, IN_BRANCHES, times(lr=ROOT)),
    ("bias_rate", "constant", "depth-mup", "sgd", ALL_ROLES, NOWHERE, None),
    ("bias_rate", "derived", "sqrt-depth", "adamw", VECTORS, IN_BRANCHES, times(lr=ONE / ROOT)),
    ("embedding_rate", "sqrt", "completep", "adamw lion", TABLES, EVERYWHERE, times(lr=FAN_OUT ** "-1/2", decay=FAN_OUT ** "1/2")),
    ("embedding_rate", "sqrt", "completep", "sgd", ALL_ROLES, NOWHERE, None),
    ("embedding_eps", "block", "completep", "adamw", TABLES, EVERYWHERE, become(eps=ONE / (FAN_OUT * DEPTH))),
    ("embedding_eps", "block", "mup", "adamw", ALL_ROLES, NOWHERE, None),
    ("embedding_eps", "constant", "completep", "adamw", TABLES, EVERYWHERE, become(eps=ONE)),
    ("embedding_eps", "constant", "completep", "lion sgd", ALL_ROLES, NOWHERE, None),
    ("vector_eps", "constant", "completep", "adamw", VECTORS, IN_BRANCHES, become(eps=ONE)),
    ("vector_eps", "constant", "completep", "lion sgd", ALL_ROLES, NOWHERE, None),
    ("decay", "constant", "completep", "adamw lion muon", MATRICES, EVERYWHERE, become(decay=ONE)),
    ("decay", "sqrt", "completep", "adamw", MATRICES, EVERYWHERE, become(decay=FAN_IN ** "1/2")),
    ("decay", "inverse-width", "completep", "adamw muon", MATRICES, EVERYWHERE, times(decay=ONE / FAN_IN)),
    ("decay", "sqrt", "mup", "muon", MATRICES, EVERYWHERE, times(decay=FAN_IN ** "-1/2")),
    ("branch_decay", "constant", "depth-mup", "adamw sgd muon", ALL_ROLES, IN_BRANCHES, times(decay=ROOT)),
    ("branch_end_init", "sqrt-depth", "completep", "adamw sgd", MATRICES, {Place.BRANCH_END}, times(init=ONE / ROOT)),
    ("router", "hidden", "completep", "adamw muon", {Role.ROUTER}, EVERYWHERE, become(init=FAN_IN ** "-1/2")),
    ("alignment", "none", "completep", "adamw lion sgdw", SUMS, EVERYWHERE, times(lr=FAN_IN ** "1/2", decay=FAN_IN ** "-1/2")),
    ("clip", "derived", "completep", "adamw", ALL_ROLES, NOWHERE, None),
]


@pytest.mark.parametrize(
    ("option", "value", "rule", "optimizers", "roles", "places", "change"),
    EFFECTS,
    ids=[f"{rule}, {option}={value} {optimizers}" for option, value, rule, optimizers, *_ in EFFECTS],
)
def test_an_option_changes_what_it_names_and_nothing_else(option, value, rule, optimizers, roles, places, change) -> None:
    for optimizer in optimizers.split():
        before = parametrization(rule)
        after = before.using(**{option: value})
        expected = table(before, optimizer) if change is None else changed(table(before, optimizer), roles, places, change)
        assert table(after, optimizer) == expected, optimizer
        signals = (after.attention_scale, after.logit_multiplier, after.branch_multiplier)
        assert signals == (before.attention_scale, before.logit_multiplier, before.branch_multiplier)
        assert (after.clip == before.clip) == (option != "clip")


def test_every_side_is_tried() -> None:
    tried = {(option, value) for option, value, *_ in EFFECTS}
    assert {(name, value) for name, each in OPTIONS.items() for value in each.effects} <= tried
    assert {name for name, each in OPTIONS.items() if not each.effects} == {"alpha", "clip"}


def test_the_threshold_of_the_gradient_norm() -> None:
    names = ("mup", "depth-mup", "completep", "completep, alpha=3/4")
    thresholds = {name: parametrization(name).using(clip="derived").clip for name in names}
    assert thresholds == {"mup": ONE, "depth-mup": ONE, "completep": ONE / ROOT, "completep, alpha=3/4": DEPTH ** "-1/4"}
    assert parametrization("completep").clip == ONE


def test_alpha_leads_from_one_rule_for_depth_to_the_other() -> None:
    halved, whole = parametrization("completep").using(alpha="1/2"), parametrization("depth-mup").using(alpha=1)
    for optimizer in FAMILIES:
        assert table(halved, optimizer, "plain") == table(parametrization("depth-mup"), optimizer, "plain")
        assert table(whole, optimizer, "plain") == table(parametrization("completep"), optimizer, "plain")
    assert (halved.branch_multiplier, whole.branch_multiplier) == (ONE / ROOT, ONE / DEPTH)


def test_defaults() -> None:
    assert {name: each.default for name, each in DISAGREEMENTS.items()} == {
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
    each = DISAGREEMENTS[name]
    assert each.name == name and len(each.sides) >= 2
    assert name == "alpha" or each.default in each.sides
    assert set(each.effects) <= set(each.sides) - {each.default}
    text = str(each)
    assert text.startswith(f"{name}: {each.quantity}; ")
    assert all(f"  {value}" in text and title in text for value, title in each.sides.items())


TAKEN = {"sqrt-depth": {"depth_rate": "constant", "bias_rate": "constant"}, "u-mup": {"embedding_rate": "sqrt", "branch_decay": "constant"}}


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, option) for name in SIZED for option in OPTIONS if option != "alpha" and option not in TAKEN.get(name, {})],
)
def test_defaults_change_only_the_name(name: str, option: str) -> None:
    rule = parametrization(name)
    same = rule.using(**{option: OPTIONS[option].default})
    assert same.name == f"{name}, {option}={OPTIONS[option].default}"
    assert table(same) == table(rule) and same.clip == rule.clip


@pytest.mark.parametrize(("option", "value"), [each for each in SIDES if each[0] != "clip"])
def test_what_an_option_changes_is_listed_as_disputed(option: str, value: str) -> None:
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
            if option not in {each.name for each in rule.disagreements(role, family, place)}
        ]
    assert unlisted == []


def test_nothing_is_disputed_about_one_rate_for_all() -> None:
    for role in Role:
        for place in Place:
            assert parametrization("sp").disagreements(role, rules.family("adamw"), place) == []


def named(rule: str, role: Role, place: Place, optimizer: str) -> set[str]:
    return {each.name for each in parametrization(rule).disagreements(role, rules.family(optimizer), place)}


def test_what_is_disputed_about_some_tensors() -> None:
    inside, outside, end = Place.BRANCH, Place.OUTSIDE, Place.BRANCH_END
    assert named("completep", Role.HIDDEN, inside, "adamw") == {"alpha", "decay", "alignment"}
    assert named("completep", Role.HIDDEN, end, "adamw") == {"alpha", "decay", "alignment", "branch_end_init"}
    assert named("depth-mup", Role.HIDDEN, inside, "muon") == {"alpha", "depth_rate", "decay", "branch_decay", "muon_scale"}
    assert named("mup", Role.HIDDEN, inside, "sgd") == {"alignment"}
    assert named("depth-mup", Role.GAIN, inside, "adamw") == {"alpha", "bias_rate", "vector_eps", "branch_decay"}
    assert {"embedding_rate", "embedding_eps"} <= named("completep", Role.EMBEDDING, outside, "adamw")
    assert not {"embedding_rate", "embedding_eps"} & named("completep", Role.EMBEDDING, outside, "sgd")
    assert "router" in named("mup", Role.ROUTER, outside, "adamw")


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
    sides = {each: rule.side(DISAGREEMENTS[each], adamw) for each in DISAGREEMENTS if each not in ("alpha", "muon_scale")}
    assert sides == {each: DISAGREEMENTS[each].default for each in sides} | taken


def test_sides_that_follow_from_rule_and_optimizer() -> None:
    assert parametrization("depth-mup").side(DISAGREEMENTS["alpha"], rules.family("adamw")) == "1/2"
    assert parametrization("completep").side(DISAGREEMENTS["alpha"], rules.family("adamw")) == "1"
    assert parametrization("mup").side(DISAGREEMENTS["muon_scale"], rules.family("muon-original")) == "muon-original"


CHOICES = [(name, value) for name, each in OPTIONS.items() for value in each.effects]


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decays": "sqrt"}, "rules have no option 'decays'; choose one of alpha, depth_rate, embedding_rate"),
        ({"horizon": "none"}, "rules have no option 'horizon'"),
        ({"muon_scale": "muon"}, "rules have no option 'muon_scale'"),
        ({"modules": "global"}, "rules have no option 'modules'"),
        ({"decay": "cube"}, "decay=cube is no side of that disagreement; choose one of fixed-fraction, constant, sqrt, inverse-width"),
        ({"alpha": "1/4"}, "alpha is 1/4: features are stable and faithful only for alpha from 1/2 to 1"),
        ({"alpha": "499/1000"}, "alpha is 499/1000: features"),
        ({"alpha": 2}, "alpha is 2: features"),
        ({"alpha": "1001/1000"}, "alpha is 1001/1000: features"),
        ({"alpha": -1}, "alpha is -1: features"),
        ({"alpha": "nan"}, "alpha is 'nan', which is no exact rational number"),
        ({"alpha": float("nan")}, "alpha is nan, which is no exact rational number"),
        ({"alpha": float("inf")}, "alpha is inf"),
        ({"alpha": "x"}, "alpha is 'x', which is no exact rational number"),
        ({"alpha": "1/0"}, "alpha is '1/0', which is no exact rational number"),
        ({"alpha": None}, "alpha is None, which is no exact rational number"),
    ],
    ids=str,
)
def test_options_that_are_refused(options: dict, message: str) -> None:
    with pytest.raises(MutransferError) as caught:
        parametrization("completep").using(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["sp, alpha=1", "sp, decay=sqrt", "sp, without lr"])
def test_standard_parametrization_has_nothing_to_change(text: str) -> None:
    with pytest.raises(MutransferError, match="rule 'sp' scales nothing: it has no options"):
        parametrization(text)


def test_no_alignment_of_an_orthogonal_update_is_refused() -> None:
    rule = parametrization("mup, alignment=none")
    for optimizer in ("muon", "shampoo", "soap"):
        assert rule.quantities(Role.BIAS, rules.family(optimizer)) == parametrization("mup").quantities(Role.BIAS, rules.family(optimizer))
        with pytest.raises(MutransferError, match=f"alignment=none is not defined for {optimizer}.*use alignment=full"):
            rule.quantities(Role.HIDDEN, rules.family(optimizer))


BASE = {"init": None, "lr": ONE, "eps": ONE, "decay": ONE}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("quantity", BASE)
@pytest.mark.parametrize("name", ["mup", "depth-mup", "completep"])
def test_a_quantity_is_switched_off(name: str, quantity: str, form: str) -> None:
    """With explicit multipliers it stays as in plain PyTorch and the others do not move; every form is the same training."""
    rule, adamw = parametrization(name), rules.family("adamw")
    off, standard = rule.without(quantity), table(parametrization("sp"))
    explicit = {cell: replace(row, **{quantity: getattr(standard[cell], quantity)}) for cell, row in table(rule, form="table8").items()}
    assert BASE[quantity] is None or {getattr(row, quantity) for row in explicit.values()} == {BASE[quantity]}
    for (role, place), row in table(off, form=form).items():
        carried = rule.branch_multiplier if form == "plain" and place == Place.BRANCH_END else ONE
        theta = rule.multiplier(role, form) / rule.multiplier(role, "table8") / carried
        assert row == replace(explicit[role, place].rescale(theta, adamw), multiplier=row.multiplier), (role, place)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", ["mup", "completep", "u-mup"])
def test_a_role_is_switched_off(name: str, role: Role) -> None:
    """Its row is standard parametrization's, and the others stay."""
    rule, standard = parametrization(name), table(parametrization("sp"))
    expected = {cell: standard[cell] if cell[0] == role else row for cell, row in table(rule).items()}
    assert table(rule.without(role)) == expected
    assert (rule.without(role).logit_multiplier == ONE) == (role == Role.TIED)


def test_the_branches_multiplier_is_switched_off() -> None:
    rule = parametrization("completep")
    off = rule.without("branch")
    assert off.branch_multiplier == ONE and rules.signals(off, "table3")["outputs of residual branches"] == ONE
    assert table(off) == table(rule)
    assert table(off, form="plain") == table(rule)
    assert table(rule, form="plain") != table(rule)


def test_the_attention_scale_is_switched_off() -> None:
    off = parametrization("mup").without("attention")
    assert off.attention_scale == parametrization("sp").attention_scale == powers(head_dim="-1/2")
    assert table(off) == table(parametrization("mup"))


def test_several_factors_are_switched_off() -> None:
    off = parametrization("mup").without("lr", "eps").without("embedding")
    assert off.name == "mup, without lr, without eps, without embedding"
    assert off.off == {"lr", "eps", Role.EMBEDDING}
    assert {(row.lr, row.eps) for row in table(off, form="table8").values()} == {(ONE, ONE)}


@pytest.mark.parametrize("factor", ["multiplier", "weight", "", "LR", "lr eps"])
def test_factors_that_there_are_not(factor: str) -> None:
    with pytest.raises(MutransferError, match=f"a rule has no factor {factor!r} to switch off; choose one of init, lr, eps, decay, branch"):
        parametrization("mup").without(factor)


changes = st.lists(
    st.one_of(
        st.sampled_from([("using", name, value) for name, value in SIDES if name != "alpha"]),
        st.fractions(min_value=Fraction(1, 2), max_value=1, max_denominator=9).map(lambda alpha: ("using", "alpha", str(alpha))),
        st.sampled_from([("without", factor, "") for factor in ("init", "lr", "eps", "decay", "branch", "attention", *Role)]),
    ),
    max_size=5,
)


def apply(rule: Parametrization, steps: Iterable[tuple[str, str, str]]) -> Parametrization:
    for verb, name, value in steps:
        rule = rule.using(**{name: value}) if verb == "using" else rule.without(name)
    return rule


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.sampled_from(SIZED), changes)
def test_a_name_says_everything(name: str, steps: list[tuple[str, str, str]]) -> None:
    rule = apply(parametrization(name), steps)
    assert parametrization(rule.name) == rule
    assert rules.is_default(rule.name) is False
    default = apply(parametrization("completep"), steps)
    written = "default" + default.name.removeprefix("completep")
    assert rules.is_default(written)
    assert parametrization(written, default=parametrization("completep")) == default


def test_text_with_spaces_and_capitals() -> None:
    assert parametrization("  CompleteP ,decay = sqrt ,  without eps ") == parametrization("completep, decay=sqrt, without eps")
    assert parametrization(parametrization("mup")) is PARAMETRIZATIONS["mup"]


def test_default_rules() -> None:
    completep = parametrization("completep")
    assert rules.DEFAULT == "default"
    assert [rules.is_default(name) for name in (None, "default", "default, without eps", "mup", "mup, without eps", completep)] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert parametrization(None, default=completep) is completep
    assert parametrization("default", default=completep) is completep
    assert parametrization("mup", default=completep) is PARAMETRIZATIONS["mup"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown rule ''; choose one of sp, "),
        (None, "'default' is chosen by a model's residual branches; choose one of sp, "),
        (3, "a rule is named by text or given as a Parametrization, not as 3"),
        ("mup, decay=sqrt, decay=constant", "'decay' stands twice"),
        ("nope, without eps", "unknown rule 'nope'; choose one of sp, "),
        ("mup,", "'' changes no rule; say for example 'decay=sqrt' or 'without eps'"),
        ("mup, eps", "'eps' changes no rule"),
        ("mup, without", "'without' changes no rule"),
        ("mup, without nothing", "a rule has no factor 'nothing'"),
        ("mup, decay=nothing", "decay=nothing is no side"),
        ("mup, nothing=sqrt", "rules have no option 'nothing'"),
        ("mup, =sqrt", "rules have no option ''"),
        ("mup, alpha=2", "alpha is 2: "),
        ("completep, alpha=", "alpha is '', which is no exact rational number"),
    ],
)
def test_text_that_names_no_rule(text: str | None, message: str) -> None:
    with pytest.raises(MutransferError) as caught:
        parametrization(text)
    assert str(caught.value).startswith(message)


def small_readout() -> Parametrization:
    """A rule of one's own: muP whose readout starts with fan_in^-2, and a rate for positions that falls with width."""
    return Parametrization(
        name="small-readout",
        title="maximal update with a smaller readout",
        source="this test",
        laws={
            **laws(),
            Role.READOUT: Law(init=powers(fan_in=-2), sums_over_width=True),
            Role.POSITION: Law(gradient=powers(fan_out=-1), change=powers(fan_out="-1/2")),
        },
        alpha=Fraction(1),
    )


def test_a_parametrization_of_ones_own() -> None:
    own, adamw = small_readout(), rules.family("adamw")
    assert own.quantities(Role.READOUT, adamw) == Quantities(init=FAN_IN**-2, lr=ONE / FAN_IN, decay=FAN_IN)
    assert own.quantities(Role.POSITION, adamw).lr == FAN_OUT ** "-1/2"
    mine, known = table(own), table(parametrization("completep"))
    assert {role for role, place in mine if mine[role, place] != known[role, place]} == {Role.READOUT, Role.POSITION}
    listed = {(row.role, row.place): row.quantities for row in rules.listing(own, adamw, "table8")}
    assert listed[Role.READOUT, Place.OUTSIDE].init == ONE / FAN_IN
    assert (Role.HIDDEN, Place.BRANCH) in listed and (Role.READOUT, Place.BRANCH) not in listed
    assert parametrization(own) is own
    assert own.using(decay="sqrt").without("eps").name == "small-readout, decay=sqrt, without eps"
    assert own.branch_multiplier == ONE / DEPTH and own.logit_multiplier == FAN_IN**-2


def test_a_role_that_a_rule_does_not_know() -> None:
    rule = Parametrization(name="narrow", title="hidden only", source="a note", laws={Role.HIDDEN: laws()[Role.HIDDEN]})
    adamw = rules.family("adamw")
    assert [row.role for row in rules.listing(rule, adamw)] == [Role.HIDDEN]
    for ask in (rule.quantities, rule.disagreements, rule.derivation):
        with pytest.raises(MutransferError, match=r"rule 'narrow' says nothing about the role bias \(a note\); give it a Law in laws="):
            ask(Role.BIAS, adamw)


def stated(sentences: list[str]) -> dict[str, str]:
    """The quantities that a derivation arrives at: those with a reason, and those that the rule's options change afterwards."""
    numbers = dict(re.findall(r"^(init|lr|eps|decay) ([^:]+):", "\n".join(sentences), re.MULTILINE))
    if changes := [sentence for sentence in sentences if sentence.startswith("then ")]:
        numbers |= dict(re.findall(r"(init|lr|eps|decay) ([^,]+),", changes[0]))
    return numbers


@pytest.mark.parametrize(
    "text", [*SIZED, "completep, without hidden", "completep, without lr", "mup, decay=constant", "mup, alignment=none"]
)
def test_derivations_state_the_numbers(text: str) -> None:
    undefined = {"mup, alignment=none": "muon", "mup, decay=constant": "sgd"}
    for optimizer in {"adamw", "sgd", "muon", "lion"} - {undefined.get(text)}:
        rule, family = parametrization(text), rules.family(optimizer)
        own, sentences = rule.quantities(Role.HIDDEN, family, Place.BRANCH), rule.derivation(Role.HIDDEN, family, Place.BRANCH)
        assert sentences[0] == rule.source
        wanted = {q: str(getattr(own, q)) for q in QUANTITIES if q != "multiplier" and (q != "eps" or family.eps is not None)}
        assert stated(sentences) == wanted


def test_the_derivation_of_standard_parametrization() -> None:
    assert parametrization("sp").derivation(Role.HIDDEN, rules.family("adamw"))[0].startswith("Tensor Programs V (2203.03466), Table 3")


def read(text: str) -> Powers:
    """What `str` wrote."""
    return powers(**{name: exponent or "1" for name, exponent in re.findall(r"([a-z_]+)(?:\^(\S+))?", text)})


@pytest.mark.parametrize(
    "text",
    ["completep", "depth-mup", "ntk", "completep, without hidden", "completep, without lr", "mup, decay=constant", "mup, alignment=none"],
)
def test_reasons_in_a_derivation_give_its_numbers(text: str) -> None:
    """Where a sentence says why, the reason has to lead to the number, with options and ablations, too."""
    said = "\n".join(parametrization(text).derivation(Role.HIDDEN, rules.family("adamw"), Place.BRANCH))
    rate = re.search(r"^lr (.+): the output should change by (.+) a step, and a unit rate of adamw changes it by (.+)$", said, re.MULTILINE)
    decay = re.search(r"^decay (.+): decoupled, it should shrink the tensor by (.+) a step", said, re.MULTILINE)
    eps = re.search(r"^eps (.+): entries of the gradient are (.+)$", said, re.MULTILINE)
    assert rate and read(rate[1]) == read(rate[2]) / read(rate[3])
    assert decay and read(rate[1]) * read(decay[1]) == read(decay[2])
    assert eps and read(eps[1]) == read(eps[2])
