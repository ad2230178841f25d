"""What a plan does to a model and an optimizer, and a plan as data."""

import copy
import math
import pickle
from itertools import accumulate
from operator import mul

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mutransfer._errors import MutransferError
from mutransfer.plan import Plan, plan
from mutransfer.tasks._models import gpt, mlp


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def gpts() -> tuple[nn.Module, nn.Module]:
    return gpt(64, 4, vocabulary=19, tied=True, heads=2), gpt(32, 2, vocabulary=19, tied=True, heads=2)


def mlps() -> tuple[nn.Module, nn.Module]:
    return mlp(32, 3, inputs=5), mlp(8, 3, inputs=5)


PAIRS = {"gpt": gpts, "mlp": mlps}


def rms(model: nn.Module, *names: str) -> float:
    return torch.cat([model.get_parameter(name).detach().flatten() for name in names]).square().mean().sqrt().item()


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_initialize_gives_the_scale_it_promises_and_keeps_the_draw(pair) -> None:
    model, base = pair()
    drawn, own = values(model), plan(model, base)
    own.initialize(model)
    for name, tensor in own.tensors.items():
        assert rms(model, *tensor.run) == pytest.approx(tensor.base_rms * tensor.factor("init"), rel=1e-6)
        now = model.get_parameter(name).detach()
        factor = now.norm() / drawn[name].norm() if now.any() else 1
        torch.testing.assert_close(now, drawn[name] * factor, rtol=1e-5, atol=0)


def test_the_promised_scale_is_the_law_of_the_paper() -> None:
    """Hidden 1/sqrt(n), readout 1/n, vectors constant (Tensor Programs V, Table 3), measured on the tensors themselves."""
    model, base = mlps()
    plan(model, base).initialize(model)
    expected = dict.fromkeys(["input.weight", "input.bias", "hidden.0.bias", "readout.bias"], 1.0)
    expected |= {"hidden.0.weight": 1 / 2, "readout.weight": 1 / 4}
    for name, factor in expected.items():
        run = [name, name.replace("0", "1")] if "hidden" in name else [name]
        assert rms(model, *run) == pytest.approx(factor * rms(base, *run), rel=1e-5)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_initialize_is_idempotent(pair) -> None:
    model, base = pair()
    own = plan(model, base)
    own.initialize(model)
    once = values(model)
    own.initialize(model)
    for name, tensor in values(model).items():
        torch.testing.assert_close(tensor, once[name], rtol=1e-6, atol=0)


def test_zeros_stay_zeros() -> None:
    model, base = gpts()
    for each in (model, base):
        for block in each.blocks:
            nn.init.zeros_(block.down.weight)
    plan(model, base).initialize(model)
    assert not any(block.down.weight.any() for block in model.blocks)
    assert all(block.out.weight.any() for block in model.blocks)


def test_groups_hold_every_parameter_once_at_the_planned_values() -> None:
    model, base = gpts()
    own = plan(model, base)
    groups = own.param_groups(model, 0.5, eps=1e-3, weight_decay=0.25)
    seen = [(name, parameter, group) for group in groups for name, parameter in zip(group["names"], group["params"], strict=True)]
    assert sorted(name for name, *_ in seen) == sorted(name for name, _ in model.named_parameters())
    for name, parameter, group in seen:
        assert parameter is model.get_parameter(name)
        assert group["lr"] == 0.5 * group["lr_factor"] and group["lr_factor"] == own[name].factor("lr")
        assert group["eps"] == 1e-3 * own[name].factor("eps")
        assert group["weight_decay"] == 0.25 * own[name].factor("decay")


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_defaults_are_those_of_torch(name: str) -> None:
    model, base = mlps()
    own = plan(model, base, optimizer=name)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    defaults = kind(model.parameters(), lr=0.1).defaults
    for group in own.param_groups(model, 0.1):
        tensor = own[group["names"][0]]
        assert group["weight_decay"] == defaults["weight_decay"] * tensor.factor("decay")
        assert group.get("eps") == (None if name == "sgd" else defaults["eps"] * tensor.factor("eps"))


def test_an_optimizer_outside_torch_has_no_decay_of_its_own() -> None:
    model, base = mlps()
    own = plan(model, base, optimizer="lion")
    assert all(group.keys() == {"params", "names", "lr", "lr_factor", "weight_decay"} for group in own.param_groups(model, 0.1))
    assert all(group["weight_decay"] == 0 for group in own.param_groups(model, 0.1))
    assert all(group["weight_decay"] > 0 for group in own.param_groups(model, 0.1, weight_decay=0.1))


def test_a_tensor_rate_is_cloned_and_inputs_stay() -> None:
    model, base = mlps()
    own, rate, before = plan(model, base), torch.tensor(0.5), values(model)
    groups = own.param_groups(model, rate)
    assert all(isinstance(group["lr"], Tensor) and group["lr"] == 0.5 * group["lr_factor"] for group in groups)
    assert len({group["lr"].data_ptr() for group in groups} | {rate.data_ptr()}) == len(groups) + 1
    for group in groups:
        group["lr"].zero_()
    assert rate == 0.5
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(model).items())


