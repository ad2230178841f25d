"""Models that are hard to read: planned right or refused, never planned wrong."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mutransfer._errors import MutransferError
from mutransfer.plan import Plan, plan
from mutransfer.tasks._models import gpt, mlp

BASE, WIDER, DEEPER = 16, (4, 1), (1, 2)
ROWS, WORDS, SEQUENCES = torch.zeros(2, 5), torch.zeros(2, 6, dtype=torch.long), torch.zeros(2, 6, 5)


class Net(nn.Module):
    """Parts by name, and a forward pass that uses them."""

    def __init__(self, run: Callable[[Any, Tensor], Any], /, **parts: nn.Module | nn.Parameter | int) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A family of models, how it grows, and what a right plan says.

    Attributes:
        make: The model at a width and with a number of blocks.
        right: Whether a plan is right.
        grow: How much wider and deeper than the base.
        refuse: Whether to refuse it is right too.
    """

    make: Callable[[int, int], nn.Module]
    right: Callable[[Plan], bool]
    grow: tuple[int, int] = WIDER
    inputs: Any = None
    axes: dict[str, tuple[str, ...]] | None = None
    roles: dict[str, str] | None = None
    refuse: bool = True


def accepted(case: Case) -> bool:
    wider, deeper = case.grow
    try:
        own = plan(case.make(BASE * wider, 2 * deeper), case.make(BASE, 2), example_inputs=case.inputs, axes=case.axes, roles=case.roles)
    except MutransferError as refusal:
        assert case.refuse, f"refused: {refusal}"
        return True
    return case.right(own)


def factors(own: Plan, name: str) -> tuple[float, float]:
    return own[name].factor("init"), own[name].factor("lr")


def never(_: Plan) -> bool:
    return False


def linear(width: int, bias: bool = True) -> nn.Linear:
    return nn.Linear(width, width, bias)


def heads(x: Tensor, number: int) -> Tensor:
    return x.unflatten(-1, (number, -1)).transpose(1, 2)


