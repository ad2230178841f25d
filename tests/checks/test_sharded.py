"""A check of models that are sharded over two processes has the slopes of a check in one.

This file run as a module is one of the two processes.
"""

import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

import mutransfer as mt
from mutransfer.tasks import gpt
from tests.processes import run_processes

pytestmark = pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(),
    reason="needs torch.distributed with gloo",
)

PROCESSES = 2
Slopes = dict[tuple[str, str, str, str, int], float]


def sharded(model: nn.Module) -> nn.Module:
    """Each block, and the root."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import init_device_mesh

    mesh = init_device_mesh("cpu", (PROCESSES,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def replicated(model: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(model)


SPREADS = {"fsdp": sharded, "ddp": replicated}


def checked(spread: str | None) -> mt.CoordinateCheck:
    prepare = None if spread is None else SPREADS[spread]
    build, sizes = partial(gpt, depth=1, vocabulary=32), {"width": [16, 64]}
    return mt.coordinate_check(build, **sizes, seeds=1, steps=2, prepare=prepare, control=False)


def slopes(check: mt.CoordinateCheck) -> Slopes:
    """All but those of blocks, which are not measured where a model is prepared."""
    return {
        (slope.axis, slope.kind, slope.name, slope.quantity, slope.step): slope.slope
        for slope in check.slopes
        if slope.quantity != "nonlinearity"
    }


def main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=20),
    )
    torch.save({how: slopes(checked(how)) for how in SPREADS}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Slopes]]:
    """The slopes that each process found."""
    folder = tmp_path_factory.mktemp("sharded")
    return run_processes("tests.checks.test_sharded", folder, PROCESSES, seconds=60)


@pytest.mark.parametrize("how", SPREADS)
def test_the_slopes_are_those_of_one_process(processes: list[dict[str, Slopes]], how: str) -> None:
    expected = slopes(checked(None))
    assert {key[1] for key in expected} == {"module", "tensor", "attention", "loss"}
    for rank in range(PROCESSES):
        found = processes[rank][how]
        assert found.keys() ^ expected.keys() == set()
        assert found == pytest.approx(expected, abs=1e-3)


if __name__ == "__main__":
    main(int(sys.argv[1]), str(Path(sys.argv[2])))