@pytest.mark.parametrize(
    "schedule",
    [
        lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10),
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, [group["lr"] for group in optimizer.param_groups], total_steps=9),
    ],
    ids=["lambda", "cosine", "one cycle"],
)
def test_schedules_keep_the_ratios(schedule) -> None:
    model, base = gpts()
    optimizer = torch.optim.AdamW(plan(model, base).param_groups(model, 0.1))
    scheduler = schedule(optimizer)
    rates = set()
    for _ in range(8):
        optimizer.step()
        scheduler.step()
        shares = [group["lr"] / group["lr_factor"] for group in optimizer.param_groups]
        assert shares == pytest.approx([shares[0]] * len(shares), rel=1e-9)
        rates.add(shares[0])
    assert len(rates) == 8


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


def both(model: nn.Module) -> nn.Module:
    return nn.DataParallel(compiled(model))


WRAPPERS = {"copy": copy.deepcopy, "compile": compiled, "data parallel": nn.DataParallel, "both": both}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_or_copied_model_is_the_planned_one(wrap) -> None:
    model, base = gpts()
    own = plan(model, base)
    wrapped = wrap(model)
    plain = [(group["names"], group["lr"]) for group in own.param_groups(model, 0.1)]
    assert [(group["names"], group["lr"]) for group in own.param_groups(wrapped, 0.1)] == plain
    own.initialize(wrapped)
    once = [parameter.detach().clone() for parameter in wrapped.parameters()]
    own.initialize(model)
    for parameter, before in zip(model.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.detach(), before, rtol=1e-6, atol=0)


def test_frozen_parameters_are_planned_too() -> None:
    model, base = mlps()
    model.input.weight.requires_grad_(False)
    assert plan(model, base) == plan(mlps()[0], base)


def on_meta(width: int, depth: int, vocabulary: int, tied: bool, heads: int | None) -> nn.Module:
    with torch.device("meta"):
        return gpt(width, depth, heads=heads, vocabulary=vocabulary, context=4, tied=tied)


gpt_sizes = st.tuples(st.integers(1, 4), st.integers(1, 2))


@settings(deadline=None, max_examples=8, derandomize=True)
@given(base=gpt_sizes, wider=st.integers(0, 4), deeper=st.integers(0, 1), tied=st.booleans(), heads=st.sampled_from([None, 1]))
def test_json_round_trip(base: tuple[int, int], wider: int, deeper: int, tied: bool, heads: int | None) -> None:
    width, depth = base
    small = gpt(16 * width, depth, heads=heads, vocabulary=7, context=4, tied=tied)
    own = plan(on_meta(16 * (width + wider), depth + deeper, 7, tied, heads), small)
    again = Plan.from_json(own.to_json())
    assert again == own and again.to_json() == own.to_json()
    assert pickle.loads(pickle.dumps(own)) == copy.deepcopy(own) == own
    assert (own.at_base, again.at_base) == ((wider, deeper) == (0, 0),) * 2


@settings(deadline=None, max_examples=5, derandomize=True)
@given(wider=st.lists(st.integers(1, 4), min_size=3, max_size=3), deeper=st.permutations([1, 1, 2]), tied=st.booleans())
def test_plans_compose(wider: list[int], deeper: list[int], tied: bool) -> None:
    """Base to middle and middle to target is base to target."""
    sizes = zip(accumulate(wider, mul), accumulate(deeper, mul), strict=True)
    base, middle, target = (on_meta(16 * width, depth, 7, tied, 1) for width, depth in sizes)
    steps = plan(middle, base, rule="completep"), plan(target, middle, rule="completep")
    whole = plan(target, base, rule="completep")
    for name in steps[0].tensors:
        for quantity in ("init", "lr", "eps", "decay"):
            product = math.prod(step[name].factor(quantity) for step in steps)
            assert product == pytest.approx(whole[name].factor(quantity), rel=1e-12)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_model_on_meta_has_the_same_plan(pair) -> None:
    model, base = pair()
    with torch.device("meta"):
        unreal, _ = pair()
    assert plan(unreal, base) == plan(model, base) == plan(model.bfloat16(), base)


def test_a_plan_from_json_applies() -> None:
    model, base = gpts()
    own = plan(model, base)
    other = copy.deepcopy(model)
    own.initialize(model)
    again = Plan.from_json(own.to_json())
    again.initialize(other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert str(again) == str(own)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"rule": "mup", "tensors": [{}]}'])
def test_other_text_is_no_plan(text: str) -> None:
    with pytest.raises(MutransferError, match="not a plan written by"):
        Plan.from_json(text)


def test_print_shows_every_pattern_and_its_factors() -> None:
    model, base = gpts()
    text = str(plan(model, base))
    assert text.startswith("completep: ") and "residual branches: 4 in the base, 8 in the model" in text
    rows = {line.split()[0]: line for line in text.splitlines()[4:] if line and not line.startswith("warning")}
    assert rows.keys() == {
        *("token.weight", "position.weight", "norm.weight", "norm.bias"),
        *(f"blocks.*.{layer}.weight" for layer in ("query", "key", "value", "out", "up", "down")),
        *(f"blocks.*.{layer}.{own}" for layer in ("attention_norm", "mlp_norm") for own in ("weight", "bias")),
    }
    assert " ".join(rows["blocks.*.down.weight"].split()[1:]) == "4 hidden ending a branch 32x128 64x256 2^-1.5 2^-2 2^-1 2^2"


def test_explain_derives_the_factors() -> None:
    model, base = gpts()
    text = plan(model, base).explain("blocks.3.query.weight")
    for part in (
        "hidden, in a branch, trained by adamw",
        "fan_in x2",
        "head_dim x2",
        "depth x2",
        "fan_in^-1 · head_dim^-1/2",
        "2505.01618",
    ):
        assert part in text
