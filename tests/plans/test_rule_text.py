"""Rules as text or objects; the disagreements and papers that a plan names."""

from fractions import Fraction
from typing import Any

import pytest
import torch

import mutransfer as mt
from mutransfer.rules import (
    DISAGREEMENTS,
    FAMILIES,
    PARAMETRIZATIONS,
    Law,
    Parametrization,
    Role,
    laws,
    parametrization,
    powers,
)
from mutransfer.tasks import mlp
from tests.factors import QUANTITIES, table
from tests.plans.planned_gpt import MUON_MIX, SPECTRAL_MIX, gpts, make_plan, planned_gpt


@pytest.mark.parametrize(
    ("optimizer", "tied"), [("adamw", False), ("sgd", True), (MUON_MIX, False)], ids=str
)
@pytest.mark.parametrize("rule", PARAMETRIZATIONS)
def test_every_rule_plans_a_gpt(rule: str, optimizer: Any, tied: bool) -> None:
    plan = planned_gpt(rule, optimizer=optimizer, tied=tied)
    known = PARAMETRIZATIONS[rule]
    assert plan.rule == rule and plan.why == "asked for"
    assert str(plan).startswith(f"{rule}: {known.title}")
    assert plan.cites[: len(known.cites)] == known.cites
    assert all(0 < factor < float("inf") for row in table(plan).values() for factor in row)
    assert not plan.at_base and mt.Plan.from_json(plan.to_json()) == plan
    assert plan.rescales == (rule != "sp")


@pytest.mark.parametrize(
    ("optimizer", "tied"), [("adamw", False), ("sgd", True), (MUON_MIX, False)], ids=str
)
@pytest.mark.parametrize("rule", PARAMETRIZATIONS)
def test_at_base_every_factor_is_exactly_one(rule: str, optimizer: Any, tied: bool) -> None:
    plan = make_plan(rule, tied, optimizer, (1, 1))
    assert set(table(plan).values()) == {(1.0,) * 5}
    assert plan.at_base and plan.clip == 1.0


def test_rules_differ_where_they_should() -> None:
    plans = {rule: table(planned_gpt(rule), QUANTITIES) for rule in PARAMETRIZATIONS}
    same = {frozenset(other for other in plans if plans[other] == plans[rule]) for rule in plans}
    groups = {group for group in same if len(group) > 1}
    assert groups == {frozenset({"mup", "mean-field", "spectral"})}


def test_the_default_reads_the_model() -> None:
    for rule in (None, "default", " default "):
        plan = planned_gpt(rule)
        assert plan.rule == "completep" and "two matrices or more" in plan.why
        assert mt.plan(*gpts(2, 1), rule=rule).rule == "mup"


CONSTANT = "depth-mup, depth_rate=constant, bias_rate=constant"
TEXTS = {
    "default, decay=sqrt": "completep, decay=sqrt",
    "default, without eps": "completep, without eps",
    "default,without eps,alpha=3/4": "completep, without eps, alpha=3/4",
    "CompleteP": "completep",
    "completep,   without eps": "completep, without eps",
    " mup , embedding_rate=sqrt , decay = constant": "mup, embedding_rate=sqrt, decay=constant",
    CONSTANT: CONSTANT,
    "u-mup, without branch, without attention": "u-mup, without branch, without attention",
}


@pytest.mark.parametrize(("text", "name"), TEXTS.items())
def test_text_and_object_are_one_rule(text: str, name: str) -> None:
    plan = planned_gpt(text)
    assert plan.rule == name and str(plan).startswith(f"{name}: ")
    rule = parametrization(name)
    assert planned_gpt(rule).tensors == plan.tensors


