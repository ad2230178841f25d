"""What a user gets wrong: refused in a sentence that names it, warned of, or found by the audit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.tasks._models import gpt, mlp

ROWS, STEPS = torch.zeros(2, 5), torch.zeros(2, 3, 5)
QUANTITIES = ("init", "lr", "eps", "decay", "multiplier")


class Net(nn.Module):
    """Parts by name, and a forward pass that uses them."""

    def __init__(self, run: Callable[..., Any], /, **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(self, *inputs)


def layers(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(*parts)


def pair(width: int, spare: nn.Module | None = None) -> nn.Module:
    parts = {} if spare is None else {"spare": spare}
    return Net(lambda m, x: m.readout(torch.relu(m.stem(x))), stem=nn.Linear(5, width), readout=nn.Linear(width, 3), **parts)


def block(width: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


def looped(width: int, times: int, own: int = 0, residual: bool = True) -> nn.Module:
    """One block applied `times` times, after `own` blocks that are used once."""

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        for one in m.own:
            x = x + one(x)
        for _ in range(times):
            x = x + m.block(x) if residual else m.block(x)
        return m.readout(x)

    blocks = nn.ModuleList(block(width) for _ in range(own))
    return Net(run, stem=nn.Linear(5, width), own=blocks, block=block(width), readout=nn.Linear(width, 3))


@contextmanager
def refused(message: str) -> Iterator[None]:
    with pytest.raises(mt.MutransferError, match=message) as error:
        yield
    assert "\n" not in str(error.value)


def factors(own: mt.Plan) -> dict[str, tuple[Any, ...]]:
    return {name: (t.role, *(t.factor(quantity) for quantity in QUANTITIES)) for name, t in own.tensors.items()}


def lstm(width: int, layers: int = 1) -> nn.Module:
    return nn.LSTM(5, width, layers, batch_first=True)


FAMILIES: dict[str, tuple[Callable[[], Any], str]] = {
    "linear and convolution": (
        lambda: mt.plan(layers(nn.Linear(3, 8), nn.Linear(8, 2)), layers(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))),
        r"0\.weight is of a Linear in the model and of a Conv2d in the base: they are not one family",
    ),
    "another kernel": (
        lambda: mt.plan(layers(nn.Conv2d(3, 8, 5), nn.Conv2d(8, 2, 3)), layers(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))),
        r"0\.weight: dimension 2 is a finite one.*3 in the base and 5 in the model",
    ),
    "a spare module": (lambda: mt.plan(pair(16, nn.Linear(16, 16)), pair(8)), r"the model has spare\.weight, which the base has not"),
    "a missing module": (lambda: mt.plan(pair(16), pair(8, nn.Linear(8, 8))), r"the base has spare\.weight, which the model has not"),
    "no bias": (
        lambda: mt.plan(pair(16, nn.Linear(16, 16, bias=False)), pair(8, nn.Linear(8, 8))),
        r"the base has spare\.bias, which the model has not",
    ),
    "other classes": (lambda: mt.plan(mlp(16), gpt(16)), "the base has .*, which the model has not"),
    "more recurrent layers": (
        lambda: mt.plan(lstm(16, 2), lstm(8), example_inputs=STEPS),
        "the model has weight_ih_l1, which the base has not",
    ),
    "a narrower model": (lambda: mt.plan(pair(8), pair(16)), r"stem\.weight: dimension 0 is 8 in the model but 16 in the base.*exchange"),
    "a shallower model": (lambda: mt.plan(gpt(16, 2), gpt(16, 4)), "the model has 4 residual branches and the base 8"),
    "narrower and deeper": (lambda: mt.plan(gpt(16, 4), gpt(32, 2)), r"token\.weight: dimension 1 .*the base must be the smaller one"),
}


@pytest.mark.parametrize(("call", "message"), FAMILIES.values(), ids=FAMILIES)
def test_models_of_two_families_are_refused(call: Callable[[], Any], message: str) -> None:
    with refused(message):
        call()


@pytest.mark.parametrize(
    "base", ["mlp", None, 3, type(mlp()), lambda width: mlp(width)], ids=["text", "none", "number", "class", "builder"]
)
def test_a_base_that_is_none_is_refused(base: Any) -> None:
    with refused("is no model|give the base itself"):
        mt.plan(mlp(16), base)


def test_a_class_that_needs_no_arguments_is_a_builder() -> None:
    class Small(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(5, 8), nn.Linear(8, 3))

    assert mt.plan(layers(nn.Linear(5, 16), nn.Linear(16, 3)), Small)["1.weight"].factor("lr") == 1 / 2


@pytest.mark.parametrize("options", [{"rule": "sp"}, {"branches": {}}, {"example_inputs": ROWS}], ids=str)
def test_a_model_without_parameters_is_refused(options: dict[str, Any]) -> None:
    with refused("ReLU has no parameters: there is nothing to plan"):
        mt.plan(nn.ReLU(), nn.ReLU(), **options)


INPUTS: dict[str, tuple[Callable[[], Any], str]] = {
    "two are needed": (
        lambda: mt.plan(*(Net(lambda m, x, y: m.a(x) + m.a(y), a=nn.Linear(5, n)) for n in (8, 8))),
        r"forward pass of Net failed .*give inputs it accepts with example_inputs=",
    ),
    "none can be guessed": (lambda: mt.plan(lstm(16), lstm(8)), r"inputs of LSTM cannot be guessed.*give some with example_inputs="),
    "wrong shape": (lambda: mt.plan(pair(16), pair(8), example_inputs=torch.zeros(2, 7)), r"of Net failed .*example_inputs="),
    "wrong type": (lambda: mt.plan(gpt(32), gpt(16), example_inputs=torch.zeros(2, 7)), r"of GPT failed .*indices.*example_inputs="),
    "none at all": (
        lambda: mt.plan(gpt(32), gpt(16), example_inputs=()),
        r"missing 1 required positional argument: 'tokens'.*example_inputs=",
    ),
    "another name": (
        lambda: mt.plan(gpt(32), gpt(16), example_inputs={"ids": ROWS}),
        r"unexpected keyword argument 'ids'.*example_inputs=",
    ),
    "text": (lambda: mt.plan(gpt(32), gpt(16), example_inputs="hello"), r"must be Tensor, not str.*example_inputs="),
}


@pytest.mark.parametrize(("call", "message"), INPUTS.values(), ids=INPUTS)
def test_a_forward_pass_that_needs_other_inputs_says_how_to_give_them(call: Callable[[], Any], message: str) -> None:
    with refused(message):
        call()


DECLARED: dict[str, tuple[dict[str, Any], str]] = {
    "axes of nothing": ({"axes": {"steam.*": ("out", "in")}}, r"axes=\{'steam\.\*': \.\.\.\} matches no parameter.*'stem\.weight'"),
    "too many axes": ({"axes": {"stem.weight": ("out", "in", "finite")}}, r"stem\.weight has shape \(16, 5\), but 3 axes were declared"),
    "an unknown axis": ({"axes": {"stem.weight": ("out", "width")}}, r"axes of 'stem\.weight': \['width'\] are no axes; say \"out\""),
    "roles of nothing": ({"roles": {"steam.*": "input"}}, r"roles=\{'steam\.\*': \.\.\.\} matches no parameter.*'stem\.weight'"),
    "an unknown role": ({"roles": {"stem.weight": "inputs"}}, r"'inputs'\}: there is no such role; choose one of input, embedding"),
    "no role": ({"roles": {"stem.weight": None}}, r"None\}: there is no such role; choose one of input"),
}


@pytest.mark.parametrize(("options", "message"), DECLARED.values(), ids=DECLARED)
def test_a_declaration_that_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    with refused(message):
        mt.plan(pair(16), pair(8), **options)


def trained(own: mt.Plan, model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer of the plan's groups, after some steps."""
    optimizer = torch.optim.AdamW(own.param_groups(model, 0.1))
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(4, 5)).square().sum().backward()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("before", [True, False])
def test_a_frozen_parameter_is_planned_and_trained_by_nobody(before: bool) -> None:
    model, base = pair(32), pair(16)
    expected = mt.plan(model, base)
    if before:
        model.stem.requires_grad_(False)
    own = mt.plan(model, base)
    model.stem.requires_grad_(False)
    own.initialize(model)
    value = model.stem.weight.clone()
    optimizer = trained(own, model)
    assert own == expected and own.audit(model, optimizer).ok
    assert torch.equal(model.stem.weight, value) and model.stem.weight not in optimizer.state