def attend(model: Any, x: Tensor, mix: Callable[[Any, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Residual attention of two heads, whose size therefore grows."""
    x = model.stem(x)
    for _ in range(getattr(model, "times", 1)):
        normed = model.norm(x)
        q, k, v = (heads(layer(normed), 2) for layer in (model.query, model.key, model.value))
        x = x + model.out(mix(model, q, k, v).transpose(1, 2).flatten(2))
    return model.readout(x)


def attention(mix: Callable[[Any, Tensor, Tensor, Tensor], Tensor], **parts: Any) -> Callable[[int, int], nn.Module]:
    def make(width: int, _: int) -> nn.Module:
        layers = {name: linear(width, bias=False) for name in ("query", "key", "value", "out")}
        extra = {name: part(width) if callable(part) else part for name, part in parts.items()}
        stem, readout, norm = nn.Linear(5, width), nn.Linear(width, 3), nn.LayerNorm(width)
        return Net(lambda model, x: attend(model, x, mix), stem=stem, readout=readout, norm=norm, **layers, **extra)

    return make


def by_hand(model: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v


def library(model: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def carries_missing_scale(*names: str) -> Callable[[Plan], bool]:
    """The product of these tensors' init factors is, beside 1/sqrt(n) of matrices, the missing head_dim^-1/2."""
    return lambda own: math.prod(own[n].factor("init") / (0.5 if own[n].role == "hidden" else 1) for n in names) == pytest.approx(0.5)


QUERY_CARRIES = carries_missing_scale("query.weight")


def torch_attention(width: int, _: int) -> nn.Module:
    def run(model: Any, x: Tensor) -> Tensor:
        x = model.stem(x)
        return model.readout(x + model.attention(x, x, x, need_weights=False)[0])

    attention = nn.MultiheadAttention(width, 2, batch_first=True)
    return Net(run, stem=nn.Linear(5, width), attention=attention, readout=nn.Linear(width, 3))


def encoder(head: int | None, norm_first: bool = True) -> Callable[[int, int], nn.Module]:
    def make(width: int, depth: int) -> nn.Module:
        layer = nn.TransformerEncoderLayer(width, width // head if head else 2, 4 * width, batch_first=True, norm_first=norm_first)
        body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        return nn.Sequential(nn.Linear(5, width), body, nn.Linear(width, 3))

    return make


Join = Callable[[Any, Tensor, nn.Module], Tensor]


def plus(model: Any, x: Tensor, block: nn.Module) -> Tensor:
    return x + block(x)


def remat(block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return checkpoint(block, x, use_reentrant=False)


def residual(
    join: Join = plus, *, block: Callable[[int], nn.Module] | None = None, finite: bool = False, **parts: Any
) -> Callable[[int, int], nn.Module]:
    """Blocks joined to the stream by `join`; `finite`: the stream is the data itself."""

    def run(model: Any, x: Tensor) -> Tensor:
        x = x if finite else model.stem(x)
        for one in model.blocks:
            x = join(model, x, one)
        return model.readout(x.float())

    def make(width: int, depth: int) -> nn.Module:
        blocks = nn.ModuleList((block or two)(width) for _ in range(depth))
        extra = {name: part(width) for name, part in parts.items()}
        return Net(run, stem=nn.Linear(5, width), blocks=blocks, readout=nn.Linear(width, 3), **extra)

    return make


def two(width: int, last: Callable[[int], nn.Module] = linear) -> nn.Module:
    return Net(lambda own, x: own.down(torch.relu(own.up(own.norm(x)))), norm=nn.LayerNorm(width), up=linear(width), down=last(width))


class Standardised(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight - self.weight.mean(1, keepdim=True), self.bias)


class RootMeanSquare(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


def normed_outside(norm: Callable[[int], nn.Module]) -> Callable[[int, int], nn.Module]:
    def block(width: int) -> nn.Module:
        return Net(lambda own, x: own.down(torch.relu(own.up(x))), up=linear(width), down=linear(width), outside=norm(width))

    return residual(lambda _, x, one: one.outside(x + one(x)), block=block)


class Unit(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


def halves_as(own: Plan) -> bool:
    """Two blocks became four: every block ends in a tensor that carries 1/2."""
    return own.depth[1] == 2 * own.depth[0] and all(factors(own, f"blocks.{i}.down.weight") == (0.5, 0.5) for i in range(4))


def words(run: Callable[[Any, Tensor], Any], head_first: bool = False, tied: bool = True) -> Callable[[int, int], nn.Module]:
    """Embedding, a layer, norms and a head that is the embedding."""

    def make(width: int, _: int) -> nn.Module:
        token, head = nn.Embedding(11, width), nn.Linear(width, 11, bias=False)
        ends = {"head": head, "token": token} if head_first else {"token": token, "head": head}
        if tied:
            token.weight = head.weight
        parts = ends | {"layer": linear(width), "norm": nn.LayerNorm(width), "norm2": nn.LayerNorm(width)}
        return Net(run, **parts)

    return make


def tied_is_right(name: str, *norms: str) -> Callable[[Plan], bool]:
    """Tensor Programs V, Table 8: the embedding does not scale, the logits do (here in the norms before the head)."""
    return lambda own: factors(own, name) == (1, 1) and all(factors(own, f"{norm}.weight") == (0.25, 0.25) for norm in norms)


def bare_readout(width: int, _: int) -> nn.Module:
    projection = nn.Parameter(torch.randn(width, 3) / width)
    return Net(lambda m, x: m.layer(m.stem(x)) @ m.projection, stem=nn.Linear(5, width), layer=linear(width), projection=projection)


def repeated(width: int, depth: int) -> nn.Module:
    """One block under several names."""
    block = two(width)
    return Net(
        lambda m, x: m.readout(m.blocks[1](m.blocks[0](m.stem(x)))),
        stem=nn.Linear(5, width),
        blocks=nn.ModuleList([block] * 2),
        readout=nn.Linear(width, 3),
    )


def two_names(width: int, _: int) -> nn.Module:
    """One matrix under two names, behind a norm."""
    layer = linear(width, bias=False)

    def run(m: Any, x: Tensor) -> Tensor:
        return m.readout(m.second(m.norm(m.first(m.norm2(m.stem(x))))))

    norms = {"norm": nn.LayerNorm(width), "norm2": nn.LayerNorm(width)}
    return Net(run, stem=nn.Linear(5, width), first=layer, second=layer, readout=nn.Linear(width, 3), **norms)


def two_tables(width: int, _: int) -> nn.Module:
    """Encoder and decoder share the embedding; the head is another matrix."""
    source, target = nn.Embedding(11, width), nn.Embedding(11, width)
    target.weight = source.weight
    return Net(lambda m, x: m.head(torch.relu(m.source(x) + m.target(x))), source=source, target=target, head=nn.Linear(width, 11))


def skips(width: int, depth: int) -> nn.Module:
    """Decoder blocks to which the encoder's features are added, in turn."""

    def run(model: Any, x: Tensor) -> Tensor:
        x, kept = model.stem(x), []
        for block in model.blocks:
            x = x + block(x)
            kept.append(x)
        for block in model.decoder:
            x = x + kept.pop()
            x = x + block(x)
        return model.readout(x)

    blocks, decoder = (nn.ModuleList(two(width) for _ in range(depth)) for _ in range(2))
    return Net(run, stem=nn.Linear(5, width), blocks=blocks, decoder=decoder, readout=nn.Linear(width, 3))


def unet(width: int, _: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> dict[str, Any]:
        a = torch.relu(m.a(x))
        return {"image": m.out(torch.relu(m.join(torch.cat([a, m.up(torch.relu(m.down(a)))], dim=1)))), "size": 3}

    return Net(
        run,
        a=nn.Conv2d(3, width, 3, padding=1),
        down=nn.Conv2d(width, 2 * width, 3, 2, 1),
        up=nn.ConvTranspose2d(2 * width, width, 2, 2),
        join=nn.Conv2d(2 * width, width, 3, padding=1),
        out=nn.Conv2d(width, 1, 1),
    )


def recurrent(kind: type[nn.RNNBase]) -> Callable[[int, int], nn.Module]:
    def make(width: int, _: int) -> nn.Module:
        return Net(lambda m, x: m.readout(m.cell(x)[0]), cell=kind(5, width, batch_first=True), readout=nn.Linear(width, 3))

    return make


def experts(width: int, _: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        hidden = torch.relu(torch.einsum("bd,edf->bef", x, m.up))
        mixed = torch.einsum("bef,efd->bed", hidden, m.down) * m.router(x).softmax(-1)[..., None]
        return m.readout(x + mixed.sum(1))

    up, down = (nn.Parameter(torch.randn(4, *shape) / width) for shape in ((width, 2 * width), (2 * width, width)))
    return Net(run, stem=nn.Linear(5, width), up=up, down=down, router=nn.Linear(width, 4), readout=nn.Linear(width, 3))


def sequential_blocks(width: int, depth: int) -> nn.Module:
    block = residual(block=lambda w: nn.Sequential(nn.LayerNorm(w), linear(w), nn.ReLU(), linear(w)))
    return block(width, depth)


class BasicBlock(nn.Module):
    """A residual block of He et al. (1512.03385), with a projection where the number of channels changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(torch.relu_(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return torch.relu_(out)


def stages(width: int, depth: int) -> nn.Module:
    first = [BasicBlock(width, width) for _ in range(depth)]
    second = [BasicBlock(width if i == 0 else 2 * width, 2 * width) for i in range(depth)]
    stem, readout = nn.Conv2d(3, width, 3, padding=1), nn.Linear(2 * width, 10)
    return nn.Sequential(stem, nn.Sequential(*first), nn.Sequential(*second), nn.AdaptiveAvgPool2d(1), nn.Flatten(), readout)


READ: dict[str, Case] = {
    "u-net, dictionary out": Case(
        make=unet,
        right=lambda own: (
            [own[f"{n}.weight"].role.value for n in ("a", "down", "up", "join", "out")] == ["input", *["hidden"] * 3, "readout"]
        ),
        refuse=False,
    ),
    "lstm": Case(
        make=recurrent(nn.LSTM),
        inputs=SEQUENCES,
        right=lambda own: factors(own, "cell.weight_hh_l0") == (0.5, 0.25) and factors(own, "cell.weight_ih_l0") == (1, 1),
        refuse=False,
    ),
    "gru": Case(
        make=recurrent(nn.GRU),
        inputs=SEQUENCES,
        right=lambda own: factors(own, "cell.weight_hh_l0") == (0.5, 0.25) and factors(own, "cell.weight_ih_l0") == (1, 1),
        refuse=False,
    ),
    "experts": Case(
        make=experts,
        inputs=ROWS,
        axes={"up": ("finite", "in", "out"), "down": ("finite", "in", "out")},
        roles={"router.weight": "router"},
        right=lambda own: factors(own, "up") == factors(own, "down") == (0.5, 0.25) and factors(own, "router.weight") == (0.25, 0.25),
        refuse=False,
    ),
    "torch's encoder, heads grow": Case(
        make=encoder(8),
        inputs=SEQUENCES,
        grow=(4, 2),
        right=lambda own: own.depth == (4, 8) and factors(own, "1.layers.3.linear2.weight") == (0.25, 0.125),
        refuse=False,
    ),
    "torch's encoder, post-norm": Case(make=encoder(8, norm_first=False), inputs=SEQUENCES, grow=DEEPER, right=never),
    "blocks under checkpoint": Case(make=residual(lambda _, x, one: x + remat(one, x)), grow=DEEPER, right=halves_as, refuse=False),
    "whole blocks under checkpoint": Case(
        make=residual(lambda _, x, one: remat(lambda y: y + one(y), x)),
        grow=DEEPER,
        right=halves_as,
        refuse=False,
    ),
    "stream times a constant": Case(make=residual(lambda _, x, one: 0.9 * x + one(x)), grow=DEEPER, right=halves_as),
    "interpolated join": Case(make=residual(lambda _, x, one: torch.lerp(x, one(x), 0.5)), grow=DEEPER, right=halves_as),
    "stages with projections": Case(
        make=stages,
        grow=(2, 2),
        right=lambda own: factors(own, "1.0.bn2.weight") == factors(own, "2.1.bn2.weight") == (3 / 7, 3 / 7),
        refuse=False,
    ),
    "head dimension grows": Case(make=attention(library), inputs=SEQUENCES, right=QUERY_CARRIES, refuse=False),
    "branches taken off the stream": Case(make=residual(lambda _, x, one: x - one(x)), grow=DEEPER, right=halves_as),
}

TRAPS: dict[str, Case] = {
    # Attention
    "attention by hand": Case(make=attention(by_hand), inputs=SEQUENCES, right=carries_missing_scale("query.weight", "key.weight")),
    "torch's attention": Case(make=torch_attention, inputs=SEQUENCES, right=never),
    "torch's encoder, head dimension grows": Case(make=encoder(None), inputs=SEQUENCES, right=never),
    "one attention applied twice": Case(make=attention(library, times=2), inputs=SEQUENCES, right=QUERY_CARRIES),
    "one query in two attentions": Case(
        make=attention(lambda m, q, k, v: library(m, q, k, v) + library(m, q, v, k)),
        inputs=SEQUENCES,
        right=QUERY_CARRIES,
    ),
    "query is key": Case(make=attention(lambda m, q, k, v: library(m, q, q, v + k)), inputs=SEQUENCES, right=never),
    "one norm for query and key": Case(
        make=attention(lambda m, q, k, v: library(m, m.qk(q), m.qk(k), v), qk=lambda width: nn.LayerNorm(width // 2)),
        inputs=SEQUENCES,
        right=carries_missing_scale("qk.weight", "qk.weight"),
    ),
    # Tied heads and bare readouts
    "tied in the forward pass": Case(
        make=words(lambda m, x: m.norm(m.layer(m.token(x))) @ m.token.weight.T, tied=False),
        inputs=WORDS,
        right=tied_is_right("token.weight", "norm"),
    ),
    "head before embedding": Case(
        make=words(lambda m, x: m.head(m.norm(m.layer(m.token(x)))), head_first=True),
        inputs=WORDS,
        right=tied_is_right("head.weight", "norm"),
    ),
    "tied head used twice": Case(
        make=words(lambda m, x: (m.head(m.norm(m.token(x))), m.head(m.norm2(m.layer(m.token(x)))))),
        inputs=WORDS,
        right=tied_is_right("token.weight", "norm", "norm2"),
    ),
    "norm before the tied head used before": Case(
        make=words(lambda m, x: m.head(m.norm(m.layer(m.norm(m.token(x)))))), inputs=WORDS, right=never
    ),
    "one matrix under two names": Case(
        make=two_names,
        right=lambda own: factors(own, "norm.weight") == factors(own, "norm2.weight") == (1, 1),
    ),
    "one block under two names": Case(make=repeated, right=lambda own: factors(own, "blocks.0.up.weight") == (0.5, 0.25), refuse=False),
    "one embedding under two names": Case(
        make=two_tables, inputs=WORDS, right=lambda own: factors(own, "source.weight") == (1, 1), refuse=False
    ),
    "bare readout": Case(make=bare_readout, right=lambda own: factors(own, "projection") == (0.25, 0.25)),
    # Residual branches
    "standardised last weights": Case(make=residual(block=lambda w: two(w, lambda n: Standardised(n, n))), grow=DEEPER, right=never),
    "weight norm on the last layer": Case(
        make=residual(block=lambda w: two(w, lambda w: nn.utils.parametrizations.weight_norm(linear(w)))),
        grow=DEEPER,
        axes={"*.original1": ("out", "in")},
        right=lambda own: factors(own, "blocks.0.down.parametrizations.weight.original0") == (0.5, 0.5),
    ),
    "last layer used in the stem too": Case(
        make=residual(lambda m, x, one: x + m.shared(one(m.shared(x))), shared=linear), grow=DEEPER, right=never
    ),
    "branch plus a constant": Case(make=residual(lambda _, x, one: x + (one(x) + 1)), grow=DEEPER, right=never),
    "branch beside a constant": Case(
        make=residual(lambda _, x, one: x + torch.cat([one(x)[:, 1:], torch.ones(len(x), 1)], -1)), grow=DEEPER, right=never
    ),
    "branch under a threshold": Case(make=residual(lambda _, x, one: x + F.threshold(one(x), 1.0, 0.0)), grow=DEEPER, right=never),
    "a constant over the branch": Case(make=residual(lambda _, x, one: x + torch.ones(BASE) / one(x)), grow=DEEPER, right=never),
    "layer scale with a leading axis": Case(
        make=residual(
            lambda _, x, one: x + one(x),
            block=lambda w: Net(lambda m, x: m.only(x) * m.scale, only=linear(w), scale=nn.Parameter(torch.ones(1, w))),
        ),
        grow=DEEPER,
        right=lambda own: own.rule == "depth-mup",
    ),
    "every other branch taken off the stream": Case(
        make=residual(lambda m, x, one: x - one(x) if one is m.blocks[0] else x + one(x)), grow=DEEPER, right=halves_as
    ),
    "one stream times a constant": Case(
        make=residual(lambda m, x, one: (0.9 * x if one is m.blocks[0] else x) + one(x)), grow=DEEPER, right=halves_as
    ),
    "a cast stream": Case(make=residual(lambda _, x, one: x.double() + one(x.float()).double()), grow=DEEPER, right=halves_as),
    "data as the stream": Case(
        make=lambda width, depth: residual(block=lambda _: two(5), finite=True)(5, depth), grow=DEEPER, right=halves_as
    ),
    "additive skips": Case(make=skips, grow=DEEPER, right=halves_as),
    "matrices per branch grow too": Case(
        make=lambda width, depth: residual(block=lambda w: nn.Sequential(*[linear(w) for _ in range(depth)]))(width, depth),
        grow=DEEPER,
        right=never,
    ),
    "post-norm by hand": Case(make=normed_outside(RootMeanSquare), grow=DEEPER, right=never),
    "post-norm of torch's RMSNorm": Case(make=normed_outside(nn.RMSNorm), grow=DEEPER, right=never),
    "post-norm without gain": Case(make=normed_outside(lambda _: Unit()), grow=DEEPER, right=never),
    # Names and shapes
    "blocks in Sequential": Case(
        make=sequential_blocks, grow=DEEPER, right=lambda own: factors(own, "blocks.0.3.weight") == (0.5, 0.5), refuse=False
    ),
}


@pytest.mark.parametrize("case", READ.values(), ids=READ)
def test_read(case: Case) -> None:
    assert accepted(case)


@pytest.mark.parametrize("case", TRAPS.values(), ids=TRAPS)
def test_traps(case: Case) -> None:
    assert accepted(case)


def test_every_tensor_of_a_run_has_the_scale_of_its_counterpart() -> None:
    """Biases of torch's linear layers start at 1/sqrt(fan-in): those of the first layer of a Sequential are larger than the others'."""
    torch.manual_seed(0)
    model, base = (nn.Sequential(nn.Linear(5, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 3)) for n in (1024, 64))
    plan(model, base).initialize(model)
    for layer in (0, 2):
        assert model[layer].bias.square().mean().sqrt().item() == pytest.approx(base[layer].bias.square().mean().sqrt().item(), rel=1e-3)


def test_a_model_whose_only_child_is_named_as_a_wrapper() -> None:
    model, base = (Net(lambda m, x: m.module(x), module=mlp(width)) for width in (32, 16))
    plan(model, base).initialize(model)


def test_blocks_compiled_one_by_one() -> None:
    model, base = gpt(32, 2), gpt(16, 2)
    own = plan(model, base)
    names = [group["names"] for group in own.param_groups(model, 0.1)]
    for number, block in enumerate(model.blocks):
        model.blocks[number] = torch.compile(block, backend="eager")
    assert [group["names"] for group in own.param_groups(model, 0.1)] == names


@pytest.mark.parametrize("text", ["5", "null", '"plan"'])
def test_json_that_is_no_object_is_no_plan(text: str) -> None:
    with pytest.raises(MutransferError):
        Plan.from_json(text)


def test_a_tensor_of_which_nothing_grows_is_a_scalar() -> None:
    model, base = (Net(lambda m, x: m.out(x) * m.scale, out=nn.Linear(5, n), scale=nn.Parameter(torch.ones(()))) for n in (8, 8))
    assert plan(model, base)["scale"].role == "scalar"
