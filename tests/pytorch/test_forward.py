"""Multipliers that no learned tensor can carry become forward hooks.

The hooks are part of the model, whatever is done to it.

This file run as a module is the two processes that shard the model.
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

import mutransfer as mt
from mutransfer.rules import family, parametrization
from mutransfer.tasks import gpt
from tests.models import (
    NormWithoutGain,
    OnePlus,
    Residual,
    Unfoldable,
    UnfoldableBlock,
    fused_queries,
    skips,
)

ROOT = Path(__file__).parents[2]
TOKENS = torch.randint(11, (4, 6), generator=torch.Generator().manual_seed(0))
SHARED = nn.GELU()
LR, EPS, DECAY = 0.01, 1e-2, 0.5
LINES = (
    "norm times 2^-1 (1)",
    "blocks.*.end times 2^-0.5 (4)",
    "blocks.*.act times 2^-0.5 (4)",
)


def gelu_branches(depth: int) -> nn.Module:
    """Build residual branches that end in an activation."""
    return Residual(16, depth, lambda n: nn.Sequential(nn.Linear(n, n), nn.GELU()))


def normed_keys(width: int) -> nn.Module:
    """Build a block whose queries and keys come from norms without a gain."""
    block = UnfoldableBlock(width)
    block.key = nn.Sequential(block.key, nn.Unflatten(-1, (2, -1)), NormWithoutGain(width // 2))
    block.key.append(nn.Flatten(-2))
    return block


def new(**by_hand: float) -> nn.Module:
    torch.manual_seed(0)
    return Unfoldable(32, 4, **by_hand).double()


@cache
def planned() -> mt.Plan:
    torch.manual_seed(0)
    return mt.plan(new(), Unfoldable(16, 2).double(), hooks=True)


def attached() -> nn.Module:
    model = new()
    planned().attach(model)
    return model


def adamw(model: nn.Module, plan: mt.Plan | None = None) -> torch.optim.Optimizer:
    groups = (plan or planned()).param_groups(model, LR, eps=EPS, weight_decay=DECAY)
    return torch.optim.AdamW(groups)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    part: slice = slice(None),
    steps: int = 10,
) -> Tensor:
    """Return the outputs before each step, on a part of the batch."""
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


SEQUENCES = torch.zeros(2, 6, 5)
UNCARRIED: dict[str, tuple[Callable[[int, int], nn.Module], Tensor | None, str]] = {
    "activation": (
        lambda width, depth: skips(16, 2 * depth, nn.GELU),
        SEQUENCES,
        r"branch 1 of 4 \(with 1\.0\.bias\) .* let 1\.1 have a forward hook .*hooks=True",
    ),
    "1 + weight": (
        lambda width, depth: skips(16, 2 * depth, partial(OnePlus, 16)),
        SEQUENCES,
        r"or let 1\.1 have .*hooks=True",
    ),
    "tied head": (
        lambda width, depth: Unfoldable(width, 2),
        None,
        r"token\.weight is also the head.*or let norm have .*hooks=True",
    ),
    "queries and keys": (
        lambda width, depth: nn.Sequential(nn.Linear(5, width), normed_keys(width)),
        SEQUENCES,
        r"let 1\.(query|key)_norm have",
    ),
}


@pytest.mark.parametrize(("make", "inputs", "match"), UNCARRIED.values(), ids=UNCARRIED)
def test_a_multiplier_that_no_tensor_carries_is_refused_but_for_hooks(
    make: Callable[[int, int], nn.Module], inputs: Tensor | None, match: str
) -> None:
    model, base = make(32, 2), make(16, 1)
    with pytest.raises(mt.MutransferError, match=match):
        mt.plan(model, base, example_inputs=inputs)
    assert mt.plan(model, base, example_inputs=inputs, hooks=True).forward


@pytest.mark.parametrize("hooks", [False, True])
@pytest.mark.parametrize("end", ["function", "called twice"])
def test_a_signal_that_no_module_puts_out_alone_is_refused(end: str, hooks: bool) -> None:
    def make(depth: int) -> nn.Module:
        if end == "function":
            return skips(16, depth, function=F.gelu)
        return skips(16, depth, lambda: SHARED)

    with pytest.raises(mt.MutransferError, match=r"end it with a linear layer or an affine norm$"):
        mt.plan(make(4), make(2), hooks=hooks)


def test_queries_that_are_cut_from_a_module_get_no_hook() -> None:
    """A hook on the module would multiply keys and values, too."""
    refusal = r"no learned tensor.*scaled_dot_product_attention$"
    with pytest.raises(mt.MutransferError, match=refusal):
        mt.plan(fused_queries(32), fused_queries(8), example_inputs=SEQUENCES, hooks=True)


def test_hooks_are_on_the_modules_of_their_signals_and_in_the_table() -> None:
    ends = ("end", "act")
    expected = {f"blocks.{i}.{end}": 2**-0.5 for i in range(4) for end in ends} | {"norm": 0.5}
    hooks = planned().forward
    assert {name: hook.factor for name, hook in hooks.items()} == pytest.approx(expected)
    assert all(hook.module == name and hook.reasons for name, hook in hooks.items())
    shown = {line for line in str(planned()).splitlines() if line.startswith("forward hook")}
    assert shown == {f"forward hook (plan.attach): output of {line}" for line in LINES}


def test_keys_carry_what_queries_behind_a_norm_without_a_gain_cannot() -> None:
    for i in range(4):
        query, key, value = (
            planned()[f"blocks.{i}.{name}.weight"] for name in ("query", "key", "value")
        )
        assert query.factor("init") == value.factor("init")
        assert key.factor("init") == pytest.approx(2**-0.5 * value.factor("init"))
        assert key.factor("lr") == pytest.approx(2**-0.5 * value.factor("lr"))


@pytest.mark.parametrize("what", ["initialize", "param_groups", "clip_grad_norm_", "audit"])
def test_before_attach_the_plan_refuses(what: str) -> None:
    arguments = {
        "initialize": (),
        "param_groups": (LR,),
        "clip_grad_norm_": (1.0,),
        "audit": (adamw(attached()),),
    }
    with pytest.raises(
        mt.MutransferError,
        match=r"the output of norm has to be multiplied by 0\.5, .*call plan\.attach\(model\) once",
    ):
        getattr(planned(), what)(new(), *arguments[what])


def test_attaching_replaces_the_hooks_of_an_earlier_plan() -> None:
    model = attached()
    planned().attach(model)
    assert_multiplied(model)
    other = mt.plan(new(), Unfoldable(8, 1), hooks=True)
    assert other.forward.keys() == planned().forward.keys() and other.forward["norm"].factor == 0.25
    other.attach(model)
    assert not torch.allclose(model(TOKENS), attached()(TOKENS), rtol=1e-2)
    with pytest.raises(
        mt.MutransferError, match=r"the output of norm has to be multiplied by 0\.5"
    ):
        planned().initialize(model)
    again = mt.Plan.from_json(planned().to_json())
    again.attach(model)
    assert_multiplied(model)
    assert again == planned() and again.forward == planned().forward


def through_bytes(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


def reloaded(model: nn.Module) -> nn.Module:
    other = Unfoldable(32, 4).double()
    assert model.state_dict().keys() == other.state_dict().keys()
    planned().attach(other)
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
    "functional_call": lambda model: (
        lambda x: functional_call(model, dict(model.named_parameters()), (x,))
    ),
    "export": lambda model: torch.export.export(model, (TOKENS,)).module(),
}
COMPILE = partial(torch.compile, fullgraph=True, backend="aot_eager")
WRAP = {
    "compile": COMPILE,
    "EMA": AveragedModel,
    "data parallel": nn.DataParallel,
    "checkpointing": checkpointed,
}


@pytest.mark.parametrize("operation", (KEEP | WRAP).values(), ids=KEEP | WRAP)
def test_operations_on_an_attached_model_keep_its_multipliers(
    operation: Callable[[nn.Module], Callable[[Tensor], Tensor]],
) -> None:
    assert_multiplied(operation(attached()))


@pytest.mark.parametrize("operation", WRAP.values(), ids=WRAP)
def test_a_wrapped_model_is_attached_and_trained_as_its_own(
    operation: Callable[[nn.Module], nn.Module],
) -> None:
    model, wrapped = attached(), operation(new())
    planned().attach(wrapped)
    assert_multiplied(wrapped)
    planned().initialize(model)
    planned().initialize(wrapped)
    optimizer = adamw(wrapped)
    outputs, expected = train(wrapped, optimizer, steps=3), train(model, adamw(model), steps=3)
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-10)
    assert planned().audit(wrapped, optimizer).ok


def by_hand(model: nn.Module, **multipliers: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return the model with multipliers in its forward pass, and Table 8's optimizer."""
    other, groups = new(**multipliers), []
    other.load_state_dict(model.state_dict())
    for name, parameter in other.named_parameters():
        tensor = planned()[name]
        parameter.data /= tensor.factor("multiplier")
        rule = parametrization(planned().rule)
        q = rule.quantities(tensor.role, family("adamw"), tensor.place, form="table8")
        values = {"lr": (LR, q.lr), "eps": (EPS, q.eps), "weight_decay": (DECAY, q.decay)}
        settings = {
            k: number * power.evaluate(tensor.ratios) for k, (number, power) in values.items()
        }
        groups.append({"params": [parameter]} | settings)
    return other, torch.optim.AdamW(groups)


