"""Numbers that a model multiplies its own signals by: where the base has others, the plan undoes it in the tensors that carry it."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mutransfer._errors import MutransferError
from mutransfer.plan import Plan, plan
from torch import Tensor, nn
from torch.nn import functional as F

TOKENS = torch.randint(11, (4, 6), generator=torch.Generator().manual_seed(0))
QUANTITIES = ("init", "lr", "eps", "decay")
LR, EPS, DECAY = 0.01, 1e-2, 0.5

Times = Callable[[Tensor, float, Tensor], Tensor]
TIMES: dict[str, Times] = {
    "times": lambda f, c, buffer: f * c,
    "times from the left": lambda f, c, buffer: c * f,
    "in place": lambda f, c, buffer: f.clone().mul_(c),
    "over": lambda f, c, buffer: f / (1 / c),
    "times a buffer": lambda f, c, buffer: f * buffer,
    "over a buffer": lambda f, c, buffer: f / (1 / buffer),
    "twice": lambda f, c, buffer: f * c**0.5 * c**0.5,
}
ADD: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "alpha": lambda x, f, c: torch.add(x, f, alpha=c),
    "alpha of a method": lambda x, f, c: x.add(f, alpha=c),
    "alpha of a difference": lambda x, f, c: torch.sub(x, f, alpha=-c),
}


class Model(nn.Module):
    """A residual network that multiplies one of its signals, at a place of choice, by a number."""

    def __init__(self, width: int, depth: int, number: float, where: str, how: str = "times", tied: bool = False) -> None:
        super().__init__()
        self.number, self.where, self.how = number, where, how
        self.token, self.norm, self.act = nn.Embedding(11, width), nn.LayerNorm(width), nn.GELU()
        self.up, self.down = (nn.ModuleList(nn.Linear(width, width) for _ in range(depth)) for _ in range(2))
        self.head = nn.Linear(width, 11, bias=not tied)
        if tied:
            self.head.weight = self.token.weight
        self.register_buffer("factor", torch.tensor(float(number)))

    def times(self, where: str, x: Tensor) -> Tensor:
        return TIMES[self.how](x, self.number, self.factor) if where == self.where else x

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.times("embedding", self.token(tokens))
        for i, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            f = self.times("branch", down(F.gelu(up(x))))
            if self.where == "layers":
                f = f * (self.number / (i + 1))
            x = ADD[self.how](x, f, self.number) if self.how in ADD else x + f
        x = self.times("head input", self.norm(x))
        if self.where == "activation":
            x = self.times("activation", self.act(x))
        if self.where == "function":
            x = self.times("function", F.gelu(x))
        return self.times("logits", self.head(x))


BASE = {"width": 16, "depth": 2}
LARGE = {"width": 32, "depth": 4}
NUMBERS: dict[str, Callable[[int, int], float]] = {
    "1/depth": lambda width, depth: 1 / depth,
    "1/width": lambda width, depth: 1 / width,
    "sqrt(width)": lambda width, depth: width**0.5,
    "1/sqrt(width)": lambda width, depth: width**-0.5,
    "base over own depth": lambda width, depth: 2 / depth,
}


def built(size: dict[str, int], number: float, where: str, how: str = "times", tied: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return Model(**size, number=number, where=where, how=how, tied=tied).double()


def pair(where: str, number: float, base: float, how: str = "times", tied: bool = False, hooks: bool = False) -> tuple[Plan, Plan]:
    """The plan of a model with its number, and with that of the base."""
    small = built(BASE, base, where, how, tied)
    first, second = (plan(built(LARGE, each, where, how, tied), small, hooks=hooks) for each in (number, base))
    return first, second


def factors(own: Plan, name: str) -> list[float]:
    return [own[name].factor(each) for each in QUANTITIES]


def trained(model: nn.Module, own: Plan) -> Tensor:
    own.attach(model)
    own.initialize(model)
    optimizer, outputs = torch.optim.AdamW(own.param_groups(model, LR, eps=EPS, weight_decay=DECAY)), []
    for _ in range(10):
        logits = model(TOKENS)
        outputs.append(logits.detach())
        optimizer.zero_grad()
        F.cross_entropy(logits.flatten(0, 1), TOKENS.roll(-1, 1).flatten()).backward()
        optimizer.step()
    return torch.stack(outputs)


TRAINED = [
    *(("branch", "1/depth", how, False) for how in TIMES),
    *(("alpha", "1/depth", how, False) for how in ADD),
    ("branch", "base over own depth", "times", False),
    ("alpha", "base over own depth", "alpha", False),
    ("logits", "1/width", "over", False),
    ("head input", "1/width", "over", False),
    ("embedding", "sqrt(width)", "times", False),
    ("embedding", "sqrt(width)", "times", True),
    ("head input", "1/sqrt(width)", "over", True),
    ("logits", "1/width", "times", True),
    ("activation", "1/width", "times", False),
]


@pytest.mark.parametrize(("where", "law", "how", "tied"), TRAINED)
def test_a_number_that_changes_with_size_trains_as_one_that_does_not(where: str, law: str, how: str, tied: bool) -> None:
    base, number = NUMBERS[law](**BASE), NUMBERS[law](**LARGE)
    own, ordinary = pair(where, number, base, how, tied, hooks=True)
    expected = trained(built(LARGE, base, where, how, tied), ordinary)
    moved = (expected - expected[0]).norm()
    assert (trained(built(LARGE, number, where, how, tied), own) - expected).norm() < 1e-11 * moved
    assert (trained(built(LARGE, base, where, how, tied), own) - expected).norm() > 1e-2 * moved


CARRIED = {
    "embedding": {"token.weight"},
    "branch": {f"down.{i}.{kind}" for i in range(4) for kind in ("weight", "bias")},
    "head input": {"norm.weight", "norm.bias"},
    "logits": {"head.weight", "head.bias"},
}


@given(st.sampled_from(sorted(CARRIED)), *(st.integers(1, 99) for _ in range(2)), st.integers(1, 9))
@settings(max_examples=15, deadline=None)
def test_the_carrying_tensors_undo_it_exactly(where: str, own: int, base: int, denominator: int) -> None:
    assume(own != base)
    number, other = Fraction(own, denominator), Fraction(base, denominator)
    found, ordinary = pair(where, float(number), float(other))
    for name in found.tensors:
        undo = float(other / number) if name in CARRIED[where] else 1.0
        expected = [factor * power for factor, power in zip(factors(ordinary, name), (undo, undo, 1 / undo, 1 / undo), strict=True)]
        assert factors(found, name) == pytest.approx(expected, rel=1e-12)


def planned_with(number: float, where: str, how: str, hooks: bool = False) -> Plan:
    return plan(built(LARGE, number, where, how), built(BASE, number, where, how), hooks=hooks)


SAME = [*(("branch", how) for how in TIMES), *(("alpha", how) for how in ADD), ("embedding", "times"), ("function", "times")]


@pytest.mark.parametrize(("where", "how"), SAME)
def test_a_number_that_is_equal_at_all_sizes_changes_nothing(where: str, how: str) -> None:
    own, without = planned_with(0.7, where, how), planned_with(0.7, "nowhere", "times")
    assert own.forward == {}
    for name, tensor in own.tensors.items():
        assert replace(tensor, reasons=()) == replace(without[name], reasons=())


def test_a_number_of_one_in_the_base_alone_is_undone() -> None:
    own, ordinary = pair("branch", 2.0, 1.0)
    assert factors(own, "down.0.weight") == pytest.approx(
        [f * u for f, u in zip(factors(ordinary, "down.0.weight"), (0.5, 0.5, 2, 2), strict=True)]
    )


@pytest.mark.parametrize(("number", "base"), [(0.25, 0.5), (3.0, 1.0)])
def test_a_number_that_nothing_can_undo_is_left_with_a_warning(number: float, base: float) -> None:
    own, ordinary = pair("function", number, base)
    (warning,) = [each for each in own.warnings if each.id == "own-factor-left"]
    assert f"by {number:g}" in warning.text
    assert all(factors(own, name) == factors(ordinary, name) for name in own.tensors)


def test_a_change_of_sign_is_refused() -> None:
    with pytest.raises(MutransferError, match=r"by -0\.5, the base by 0\.5, and nothing learned can undo this"):
        pair("branch", -0.5, 0.5)


def test_a_number_on_what_a_module_puts_out_is_refused_with_the_offer_of_a_hook() -> None:
    what = r"the output of act by 0\.25, the base by 0\.5, and nothing .*; or let act have a forward hook .*with hooks=True"
    with pytest.raises(MutransferError, match=what):
        pair("activation", 0.25, 0.5)
    own, ordinary = pair("activation", 0.25, 0.5, hooks=True)
    assert {name: each.factor for name, each in own.forward.items()} == {"act": 2.0} and ordinary.forward == {}
    assert "the model multiplies the output of act by 0.25, the base by 0.5, undone by 2, own_factor^-1/2" in own.forward["act"].reasons
    assert all(factors(own, name) == factors(ordinary, name) for name in own.tensors)


def test_a_hook_carries_what_the_rule_wants_and_what_undoes_the_number() -> None:
    own, ordinary = pair("activation", 0.25, 0.5, tied=True, hooks=True)
    assert [each.forward["act"].factor for each in (own, ordinary)] == [1.0, 0.5]


def test_numbers_of_layers_that_the_base_has_too_are_accepted_at_equal_depth() -> None:
    wide = LARGE | {"depth": 2}
    own, without = (plan(built(wide, 1.0, where), built(BASE, 1.0, where)) for where in ("layers", "nowhere"))
    for name, tensor in own.tensors.items():
        assert replace(tensor, reasons=()) == replace(without[name], reasons=())
    with pytest.raises(MutransferError, match=r"make by 0\.333333, the base by 0\.5 or 1, and nothing learned can undo this"):
        pair("layers", 1.0, 1.0)


@pytest.mark.parametrize("where", ["branch", "activation", "function", "layers"])
def test_standard_parametrization_refuses_and_undoes_nothing(where: str) -> None:
    own, without = (plan(built(LARGE, 0.25, each), built(BASE, 0.5, each), rule="sp") for each in (where, "nowhere"))
    assert own == without and own.forward == {}


def test_the_explanation_says_it() -> None:
    own, ordinary = pair("branch", 0.25, 0.5)
    said = "the model multiplies what down.0.bias and down.0.weight make by 0.25, the base by 0.5, undone by 2, own_factor^-1/2"
    assert said in own.explain("down.0.weight") and "own_factor x1/4" in own.explain("down.0.weight")
    assert "undone" not in own.explain("up.0.weight") + ordinary.explain("down.0.weight")


def test_json_keeps_it() -> None:
    own, _ = pair("branch", 0.25, 0.5)
    assert Plan.from_json(own.to_json()) == own


@pytest.mark.parametrize(
    "times",
    [
        lambda x, width: torch.tensor(width**0.5) * x,
        lambda x, width: x * torch.tensor(width**0.5, dtype=x.dtype),
        lambda x, width: torch.scalar_tensor(width**0.5) * x,
    ],
)
def test_a_number_made_in_the_forward_pass_or_on_the_left_is_seen(times: Callable[[Tensor, int], Tensor]) -> None:
    class Multiplied(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.width, self.stem, self.head = width, nn.Linear(5, width), nn.Linear(width, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(times(self.stem(x), self.width))

    assert plan(Multiplied(64), Multiplied(16))["stem.weight"].factor("init") == 0.5


@pytest.mark.parametrize(
    "norm",
    [
        lambda x, gain, width: F.normalize(x, dim=-1) * gain * width**0.5,
        lambda x, gain, width: x / (x.norm(dim=-1, keepdim=True) * width**-0.5) * gain,
        lambda x, gain, width: x * gain * (x.sum(-1, keepdim=True) / width),
    ],
)
def test_numbers_of_a_written_out_norm_or_mean_are_its_own(norm: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    class Normed(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.width, self.stem, self.head = width, nn.Linear(5, width), nn.Linear(width, 3)
            self.gain = nn.Parameter(torch.ones(width))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(norm(self.stem(x), self.gain, self.width))

    own = plan(Normed(64), Normed(16))
    assert own["gain"].factor("init") == own["gain"].factor("lr") == own["stem.weight"].factor("init") == 1


def test_several_numbers_behind_one_tensor_multiply() -> None:
    class Twice(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.width, self.a, self.c, self.head = width, nn.Linear(5, width), nn.Linear(5, width), nn.Linear(width, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.a(x) * self.width**0.5 + self.c(x)) / self.width)

    own = plan(Twice(256), Twice(64))
    assert (own["a.weight"].factor("init"), own["c.weight"].factor("init")) == (2, 4)
