"""Rules as text or objects, with options and ablations; what a plan tells of them."""

from fractions import Fraction
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer._errors import MutransferError
from mutransfer.plan import Plan, plan
from mutransfer.rules import (
    DISAGREEMENTS,
    FAMILIES,
    PARAMETRIZATIONS,
    Law,
    Parametrization,
    Place,
    Quantities,
    Role,
    laws,
    parametrization,
    powers,
)
from mutransfer.tasks._models import gpt, mlp

QUANTITIES = ("init", "lr", "eps", "decay")
ALL = (*QUANTITIES, "multiplier")
MUON_MIX = (("hidden", "muon-original"), ("*", "adamw"))
SPECTRAL_MIX = (("hidden", "muon"), ("readout", "sophia"), ("*", "adamw"))


def gpts(wider: int = 2, deeper: int = 2, tied: bool = False) -> tuple[nn.Module, nn.Module]:
    """Heads grow in size with width; made on the meta device, as nothing here needs values."""
    with torch.device("meta"):
        sizes: dict[str, Any] = {"vocabulary": 13, "context": 8, "heads": 2, "tied": tied}
        return gpt(32 * wider, deeper, **sizes), gpt(32, 1, **sizes)


def own_plan(rule: Any = None, *, tied: bool = False, optimizer: Any = "adamw") -> Plan:
    return text_plan(rule, tied, optimizer) if isinstance(rule, str) else make_plan(rule, tied, optimizer)


def make_plan(rule: Any, tied: bool, optimizer: Any, sizes: tuple[int, int] = (2, 2)) -> Plan:
    mix = optimizer if isinstance(optimizer, str) else dict(optimizer)
    return plan(*gpts(*sizes, tied), rule=rule, optimizer=mix)


text_plan = cache(make_plan)


def factors(own: Plan, quantities: tuple[str, ...] = ALL) -> dict[str, tuple[float, ...]]:
    return {name: tuple(tensor.factor(quantity) for quantity in quantities) for name, tensor in own.tensors.items()}


@pytest.mark.parametrize(("optimizer", "tied"), [("adamw", False), ("sgd", True), (MUON_MIX, False)], ids=str)
@pytest.mark.parametrize("rule", PARAMETRIZATIONS)
def test_every_rule_plans_a_gpt(rule: str, optimizer: Any, tied: bool) -> None:
    own = own_plan(rule, optimizer=optimizer, tied=tied)
    assert own.rule == rule and str(own).startswith(f"{rule}: {PARAMETRIZATIONS[rule].title}") and own.why == "asked for"
    assert own.cites[: len(PARAMETRIZATIONS[rule].cites)] == PARAMETRIZATIONS[rule].cites
    assert all(0 < factor < float("inf") for row in factors(own).values() for factor in row)
    assert not own.at_base and Plan.from_json(own.to_json()) == own
    assert own.rescales == (rule != "sp")


@pytest.mark.parametrize(("optimizer", "tied"), [("adamw", False), ("sgd", True), (MUON_MIX, False)], ids=str)
@pytest.mark.parametrize("rule", PARAMETRIZATIONS)
def test_at_base_every_factor_is_exactly_one(rule: str, optimizer: Any, tied: bool) -> None:
    own = make_plan(rule, tied, optimizer, (1, 1))
    assert set(factors(own).values()) == {(1.0,) * 5}
    assert own.at_base and own.clip == 1.0


def test_rules_differ_where_they_should() -> None:
    plans = {rule: factors(own_plan(rule), QUANTITIES) for rule in PARAMETRIZATIONS}
    same = {frozenset(other for other in plans if plans[other] == plans[rule]) for rule in plans}
    assert {group for group in same if len(group) > 1} == {frozenset({"mup", "mean-field", "spectral"})}


def test_the_default_reads_the_model() -> None:
    for rule in (None, "default", " default "):
        assert own_plan(rule).rule == "completep" and "two matrices or more" in own_plan(rule).why
        assert plan(*gpts(2, 1), rule=rule).rule == "mup"


