"""Which optimizer a plan is for: recognised, refused, several at once, and the values in their groups."""

import copy
import inspect
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mutransfer._errors import MutransferError
from mutransfer.plan import Plan, plan
from mutransfer.rules import FAMILIES, ONE, Family, Powers, family, powers, shampoo
from mutransfer.tasks._models import gpt, mlp

optim: Any = torch.optim
KNOWN = {
    "SGD": "sgd",
    "Adam": "adam",
    "AdamW": "adamw",
    "NAdam": "nadam",
    "RAdam": "radam",
    "Adagrad": "adagrad",
    "RMSprop": "rmsprop",
    "Adamax": "adamax",
    "Adafactor": "adafactor",
    "Muon": "muon-original",
}
CLASSES = {name: known for name, known in KNOWN.items() if hasattr(optim, name)}
REST = sorted(name for name, cls in vars(optim).items() if isinstance(cls, type) and issubclass(cls, optim.Optimizer) and name not in KNOWN)
MUON = pytest.mark.skipif(not hasattr(optim, "Muon"), reason="this torch has no Muon")
DECLARED = "mutransfer.rules.Family"
MINE = Family(
    name="mine",
    homogeneity="1/2",
    gain=powers(fan_in="3/4"),
    unaligned=powers(fan_in="1/4"),
    eps=powers(fan_in=1, fan_out="1/2"),
    eps_degree=2,
    decay="independent",
    caveat="only for this test",
)
MIX = {"hidden": "muon-original", "*": "adamw"}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def small(optimizer: Any, **options: Any) -> Plan:
    """A plan of two matrices with finite sides, the smallest that any optimizer takes."""
    return plan(matrices(16), matrices(8), optimizer=optimizer, **options)


def matrices(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width, bias=False), nn.Linear(width, width, bias=False), nn.Linear(width, 3, bias=False))


def gpts(wider: int = 2, deeper: int = 2) -> tuple[nn.Module, nn.Module]:
    sizes = {"vocabulary": 13, "context": 8}
    return gpt(32 * wider, 2 * deeper, **sizes), gpt(32, 2, **sizes)


def one(cls: type, **settings: Any) -> Any:
    return cls([nn.Parameter(torch.zeros(2, 2))], **settings)


def variants() -> dict[str, tuple[Any, str]]:
    """Every way to say an optimizer, and the family that it is."""
    found: dict[str, tuple[Any, str]] = {f"name {name}": (name.upper(), name) for name in FAMILIES}
    for name, known in CLASSES.items():
        cls = getattr(optim, name)
        found |= {name: (cls, known), f"{name} instance": (one(cls), known), f"{name} partial": (partial(cls, foreach=False), known)}
    settings: list[tuple[str, dict[str, Any], str]] = [
        ("Adam", {"decoupled_weight_decay": True}, "adamw"),
        ("Adam", {"amsgrad": True}, "adam"),
        ("AdamW", {"amsgrad": True}, "adamw"),
        ("NAdam", {"decoupled_weight_decay": True}, "nadamw"),
        ("RAdam", {"decoupled_weight_decay": True}, "radamw"),
        ("RAdam", {"decoupled_weight_decay": False}, "radam"),
        ("SGD", {"momentum": 0.9, "nesterov": True}, "sgd"),
        ("Muon", {"adjust_lr_fn": "match_rms_adamw"}, "muon-match-rms"),
        ("Muon", {"adjust_lr_fn": "original"}, "muon-original"),
    ]
    for name, own, known in settings:
        if name in CLASSES:
            cls = getattr(optim, name)
            said = f"{name} {own}"
            found |= {f"{said} instance": (one(cls, **({"lr": 0.1} | own)), known), f"{said} partial": (partial(cls, **own), known)}
    nested = partial(partial(optim.Adam, decoupled_weight_decay=True), betas=(0.9, 0.95))
    return found | {"partial of a partial": (nested, "adamw"), "family": (family("lamb"), "lamb")}


VARIANTS = variants()


@pytest.mark.parametrize(("optimizer", "known"), VARIANTS.values(), ids=VARIANTS)
def test_recognised(optimizer: Any, known: str) -> None:
    own = small(optimizer)
    assert own.optimizer == known and own.optimizers == {known: FAMILIES[known]}
    same = small(known)
    assert all(own[name].factor(quantity) == same[name].factor(quantity) for name in own.tensors for quantity in ("lr", "eps", "decay"))