def test_training_with_hooks_is_training_with_multipliers_by_hand() -> None:
    model, multipliers = attached(), {"branch": 0.5**0.5, "query": 0.5**0.5, "logits": 0.5}
    planned().initialize(model)
    twin = by_hand(model, **multipliers)
    faulty = [by_hand(model, **multipliers | {name: 1.0}) for name in multipliers]
    expected = train(model, adamw(model))
    moved = (expected - expected[0]).norm()
    assert (train(*twin) - expected).norm() < 1e-11 * moved
    assert all((train(*fault) - expected).norm() > 1e-2 * moved for fault in faulty)


def test_hooks_replace_no_tensor_that_can_carry_a_multiplier() -> None:
    sizes = {"heads": 2, "vocabulary": 11, "context": 6, "tied": True}
    model, base = (gpt(16 * n, n, **sizes) for n in (2, 1))
    plan = mt.plan(model, base, hooks=True)
    assert plan == mt.plan(model, base) and plan.forward == {}
    plan.initialize(model)
    assert plan.audit(model, torch.optim.AdamW(plan.param_groups(model, LR))).ok


def main(rank: int, folder: str) -> None:
    """Train as one of two processes, with hooks before and after sharding."""

    def sharded(model: nn.Module) -> None:
        for part in (*model.blocks, model):
            torch.distributed.fsdp.fully_shard(part)

    torch.set_num_threads(1)
    store, limit = f"file://{folder}/store", timedelta(seconds=20)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=limit)
    plan = mt.Plan.from_json(Path(folder, "plan.json").read_text())
    for before in (True, False):
        model = new()
        for step in (plan.attach, sharded) if before else (sharded, plan.attach):
            step(model)
        plan.initialize(model)
        outputs = train(model, adamw(model, plan), slice(2 * rank, 2 * rank + 2), 3)
        torch.save(outputs, f"{folder}/{rank}{before}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(),
    reason="needs torch.distributed with gloo",
)
def test_sharded_training_is_unsharded_training(tmp_path: Path) -> None:
    planned().save(tmp_path / "plan.json")
    command = [sys.executable, "-m", "tests.pytorch.test_forward", str(tmp_path)]
    subprocess.run(command, check=True, timeout=60, cwd=ROOT)
    model = attached()
    planned().initialize(model)
    expected = train(model, adamw(model), steps=3)
    for before in (True, False):
        parts = [torch.load(tmp_path / f"{rank}{before}.pt") for rank in range(2)]
        torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=1e-10, atol=1e-10)


def test_hooks_of_a_plan_are_no_factors_of_the_model() -> None:
    model, base = gelu_branches(4), gelu_branches(1)
    first = mt.plan(model, base, hooks=True)
    first.attach(model)
    assert mt.plan(model, base, hooks=True).forward == first.forward
    first.param_groups(model, 0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_that_ran_gets_its_hooks() -> None:
    model, x = gelu_branches(4), torch.randn(3, 5)
    plan, compiled = (
        mt.plan(model, gelu_branches(1), hooks=True),
        torch.compile(model, backend="eager"),
    )
    before = compiled(x)
    plan.attach(compiled)
    assert torch.equal(compiled(x), model(x)) and not torch.equal(compiled(x), before)


def test_an_exported_model_takes_no_hooks() -> None:
    model = gelu_branches(4)
    with pytest.raises(mt.MutransferError, match=r"before torch\.export"):
        mt.plan(model, gelu_branches(1), hooks=True).attach(
            torch.export.export(model, (torch.randn(3, 5),)).module()
        )


if __name__ == "__main__":
    import torch.distributed.fsdp

    child = os.fork()
    main(int(child == 0), sys.argv[1])
    sys.exit(os.waitpid(child, 0)[1] if child else 0)