TEXTS = {
    "default, decay=sqrt": "completep, decay=sqrt",
    "default, without eps": "completep, without eps",
    "default,without eps,alpha=3/4": "completep, without eps, alpha=3/4",
    "CompleteP": "completep",
    "completep,   without eps": "completep, without eps",
    " mup , embedding_rate=sqrt , decay = constant": "mup, embedding_rate=sqrt, decay=constant",
    "depth-mup, depth_rate=constant, bias_rate=constant": "depth-mup, depth_rate=constant, bias_rate=constant",
    "u-mup, without branch, without attention": "u-mup, without branch, without attention",
}


@pytest.mark.parametrize(("text", "name"), TEXTS.items())
def test_text_and_object_are_one_rule(text: str, name: str) -> None:
    own = own_plan(text)
    assert own.rule == name and str(own).startswith(f"{name}: ")
    rule = parametrization(name)
    assert own_plan(rule).tensors == own.tensors


REFUSED = {
    "mupp": "unknown rule 'mupp'; choose one of sp, ",
    "mup, foo": "'foo' changes no rule; say for example 'decay=sqrt' or 'without eps'",
    "mup,": "changes no rule",
    "mup, foo=bar": "rules have no option 'foo'; choose one of depth_rate|rules have no option 'foo'; choose one of alpha",
    "mup, decay=cubic": "decay=cubic is no side of that disagreement; choose one of fixed-fraction, constant, sqrt, inverse-width",
    "mup, without heads": "no factor 'heads' to switch off; choose one of init, lr, eps, decay, branch, attention, input",
    "completep, alpha=1/3": "alpha is 1/3: features are stable",
    "completep, alpha=half": "alpha is 'half', which is no exact rational number",
    "sp, alpha=1": "rule 'sp' scales nothing",
    "default, alpha=2": "alpha is 2: features",
    "mup, muon_scale=muon": "no option 'muon_scale'",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_text_that_is_no_rule(text: str, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        own_plan(text)


def test_a_parametrization_of_ones_own() -> None:
    mine = Parametrization(
        name="mine",
        title="embeddings that learn as a readout",
        source="a notebook",
        laws={**laws(), Role.EMBEDDING: Law(init=powers(fan_out="-1/2"), gradient=powers(fan_out=-1), change=powers(fan_out="-1/4"))},
        alpha=Fraction(3, 4),
        attention=Fraction(1, 2),
    )
    own = own_plan(mine)
    assert str(own).startswith("mine: embeddings that learn as a readout (asked for)") and own.cites == ()
    assert factors(own, QUANTITIES)["token.weight"] == pytest.approx([2**-0.5, 2**-0.25, 1 / 2, 2**0.25])
    assert own["blocks.0.query.weight"].multiplier == powers()
    assert own["blocks.0.out.weight"].factor("multiplier") == pytest.approx(2**-0.75)
    assert "a notebook" in own.explain("token.weight")
    assert own_plan(mine.using(decay="constant")).rule == "mine, decay=constant"


def test_a_rule_without_a_law_for_a_role_is_refused() -> None:
    mine = Parametrization(name="mine", title="matrices alone", source="a notebook", laws={Role.HIDDEN: Law()})
    with pytest.raises(MutransferError, match=r"rule 'mine' says nothing about the role \w+ \(a notebook\); give it a Law in laws="):
        own_plan(mine)


def concerned(own: Plan, rule: Parametrization, name: str) -> dict[str, str]:
    """The disagreements that concern a tensor, and the side taken."""
    tensor = own[name]
    family = FAMILIES[tensor.optimizer]
    return {each.name: rule.side(each, family) for each in rule.disagreements(tensor.role, family, tensor.place)}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", MUON_MIX])
@pytest.mark.parametrize("rule", ["completep", "depth-mup", "completep, router=hidden, embedding_eps=block, alpha=3/4", "u-mup", "mup"])
def test_explain_names_every_disagreement_and_the_side(rule: str, optimizer: Any) -> None:
    own = own_plan(rule, optimizer=optimizer)
    for name in own.tensors:
        told = [line for line in own.explain(name).splitlines() if "sources disagree on " in line]
        wanted = concerned(own, parametrization(rule), name)
        assert len(told) == len(wanted)
        for option, side in wanted.items():
            each = DISAGREEMENTS[option]
            (line,) = [line for line in told if each.quantity in line]
            assert f"{option}={side} " in line
            _, _, after = line.partition(", not ")
            assert all((text in after) == (value != side) for value, text in each.sides.items())
            assert side not in each.sides or each.sides[side] in line


CONCERNS: list[tuple[str, Any, str, set[str]]] = [
    ("completep", "adamw", "token.weight", {"embedding_rate", "embedding_eps"}),
    ("completep", "sgd", "token.weight", set()),
    ("completep", "adamw", "blocks.0.up.weight", {"alpha", "decay", "alignment"}),
    ("completep", "adamw", "blocks.0.down.weight", {"alpha", "decay", "alignment", "branch_end_init"}),
    ("depth-mup", "adamw", "blocks.0.up.weight", {"alpha", "decay", "branch_decay", "alignment", "depth_rate"}),
    ("depth-mup", "adamw", "blocks.0.mlp_norm.bias", {"alpha", "vector_eps", "bias_rate", "branch_decay"}),
    ("mup", "adamw", "blocks.0.up.weight", {"decay", "alignment"}),
    ("completep", MUON_MIX, "blocks.0.up.weight", {"alpha", "decay", "muon_scale"}),
    ("completep", "adamw", "norm.weight", set()),
    ("sp", "adamw", "blocks.0.up.weight", set()),
]


@pytest.mark.parametrize(("rule", "optimizer", "name", "wanted"), CONCERNS)
def test_which_disagreements_concern_a_tensor(rule: str, optimizer: Any, name: str, wanted: set[str]) -> None:
    text = own_plan(rule, optimizer=optimizer).explain(name)
    told = {option for option in DISAGREEMENTS if f": {option}=" in text}
    assert told == wanted


def test_a_side_that_is_taken_changes_the_factors() -> None:
    plain = own_plan("completep")
    root = own_plan("completep, decay=sqrt")
    assert factors(plain, QUANTITIES[:3]) == factors(root, QUANTITIES[:3])
    assert plain["blocks.0.up.weight"].factor("decay") == 2 and root["blocks.0.up.weight"].factor("decay") == 2**0.5
    slow = own_plan("completep, embedding_rate=sqrt")
    changed = {name for name in plain.tensors if factors(plain)[name] != factors(slow)[name]}
    assert changed == {"token.weight", "position.weight"} and slow["token.weight"].factor("lr") == 2**-0.5


@pytest.mark.parametrize("quantity", QUANTITIES[1:])
@pytest.mark.parametrize("rule", ["completep", "u-mup"])
@pytest.mark.parametrize(("optimizer", "tied"), [("adamw", False), ("adamw", True), ("sgd", True), (MUON_MIX, False)], ids=str)
def test_without_a_quantity_it_stays_at_base(rule: str, optimizer: Any, quantity: str, tied: bool) -> None:
    full, own = own_plan(rule, optimizer=optimizer, tied=tied), own_plan(f"{rule}, without {quantity}", optimizer=optimizer, tied=tied)
    for name, tensor in own.tensors.items():
        carried = Quantities().fold(tensor.multiplier, own.optimizers[tensor.optimizer])
        assert getattr(tensor, quantity) == getattr(carried, quantity), name
    others = tuple(each for each in ALL if each != quantity)
    assert factors(own, others) == factors(full, others)
    assert {full[name].factor(quantity) for name in full.tensors} != {1.0} or (quantity, optimizer) == ("eps", "sgd")


def test_without_init_the_law_is_that_of_standard_parametrization() -> None:
    full, own, standard = own_plan("completep"), own_plan("completep, without init"), own_plan("sp")
    for name, tensor in own.tensors.items():
        assert tensor.init == standard[name].init * tensor.multiplier
    assert factors(own, ALL[1:]) == factors(full, ALL[1:])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_without_a_role_it_is_as_under_standard_parametrization(optimizer: str) -> None:
    full, own = own_plan("completep", optimizer=optimizer), own_plan("completep, without embedding", optimizer=optimizer)
    changed = {"token.weight", "position.weight"}
    assert {factors(own)[name] for name in changed} == {(1.0,) * 5}
    assert all(factors(own)[name] == factors(full)[name] for name in own.tensors.keys() - changed)


def test_without_the_readouts_role_nothing_else_moves() -> None:
    full, own = own_plan("completep"), own_plan("completep, without readout")
    assert factors(own, QUANTITIES)["head.weight"] == (2**-0.5, 1, 1, 1)
    assert all(factors(own)[name] == factors(full)[name] for name in own.tensors if name != "head.weight")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", MUON_MIX])
@pytest.mark.parametrize("rule", ["completep", "depth-mup", "u-mup"])
def test_without_branch_the_ends_carry_nothing(rule: str, optimizer: Any) -> None:
    full, own = own_plan(rule, optimizer=optimizer), own_plan(f"{rule}, without branch", optimizer=optimizer)
    ends = {name for name in own.tensors if own[name].place == Place.BRANCH_END}
    assert ends == {f"blocks.{i}.{end}.weight" for i in range(2) for end in ("out", "down")}
    assert all(factors(own)[name] == factors(full)[name] for name in own.tensors.keys() - ends)
    for name in ends:
        inside = name.replace("out", "value").replace("down", "up")
        assert own[name].multiplier == powers() and full[name].multiplier != powers()
        assert own[name].factor("init") == own[inside].factor("init") == pytest.approx(2**0.5 * 1 / 2)
        if name.endswith("out.weight"):
            assert factors(own)[name] == factors(own)[inside]


def test_without_branch_nothing_needs_to_carry_it() -> None:
    """A branch that ends in an activation is refused only because of its multiplier."""

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.layer = nn.Linear(width, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.tanh(self.layer(x))

    def make(width: int, depth: int) -> nn.Module:
        return nn.Sequential(nn.Linear(5, width), *[nn.Sequential(Block(width)) for _ in range(depth)], nn.Linear(width, 3))

    with pytest.raises(MutransferError, match="does not end in learned tensors"):
        plan(renamed(make(16, 4)), renamed(make(8, 2)), rule="depth-mup")
    assert plan(renamed(make(16, 4)), renamed(make(8, 2)), rule="depth-mup, without branch").depth == (2, 4)


def renamed(model: nn.Sequential) -> nn.Module:
    """The same network with stem, blocks and readout of one name at every depth."""
    stem, *blocks, readout = model
    return nn.Sequential(stem, nn.Sequential(*blocks), readout)


@pytest.mark.parametrize("tied", [False, True])
def test_without_attention_the_queries_carry_nothing(tied: bool) -> None:
    full, own = own_plan("completep", tied=tied), own_plan("completep, without attention", tied=tied)
    queries = {name for name in own.tensors if "query" in name}
    assert all(factors(own)[name] == factors(full)[name] for name in own.tensors.keys() - queries)
    for name in queries:
        assert factors(own)[name] == factors(own)[name.replace("query", "key")] != factors(full)[name]
        assert own[name].multiplier == powers() and full[name].multiplier == powers(head_dim="-1/2")


def test_factors_are_switched_off_together() -> None:
    text = own_plan("completep, without eps, without branch, without attention")
    assert text.rule == "completep, without eps, without branch, without attention"
    rule = PARAMETRIZATIONS["completep"].without("eps", "branch", "attention")
    assert own_plan(rule).tensors == text.tensors
    mup = own_plan("mup, without eps, without attention")
    assert factors(text) == factors(mup)


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
def test_cite_prints_bibtex(capsys: pytest.CaptureFixture[str], rule: str, optimizer: Any, papers: list[str]) -> None:
    own = own_plan(rule, optimizer=optimizer)
    mt.cite(own)
    text = capsys.readouterr().out
    assert text.count("@misc{") == len(papers) and text.count("{") == text.count("}")
    assert sorted(paper for paper in papers if f"eprint = {{{paper}}}" in text) == sorted(papers)
    assert text.strip() == own.cite() and Plan.from_json(own.to_json()).cite() == own.cite()


def test_a_plan_without_papers_cites_none(capsys: pytest.CaptureFixture[str]) -> None:
    mt.cite(own_plan(Parametrization(name="mine", title="mine", source="a notebook")))
    assert capsys.readouterr().out.strip() == ""


def test_a_model_without_branches_takes_rules_of_depth() -> None:
    with torch.device("meta"):
        target, base = mlp(32), mlp(8)
    for rule in PARAMETRIZATIONS:
        own = plan(target, base, rule=rule)
        assert own.depth == (0, 0) and own.clip == 1
    assert plan(target, base, rule="completep, without eps")["hidden.0.weight"].factor("eps") == 1
