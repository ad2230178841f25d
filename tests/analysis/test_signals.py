"""What could multiply a signal by one factor, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutransfer.analysis import Signals
from mutransfer.analysis._operations import SLICES
from mutransfer.pytorch._record import record_program
from mutransfer.reading import NOTHING, Operation, Program
from mutransfer.tasks import gpt
from tests.analysis.walking import WIDTH, bias_and_weight
from tests.models import Net, OnePlus, RootMeanSquare, embedded, fused_queries, one_query

ROWS = torch.linspace(-1, 1, 10).view(2, 5)


def products(program: Program) -> list[Operation]:
    """Return the products of two signals."""
    signals = Signals(program)
    found = []
    for operation in program.operations:
        factors = operation.inputs[-2:]
        if operation.name in {"bmm", "baddbmm"} and all(signals.is_signal[i] for i in factors):
            found.append(operation)
    return found


def test_queries_of_a_gpt() -> None:
    program = record_program(gpt(32, 2, heads=4))
    signals = Signals(program)
    logits = [op for op in products(program) if _softmax_follows(signals, op)]
    assert len(logits) == 2
    for i, operation in enumerate(logits):
        query, key = (signals.of(value, [operation]) for value in operation.inputs[-2:])
        assert query.tensors == {f"blocks.{i}.query.weight"}
        assert query.module == f"blocks.{i}.query"
        assert key.tensors == {f"blocks.{i}.key.weight"}


def _softmax_follows(signals: Signals, operation: Operation) -> bool:
    todo = [i for i in operation.results if i is not None]
    while todo:
        for user in signals.users[todo.pop()]:
            if "softmax" in user.name:
                return True
            if user.name in {"view", "_unsafe_view", "add", "mul", "masked_fill", "where"}:
                todo += [i for i in user.results if i is not None]
    return False


def rotated(model: Any, x: Tensor) -> Tensor:
    query = model.query(x)
    first, second = query[..., : WIDTH // 2], query[..., WIDTH // 2 :]
    angle = torch.linspace(0, 1, WIDTH)
    return query * angle.cos() + torch.cat([-second, first], dim=-1) * angle.sin()


QUERIES: dict[str, tuple[Callable[[Any, Tensor], Tensor], set[str] | None]] = {
    "linear": (lambda model, x: model.query(x), bias_and_weight("query")),
    "rotary": (rotated, bias_and_weight("query")),
    "normed": (lambda model, x: model.gain(model.query(x)), bias_and_weight("gain")),
    "latent": (lambda model, x: model.latent.expand(len(x), -1, -1), {"latent"}),
    "latent through a layer": (
        lambda m, x: m.query(m.latent).expand(len(x), -1, -1),
        bias_and_weight("query"),
    ),
    "latent of low rank": (
        lambda m, x: torch.addmm(m.latent, m.latent[:, :2], m.query.weight[:2]).expand(2, -1, -1),
        None,
    ),
    "half a matrix": (
        lambda model, x: model.fused(x).split(WIDTH, -1)[0],
        bias_and_weight("fused"),
    ),
    "the stream itself": (lambda model, x: torch.tanh(x), None),
}


@pytest.mark.parametrize(("query", "tensors"), QUERIES.values(), ids=QUERIES)
def test_tensors_that_make_the_queries(query: Any, tensors: set[str] | None) -> None:
    program = record_program(one_query(query), ROWS)
    (logits, *_) = (op for op in program.operations if op.name in {"bmm", "baddbmm"})
    assert Signals(program).of(logits.inputs[-2], [logits]).tensors == tensors


def test_one_matrix_for_query_and_key_carries_nothing() -> None:
    program = record_program(fused_queries(WIDTH), torch.zeros(2, 6, 5))
    (logits, *_) = products(program)
    assert Signals(program).of(logits.inputs[-2], [logits]) == NOTHING


PARTS: dict[str, tuple[Callable[[Tensor], Tensor], str | None]] = {
    "one of a split": (lambda x: torch.mul(*x.split(WIDTH, -1)), None),
    "one of an unbound": (lambda x: torch.mul(*x.view(2, 2, WIDTH).unbind(1)), None),
    "one alone": (lambda x: x.split(WIDTH, -1)[0].tanh(), "layer"),
    "a row": (lambda x: x[0].tanh(), "layer"),
}


@pytest.mark.parametrize(("run", "module"), PARTS.values(), ids=PARTS)
def test_a_module_with_several_parts_in_use_multiplies_none(run: Any, module: str | None) -> None:
    model = Net(lambda m, x: run(m.layer(x)), layer=nn.Linear(5, 2 * WIDTH))
    signals = Signals(record_program(model, ROWS))
    cut = next(op for op in signals.program.operations if op.name in SLICES)
    (part, *_) = (i for i in cut.results if i is not None)
    assert signals.of(part).module == module


FEEDS: dict[str, tuple[Callable[[Any, Tensor], Tensor], set[str] | None]] = {
    "norm": (lambda m, x: m.norm(m.layer(x)), bias_and_weight("norm")),
    "norm and dropout": (lambda m, x: F.dropout(m.norm(m.layer(x))), bias_and_weight("norm")),
    "linear": (lambda m, x: m.layer(x), bias_and_weight("layer")),
    "activation": (lambda m, x: torch.tanh(m.layer(x)), None),
    "norm without gain": (lambda m, x: F.layer_norm(m.layer(x), (WIDTH,)), None),
}


@pytest.mark.parametrize(("feed", "tensors"), FEEDS.values(), ids=FEEDS)
def test_tensors_that_feed_a_tied_head(feed: Any, tensors: set[str] | None) -> None:
    program = record_program(embedded(WIDTH, lambda m, x: m.head(feed(m, m.token(x)))))
    head = program.operations[-1 if program.operations[-1].name == "mm" else -2]
    assert head.name == "mm"
    assert Signals(program).of(head.inputs[0], [head]).tensors == tensors


def ends(run: Callable[[Any, Tensor], Tensor], **parts: Any) -> set[str] | None:
    """Return what could multiply the output of a function of one layer's features."""
    model = Net(lambda m, x: run(m, m.layer(x)), layer=nn.Linear(5, WIDTH), **parts)
    program = record_program(model, ROWS)
    found = Signals(program).of(program.outputs[0]).tensors
    return None if found is None else set(found)