class Foreign(torch.optim.Optimizer):
    def __init__(self, params: Any) -> None:
        super().__init__(params, {})


class Descendant(torch.optim.AdamW):
    """Its update may be anything."""


UNKNOWN: dict[str, tuple[Any, str]] = {
    **{name: (getattr(optim, name), f"no scaling rule is known for {name}") for name in REST},
    "LBFGS instance": (one(optim.LBFGS), "no scaling rule is known for LBFGS"),
    "Rprop partial": (partial(optim.Rprop, lr=0.1), "no scaling rule is known for Rprop"),
    "foreign": (Foreign, "no scaling rule is known for Foreign"),
    "foreign instance": (one(Foreign), "no scaling rule is known for Foreign"),
    "descendant": (Descendant, "no scaling rule is known for Descendant"),
    "function": (lambda params: optim.AdamW(params), "no scaling rule is known for <lambda>"),
    "name": ("adamwx", "unknown optimizer 'adamwx'"),
    "none": (None, "no scaling rule is known for None"),
    "list": (["adamw"], "no scaling rule is known for"),
    "in a mix": ({"hidden": optim.LBFGS, "*": "adamw"}, "no scaling rule is known for LBFGS"),
}


@pytest.mark.parametrize(("optimizer", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_refused_with_how_to_declare_it(optimizer: Any, message: str) -> None:
    with pytest.raises(MutransferError, match=message) as error:
        small(optimizer)
    assert DECLARED in str(error.value) and "\n" not in str(error.value)


def test_the_rest_of_torch_is_tested() -> None:
    assert {"LBFGS", "Rprop", "ASGD", "Adadelta", "SparseAdam"} <= set(REST)


@MUON
def test_an_unknown_scale_of_muon_is_refused() -> None:
    with pytest.raises(MutransferError, match="Muon with adjust_lr_fn='mine' has no scaling rule; name the convention"):
        small(partial(optim.Muon, adjust_lr_fn="mine"))


def test_a_family_without_homogeneity_is_refused() -> None:
    with pytest.raises(MutransferError, match=r"'mine' does not declare .*homogeneity=1.*0 if the same"):
        Family(name="mine", gain=powers(fan_in=1), decay="decoupled")


def test_a_family_of_ones_own() -> None:
    """Rate: constant change over gain · gradient^(1/2); eps: two powers of the gradient (Lemma J.1, extended)."""
    own = small(MINE)
    r = 2.0
    assert own.optimizers == {"mine": MINE}
    assert own["1.weight"].factor("lr") == pytest.approx(r**-0.75 * r**0.5)
    assert own["1.weight"].factor("eps") == pytest.approx(r**-2 * r**1.5)
    assert own["0.weight"].factor("lr") == pytest.approx(r**0.5)  # the gain over a finite fan-in is 1
    assert own["2.weight"].factor("lr") == pytest.approx(r**-0.75)
    groups = own.param_groups(matrices(16), 1.0, eps=1e-8)
    assert {group["names"][0]: group["lr"] for group in groups} == {name: own[name].factor("lr") for name in own.tensors}


def test_a_family_that_needs_what_no_model_tells_is_refused() -> None:
    with pytest.raises(
        MutransferError, match=r"0.weight: the rule of shampoo\(blocked\) needs the ratio blocks, which is not read off a model"
    ):
        small(shampoo(blocked=True))


@MUON
def test_a_mix_is_one_plan() -> None:
    model, base = gpts()
    own = plan(model, base, optimizer={"hidden": optim.Muon, "*": optim.AdamW})
    assert own.optimizers == {name: FAMILIES[name] for name in ("adamw", "muon-original")}
    assert {tensor.optimizer for tensor in own.tensors.values() if tensor.role == "hidden"} == {"muon-original"}
    assert {tensor.optimizer for tensor in own.tensors.values() if tensor.role != "hidden"} == {"adamw"}
    alone = plan(model, base)
    assert all(own[name] == alone[name] for name in own.tensors if own[name].optimizer == "adamw")
    header, *rows = [line.split() for line in str(own).splitlines()[3:] if not line.startswith("warning")]
    assert header == ["tensor", "n", "role", "optimizer", "base", "model", "init", "lr", "eps", "decay"]
    shown = {row[0]: next(name for name in own.optimizers if name in row) for row in rows}
    assert shown["blocks.*.up.weight"] == "muon-original" and shown["head.weight"] == "adamw"
    assert "optimizer" not in str(alone).splitlines()[3].split()


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (3, 1)])
def test_the_groups_of_a_mix_are_disjoint_and_complete(sizes: tuple[int, int]) -> None:
    model, base = gpts(*sizes)
    own = plan(model, base, optimizer=MIX | {"token.weight": "lion"} | {"*": "adamw"})
    names = [n for each in own.optimizers for group in own.param_groups(model, 0.1, optimizer=each) for n in group["names"]]
    assert sorted(names) == sorted(own.tensors)
    parameters = [p for each in own.optimizers for group in own.param_groups(model, 0.1, optimizer=each) for p in group["params"]]
    assert {id(p) for p in parameters} == {id(p) for p in model.parameters()} and len(parameters) == len(names)
    for each in own.optimizers:
        groups = own.param_groups(model, 0.1, optimizer=each)
        assert {own[name].optimizer for group in groups for name in group["names"]} == {each}