REFUSED = {
    "mupp": "unknown rule 'mupp'; choose one of sp, ",
    "mup, foo": "'foo' changes no rule; say for example 'decay=sqrt' or 'without eps'",
    "mup,": "changes no rule",
    "mup, foo=bar": "rules have no option 'foo'; choose one of (depth_rate|alpha)",
    "mup, decay=cubic": "decay=cubic is no side of that disagreement; "
    "choose one of fixed-fraction, constant, sqrt, inverse-width",
    "mup, without heads": "no factor 'heads' to switch off; "
    "choose one of init, lr, eps, decay, branch, attention, input",
    "completep, alpha=1/3": "alpha is 1/3: features are stable",
    "completep, alpha=half": "alpha is 'half', which is no exact rational number",
    "sp, alpha=1": "rule 'sp' scales nothing",
    "default, alpha=2": "alpha is 2: features",
    "mup, muon_scale=muon": "no option 'muon_scale'",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_text_that_is_no_rule(text: str, message: str) -> None:
    with pytest.raises(mt.MutransferError, match=message):
        planned_gpt(text)


def test_a_parametrization_of_ones_own() -> None:
    embedding = Law(
        init=powers(fan_out="-1/2"), gradient=powers(fan_out=-1), change=powers(fan_out="-1/4")
    )
    mine = Parametrization(
        name="mine",
        title="embeddings that learn as a readout",
        source="a notebook",
        laws={**laws(), Role.EMBEDDING: embedding},
        alpha=Fraction(3, 4),
        attention=Fraction(1, 2),
    )
    plan = planned_gpt(mine)
    assert str(plan).startswith("mine: embeddings that learn as a readout (asked for)")
    expected = [2**-0.5, 2**-0.25, 1 / 2, 2**0.25]
    assert plan.cites == () and table(plan, QUANTITIES)["token.weight"] == pytest.approx(expected)
    assert plan["blocks.0.query.weight"].multiplier == powers()
    assert plan["blocks.0.out.weight"].factor("multiplier") == pytest.approx(2**-0.75)
    assert "a notebook" in plan.explain("token.weight")
    assert planned_gpt(mine.using(decay="constant")).rule == "mine, decay=constant"


def test_a_rule_without_a_law_for_a_role_is_refused() -> None:
    mine = Parametrization(
        name="mine", title="matrices alone", source="a notebook", laws={Role.HIDDEN: Law()}
    )
    with pytest.raises(
        mt.MutransferError,
        match=r"rule 'mine' says nothing about the role \w+ \(a notebook\); "
        "give it a Law in laws=",
    ):
        planned_gpt(mine)


def concerned(plan: mt.Plan, rule: Parametrization, name: str) -> dict[str, str]:
    """Return the disagreements that concern a tensor, each with the side taken."""
    tensor = plan[name]
    family = FAMILIES[tensor.optimizer]
    disagreements = rule.disagreements(tensor.role, family, tensor.place)
    return {option.name: rule.side(option, family) for option in disagreements}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", MUON_MIX])
@pytest.mark.parametrize(
    "rule",
    [
        "completep",
        "depth-mup",
        "completep, router=hidden, embedding_eps=block, alpha=3/4",
        "u-mup",
        "mup",
    ],
)
def test_explain_names_every_disagreement_and_the_side(rule: str, optimizer: Any) -> None:
    plan = planned_gpt(rule, optimizer=optimizer)
    for name in plan.tensors:
        explanation = plan.explain(name).splitlines()
        lines = [line for line in explanation if "sources disagree on " in line]
        sides = concerned(plan, parametrization(rule), name)
        assert len(lines) == len(sides)
        for option, side in sides.items():
            disagreement = DISAGREEMENTS[option]
            (line,) = [line for line in lines if disagreement.quantity in line]
            assert f"{option}={side} " in line
            _, _, others = line.partition(", not ")
            for value, text in disagreement.sides.items():
                assert (text in others) == (value != side)
            assert side not in disagreement.sides or disagreement.sides[side] in line


CONCERNS: list[tuple[str, Any, str, set[str]]] = [
    ("completep", "adamw", "token.weight", {"embedding_rate", "embedding_eps"}),
    ("completep", "sgd", "token.weight", set()),
    ("completep", "adamw", "blocks.0.up.weight", {"alpha", "decay", "alignment"}),
    (
        "completep",
        "adamw",
        "blocks.0.down.weight",
        {"alpha", "decay", "alignment", "branch_end_init"},
    ),
    (
        "depth-mup",
        "adamw",
        "blocks.0.up.weight",
        {"alpha", "decay", "branch_decay", "alignment", "depth_rate"},
    ),
    (
        "depth-mup",
        "adamw",
        "blocks.0.mlp_norm.bias",
        {"alpha", "vector_eps", "bias_rate", "branch_decay"},
    ),
    ("mup", "adamw", "blocks.0.up.weight", {"decay", "alignment"}),
    ("completep", MUON_MIX, "blocks.0.up.weight", {"alpha", "decay", "muon_scale"}),
    ("completep", "adamw", "norm.weight", set()),
    ("sp", "adamw", "blocks.0.up.weight", set()),
]


@pytest.mark.parametrize(("rule", "optimizer", "name", "options"), CONCERNS)
def test_disagreements_that_concern_a_tensor(
    rule: str, optimizer: Any, name: str, options: set[str]
) -> None:
    text = planned_gpt(rule, optimizer=optimizer).explain(name)
    assert {option for option in DISAGREEMENTS if f": {option}=" in text} == options


def test_a_side_that_is_taken_changes_the_factors() -> None:
    plain = planned_gpt("completep")
    root = planned_gpt("completep, decay=sqrt")
    assert table(plain, QUANTITIES[:3]) == table(root, QUANTITIES[:3])
    decays = [plan["blocks.0.up.weight"].factor("decay") for plan in (plain, root)]
    assert decays == [2, 2**0.5]
    slow = planned_gpt("completep, embedding_rate=sqrt")
    changed = {name for name in plain.tensors if table(plain)[name] != table(slow)[name]}
    assert changed == {"token.weight", "position.weight"}
    assert slow["token.weight"].factor("lr") == 2**-0.5


CITED: list[tuple[str, Any, list[str]]] = [
    ("completep", "adamw", ["2505.01618", "2203.03466"]),
    ("completep", MUON_MIX, ["2505.01618", "2203.03466", "2512.05620"]),
    ("mup", "adamw", ["2203.03466"]),
    ("sp", "sgd", ["2203.03466"]),
    ("ntk", "adamw", ["1806.07572", "2011.14522"]),
    ("default, without eps", "adamw", ["2505.01618", "2203.03466"]),
    ("spectral", SPECTRAL_MIX, ["2310.17813", "2603.00541", "2512.05620"]),
]


@pytest.mark.parametrize(("rule", "optimizer", "papers"), CITED)
def test_cite_prints_bibtex(
    capsys: pytest.CaptureFixture[str], rule: str, optimizer: Any, papers: list[str]
) -> None:
    plan = planned_gpt(rule, optimizer=optimizer)
    mt.cite(plan)
    text = capsys.readouterr().out
    assert text.count("@misc{") == len(papers) and text.count("{") == text.count("}")
    assert sorted(paper for paper in papers if f"eprint = {{{paper}}}" in text) == sorted(papers)
    assert text.strip() == plan.cite() and mt.Plan.from_json(plan.to_json()).cite() == plan.cite()


def test_a_plan_without_papers_cites_none(capsys: pytest.CaptureFixture[str]) -> None:
    mt.cite(planned_gpt(Parametrization(name="mine", title="mine", source="a notebook")))
    assert capsys.readouterr().out.strip() == ""


def test_a_model_without_branches_takes_rules_of_depth() -> None:
    with torch.device("meta"):
        target, base = mlp(32), mlp(8)
    for rule in PARAMETRIZATIONS:
        plan = mt.plan(target, base, rule=rule)
        assert plan.depth == (0, 0) and plan.clip == 1
    assert (
        mt.plan(target, base, rule="completep, without eps")["hidden.0.weight"].factor("eps") == 1
    )