def test_a_parameter_without_use_is_warned_of_and_changes_nothing_else() -> None:
    own, bare = (mt.plan(pair(32, spare(32)), pair(16, spare(16))) for spare in (lambda n: nn.Linear(n, n), lambda n: None))
    (warning,) = [each for each in own.warnings if each.id == "unused"]
    assert "2 tensors such as spare.weight are not used" in warning.text
    assert factors(bare).items() <= factors(own).items() and "unused" not in {each.id for each in bare.warnings}
    model = pair(32, nn.Linear(32, 32))
    assert own.audit(model, trained(own, model)).ok


def test_the_audit_finds_what_is_wrong_with_membership() -> None:
    model = pair(32)
    own = mt.plan(model, pair(16))
    groups = own.param_groups(model, 0.1)
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(own.tensors)

    lost = [{k: v for k, v in group.items() if k != "names"} for group in groups if "readout.weight" not in group["names"]]
    (finding,) = own.audit(model, torch.optim.AdamW(lost)).findings
    assert "readout.weight: planned to train, found in no group of AdamW" in finding

    optimizers = torch.optim.AdamW(groups), torch.optim.AdamW(own.param_groups(model, 0.1)[:1])
    (finding,) = own.audit(model, *optimizers).findings
    assert own.param_groups(model, 0.1)[0]["names"][0] in finding and "planned for one group, found in 2" in finding

    strangers = torch.optim.AdamW(own.param_groups(model, 0.1))
    strangers.add_param_group({**strangers.param_groups[0], "params": [nn.Parameter(torch.zeros(7, 9))], "names": ["other"]})
    assert any("found 1 others (of shape 7x9)" in finding for finding in own.audit(model, strangers).findings)


