"""Training over two processes is training on one: DDP, FSDP2, tensor parallelism.

The plan is applied before or after sharding. This file run as a module is one of the two processes:
it goes through every scenario and saves the outcomes.
"""

import copy
import re
import sys
import traceback
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.tasks import gpt, mlp
from tests.processes import run_processes
from tests.pytorch.lifecycle import assert_close

pytestmark = pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(),
    reason="needs torch.distributed with gloo",
)

PROCESSES = 2
MAX_NORM = 0.01
"""Below every gradient's norm."""
ROWS = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
TARGETS = torch.randn(8, 1, generator=torch.Generator().manual_seed(1))
TOKENS = torch.randint(11, (8, 6), generator=torch.Generator().manual_seed(0))


def new_mlp(scale: int) -> nn.Module:
    """Build a perceptron of one output: one process has no part of the readout's bias."""
    return mlp(8 * scale, 3, inputs=6, outputs=1)


def new_gpt(scale: int) -> nn.Module:
    return gpt(16 * scale, scale, heads=2, vocabulary=11, context=6, tied=True)


@dataclass(frozen=True)
class Scenario:
    """A way to spread a model over processes, to apply its plan, and to train it."""

    spread: str
    when: str = "initialize before"
    clip: bool = False
    kind: str = "mlp"
    dtype: torch.dtype = torch.float64

    def __str__(self) -> str:
        dtype, clipped = str(self.dtype).removeprefix("torch."), "clipped" if self.clip else ""
        return ", ".join(filter(None, (self.spread, self.when, self.kind, dtype, clipped)))


SPREADS = (
    "ddp",
    "fsdp",
    "fsdp of the whole",
    "hybrid fsdp",
    "tensor parallel",
    "partly tensor parallel",
)
WHEN = ("initialize before", "initialize after")
SCENARIOS = [
    *(Scenario(*scenario) for scenario in product(SPREADS, WHEN, (False, True))),
    *(Scenario(*scenario, kind="gpt") for scenario in product(("ddp", "fsdp"), WHEN, (True,))),
    *(Scenario(spread, clip=True, dtype=torch.float32) for spread in ("ddp", "fsdp")),
    Scenario("fsdp", "initialize after", dtype=torch.float32),
    Scenario("fsdp", "deferred"),
    Scenario("fsdp", "resumed"),
    Scenario("fsdp", "compiled", clip=True),
    Scenario("ddp", "compiled", clip=True),
]


@dataclass
class Outcome:
    """Values of the whole tensors on one process, and gradient norms.

    Attributes:
        initial: Values after initialisation.
        final: Values after training.
        norms: Norm of the gradient at each step.
        error: What was raised.
    """

    initial: dict[str, Tensor] = field(default_factory=dict)
    final: dict[str, Tensor] = field(default_factory=dict)
    norms: list[float] = field(default_factory=list)
    error: str = ""


def whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).clone()


def values(model: nn.Module) -> dict[str, Tensor]:
    named = ((name.replace("_orig_mod.", ""), p) for name, p in model.named_parameters())
    return {name.removeprefix("module."): whole(parameter) for name, parameter in named}


def pair(scenario: Scenario) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    make = new_gpt if scenario.kind == "gpt" else new_mlp
    return make(2).to(scenario.dtype), make(1).to(scenario.dtype)


def optimizer_of(model: nn.Module, plan: mt.Plan) -> torch.optim.Optimizer:
    return torch.optim.AdamW(plan.param_groups(model, 0.02, eps=1e-2, weight_decay=1.0))


def train(
    scenario: Scenario,
    model: nn.Module,
    plan: mt.Plan,
    optimizer: torch.optim.Optimizer,
    part: slice,
    steps: int = 3,
) -> list[float]:
    """Train on a part of the batch; return the norms of the gradients."""
    norms = []
    for _ in range(steps):
        optimizer.zero_grad()
        if scenario.kind == "gpt":
            model(TOKENS[part]).square().mean().backward()
        else:
            x, y = (data[part].to(scenario.dtype) for data in (ROWS, TARGETS))
            (model(x) - y).square().mean().backward()
        if scenario.clip:
            norms.append(float(plan.clip_grad_norm_(model, MAX_NORM)))
        optimizer.step()
    return norms


def alone(scenario: Scenario) -> Outcome:
    """Go through the scenario on one process."""
    model, base = pair(scenario)
    plan = mt.plan(model, base, example_inputs=TOKENS if scenario.kind == "gpt" else None)
    plan.initialize(model)
    initial, steps = values(model), 4 if scenario.when == "resumed" else 3
    norms = train(scenario, model, plan, optimizer_of(model, plan), slice(None), steps)
    return Outcome(initial, values(model), norms)


