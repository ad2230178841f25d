"""Training over two processes is training on one: DDP, FSDP2 and tensor parallelism, with the plan before and after sharding.

This file run as a script is one of the two processes: it goes through every scenario and saves what came out.
"""

import copy
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mutransfer.plan import Plan, plan
from mutransfer.tasks._models import gpt, mlp

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs torch.distributed with gloo")

PROCESSES = 2
MAX_NORM = 0.01
"""Below every gradient's norm."""
ROWS, TARGETS = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.randn(8, 1, generator=torch.Generator().manual_seed(1))
TOKENS = torch.randint(11, (8, 6), generator=torch.Generator().manual_seed(0))


def new_mlp(scale: int) -> nn.Module:
    """One output: its readout's bias cannot be cut in two, so one process has none of it."""
    return mlp(8 * scale, 3, inputs=6, outputs=1)


def new_gpt(scale: int) -> nn.Module:
    return gpt(16 * scale, scale, heads=2, vocabulary=11, context=6, tied=True)


@dataclass(frozen=True)
class Scenario:
    """How a model is spread over processes, when the plan is applied, and what it is trained with."""

    spread: str
    when: str = "initialize before"
    clip: bool = False
    kind: str = "mlp"
    dtype: torch.dtype = torch.float64

    def __str__(self) -> str:
        words = (self.spread, self.when, self.kind, str(self.dtype).removeprefix("torch."), "clipped" if self.clip else "")
        return ", ".join(filter(None, words))


SPREADS = ("ddp", "fsdp", "fsdp of the whole", "hybrid fsdp", "tensor parallel", "partly tensor parallel")
SCENARIOS = [
    *(Scenario(spread, when, clip) for spread in SPREADS for when in ("initialize before", "initialize after") for clip in (False, True)),
    *(Scenario(spread, when, clip=True, kind="gpt") for spread in ("ddp", "fsdp") for when in ("initialize before", "initialize after")),
    *(Scenario(spread, clip=True, dtype=torch.float32) for spread in ("ddp", "fsdp")),
    Scenario("fsdp", "initialize after", dtype=torch.float32),
    Scenario("fsdp", "deferred"),
    Scenario("fsdp", "resumed"),
    Scenario("fsdp", "compiled", clip=True),
    Scenario("ddp", "compiled", clip=True),
]


@dataclass
class Outcome:
    """What a scenario gave on one process: values of the whole tensors after initialize and after training, and gradient norms."""

    initial: dict[str, Tensor] = field(default_factory=dict)
    final: dict[str, Tensor] = field(default_factory=dict)
    norms: list[float] = field(default_factory=list)
    error: str = ""


def whole(tensor: Tensor) -> Tensor:
    return (tensor.detach().full_tensor() if hasattr(tensor, "full_tensor") else tensor.detach()).clone()


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name.replace("_orig_mod.", "").removeprefix("module."): whole(p) for name, p in model.named_parameters()}


def pair(scenario: Scenario) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    make = new_gpt if scenario.kind == "gpt" else new_mlp
    return make(2).to(scenario.dtype), make(1).to(scenario.dtype)


def optimizer_of(model: nn.Module, own: Plan) -> torch.optim.Optimizer:
    return torch.optim.AdamW(own.param_groups(model, 0.02, eps=1e-2, weight_decay=1.0))


def train(scenario: Scenario, model: nn.Module, own: Plan, optimizer: torch.optim.Optimizer, part: slice, steps: int = 3) -> list[float]:
    norms = []
    for _ in range(steps):
        optimizer.zero_grad()
        if scenario.kind == "gpt":
            model(TOKENS[part]).square().mean().backward()
        else:
            (model(ROWS[part].to(scenario.dtype)) - TARGETS[part].to(scenario.dtype)).square().mean().backward()
        if scenario.clip:
            norms.append(float(own.clip_grad_norm_(model, MAX_NORM)))
        optimizer.step()
    return norms


def alone(scenario: Scenario) -> Outcome:
    """The scenario on one process."""
    model, base = pair(scenario)
    own = plan(model, base, example_inputs=TOKENS if scenario.kind == "gpt" else None)
    own.initialize(model)
    initial = values(model)
    norms = train(scenario, model, own, optimizer_of(model, own), slice(None), 4 if scenario.when == "resumed" else 3)
    return Outcome(initial, values(model), norms)