@pytest.mark.parametrize("own", [0, 2])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_looped_block_of_growing_width_has_the_factors_of_one_used_once(own: int, residual: bool, optimizer: str) -> None:
    looping, once = (mt.plan(looped(64, times, own, residual), looped(16, times, own, residual), optimizer=optimizer) for times in (3, 1))
    assert factors(looping) == factors(once)
    if optimizer == "adamw":
        assert [looping["block.1.weight"].factor(quantity) for quantity in ("init", "lr")] == [1 / 2, 1 / 4]


@pytest.mark.parametrize("own", [0, 2])
@pytest.mark.parametrize("residual", [True, False])
def test_a_growing_number_of_loops_is_refused(own: int, residual: bool) -> None:
    with refused("block"):
        mt.plan(looped(16, 6, own, residual), looped(16, 3, own, residual))


@pytest.mark.parametrize("times", [(2, 2), (2, 4)])
def test_a_looped_block_beside_growing_depth_is_refused(times: tuple[int, int]) -> None:
    with refused(r"residual branch 5 of 5 \(with block\..*multiplier depth\^-1|is used 4 times in a forward pass, in the base 2 times"):
        mt.plan(looped(16, times[1], own=4), looped(16, times[0], own=2))


def test_branches_without_their_tensors_are_refused() -> None:
    with refused("branches"):
        mt.plan(gpt(32), gpt(16), branches=["blocks.*.out", "blocks.*.down"])  # type: ignore[arg-type]