def gain(width: int = WIDTH) -> nn.Parameter:
    return nn.Parameter(torch.ones(width))


LINEAR: dict[str, tuple[Callable[[Any, Tensor], Tensor], dict[str, Any], set[str] | None]] = {
    "a gain": (lambda m, x: x * m.g, {"g": gain()}, {"g"}),
    "a scalar": (lambda m, x: m.g * x, {"g": nn.Parameter(torch.ones(()))}, {"g"}),
    "one plus a gain": (lambda m, x: m.g(x), {"g": OnePlus(WIDTH)}, None),
    "a root mean square by hand": (lambda m, x: m.g(x), {"g": RootMeanSquare(WIDTH)}, {"g.weight"}),
    "a number": (lambda m, x: x * 3, {}, bias_and_weight("layer")),
    "a quotient": (lambda m, x: x / 3, {}, bias_and_weight("layer")),
    "a reciprocal": (lambda m, x: 3 / x, {}, None),
    "a number added": (lambda m, x: x + 3, {}, None),
    "zero added": (lambda m, x: x + 0.0, {}, bias_and_weight("layer")),
    "a constant added": (lambda m, x: x + torch.arange(WIDTH) * 1.0, {}, None),
    "zeros added": (lambda m, x: x + torch.zeros(WIDTH), {}, bias_and_weight("layer")),
    "a sum with data": (lambda m, x: x + ROWS.abs().sum(), {}, None),
    "a difference": (lambda m, x: x - x.mean(-1, keepdim=True), {}, bias_and_weight("layer")),
    "a gate": (
        lambda m, x: m.b(x) * torch.sigmoid(m.c(x)),
        {name: nn.Linear(WIDTH, WIDTH) for name in "bc"},
        bias_and_weight("b"),
    ),
    "two factors of one layer": (
        lambda m, x: x * torch.sigmoid(x),
        {},
        None,
    ),
    "side by side": (
        lambda m, x: torch.cat([m.b(x), m.c(x)], -1),
        {name: nn.Linear(WIDTH, WIDTH) for name in "bc"},
        bias_and_weight("b", "c"),
    ),
    "placed": (
        lambda m, x: x.masked_fill(x > 0, 0.0),
        {},
        None,
    ),
    "a mask of large numbers": (
        lambda m, x: x.masked_fill(torch.ones(WIDTH).bool().logical_not(), -1e9),
        {},
        bias_and_weight("layer"),
    ),
    "an embedding": (
        lambda m, x: m.b(torch.zeros(2, dtype=torch.long, device=x.device)) * x.sum(),
        {"b": nn.Embedding(3, WIDTH)},
        {"b.weight"},
    ),
    "a product of parameters": (
        lambda m, x: x @ (m.b @ m.c),
        {name: nn.Parameter(torch.ones(WIDTH, WIDTH)) for name in "bc"},
        {"b"},
    ),
    "a grouped convolution": (
        lambda m, x: m.b(x[..., None]),
        {"b": nn.Conv1d(WIDTH, WIDTH, 1, groups=2)},
        bias_and_weight("b"),
    ),
    "weight norm": (
        lambda m, x: m.b(x),
        {"b": nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, 3, bias=False))},
        {"b.parametrizations.weight.original0"},
    ),
}


