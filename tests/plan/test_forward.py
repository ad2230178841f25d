"""Multipliers that no learned tensor can carry become forward hooks, which are part of the model whatever is done to it.

This file run as a script is the two processes that shard the model.
"""

import copy
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import cache, partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from mutransfer._errors import MutransferError
from mutransfer.plan import Plan, plan
from mutransfer.rules import family, parametrization
from mutransfer.tasks._models import gpt

TOKENS = torch.randint(11, (4, 6), generator=torch.Generator().manual_seed(0))
SHARED = nn.GELU()
LR, EPS, DECAY = 0.01, 1e-2, 0.5
LINES = ("norm times 2^-1 (1)", "blocks.*.query_norm times 2^-0.5 (4)", "blocks.*.end times 2^-0.5 (4)", "blocks.*.act times 2^-0.5 (4)")


class OnePlus(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:]) * (1 + self.weight)


class Block(nn.Module):
    """An attention that ends in a norm of the other kind, with norms without gain on its queries; a layer that ends in an activation."""

    def __init__(self, width: int, branch: float, query: float) -> None:
        super().__init__()
        self.branch, self.times = branch, query
        self.norm, self.query_norm = nn.RMSNorm(width), nn.RMSNorm(width // 2, elementwise_affine=False)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.end, self.up, self.act = OnePlus(width), nn.Linear(width, width), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        query, key, value = (layer(normed).unflatten(-1, (2, -1)) for layer in (self.query, self.key, self.value))
        heads = [each.transpose(1, 2) for each in (self.query_norm(query) * self.times, key, value)]
        x = x + self.end(F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(-2)) * self.branch
        return x + self.act(self.up(x)) * self.branch


class Model(nn.Module):
    """Tied, and all four multipliers want a hook; or they are given by hand."""

    def __init__(self, width: int, depth: int, *, branch: float = 1.0, query: float = 1.0, logits: float = 1.0) -> None:
        super().__init__()
        self.times = logits
        self.token, self.head = nn.Embedding(11, width), nn.Linear(width, 11, bias=False)
        self.blocks = nn.Sequential(*(Block(width, branch, query) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.token(tokens))) * self.times)


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + (super().forward(x) if len(self) == 2 else F.gelu(self[0](x)))


def residual(width: int, depth: int, *end: Callable[[], nn.Module]) -> nn.Module:
    blocks = (Residual(nn.Linear(width, width), *(make() for make in end)) for _ in range(depth))
    return nn.Sequential(nn.Linear(5, width), *blocks, nn.Linear(width, 3))


def new(**by_hand: float) -> nn.Module:
    torch.manual_seed(0)
    return Model(32, 4, **by_hand).double()


@cache
def own() -> Plan:
    torch.manual_seed(0)
    return plan(new(), Model(16, 2).double(), hooks=True)


def attached() -> nn.Module:
    model = new()
    own().attach(model)
    return model


def adamw(model: nn.Module, found: Plan | None = None) -> torch.optim.Optimizer:
    return torch.optim.AdamW((found or own()).param_groups(model, LR, eps=EPS, weight_decay=DECAY))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, part: slice = slice(None), steps: int = 10) -> Tensor:
    outputs = []
    for _ in range(steps):
        logits = model(TOKENS[part])
        outputs.append(logits.detach())
        optimizer.zero_grad()
        F.cross_entropy(logits.flatten(0, 1), TOKENS[part].roll(-1, 1).flatten()).backward()
        optimizer.step()
    return torch.stack(outputs)


