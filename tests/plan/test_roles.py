"""Roles read off real models, roles that have to be declared, and the laws that they get."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutransfer._errors import MutransferError
from mutransfer.plan import Plan, plan
from mutransfer.rules import FAMILIES, Role, parametrization
from mutransfer.tasks._models import gpt, mlp

QUANTITIES = ("init", "lr", "eps", "decay")
WIDTH, HEAD = 16, 8
SEQUENCES, ROWS, IMAGES = torch.zeros(2, 4, 5), torch.zeros(2, 5), torch.zeros(2, 3, 8, 8)


class Stack(nn.Module):
    """Residual blocks between a stem and a readout."""

    def __init__(self, width: int, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Linear(5, width)
        self.blocks = nn.ModuleList(blocks)
        self.readout = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.readout(x)


class GroupedQueries(nn.Module):
    """Attention with fewer heads of keys and values than of queries; heads have a fixed size."""

    def __init__(self, width: int, shared: int, how: str = "enable_gqa", normed: bool = False) -> None:
        super().__init__()
        self.heads, self.shared, self.how = width // HEAD, shared, how
        self.norm = nn.RMSNorm(width)
        self.q_proj, self.o_proj = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k_proj, self.v_proj = nn.Linear(width, shared * HEAD, bias=False), nn.Linear(width, shared * HEAD, bias=False)
        if normed:
            self.q_norm, self.k_norm = nn.RMSNorm(HEAD), nn.LayerNorm(HEAD)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        q, k, v = (layer(x).unflatten(-1, (-1, HEAD)) for layer in (self.q_proj, self.k_proj, self.v_proj))
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        times = self.heads // self.shared
        if self.how == "repeat":
            k, v = (t.repeat_interleave(times, dim=1) for t in (k, v))
        elif self.how == "expand":
            k, v = (t[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2) for t in (k, v))
        elif self.how == "rotate":
            q, k = (t * 0.6 + torch.cat([-t[..., HEAD // 2 :], t[..., : HEAD // 2]], -1) * 0.8 for t in (q, k))
        mixed = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.how in {"enable_gqa", "rotate"})
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


def attention(width: int, depth: int = 2, **options: Any) -> nn.Module:
    return Stack(width, [GroupedQueries(width, **options) for _ in range(depth)])


class Experts(nn.Module):
    """A mixture whose experts are stacks of bare matrices."""

    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        self.norm, self.router = nn.LayerNorm(width), nn.Linear(width, number, bias=False)
        self.up = nn.ParameterDict({"experts": nn.Parameter(torch.randn(number, width, 2 * width) / width**0.5)})
        self.down = nn.ParameterDict({"experts": nn.Parameter(torch.randn(number, 2 * width, width) / (2 * width) ** 0.5)})

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        hidden = torch.relu(torch.einsum("bi,eio->beo", x, self.up["experts"]))
        each = torch.einsum("beo,eoi->bei", hidden, self.down["experts"])
        return (self.router(x).softmax(-1)[..., None] * each).sum(1)


def mixture(width: int, number: int = 4) -> nn.Module:
    return Stack(width, [Experts(width, number)])


class Adapted(nn.Module):
    """A matrix with a low-rank adapter."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.pretrained = nn.LayerNorm(width), nn.Linear(width, width)
        self.lora_A, self.lora_B = nn.Linear(width, 2, bias=False), nn.Linear(2, width, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(x))
        return self.pretrained(x) + self.lora_B(self.lora_A(x))


def adapted(width: int, depth: int = 2) -> nn.Module:
    return Stack(width, [Adapted(width) for _ in range(depth)])