def test_the_first_key_of_a_mix_counts() -> None:
    model, base = gpts(2, 1)
    own = plan(model, base, optimizer={"*.query.weight": "lion", "hidden": "muon", "token.*": "sgd", "*": "adamw"})
    assert own["blocks.0.query.weight"].optimizer == "lion" and own["blocks.0.key.weight"].optimizer == "muon"
    assert own["token.weight"].optimizer == "sgd" and own["position.weight"].optimizer == "adamw"
    reverse = plan(model, base, optimizer={"hidden": "muon", "*.query.weight": "muon", "*": "adamw"})
    assert reverse["blocks.0.query.weight"].optimizer == "muon"


@MUON
@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
def test_torchs_muon_and_adamw_train_a_gpt(scale: str) -> None:
    model, base = gpts(2, 1)
    own = plan(model, base, optimizer={"hidden": partial(optim.Muon, adjust_lr_fn=scale), "*": optim.AdamW})
    own.initialize(model)
    muon = next(name for name in own.optimizers if name.startswith("muon"))
    lr = 0.02 if scale == "original" else 0.003
    steps = [
        optim.Muon(own.param_groups(model, lr, optimizer=muon), adjust_lr_fn=scale),
        optim.AdamW(own.param_groups(model, 2**-7, optimizer="adamw")),
    ]
    tokens = torch.randint(13, (8, 8))
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(-1, 1).flatten())
        losses.append(loss.item())
        for step in steps:
            step.zero_grad()
        loss.backward()
        for step in steps:
            step.step()
    assert losses[-1] < 0.7 * losses[0]


MIXES_REFUSED: dict[str, tuple[Any, str]] = {
    "unknown key": ({"hidden": "muon", "attention": "lion", "*": "adamw"}, r"optimizer={'attention': ...} matches no role and no tensor"),
    "a role that the model has not": ({"embedding": "lion", "*": "adamw"}, r"optimizer={'embedding': ...} matches no role and no tensor"),
    "tensor without an optimizer": ({"hidden": "muon"}, r"no optimizer was given for input.weight \(input\).*'\*' for the rest"),
    "nothing": ({}, "no optimizer was given for input.weight"),
    "muon on a vector": (
        {"hidden": "muon", "bias": "muon", "*": "adamw"},
        r"muon updates matrices only, and input.bias \(bias\) has 1 dim",
    ),
    "muon alone": ("muon", r"muon updates matrices only, and input.bias .*optimizer={'hidden': 'muon', '\*': 'adamw'}"),
    "soap on a vector": ("soap", "soap updates matrices only"),
}