def spread_out(how: str, model: nn.Module) -> nn.Module:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

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
    """The scenario as one of the processes."""
    model, base = pair(scenario)
    own = plan(model, base, example_inputs=TOKENS if scenario.kind == "gpt" else None)
    part = slice(None) if "tensor parallel" in scenario.spread else slice(4 * rank, 4 * rank + 4)
    if scenario.when == "deferred":
        model = deferred(scenario, model)
        initialized(own, model)
    elif scenario.when == "initialize after":
        model = spread_out(scenario.spread, model)
        initialized(own, model)
    else:
        own.initialize(model)
        if scenario.when == "compiled" and scenario.spread == "ddp":
            model = torch.compile(model, backend="eager")
        model = spread_out(scenario.spread, model)
    initial = values(model)
    if scenario.when == "resumed":
        return Outcome(initial, resumed(scenario, model, own, part))
    if scenario.when == "compiled":
        model = torch.compile(model, backend="eager")
    norms = train(scenario, model, own, optimizer_of(model, own), part)
    return Outcome(initial, values(model), norms)


def initialized(own: Plan, model: nn.Module) -> None:
    """Initialise, or fail in all processes where one of them does, so that none waits for another."""
    errors: list[Any] = [None] * PROCESSES
    try:
        own.initialize(model)
    except Exception as error:
        dist.all_gather_object(errors, f"{type(error).__name__}: {error}")
    else:
        dist.all_gather_object(errors, None)
    if any(errors):
        raise RuntimeError(f"on each process: {errors}")


def deferred(scenario: Scenario, drawn: nn.Module) -> nn.Module:
    """Sharded on the meta device, then given values: here those that another model drew."""
    from torch.distributed.tensor import distribute_tensor

    model = spread_out(scenario.spread, copy.deepcopy(drawn).to("meta")).to_empty(device="cpu")
    with torch.no_grad():
        for own, other in zip(model.parameters(), drawn.parameters(), strict=True):
            own.copy_(distribute_tensor(other.detach(), own.device_mesh, own.placements))
    return model


def resumed(scenario: Scenario, model: nn.Module, own: Plan, part: slice) -> dict[str, Tensor]:
    """Two steps, a distributed checkpoint into a new model, two more."""
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    early = optimizer_of(model, own)
    train(scenario, model, own, early, part, 2)
    state, optimizer_state = copy.deepcopy(get_state_dict(model, early))
    other = spread_out(scenario.spread, pair(scenario)[0])
    late = optimizer_of(other, own)
    set_state_dict(other, late, model_state_dict=state, optim_state_dict=optimizer_state)
    train(scenario, other, own, late, part, 2)
    return values(other)


def planned_afterwards(how: str) -> dict[str, Any]:
    """The plan that a model has that was spread out before, and the refusal where it has none."""
    model, base = pair(Scenario(how))
    expected = plan(model, base)
    try:
        again = plan(spread_out(how, model), base)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"equal": again == expected}


def main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES, timeout=timedelta(seconds=20))
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
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """What each process found."""
    folder = tmp_path_factory.mktemp("distributed")
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)],
            env=os.environ | {"PYTHONHASHSEED": str(rank)},  # sets have another order in each process, which must not matter
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(PROCESSES)
    ]
    try:
        texts = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0] * PROCESSES, "\n".join(texts)
    yield [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_it_is_training_on_one_process(processes: list[dict[str, Any]], scenario: Scenario) -> None:
    expected = alone(scenario)
    tolerance = 1e-6 if scenario.dtype == torch.float32 or (scenario.kind == "gpt" and scenario.dtype == torch.float32) else 1e-12
    if scenario.clip:
        assert min(expected.norms) > 2 * MAX_NORM
    for rank in range(PROCESSES):
        found = Outcome(**processes[rank][str(scenario)])
        assert not found.error, found.error
        assert found.norms == pytest.approx(expected.norms, rel=tolerance)
        for got, wanted in ((found.initial, expected.initial), (found.final, expected.final)):
            assert got.keys() == wanted.keys()
            for name, tensor in wanted.items():
                torch.testing.assert_close(got[name], tensor, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("how", SPREADS)
def test_planning_what_was_spread_out_gives_its_plan_or_says_what_to_plan(processes: list[dict[str, Any]], how: str) -> None:
    for rank in range(PROCESSES):
        found = processes[rank]["planned afterwards"][how]
        if "error" in found:
            assert re.match(r"MutransferError: .*\bplan (it|the model) before", found["error"]), found["error"]
        else:
            assert found["equal"]


if __name__ == "__main__":
    main(int(sys.argv[1]), str(Path(sys.argv[2])))