def assert_multiplied(model: Callable[[Tensor], Tensor]) -> None:
    torch.testing.assert_close(model(TOKENS), attached()(TOKENS), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(model(TOKENS), new()(TOKENS), rtol=1e-2)


@pytest.mark.parametrize(
    ("model", "base", "match"),
    [
        (
            residual(16, 4, nn.GELU),
            residual(16, 2, nn.GELU),
            r"branch 1 of 4 \(with 1\.0\.bias\) .* let 1\.1 have a forward hook .*hooks=True",
        ),
        (residual(16, 4, partial(OnePlus, 16)), residual(16, 2, partial(OnePlus, 16)), r"or let 1\.1 have .*hooks=True"),
        (Model(32, 2), Model(16, 2), r"token\.weight is also the head.*or let norm have .*hooks=True"),
        (nn.Sequential(nn.Linear(5, 32), Block(32, 1, 1)), nn.Sequential(nn.Linear(5, 16), Block(16, 1, 1)), r"let 1\.query_norm have"),
    ],
    ids=["activation", "1 + weight", "tied head", "queries"],
)
def test_a_multiplier_that_no_tensor_can_carry_is_refused_with_the_offer_of_a_hook(model: nn.Module, base: nn.Module, match: str) -> None:
    inputs = None if isinstance(model, Model) else torch.zeros(2, 6, 5)
    with pytest.raises(MutransferError, match=match):
        plan(model, base, example_inputs=inputs)
    assert plan(model, base, example_inputs=inputs, hooks=True).forward


@pytest.mark.parametrize("hooks", [False, True])
@pytest.mark.parametrize("end", [(), (lambda: SHARED,)], ids=["function", "called twice"])
def test_where_no_module_puts_the_signal_out_alone_nothing_is_offered(end: tuple[Callable[[], nn.Module], ...], hooks: bool) -> None:
    with pytest.raises(MutransferError, match=r"end it with a linear layer or an affine norm$"):
        plan(residual(16, 4, *end), residual(16, 2, *end), hooks=hooks)


def test_each_multiplier_stands_on_the_module_that_puts_the_signal_out_and_in_the_table() -> None:
    layers = {f"blocks.{i}.{end}": 2**-0.5 for i in range(4) for end in ("query_norm", "end", "act")}
    assert {name: each.factor for name, each in own().forward.items()} == pytest.approx({"norm": 0.5} | layers)
    assert all(each.module == name and each.reasons for name, each in own().forward.items())
    assert {line for line in str(own()).splitlines() if line.startswith("forward hook")} == {
        f"forward hook (plan.attach): output of {each}" for each in LINES
    }


@pytest.mark.parametrize("what", ["initialize", "param_groups", "clip_grad_norm_", "audit"])
def test_before_attach_nothing_can_be_done(what: str) -> None:
    arguments = {"initialize": (), "param_groups": (LR,), "clip_grad_norm_": (1.0,), "audit": (adamw(attached()),)}
    with pytest.raises(MutransferError, match=r"the output of norm has to be multiplied by 0\.5, .*call plan\.attach\(model\) once"):
        getattr(own(), what)(new(), *arguments[what])


def test_attaching_twice_is_attaching_once_and_another_plan_or_one_from_json_replaces_it() -> None:
    model = attached()
    own().attach(model)
    assert_multiplied(model)
    other = plan(new(), Model(8, 1), hooks=True)
    assert other.forward.keys() == own().forward.keys() and other.forward["norm"].factor == 0.25
    other.attach(model)
    assert not torch.allclose(model(TOKENS), attached()(TOKENS), rtol=1e-2)
    with pytest.raises(MutransferError, match=r"the output of norm has to be multiplied by 0\.5"):
        own().initialize(model)
    again = Plan.from_json(own().to_json())
    again.attach(model)
    assert_multiplied(model)
    assert again == own() and again.forward == own().forward


def through_bytes(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


def reloaded(model: nn.Module) -> nn.Module:
    other = Model(32, 4).double()
    assert model.state_dict().keys() == other.state_dict().keys()
    own().attach(other)
    other.load_state_dict(model.state_dict())
    return other


def checkpointed(model: nn.Module) -> nn.Module:
    model.blocks.forward = partial(checkpoint, model.blocks.forward, use_reentrant=False)
    return model


KEEP: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": through_bytes,
    "state_dict": reloaded,
    "functional_call": lambda model: lambda x: functional_call(model, dict(model.named_parameters()), (x,)),
    "export": lambda model: torch.export.export(model, (TOKENS,)).module(),
}
COMPILE = partial(torch.compile, fullgraph=True, backend="aot_eager")
WRAP = {"compile": COMPILE, "EMA": AveragedModel, "data parallel": nn.DataParallel, "checkpointing": checkpointed}


@pytest.mark.parametrize("operation", (KEEP | WRAP).values(), ids=KEEP | WRAP)
def test_what_is_done_to_an_attached_model_leaves_it_multiplied(operation: Callable[[nn.Module], Callable[[Tensor], Tensor]]) -> None:
    assert_multiplied(operation(attached()))


@pytest.mark.parametrize("operation", WRAP.values(), ids=WRAP)
def test_a_wrapped_model_is_attached_and_trained_as_its_own(operation: Callable[[nn.Module], nn.Module]) -> None:
    model, wrapped = attached(), operation(new())
    own().attach(wrapped)
    assert_multiplied(wrapped)
    own().initialize(model)
    own().initialize(wrapped)
    optimizer = adamw(wrapped)
    torch.testing.assert_close(train(wrapped, optimizer, steps=3), train(model, adamw(model), steps=3), rtol=1e-10, atol=1e-10)
    assert own().audit(wrapped, optimizer).ok


def by_hand(model: nn.Module, **multipliers: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The model with multipliers in its forward pass, and every tensor as Table 8 has it."""
    other, groups = new(**multipliers), []
    other.load_state_dict(model.state_dict())
    for name, parameter in other.named_parameters():
        tensor = own()[name]
        parameter.data /= tensor.factor("multiplier")
        q = parametrization(own().rule).quantities(tensor.role, family("adamw"), tensor.place, form="table8")
        values = {"lr": (LR, q.lr), "eps": (EPS, q.eps), "weight_decay": (DECAY, q.decay)}
        groups.append({"params": [parameter]} | {key: number * power.evaluate(tensor.ratios) for key, (number, power) in values.items()})
    return other, torch.optim.AdamW(groups)


def test_training_with_hooks_is_training_with_multipliers_put_by_hand() -> None:
    model, right = attached(), {"branch": 0.5**0.5, "query": 0.5**0.5, "logits": 0.5}
    own().initialize(model)
    other, *wrong = (by_hand(model, **multipliers) for multipliers in (right, *({**right, name: 1.0} for name in right)))
    expected = train(model, adamw(model))
    moved = (expected - expected[0]).norm()
    assert (train(*other) - expected).norm() < 1e-11 * moved
    assert all((train(*each) - expected).norm() > 1e-2 * moved for each in wrong)


def test_hooks_take_nothing_from_tensors_that_can_carry_it() -> None:
    model, base = (gpt(16 * n, n, heads=2, vocabulary=11, context=6, tied=True) for n in (2, 1))
    found = plan(model, base, hooks=True)
    assert found == plan(model, base) and found.forward == {}
    found.initialize(model)
    assert found.audit(model, torch.optim.AdamW(found.param_groups(model, LR))).ok


def main(rank: int, folder: str) -> None:
    def sharded(model: nn.Module) -> None:
        for part in (*model.blocks, model):
            torch.distributed.fsdp.fully_shard(part)

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=20))
    found = Plan.from_json(Path(folder, "plan.json").read_text())
    for before in (True, False):
        model = new()
        for step in (found.attach, sharded) if before else (sharded, found.attach):
            step(model)
        found.initialize(model)
        torch.save(train(model, adamw(model, found), slice(2 * rank, 2 * rank + 2), 3), f"{folder}/{rank}{before}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs torch.distributed with gloo")
def test_sharded_training_is_unsharded_training(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(own().to_json())
    subprocess.run([sys.executable, __file__, str(tmp_path)], check=True, timeout=60)
    model = attached()
    own().initialize(model)
    expected = train(model, adamw(model), steps=3)
    for before in (True, False):
        found = torch.cat([torch.load(tmp_path / f"{rank}{before}.pt") for rank in range(2)], dim=1)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


if __name__ == "__main__":
    import torch.distributed.fsdp

    child = os.fork()
    main(int(child == 0), sys.argv[1])
    sys.exit(os.waitpid(child, 0)[1] if child else 0)


class Branches(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(5, 16), nn.Linear(16, 3)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.GELU()) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def test_hooks_of_a_plan_are_no_factors_of_the_model() -> None:
    model, base = Branches(4), Branches(1)
    first = plan(model, base, hooks=True)
    first.attach(model)
    assert plan(model, base, hooks=True).forward == first.forward
    first.param_groups(model, 0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_that_ran_gets_its_hooks() -> None:
    model, x = Branches(4), torch.randn(3, 5)
    own, compiled = plan(model, Branches(1), hooks=True), torch.compile(model, backend="eager")
    before = compiled(x)
    own.attach(compiled)
    assert torch.equal(compiled(x), model(x)) and not torch.equal(compiled(x), before)


def test_an_exported_model_takes_no_hooks() -> None:
    model = Branches(4)
    with pytest.raises(MutransferError, match=r"before torch\.export"):
        plan(model, Branches(1), hooks=True).attach(torch.export.export(model, (torch.randn(3, 5),)).module())