@pytest.mark.parametrize(("optimizer", "message"), MIXES_REFUSED.values(), ids=MIXES_REFUSED)
def test_a_mix_that_is_refused(optimizer: Any, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        plan(mlp(16), mlp(8), optimizer=optimizer)


def test_two_families_of_one_name_cannot_be_told_apart() -> None:
    with pytest.raises(MutransferError, match="mine"):
        small({"hidden": MINE, "*": replace(MINE, homogeneity=0)})


def test_a_mix_needs_to_be_told_whose_groups() -> None:
    model, base = gpts()
    own = plan(model, base, optimizer=MIX)
    with pytest.raises(MutransferError, match=r"plan is for adamw \+ muon-original, and none was named: .* optimizer="):
        own.param_groups(model, 0.1)
    with pytest.raises(MutransferError, match="it has no 'sgd': say whose groups"):
        own.param_groups(model, 0.1, optimizer="sgd")
    single = plan(model, base)
    with pytest.raises(MutransferError, match="it has no 'sgd'"):
        single.param_groups(model, 0.1, optimizer="sgd")
    assert single.param_groups(model, 0.1, optimizer="adamw")[0]["names"] == single.param_groups(model, 0.1)[0]["names"]


@pytest.mark.parametrize("ratio", [2, 3, 5, Fraction(3, 2)])
@pytest.mark.parametrize("optimizer", ["muon", "muon-spectral", "muon-original"])
def test_ratios_that_cancel_leave_exactly_one(optimizer: str, ratio: Fraction) -> None:
    """Square matrices of Muon keep their rate at every width, so they share a group and show a 1."""
    own = plan(matrices(int(16 * ratio)), matrices(16), optimizer=optimizer)
    assert [own["1.weight"].factor(quantity) for quantity in ("lr", "decay")] == [1.0, 1.0]


@pytest.mark.parametrize("wider", [2, 3, 5])
def test_a_mix_has_few_groups(wider: int) -> None:
    model, base = gpts(wider, 2)
    own = plan(model, base, optimizer=MIX)
    assert len(own.param_groups(model, 0.1, optimizer="muon-original")) == 2
    assert "e-1" not in str(own)


VALUED: dict[str, dict[str, Any]] = {
    "sgd": {"weight_decay": 0.1},
    "sgdw": {"weight_decay": 0.1},
    "adamw": {"eps": 1e-4, "weight_decay": 0.1},
    "adam": {"eps": 1e-4},
    "nadamw": {"eps": 1e-4, "weight_decay": 0.1},
    "lion": {"weight_decay": 0.1},
    "sophia": {"eps": 1e-4, "weight_decay": 0.1, "rho": 0.04},
    "adafactor": {"eps": (1e-5, 1e-3), "weight_decay": 0.1},
    "adafactor-fixed": {"eps": 1e-4, "weight_decay": 0.1},
    "lamb": {"eps": 1e-4, "weight_decay": 0.1},
    "lars": {"eps": 1e-4, "weight_decay": 0.1},
}


@pytest.mark.parametrize("optimizer", VALUED)
def test_values_are_those_at_base_times_the_factors(optimizer: str) -> None:
    model, base = gpts()
    own, given = plan(model, base, optimizer=optimizer), VALUED[optimizer]
    groups = own.param_groups(model, 0.3, **given)
    for group in groups:
        for name in group["names"]:
            lr, eps, decay, init = (own[name].factor(quantity) for quantity in ("lr", "eps", "decay", "init"))
            assert group["lr_factor"] == lr and group["lr"] == 0.3 * lr
            assert group["weight_decay"] == given.get("weight_decay", 0) * decay
            if optimizer == "adafactor":  # its second eps is a floor of the tensor's own size
                assert group["eps"] == (1e-5 * eps, 1e-3 * init)
            elif "eps" in given:
                assert group["eps"] == 1e-4 * eps
            else:
                assert "eps" not in group
            assert group.get("rho") == (0.04 / eps if "rho" in given else None)


@MUON
def test_muons_values() -> None:
    model, base = gpts()
    own = plan(model, base, optimizer=MIX)
    for group in own.param_groups(model, 0.3, eps=1e-5, weight_decay=0.2, optimizer="muon-original"):
        for name in group["names"]:
            lr, eps, decay = (own[name].factor(quantity) for quantity in ("lr", "eps", "decay"))
            assert (group["lr"], group["eps"], group["weight_decay"]) == (0.3 * lr, 1e-5 * eps, 0.2 * decay)


AS_TORCH = {
    **{name: (getattr(optim, name), {}) for name in CLASSES},
    "Adam, decoupled": (optim.Adam, {"decoupled_weight_decay": True, "weight_decay": 0.01}),
    "NAdam, decoupled": (optim.NAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    "RAdam, decoupled": (optim.RAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
}


def steps_of(model: nn.Module, step: torch.optim.Optimizer) -> list[torch.Tensor]:
    x, y = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    for _ in range(3):
        step.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step.step()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize(("cls", "settings"), AS_TORCH.values(), ids=AS_TORCH)
def test_at_base_the_defaults_are_torchs(cls: Any, settings: dict[str, Any]) -> None:
    model, base = matrices(8), matrices(8)
    given = {"weight_decay": settings["weight_decay"]} if settings else {}
    own = plan(model, base, optimizer=partial(cls, **{k: v for k, v in settings.items() if k not in given}))
    groups = own.param_groups(model, 0.01, **given)
    signature = inspect.signature(cls).parameters
    for group in groups:
        assert group["weight_decay"] == settings.get("weight_decay", signature["weight_decay"].default)
        if "eps" in signature:
            float32 = torch.finfo(torch.float32).eps
            assert group["eps"] == ((float32, 1e-3) if cls is optim.Adafactor else signature["eps"].default)
    other = copy.deepcopy(model)
    planned, plain = steps_of(model, cls(groups, **settings)), steps_of(other, cls(other.parameters(), lr=0.01, **settings))
    assert all(torch.equal(a, b) for a, b in zip(planned, plain, strict=True))


OUTSIDE = [name for name, each in FAMILIES.items() if each.eps is not None and name not in {*KNOWN.values(), "muon-match-rms"}]


@pytest.mark.parametrize("optimizer", [name for name in OUTSIDE if name not in {"amsgrad", "nadamw", "radamw"}])
def test_families_outside_torch_need_eps(optimizer: str) -> None:
    own = small(optimizer)
    with pytest.raises(MutransferError, match=f"{optimizer}'s eps has to scale, and its default is not known here: give eps="):
        own.param_groups(matrices(16), 0.1)
    rho = {"rho": 0.04} if optimizer == "sophia" else {}
    groups = own.param_groups(matrices(16), 0.1, eps=1e-8, **rho)
    assert all(group["weight_decay"] == 0 for group in groups)


HYPERPARAMETERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "sophia without rho": ("sophia", {"eps": 1e-8}, "sophia's rho has to scale, and its default is not known here: give rho="),
    "rho of adamw": ("adamw", {"rho": 0.1}, "adamw has no rho"),
    "eps of sgd": ("sgd", {"eps": 1e-8}, "sgd has no eps"),
    "eps of lion": ("lion", {"eps": 1e-8}, "lion has no eps"),
    "one eps for adafactor": ("adafactor", {"eps": 1e-8}, "eps"),
    "two eps for adamw": ("adamw", {"eps": (1e-8, 1e-3)}, "eps"),
    "module that is not there": ("adamw", {"modules": {"mlp.*": 2.0}}, r"modules={'mlp.\*': ...} matches no parameter"),
    "undecayed tensor that is not there": (
        "adamw",
        {"undecayed": ("bias", "mlp.*")},
        r"undecayed has 'mlp.\*', which is no role and matches",
    ),
}


@pytest.mark.parametrize(("optimizer", "options", "message"), HYPERPARAMETERS.values(), ids=HYPERPARAMETERS)
def test_hyperparameters_that_are_refused(optimizer: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        small(optimizer).param_groups(matrices(16), 0.1, **options)


@pytest.mark.parametrize("optimizer", ["adam", "amsgrad", "nadam", "radam", "adagrad", "rmsprop", "adamax"])
def test_decay_that_is_normalised_away_is_refused(optimizer: str) -> None:
    own = small(optimizer)
    with pytest.raises(MutransferError, match=f"{optimizer} adds weight decay to .* gradient .* normalises.*decoupled"):
        own.param_groups(matrices(16), 0.1, weight_decay=0.1)
    assert all(group["weight_decay"] == 0 for group in own.param_groups(matrices(16), 0.1, weight_decay=0.0))
    assert all(group["weight_decay"] == 0 for group in own.param_groups(matrices(16), 0.1))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "nadamw", "radamw", "lion", "lamb", "lars", "adafactor"])
def test_decay_that_a_rule_makes_right_is_taken(optimizer: str) -> None:
    eps = {} if optimizer in {"sgd", "adamw", "lion", "adafactor"} else {"eps": 1e-8}
    assert all(group["weight_decay"] > 0 for group in small(optimizer).param_groups(matrices(16), 0.1, weight_decay=0.1, **eps))


def by_name(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: group for group in groups for name in group["names"]}


def test_modules_have_rates_of_their_own() -> None:
    model, base = gpts()
    own = plan(model, base)
    groups = by_name(own.param_groups(model, 0.5, weight_decay=0.1, modules={"blocks.0.*": 3.0, "*.up.weight": 2.0, "head.*": 0.25}))
    plain = by_name(own.param_groups(model, 0.5, weight_decay=0.1))
    assert groups.keys() == plain.keys()
    for name, group in groups.items():
        factor = 3.0 if name.startswith("blocks.0.") else 2.0 if name.endswith("up.weight") else 0.25 if name == "head.weight" else 1.0
        assert group["lr"] == pytest.approx(factor * plain[name]["lr"], rel=1e-15)
        assert group["lr"] == 0.5 * group["lr_factor"]
        assert (group["eps"], group["weight_decay"]) == (plain[name]["eps"], plain[name]["weight_decay"])


def test_undecayed_tensors_get_no_decay() -> None:
    model, base = gpts()
    own = plan(model, base)
    groups = by_name(own.param_groups(model, 0.5, weight_decay=0.1, undecayed=("bias", "gain", "token.*")))
    plain = by_name(own.param_groups(model, 0.5, weight_decay=0.1))
    for name, group in groups.items():
        bare = own[name].role in {"bias", "gain"} or name == "token.weight"
        assert group == plain[name] | {key: group[key] for key in ("params", "names", "weight_decay")}
        assert group["weight_decay"] == (0 if bare else plain[name]["weight_decay"])
    assert any(group["weight_decay"] for group in groups.values())


def test_roles_that_the_model_has_not_may_be_undecayed() -> None:
    """One setting serves models with and without norms."""
    groups = small("adamw").param_groups(matrices(16), 0.1, undecayed=("position", "gain"))
    assert all(group["weight_decay"] > 0 for group in groups)


def test_a_bare_word_is_no_list_of_undecayed_letters() -> None:
    with pytest.raises(MutransferError, match="undecayed"):
        small("adamw").param_groups(matrices(16), 0.1, undecayed="bias")


def test_a_rate_that_is_a_tensor_is_not_shared() -> None:
    model, base = gpts()
    lr = torch.tensor(0.5)
    groups = plan(model, base).param_groups(model, lr)
    rates = [group["lr"] for group in groups]
    assert all(isinstance(rate, torch.Tensor) for rate in rates) and any(group["lr_factor"] == 1 for group in groups)
    assert len({rate.data_ptr() for rate in [lr, *rates]}) == 1 + len(rates)
    rates[0].fill_(7.0)
    assert lr == 0.5 and all(rate == 0.5 * group["lr_factor"] for rate, group in zip(rates[1:], groups[1:], strict=True))


FAMILY_MIXES: dict[str, Any] = {
    "mine": MINE,
    "mine and adamw": {"hidden": MINE, "*": "adamw"},
    "muon and adamw": MIX,
    "shampoo, sophia and lion": {"hidden": "shampoo", "readout": "sophia", "*": "lion"},
    "no eps and exact powers": replace(MINE, name="other", eps=None, unaligned=None, cites=("2512.05620",), homogeneity=Fraction(1, 3)),
}


@pytest.mark.parametrize("optimizer", FAMILY_MIXES.values(), ids=FAMILY_MIXES)
def test_json_keeps_mixes_and_families(optimizer: Any) -> None:
    model, base = gpts()
    own = plan(model, base, optimizer=optimizer)
    again = Plan.from_json(own.to_json())
    assert again == own and again.to_json() == own.to_json() and str(again) == str(own)
    assert all(isinstance(each, Family) and isinstance(each.homogeneity, Fraction) for each in again.optimizers.values())
    for name in own.optimizers:
        given = {"eps": 1e-8} if own.optimizers[name].eps is not None else {}
        rho = {"rho": 0.1} if name == "sophia" else {}
        groups = [each.param_groups(model, 0.1, optimizer=name, **given, **rho) for each in (own, again)]
        assert by_name(groups[0]).keys() == by_name(groups[1]).keys()
        assert [group["lr"] for group in groups[0]] == [group["lr"] for group in groups[1]]


def test_powers_of_a_family_survive_json() -> None:
    again = Family.from_json(MINE.to_json())
    assert again == MINE and isinstance(again.gain, Powers) and again.eps == powers(fan_in=1, fan_out="1/2") != ONE


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(optim.AdamW, weight_decay=0.3),
        partial(optim.AdamW, eps=1e-5),
        partial(optim.SGD, lr=0.1),
        optim.AdamW([torch.nn.Parameter(torch.zeros(1))], weight_decay=0.3),
    ],
    ids=["decay", "eps", "rate", "object"],
)
def test_hyperparameters_that_the_groups_would_override_are_refused(optimizer: Any) -> None:
    with pytest.raises(MutransferError, match="which the plan's parameter groups set for each tensor: give the plan the class alone"):
        plan(mlp(16), mlp(8), optimizer=optimizer)