class Bottleneck(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(nn.LayerNorm(width), nn.Linear(width, 2), nn.ReLU(), nn.Linear(2, width))


class Separable(nn.Module):
    """A depthwise convolution and one over channels, in one and two dimensions."""

    def __init__(self, width: int, dimensions: int, multiplier: int = 1) -> None:
        super().__init__()
        kind: Any = (nn.Conv1d, nn.Conv2d)[dimensions - 1]
        self.stem = kind(3, width, 1)
        self.depthwise = kind(width, multiplier * width, 3, padding=1, groups=width)
        self.pointwise = kind(multiplier * width, width, 1)
        self.readout = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pointwise(torch.relu(self.depthwise(self.stem(x))))
        return self.readout(x.flatten(2).mean(-1))


class Bare(nn.Module):
    """Positions, layer scales, attention scales and a temperature as bare parameters."""

    def __init__(self, width: int, depth: int = 2) -> None:
        super().__init__()
        self.stem, self.readout = nn.Linear(5, width), nn.Linear(width, 3)
        self.position = nn.Parameter(torch.randn(1, 4, width))
        self.blocks = nn.ModuleList(GroupedQueries(width, width // HEAD) for _ in range(depth))
        self.gammas = nn.ParameterList(torch.full((width,), 0.1) for _ in range(depth))
        self.heat = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) + self.position
        for gamma, block in zip(self.gammas, self.blocks, strict=True):
            x = x + gamma * block(self.heat * x)
        return self.readout(x)


BARE = {"position": "position", "gammas.*": "layer-scale", "heat": "attention-scale"}
STACKS = {"*.experts": ("expert", "in", "out")}
MIXTURE = {"*.router.weight": "router", "*.experts": "expert"}
LORA = {"*.lora_A.weight": "lora-a", "*.lora_B.*": "lora-b"}
FROZEN = LORA | {"*.pretrained.*": "frozen"}


def factors(own: Plan, name: str) -> tuple[float, ...]:
    return tuple(own[name].factor(quantity) for quantity in QUANTITIES)


def lawful(own: Plan, rule: str = "mup", optimizer: str = "adamw") -> None:
    """Every tensor has the factors that the rule says for its role and place."""
    for tensor in own.tensors.values():
        wanted = parametrization(rule).quantities(tensor.role, FAMILIES[optimizer], tensor.place, form="plain")
        sizes = {"experts": Fraction(1), **tensor.ratios}
        assert factors(own, tensor.name) == pytest.approx([getattr(wanted, q).evaluate(sizes) for q in QUANTITIES]), tensor.name


@dataclass(frozen=True, kw_only=True)
class Case:
    """A family of models, and the role and factors (init, lr, eps, decay for AdamW) of some of its tensors at four times the width."""

    make: Callable[[int], nn.Module]
    expected: Mapping[str, tuple[str, tuple[float, ...]]]
    inputs: Tensor
    roles: Mapping[str, str] | None = None
    axes: Mapping[str, tuple[str, ...]] | None = None


HIDDEN = ("hidden", (1 / 2, 1 / 4, 1 / 4, 4.0))
SHARED = ("key-value", (1 / 2, 1 / 4, 1 / 2, 4.0))  # gradients of independent heads add up: sqrt(n) · 1/n
VECTOR = (1.0, 1.0, 1 / 4, 1.0)
PLAIN = (1.0, 1.0, 1.0, 1.0)
GROUPED = {
    "blocks.0.q_proj.weight": HIDDEN,
    "blocks.1.k_proj.weight": SHARED,
    "blocks.1.v_proj.weight": SHARED,
    "blocks.1.o_proj.weight": HIDDEN,
    "blocks.1.norm.weight": ("gain", VECTOR),
}
PROPORTION = GROUPED | {"blocks.1.k_proj.weight": HIDDEN, "blocks.1.v_proj.weight": HIDDEN}
CASES: dict[str, Case] = {
    **{
        f"shared keys and values, {how}": Case(
            make=lambda n, how=how: attention(WIDTH * n, shared=2, how=how), expected=GROUPED, inputs=SEQUENCES
        )
        for how in ("enable_gqa", "repeat", "expand", "rotate")
    },
    "keys and values in proportion": Case(make=lambda n: attention(2 * WIDTH * n, shared=2 * n), expected=PROPORTION, inputs=SEQUENCES),
    "as many keys and values as queries": Case(
        make=lambda n: attention(WIDTH * n, shared=2 * n, how="plain"), expected=PROPORTION, inputs=SEQUENCES
    ),
    "shared keys and values, declared behind a norm": Case(
        make=lambda n: attention(WIDTH * n, shared=2, normed=True), expected=GROUPED, inputs=SEQUENCES, roles={"*.[kv]_proj.*": "key-value"}
    ),
    "norm of queries and keys": Case(
        make=lambda n: attention(WIDTH * n, shared=2 * n, how="plain", normed=True),
        expected={
            "blocks.0.q_norm.weight": ("head-gain", PLAIN),
            "blocks.0.k_norm.weight": ("head-gain", PLAIN),
            "blocks.0.k_norm.bias": ("bias", PLAIN),
            "blocks.0.norm.weight": ("gain", VECTOR),
            "blocks.0.k_proj.weight": HIDDEN,
        },
        inputs=SEQUENCES,
    ),
    **{
        f"depthwise convolution in {d}D, {m} a channel": Case(
            make=lambda n, d=d, m=m: Separable(8 * n, d, m),
            expected={
                "depthwise.weight": ("depthwise", VECTOR),
                "depthwise.bias": ("bias", VECTOR),
                "pointwise.weight": HIDDEN,
                "stem.weight": ("input", VECTOR),
                "readout.weight": ("readout", (1 / 4, 1 / 4, 1.0, 4.0)),
            },
            inputs=IMAGES if d == 2 else IMAGES.flatten(2),
        )
        for d, m in ((1, 1), (2, 1), (2, 2))
    },
    "router": Case(
        make=lambda n: mixture(WIDTH * n),
        expected={
            "blocks.0.router.weight": ("router", (1 / 4, 1 / 4, 1.0, 4.0)),
            "blocks.0.up.experts": ("expert", HIDDEN[1]),
            "blocks.0.down.experts": ("expert", HIDDEN[1]),
        },
        inputs=ROWS,
        roles=MIXTURE,
        axes=STACKS,
    ),
    "adapter": Case(
        make=lambda n: adapted(WIDTH * n),
        expected={
            "blocks.1.lora_A.weight": ("lora-a", (1 / 2, 1 / 4, 1.0, 4.0)),
            "blocks.1.lora_B.weight": ("lora-b", VECTOR),
            "blocks.1.pretrained.weight": HIDDEN,
        },
        inputs=ROWS,
        roles=LORA,
    ),
    "adapter of a frozen matrix": Case(
        make=lambda n: adapted(WIDTH * n),
        expected={
            "blocks.1.lora_A.weight": ("lora-a", (1 / 2, 1 / 4, 1.0, 4.0)),
            "blocks.1.pretrained.weight": ("frozen", PLAIN),
            "blocks.1.pretrained.bias": ("frozen", PLAIN),
        },
        inputs=ROWS,
        roles=FROZEN,
    ),
    "bottleneck": Case(
        make=lambda n: Stack(WIDTH * n, [Bottleneck(WIDTH * n)]),
        expected={"blocks.0.1.weight": ("hidden", (1 / 2, 1 / 4, 1.0, 4.0)), "blocks.0.3.weight": ("input", VECTOR)},
        inputs=ROWS,
        roles={"blocks.*.1.weight": "hidden"},
    ),
    "bare parameters, undeclared": Case(
        make=lambda n: Bare(WIDTH * n),
        expected={"position": ("vector", VECTOR), "gammas.1": ("vector", VECTOR), "heat": ("scalar", PLAIN)},
        inputs=SEQUENCES,
    ),
    "bare parameters": Case(
        make=lambda n: Bare(WIDTH * n),
        expected={"position": ("position", VECTOR), "gammas.1": ("layer-scale", VECTOR), "heat": ("attention-scale", PLAIN)},
        inputs=SEQUENCES,
        roles=BARE,
    ),
}


def planned(case: Case, wider: int = 4, **options: Any) -> Plan:
    return plan(case.make(wider), case.make(1), example_inputs=case.inputs, roles=case.roles, axes=case.axes, **options)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_roles_and_their_laws(case: Case) -> None:
    own = planned(case)
    assert {name: (own[name].role, factors(own, name)) for name in case.expected} == {
        name: (role, pytest.approx(values)) for name, (role, values) in case.expected.items()
    }
    lawful(own)


@pytest.mark.parametrize("optimizer", ["sgd", "lamb", "sophia"])
@pytest.mark.parametrize("name", ["shared keys and values, enable_gqa", "router", "adapter", "bare parameters", "norm of queries and keys"])
def test_laws_of_other_optimizers(name: str, optimizer: str) -> None:
    lawful(planned(CASES[name], optimizer=optimizer), optimizer=optimizer)


def test_shared_keys_and_values_under_sgd() -> None:
    """Rate: wanted change over fan-in times the gradient, n^-1 / (n · n^-1/2) · n."""
    own = planned(CASES["shared keys and values, enable_gqa"], optimizer="sgd")
    assert own["blocks.0.k_proj.weight"].factor("lr") == pytest.approx(4**-0.5)
    assert own["blocks.0.q_proj.weight"].factor("lr") == 1


@pytest.mark.parametrize("roles", [None, {"*.[kv]_proj.*": "key-value"}], ids=["read", "declared"])
def test_keys_and_values_may_grow_less_than_queries(roles: dict[str, str] | None) -> None:
    own = plan(attention(8 * WIDTH, shared=4), attention(2 * WIDTH, shared=2), example_inputs=SEQUENCES, roles=roles)
    for name in ("blocks.0.k_proj.weight", "blocks.0.v_proj.weight"):
        assert own[name].role == "key-value"
        assert factors(own, name) == pytest.approx([1 / 2, 1 / 4, 4**-0.5 * 2**-0.5, 4])


def test_keys_and_values_stay_hidden_where_only_depth_grows() -> None:
    own = plan(attention(WIDTH, 4, shared=1), attention(WIDTH, 2, shared=1), example_inputs=SEQUENCES)
    assert own.rule == "completep" and own["blocks.3.k_proj.weight"].role == "hidden"
    assert own["blocks.3.k_proj.weight"].factor("eps") == 1 / 2
    lawful(own, "completep")


UNREADABLE: dict[str, tuple[Callable[[], Plan], str]] = {
    "router": (
        lambda: plan(mixture(64), mixture(16), axes=STACKS),
        r"blocks.0.router.weight: its fan-in grows.*residual branch.*roles={'blocks.0.router.weight': ...}: a router",
    ),
    "router of more experts": (
        lambda: plan(mixture(64, 8), mixture(16, 4), axes=STACKS),
        "blocks.0.router.weight: ",
    ),
    "lora-a": (lambda: plan(adapted(64), adapted(16)), "blocks.0.lora_A.weight: .*roles={'blocks.0.lora_A.weight': ...}.*lora-a"),
    "bottleneck": (
        lambda: plan(Stack(64, [Bottleneck(64)]), Stack(16, [Bottleneck(16)])),
        "blocks.0.1.weight: .*so it is no readout.*hidden for a bottleneck",
    ),
    "one pattern is not enough": (
        lambda: plan(mixture(64), mixture(16), axes=STACKS, roles={"*.experts": "expert"}),
        "blocks.0.router.weight",
    ),
    "unknown role": (
        lambda: plan(mlp(16), mlp(8), roles={"input.*": "inputs"}),
        r"roles={'input.\*': 'inputs'}: there is no such role; choose one of input, embedding, position",
    ),
    "pattern without a match": (
        lambda: plan(mlp(16), mlp(8), roles={"*.router.weight": "router"}),
        r"roles={'\*.router.weight': ...} matches no parameter of the model; its parameters begin with \['input.weight'",
    ),
    "router's axis": (
        lambda: plan(mixture(64), mixture(16), axes={"*.experts": ("experts", "in", "out")}, roles=MIXTURE),
        r"\['experts'\] are no axes",
    ),
}


@pytest.mark.parametrize(("call", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_refused_with_the_remedy(call: Callable[[], Plan], message: str) -> None:
    with pytest.raises(MutransferError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_roles_may_be_words_or_members_and_the_first_pattern_counts() -> None:
    own = plan(mlp(16), mlp(8), roles={"hidden.0.*": Role.VECTOR, "hidden.*.bias": "gain", "*.bias": "frozen"})
    assert own["hidden.0.bias"].role == "vector" and own["hidden.1.bias"].role == "gain" and own["input.bias"].role == "frozen"
    assert own["hidden.0.weight"].role == "vector" and own["hidden.1.weight"].role == "hidden"


def test_a_declared_role_stands_in_table_and_explanation() -> None:
    own = planned(CASES["router"])
    assert "router in a branch" in str(own)
    assert "router" in own.explain("blocks.0.router.weight").splitlines()[0]
    assert Plan.from_json(own.to_json()) == own


@pytest.mark.parametrize("number", [4, 8, 12, 16])
def test_the_number_of_experts_may_grow(number: int) -> None:
    """Each expert sees 1/E of the gradient, and so does each row of the router."""
    own = plan(mixture(64, number), mixture(16, 4), axes=STACKS, roles=MIXTURE)
    more = number / 4
    assert own["blocks.0.up.experts"].role == own["blocks.0.down.experts"].role == "expert"
    for name in ("blocks.0.up.experts", "blocks.0.down.experts"):
        assert factors(own, name) == pytest.approx([1 / 2, 1 / 4, 1 / 4 / more, 4])
    assert factors(own, "blocks.0.router.weight") == pytest.approx([1 / 4, 1 / 4, 1 / more, 4])


def test_only_the_number_of_experts_may_grow() -> None:
    own = plan(mixture(16, 8), mixture(16, 4), axes=STACKS, roles=MIXTURE)
    assert factors(own, "blocks.0.up.experts") == pytest.approx([1, 1, 1 / 2, 1])
    assert factors(own, "blocks.0.router.weight") == pytest.approx([1, 1, 1 / 2, 1])


@pytest.mark.parametrize("number", [8, 16])
def test_the_routers_outputs_may_be_declared_as_experts(number: int) -> None:
    axes = STACKS | {"*.router.weight": ("expert", "in")}
    own = plan(mixture(64, number), mixture(16, 4), axes=axes, roles=MIXTURE)
    assert factors(own, "blocks.0.router.weight") == pytest.approx([1 / 4, 1 / 4, 4 / number, 4])


def test_an_axis_of_experts_makes_a_stack_of_experts() -> None:
    own = plan(mixture(64, 16), mixture(16, 4), axes=STACKS, roles={"*.router.weight": "router"})
    assert own["blocks.0.up.experts"].role == "expert"
    assert own["blocks.0.up.experts"].factor("eps") == pytest.approx(1 / 16)


def test_experts_in_modules_of_their_own() -> None:
    class Pair(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.router, self.experts = nn.Linear(width, 2), nn.ModuleList(nn.Linear(width, width) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            weights = self.router(x).softmax(-1)
            return sum(weights[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))

    def make(width: int) -> nn.Module:
        return Stack(width, [Pair(width)])

    own = plan(make(64), make(16), roles={"*.router.weight": "router", "*.experts.*.weight": "expert"})
    assert factors(own, "blocks.0.experts.1.weight") == pytest.approx(HIDDEN[1])
    assert factors(own, "blocks.0.router.weight") == pytest.approx([1 / 4, 1 / 4, 1, 4])


def test_frozen_tensors_are_neither_drawn_afresh_nor_trained() -> None:
    torch.manual_seed(0)
    model, case = adapted(64), CASES["adapter of a frozen matrix"]
    own = plan(model, adapted(16), roles=case.roles)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    own.initialize(model)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    frozen = {name for name in own.tensors if ".pretrained." in name}
    assert len(frozen) == 4 and not moved & frozen and "blocks.0.lora_A.weight" in moved
    grouped = {name for group in own.param_groups(model, 0.1) for name in group["names"]}
    assert grouped == own.tensors.keys() - frozen
    optimizer = torch.optim.AdamW(own.param_groups(model, 0.1))
    model(torch.ones(2, 5)).sum().backward()
    optimizer.step()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name in frozen)


def test_frozen_tensors_may_start_anyhow() -> None:
    """A pretrained tensor may be zero in the base alone, or have no values there."""
    base = adapted(16)
    nn.init.zeros_(base.blocks[0].pretrained.weight)
    model = adapted(64)
    plan(model, base, roles=FROZEN).initialize(model)


def test_frozen_vectors_do_not_trouble_an_optimizer_of_matrices() -> None:
    own = plan(mlp(16), mlp(8), optimizer="muon", roles={"*.bias": "frozen"})
    assert {name for group in own.param_groups(mlp(16), 0.1, eps=1e-7) for name in group["names"]} == {
        name for name in own.tensors if name.endswith("weight")
    }


@pytest.mark.parametrize("roles", [FROZEN, LORA | {"*.pretrained.bias": "frozen"}], ids=["matrix and bias", "bias"])
def test_a_frozen_tensor_cannot_carry_a_multiplier(roles: dict[str, str]) -> None:
    """It ends a branch whose multiplier depth^-1 would have to be written into it, and it stays as it is."""
    with pytest.raises(MutransferError, match="pretrained"):
        plan(adapted(WIDTH, 4), adapted(WIDTH, 2), roles=roles)


def test_frozen_queries_cannot_carry_the_attention_scale() -> None:
    target, base = gpt(64, 2, heads=2), gpt(32, 2, heads=2)
    with pytest.raises(MutransferError, match="query"):
        plan(target, base, roles={"*.query.weight": "frozen"})


def test_a_frozen_norm_cannot_carry_the_tied_heads_multiplier() -> None:
    target, base = gpt(64, 2, tied=True), gpt(32, 2, tied=True)
    with pytest.raises(MutransferError, match="norm"):
        plan(target, base, roles={"norm.*": "frozen"})


def test_layer_scales_end_their_branches() -> None:
    own = plan(Bare(64, 4), Bare(16, 2), roles=BARE, example_inputs=SEQUENCES)
    lawful(own, "completep")
    assert own["gammas.3"].place == "ending a branch"
    assert factors(own, "gammas.3") == pytest.approx([1 / 2, 1 / 2, 1 / 4, 2])
    assert own["blocks.3.o_proj.weight"].place == "in a branch"


def test_what_is_chosen_by_role_is_the_same_at_base_and_target() -> None:
    """Keys and values are hidden matrices, and gains of heads gains, whether or not width grew."""
    base, model = (attention(width, shared=1, normed=True) for width in (WIDTH, 4 * WIDTH))
    roles = {f"blocks.*.{name}.weight": "key-value" for name in ("k_proj", "v_proj")}
    optimizer = {"hidden": "muon", "*": "adamw"}
    small, large = (
        plan(each, base, optimizer=optimizer, example_inputs=SEQUENCES, roles=own) for each, own in ((base, None), (model, roles))
    )
    assert large["blocks.0.k_proj.weight"].role == Role.KEY_VALUE and large["blocks.0.q_norm.weight"].role == Role.HEAD_GAIN
    assert {name: tensor.optimizer for name, tensor in small.tensors.items()} == {
        name: tensor.optimizer for name, tensor in large.tensors.items()
    }
    undecayed = [
        {
            name
            for group in own.param_groups(each, 0.1, weight_decay=0.1, optimizer="adamw", undecayed=["gain"])
            if not group["weight_decay"]
            for name in group["names"]
        }
        for own, each in ((small, base), (large, model))
    ]
    assert undecayed[0] == undecayed[1] and "blocks.0.q_norm.weight" in undecayed[0]


def test_keys_behind_a_norm_are_read_too() -> None:
    own = plan(attention(64, shared=2, normed=True), attention(16, shared=2, normed=True), example_inputs=SEQUENCES)
    assert {own[f"blocks.0.{name}_proj.weight"].role for name in "kv"} == {Role.KEY_VALUE}
    assert {own[f"blocks.0.{name}_norm.weight"].role for name in "qk"} == {Role.HEAD_GAIN}
