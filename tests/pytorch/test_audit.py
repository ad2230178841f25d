"""The audit of classes, modules, precisions and wrappers; an audit as data."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.rules import FAMILIES, Family, powers
from mutransfer.tasks import gpt, mlp
from tests.optimizers import Descendant, Foreign
from tests.pytorch.planned_training import (
    HIDDEN,
    MIX,
    READOUT,
    Training,
    drop,
    mixed,
    optim,
    scale_in_place,
    set_all,
    set_one,
    small,
    step,
    without,
)

MUON = pytest.mark.skipif(not hasattr(optim, "Muon"), reason="this torch has no Muon")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def with_class(
    planned: Any, cls: Any, *, given: dict[str, Any] | None = None, **options: Any
) -> Callable[[], Training]:
    return partial(Training, planned, cls, options=options, **(given or {}))


CLASSES: dict[str, tuple[Callable[[], Training], str]] = {
    "sgd for adamw": (with_class("adamw", optim.SGD), "SGD (sgd)"),
    "adamw for sgd": (with_class("sgd", optim.AdamW), "AdamW (adamw)"),
    "l2 adam for adamw": (with_class("adamw", optim.Adam), "Adam (adam)"),
    "l2 adam for adamw, no decay": (
        with_class("adamw", optim.Adam, given={"weight_decay": 0.0}),
        "",
    ),
    "adamw": (with_class("adamw", optim.AdamW), ""),
    "adamw, amsgrad": (with_class("adamw", optim.AdamW, amsgrad=True), ""),
    "amsgrad": (with_class("amsgrad", optim.Adam, amsgrad=True), ""),
    "sgd": (with_class("sgd", optim.SGD, momentum=0.9, nesterov=True), ""),
    "sgd for sgdw": (with_class("sgdw", optim.SGD, given={"weight_decay": 0.1}), "SGD (sgd)"),
    "adagrad for adam": (with_class("adam", optim.Adagrad), ""),
    "adamw for lion": (with_class("lion", optim.AdamW), "AdamW (adamw)"),
    "adafactor": (with_class("adafactor", optim.Adafactor), ""),
    "adafactor for its unscaled kind": (
        with_class("adafactor-fixed", optim.Adafactor, given={"eps": 1e-8}),
        "Adafactor (adafactor)",
    ),
    "Rprop, without a rule": (with_class("adamw", optim.Rprop), "Rprop"),
}
DECOUPLED = {"nadam": optim.NAdam, "radam": optim.RAdam}
for _name, _cls in DECOUPLED.items():
    _given = {"eps": 1e-8, "weight_decay": 0.1}
    _decoupled = with_class(f"{_name}w", _cls, decoupled_weight_decay=True, given=_given)
    _coupled = with_class(f"{_name}w", _cls, given=_given)
    CLASSES |= {
        _name: (with_class(_name, _cls), ""),
        f"{_name}w": (_decoupled, ""),
        f"{_name} for {_name}w": (_coupled, f"{_cls.__name__} ({_name})"),
    }


@pytest.mark.parametrize(("make", "recognised"), CLASSES.values(), ids=CLASSES)
def test_the_class_of_an_optimizer_is_audited(make: Any, recognised: str) -> None:
    t = make()
    audit = t.audit()
    assert audit.unknown == () and len(audit.findings) == bool(recognised), str(audit)
    if recognised:
        sentence = f"planned for {t.plan.optimizer}, found in {recognised}, whose rates and decays"
        assert f"{sentence} scale otherwise" in audit.findings[0]


@MUON
def test_muons_scale_is_its_family() -> None:
    classes = {"muon-original": optim.Muon, "adamw": optim.AdamW}
    t = Training({"hidden": "muon-original", "*": "adamw"}, classes)
    assert t.audit().ok and not t.audit().unknown
    for group in t.optimizers[0].param_groups:
        group["adjust_lr_fn"] = "match_rms_adamw"
    assert "planned for muon-original, found in Muon (muon-match-rms)" in str(t.audit())


def test_optimizers_in_each_others_place() -> None:
    t = Training(MIX, {"sgd": optim.AdamW, "adamw": optim.SGD})
    assert len(t.audit().findings) == 2
    assert "hidden.0.weight, hidden.1.weight: planned for sgd, found in AdamW" in str(t.audit())


MINE = Family(name="mine", homogeneity=1, gain=powers(fan_in=1), decay="decoupled")
UNKNOWN = {
    "lion by another's name": (
        ("lion", Foreign),
        "whether Foreign is lion, as planned, cannot be seen from its class",
    ),
    "descendant": (("adamw", Descendant), "whether Descendant is adamw"),
    "family of one's own": ((MINE, optim.SGD), "whether SGD is mine"),
    "changed family": (
        (replace(FAMILIES["adamw"], caveat="changed"), optim.SGD),
        "whether SGD is adamw",
    ),
}


@pytest.mark.parametrize(("case", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_optimizer_that_cannot_be_recognised_is_no_finding(
    case: tuple[Any, Any], message: str
) -> None:
    audit = Training(*case).audit()
    assert (
        audit.ok
        and len(audit.unknown) == 1
        and message in audit.unknown[0]
        and f"? {message}" in str(audit)
    )
    t = Training(*case)
    set_all("lr", lambda lr: 0.1)(t)
    assert not t.audit().ok


def test_one_optimizer_may_train_two_families_at_rates_of_their_own() -> None:
    t = mixed()
    rates = {"sgd": 0.02, "adamw": 0.3}
    groups = [t.plan.param_groups(t.model, lr, optimizer=name) for name, lr in rates.items()]
    t.optimizers = [Foreign([*groups[0], *groups[1]])]
    assert t.audit().ok and len(t.audit().unknown) == 2
    with t.plan.guard(t.model, *t.optimizers):
        set_all("lr", lambda lr: 0.5 * lr)(t)
        t.optimizers[0].step()
        set_one(READOUT, "lr", lambda lr: 0.5 * lr)(t)
        with pytest.raises(mt.MutransferError, match="adamw's learning rates"):
            t.optimizers[0].step()


OVERRIDDEN: dict[str, tuple[Any, dict[str, Any], str]] = {
    "weight decay": (
        ("adamw", optim.AdamW),
        {"weight_decay": 0.1},
        "AdamW was given weight_decay=0.1, and its groups train at weight_decay=0.01 at base size",
    ),
    "eps": (
        ("adamw", optim.AdamW),
        {"eps": 1e-6},
        "AdamW was given eps=1e-06, and its groups train at eps=1e-08 at base size",
    ),
    "rate": (
        ("adamw", optim.AdamW),
        {"lr": 2**-8},
        "AdamW was given lr=2^-8, and its groups train at lr=0.1 at base size",
    ),
    "eps of Adafactor": (
        ("adafactor", optim.Adafactor),
        {"eps": (None, 1e-2)},
        "Adafactor was given eps=(None, 0.01), and its groups train at eps=(2^-23, 0.001) at base",
    ),
}


@pytest.mark.parametrize(("classes", "options", "text"), OVERRIDDEN.values(), ids=OVERRIDDEN)
def test_a_value_of_the_optimizer_that_groups_override(
    classes: Any, options: dict[str, Any], text: str
) -> None:
    """The natural port, AdamW(plan.param_groups(model, lr), weight_decay=0.1), and its remedy."""
    t = Training(*classes, options=options)
    (finding,) = t.audit().findings
    assert finding.startswith(text)
    assert "as values of groups go before the optimizer's own" in finding
    assert "give it to the groups: plan.param_groups(model, lr" in finding
    with pytest.raises(mt.MutransferError, match="was given"):
        t.plan.guard(t.model, *t.optimizers)
    (name,) = options
    assert Training(*classes, **options).audit().ok
    assert f"{name}=" in finding.split("param_groups(model, ")[1]


GIVEN_TWICE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "weight decay": ({"weight_decay": 0.1}, {"weight_decay": 0.1}),
    "no weight decay": ({"weight_decay": 0.0}, {"weight_decay": 0.0}),
    "eps": ({"eps": 1e-6}, {"eps": 1e-6}),
    "rate": ({"lr": 0.1}, {}),
    "defaults of the class": ({"weight_decay": 1e-2, "eps": 1e-8, "lr": 1e-3}, {}),
    "without a decay of biases": (
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "undecayed": ["bias"]},
    ),
    "others": ({"betas": (0.8, 0.9), "amsgrad": True}, {}),
}


@pytest.mark.parametrize(("options", "given"), GIVEN_TWICE.values(), ids=GIVEN_TWICE)
def test_a_value_that_optimizer_and_groups_share_is_fine(
    options: dict[str, Any], given: dict[str, Any]
) -> None:
    t = Training("adamw", optim.AdamW, options=options, **given)
    assert t.audit().ok
    step(t)
    set_all("lr", lambda lr: 0.3 * lr)(t)
    assert t.audit().ok


def test_a_schedule_moves_rates_away_from_the_optimizers_own() -> None:
    t = Training(options={"lr": 0.1})
    schedule = optim.lr_scheduler.OneCycleLR(
        t.optimizers[0], t.plan.per_group(t.optimizers[0], 0.1), total_steps=9
    )
    assert t.audit().ok
    step(t)
    schedule.step()
    assert t.audit().ok


def test_a_decay_that_is_off_in_groups_and_on_in_the_optimizer() -> None:
    t = Training(options={"weight_decay": 0.1}, weight_decay=0.0)
    (finding,) = t.audit().findings
    assert "given weight_decay=0.1, and its groups train at weight_decay=0 at base" in finding


class Lookahead(optim.Optimizer):
    """An optimizer whose class has no default of the rate."""

    def __init__(self, params: Any, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def step(self, closure: Any = None) -> None:
        pass


def test_a_rate_that_a_class_asks_for() -> None:
    model, base = small(32), small(8)
    plan = mt.plan(model, base, optimizer="lion")
    assert plan.audit(model, Lookahead(plan.param_groups(model, 2**-7), lr=2**-7)).ok
    audit = plan.audit(model, Lookahead(plan.param_groups(model, 2**-7), lr=1e-4))
    assert "Lookahead was given lr=0.0001, and its groups train at lr=2^-7" in audit.findings[0]


BASES: dict[str, tuple[Callable[[Training], None], str]] = {
    "one rate for all": (
        set_all("lr", lambda lr: 2**-8),
        "to a base rate of 2^-8: hidden.0.weight, hidden.1.weight, readout.weight planned 2^-10 "
        "found 2^-8",
    ),
    "one group of few tensors": (
        set_one(READOUT, "lr", lambda lr: 2**-3),
        "to a base rate of 2^-6: readout.weight planned 2^-8 found 0.125",
    ),
    "one group of many tensors": (
        set_one("input.bias", "lr", lambda lr: 0.5),
        "to a base rate of 2^-6: input.bias planned 2^-6 found 0.5",
    ),
    "a floor for all": (
        set_all("lr", lambda lr: lr + 0.001),
        "to a base rate of 0.016625: hidden.0.weight, hidden.1.weight, readout.weight planned "
        "0.00415625 found 0.00490625",
    ),
}


@pytest.mark.parametrize(("change", "text"), BASES.values(), ids=BASES)
def test_a_finding_speaks_in_the_base_rate(change: Any, text: str) -> None:
    """The rate that the user gave: of tensors with factor 1, not of most tensors."""
    t = Training(lr=2**-6, modules={READOUT: 1.0})
    t.optimizers = [
        optim.AdamW(
            [
                {**g, "params": [p], "names": [n]}
                for g in t.groups
                for n, p in zip(g["names"], g["params"], strict=True)
            ]
        )
    ]
    change(t)
    assert text in str(t.audit())


def test_modules_of_param_groups_are_the_audits_too() -> None:
    modules = {"hidden.0.*": 3.0, "readout.*": 0.5}
    t = Training(modules=modules)
    assert t.audit(modules=modules).ok
    set_all("lr", lambda lr: 0.1 * lr)(t)
    assert t.audit(modules=modules).ok
    audit = t.audit()
    assert "hidden.0.weight: planned with lr_factor 0.25, found 0.75" in str(audit)
    assert "same modules= that it got" in str(audit)
    assert not t.audit(modules={"hidden.0.*": 3.0}).ok
    set_one("hidden.0.bias", "lr", lambda lr: lr / 3)(t)
    (finding,) = t.audit(modules=modules).findings
    assert finding.startswith("adamw's learning rates do not")


def test_a_module_of_rate_zero() -> None:
    modules = {"readout.*": 0.0}
    t = Training(modules=modules)
    assert t.audit(modules=modules).ok
    with t.plan.guard(t.model, *t.optimizers, modules=modules):
        step(t)
        set_one(READOUT, "lr", lambda lr: 0.1)(t)
        with pytest.raises(mt.MutransferError, match=r"readout.weight.* planned 0 found 0.1"):
            step(t)
    nowhere = Training(modules={"*": 0.0})
    assert nowhere.audit(modules={"*": 0.0}).ok


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rates_of_every_precision(dtype: torch.dtype) -> None:
    t = Training(lr=torch.tensor(0.3, dtype=dtype))
    scale_in_place(t)
    assert t.audit().ok
    t.group(HIDDEN)["lr"].mul_(1.25)
    assert not t.audit().ok


def test_types_of_parameters_have_eps_of_their_own_in_adafactor() -> None:
    model, base = small(32), small(8)
    model.hidden.to(torch.bfloat16)
    plan = mt.plan(model, base, optimizer="adafactor")
    optimizer = optim.Adafactor(plan.param_groups(model, 0.1))
    assert plan.audit(model, optimizer).ok
    next(g for g in optimizer.param_groups if HIDDEN in g["names"])["eps"] = (1e-3, 1e-3)
    assert "eps" in str(plan.audit(model, optimizer))


def test_no_value_of_a_parameter_is_read() -> None:
    with torch.device("meta"):
        t = Training()
    assert t.audit().ok
    t.group(HIDDEN)["lr"] = 0.1
    assert not t.audit().ok


@pytest.mark.parametrize(
    "wrap",
    [lambda m: torch.compile(m, backend="eager"), nn.DataParallel],
    ids=["compile", "module."],
)
def test_wrapped_models(wrap: Any) -> None:
    t = Training()
    t.model = wrap(t.model)
    assert t.audit().ok
    t.optimizers[0].param_groups[0]["lr"] *= 2
    assert not t.audit().ok


def test_tied_tensors_are_one() -> None:
    sizes = {"vocabulary": 13, "context": 8, "tied": True}
    model, base = gpt(64, 4, **sizes), gpt(32, 2, **sizes)
    plan = mt.plan(model, base)
    optimizer = optim.AdamW(plan.param_groups(model, 0.1, weight_decay=0.1, undecayed=("gain",)))
    assert plan.audit(model, optimizer).ok


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "adafactor"])
@pytest.mark.parametrize("rule", ["mup", "sp", "completep"])
def test_groups_of_param_groups_are_clean(optimizer: str, rule: str) -> None:
    model, base = gpt(96, 4, vocabulary=13, context=8), gpt(32, 2, vocabulary=13, context=8)
    plan = mt.Plan.from_json(mt.plan(model, base, rule=rule, optimizer=optimizer).to_json())
    classes = {
        "sgd": optim.SGD,
        "adam": optim.Adam,
        "adamw": optim.AdamW,
        "adafactor": optim.Adafactor,
    }
    audit = plan.audit(model, classes[optimizer](plan.param_groups(model, 2**-7)))
    assert audit.ok and not audit.unknown


def test_base_and_model_alike_need_no_ratios() -> None:
    model = small(8)
    plan = mt.plan(model, small(8))
    optimizer = optim.AdamW(plan.param_groups(model, 0.1))
    optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=9)
    assert plan.audit(model, optimizer).ok


def test_an_audit_is_plain_data_that_reads_well() -> None:
    t = Training()
    clean = t.audit()
    assert clean == t.audit() and hash(clean) == hash(t.audit())
    assert str(clean) == "trained as planned"
    drop(t)
    set_one(READOUT, "lr", lambda lr: 2 * lr)(t)
    lines = str(t.audit()).splitlines()
    assert lines[0] == "not trained as planned, findings: 2" and len(lines) == 3
    assert lines[1].startswith(f"  - {HIDDEN}: planned to train")
    assert copy.deepcopy(t.audit()) == t.audit() != clean


def test_long_lists_are_cut() -> None:
    t = Training()
    group = {"params": [t.parameter("input.bias")], "lr_factor": 1.0}
    t.optimizers = [optim.AdamW([group], eps=1e-8)]
    names = "input.weight, hidden.0.weight, hidden.0.bias and 4 more"
    assert f"{names}: planned to train" in str(t.audit())


@pytest.mark.parametrize("optimizers", [(), ([],), (mlp(8),)], ids=["none", "list", "model"])
def test_an_audit_needs_optimizers(optimizers: Any) -> None:
    t = Training()
    for method in (t.plan.audit, t.plan.guard):
        with pytest.raises(
            mt.MutransferError,
            match=r"an audit needs the optimizers .*: plan.audit\(model, optimizer\)",
        ):
            method(t.model, *optimizers)


def test_another_model_is_refused() -> None:
    t = Training()
    with pytest.raises(mt.MutransferError, match="plan this model"):
        t.plan.audit(small(16), *t.optimizers)


def test_per_group() -> None:
    t = Training(modules={"readout.*": 0.5})
    values = t.plan.per_group(t.optimizers[0], 0.3)
    assert values == [0.3 * group["lr_factor"] for group in t.groups] and len(set(values)) > 1
    without("lr_factor")(t)
    with pytest.raises(
        mt.MutransferError, match="a group of AdamW has no lr_factor: make the optimizer's groups"
    ):
        t.plan.per_group(t.optimizers[0], 0.3)


class Halved(optim.AdamW):
    """A class that halves the rate of its default, and none of its groups."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, lr=lr / 2)