def spread_out(how: str, model: nn.Module) -> nn.Module:
    """Wrap or shard the model."""
    # These modules of torch need torch.distributed.
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import init_device_mesh
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    if how == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if how == "hybrid fsdp":
        mesh = init_device_mesh("cpu", (PROCESSES, 1), mesh_dim_names=("copies", "shards"))
    else:
        mesh = init_device_mesh("cpu", (PROCESSES,))
    if "tensor parallel" in how:
        layers = {"hidden.0": ColwiseParallel(), "hidden.1": RowwiseParallel()}
        if how == "tensor parallel":
            layers = {
                "input": ColwiseParallel(),
                "hidden.0": RowwiseParallel(),
                "hidden.1": ColwiseParallel(),
                "readout": RowwiseParallel(),
            }
        return parallelize_module(model, mesh, layers)
    if how == "fsdp":
        for layer in getattr(model, "blocks", getattr(model, "hidden", ())):
            fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def together(scenario: Scenario, rank: int) -> Outcome:
    """Go through the scenario as one of the processes."""
    model, base = pair(scenario)
    plan = mt.plan(model, base, example_inputs=TOKENS if scenario.kind == "gpt" else None)
    part = slice(None) if "tensor parallel" in scenario.spread else slice(4 * rank, 4 * rank + 4)
    if scenario.when == "deferred":
        model = deferred(scenario, model)
        initialized(plan, model)
    elif scenario.when == "initialize after":
        model = spread_out(scenario.spread, model)
        initialized(plan, model)
    else:
        plan.initialize(model)
        if scenario.when == "compiled" and scenario.spread == "ddp":
            model = torch.compile(model, backend="eager")
        model = spread_out(scenario.spread, model)
    initial = values(model)
    if scenario.when == "resumed":
        return Outcome(initial, resumed(scenario, model, plan, part))
    if scenario.when == "compiled":
        model = torch.compile(model, backend="eager")
    norms = train(scenario, model, plan, optimizer_of(model, plan), part)
    return Outcome(initial, values(model), norms)


def initialized(plan: mt.Plan, model: nn.Module) -> None:
    """Initialise; fail in all processes if one fails, so that none waits for another."""
    errors: list[Any] = [None] * PROCESSES
    try:
        plan.initialize(model)
    except Exception as error:
        dist.all_gather_object(errors, f"{type(error).__name__}: {error}")
    else:
        dist.all_gather_object(errors, None)
    if any(errors):
        raise RuntimeError(f"on each process: {errors}")


def deferred(scenario: Scenario, drawn: nn.Module) -> nn.Module:
    """Shard the model on the meta device, then copy the values of another model."""
    from torch.distributed.tensor import distribute_tensor

    model = spread_out(scenario.spread, copy.deepcopy(drawn).to("meta")).to_empty(device="cpu")
    with torch.no_grad():
        for shard, other in zip(model.parameters(), drawn.parameters(), strict=True):
            value = distribute_tensor(other.detach(), shard.device_mesh, shard.placements)
            shard.copy_(value)
    return model


def resumed(scenario: Scenario, model: nn.Module, plan: mt.Plan, part: slice) -> dict[str, Tensor]:
    """Take two steps, load a distributed checkpoint into a new model, take two more."""
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    early = optimizer_of(model, plan)
    train(scenario, model, plan, early, part, 2)
    state, optimizer_state = copy.deepcopy(get_state_dict(model, early))
    other = spread_out(scenario.spread, pair(scenario)[0])
    late = optimizer_of(other, plan)
    set_state_dict(other, late, model_state_dict=state, optim_state_dict=optimizer_state)
    train(scenario, other, plan, late, part, 2)
    return values(other)


def planned_afterwards(how: str) -> dict[str, Any]:
    """Plan a model that was spread out; return whether it has its plan, or a refusal."""
    model, base = pair(Scenario(how))
    expected = mt.plan(model, base)
    try:
        again = mt.plan(spread_out(how, model), base)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"equal": again == expected}


def main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store, limit = f"file://{folder}/store", timedelta(seconds=20)
    dist.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=PROCESSES, timeout=limit
    )
    outcomes: dict[str, Any] = {}
    for scenario in SCENARIOS:
        try:
            outcomes[str(scenario)] = together(scenario, rank).__dict__
        except Exception:
            outcomes[str(scenario)] = Outcome(error=traceback.format_exc()).__dict__
    outcomes["planned afterwards"] = {how: planned_afterwards(how) for how in SPREADS}
    torch.save(outcomes, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Run both processes; return the outcomes of each."""
    folder = tmp_path_factory.mktemp("distributed")
    return run_processes("tests.pytorch.test_distributed", folder, PROCESSES, seconds=120)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_training_on_two_processes_is_training_on_one(
    processes: list[dict[str, Any]], scenario: Scenario
) -> None:
    expected = alone(scenario)
    tolerance = 1e-6 if scenario.dtype == torch.float32 else 1e-12
    if scenario.clip:
        assert min(expected.norms) > 2 * MAX_NORM
    for rank in range(PROCESSES):
        outcome = Outcome(**processes[rank][str(scenario)])
        assert not outcome.error, outcome.error
        assert outcome.norms == pytest.approx(expected.norms, rel=tolerance)
        assert_close(outcome.initial, expected.initial, tolerance)
        assert_close(outcome.final, expected.final, tolerance)


@pytest.mark.parametrize("how", SPREADS)
def test_a_model_spread_out_has_its_plan_or_is_refused(
    processes: list[dict[str, Any]], how: str
) -> None:
    for rank in range(PROCESSES):
        outcome = processes[rank]["planned afterwards"][how]
        if "error" in outcome:
            message = outcome["error"]
            assert re.match(r"MutransferError: .*\bplan (it|the model) before", message), message
        else:
            assert outcome["equal"]


if __name__ == "__main__":
    main(int(sys.argv[1]), str(Path(sys.argv[2])))