@pytest.mark.parametrize(("run", "parts", "tensors"), LINEAR.values(), ids=LINEAR)
def test_tensors_that_a_signal_is_linear_in(
    run: Any, parts: dict[str, Any], tensors: set[str] | None
) -> None:
    assert ends(run, **parts) == tensors


@pytest.mark.parametrize(
    "name", [name for name, (_, _, tensors) in LINEAR.items() if tensors is not None]
)
def test_multiplying_them_multiplies_the_signal(name: str) -> None:
    """By the values: the definition of what carries a factor."""
    run, parts, tensors = LINEAR[name]
    model = Net(lambda m, x: run(m, m.layer(x)), layer=nn.Linear(5, WIDTH), **parts).eval()
    before = model(ROWS)
    with torch.no_grad():
        for each in tensors or ():
            model.get_parameter(each).mul_(3)
    kept = before.abs() < 1e8
    torch.testing.assert_close(model(ROWS)[kept], 3 * before[kept])
    with torch.no_grad():
        for each in tensors or ():
            model.get_parameter(each).div_(3)


def test_what_is_used_elsewhere_carries_nothing() -> None:
    def both(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        x = m.layer(x)
        return m.readout(x), torch.tanh(x)

    model = Net(both, layer=nn.Linear(5, WIDTH), readout=nn.Linear(WIDTH, 3))
    program = record_program(model, ROWS)
    signals = Signals(program)
    features = program.modules["layer"][0][0]
    readout = next(op for op in signals.users[features] if op.name == "addmm")
    assert signals.of(features, [readout]).tensors is None
    assert signals.of(features).tensors == bias_and_weight("layer")
    assert signals.ends(features) == bias_and_weight("layer")


def test_an_operation_in_vain_is_no_use() -> None:
    def peeked(m: Any, x: Tensor) -> Tensor:
        x = m.layer(x)
        x.exp().sum()
        return torch.tanh(x)

    program = record_program(Net(peeked, layer=nn.Linear(5, WIDTH)), ROWS)
    signals = Signals(program)
    features = program.modules["layer"][0][0]
    assert [op.name for op in signals.users[features]] == ["tanh"]


def test_values_are_signals_weights_or_constants() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        return (x @ m.w.tanh().t() + torch.ones(3) * 2).exp()

    program = record_program(Net(run, w=nn.Parameter(torch.ones(3, 5))), ROWS)
    signals = Signals(program)
    kinds = {
        op.name: [
            kind
            for kind in ("is_weight", "is_constant")
            if getattr(signals, kind)(op.results[0])  # type: ignore[arg-type]
        ]
        for op in program.operations
    }
    assert kinds["tanh"] == kinds["t"] == ["is_weight"]
    assert kinds["mm"] == kinds["exp"] == []
    assert signals.is_constant(program.operations[-2].inputs[1])


def test_the_module_that_puts_a_signal_out() -> None:
    program = record_program(
        Net(lambda m, x: torch.tanh(m.b(m.layer(x)) * 2), layer=nn.Linear(5, 8), b=nn.GELU()), ROWS
    )
    signals = Signals(program)
    value = program.operations[-1].inputs[0]
    assert signals.of(value).module == "b"
    assert signals.of(value).tensors is None


def test_a_module_called_twice_carries_nothing() -> None:
    program = record_program(
        Net(lambda m, x: torch.tanh(m.b(m.b(m.layer(x)))), layer=nn.Linear(5, 8), b=nn.GELU()), ROWS
    )
    assert Signals(program).of(program.operations[-1].inputs[0]).module is None