def test_a_rate_that_a_class_makes_of_its_default_was_not_given() -> None:
    assert with_class("adamw", Halved)().audit().ok
    (finding,) = with_class("adamw", Halved, lr=0.02)().audit().findings
    assert finding.startswith("Halved was given lr=0.01, and its groups train at lr=0.1")


def criterions(**values: Any) -> dict[str, Any]:
    return {"params": [nn.Parameter(torch.ones(()))], "lr": 1e-3, **values}


@pytest.mark.parametrize("values", [{}, {"lr_factor": 1.0, "names": ["temperature"]}], ids=str)
def test_parameters_of_a_criterion_have_groups_of_their_own(values: dict[str, Any]) -> None:
    t = Training()
    t.optimizers[0].add_param_group(criterions(**values))
    audit = t.audit()
    assert audit.ok, str(audit)
    (note,) = audit.unknown
    assert note.startswith("AdamW has 1 parameters (of shape ()) in groups of their own")
    with t.plan.guard(t.model, *t.optimizers):
        step(t)
        set_one(HIDDEN, "lr", lambda lr: 0.5 * lr)(t)
        with pytest.raises(mt.MutransferError, match="adamw's learning rates"):
            step(t)


def test_parameters_in_the_place_of_planned_ones_are_found() -> None:
    t = Training()
    t.optimizers[0].add_param_group(criterions())
    drop(t)
    missing, other = t.audit().findings
    assert f"{HIDDEN}: planned to train, found in no group" in missing
    assert "found 1 others (of shape ()), such as a copy's" in other and not t.audit().unknown
