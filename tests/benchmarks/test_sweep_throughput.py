"""The sides of the throughput benchmark do the work that they are timed for."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.jax_peer import run as jax_peer
from benchmarks.sweep_throughput import sides, whole
from benchmarks.sweep_throughput.cases import CASES
from benchmarks.sweep_throughput.hosts import Hosts, alternating
from mutransfer.training import Program

SMALL = {name: case.small() for name, case in CASES.items()}


@pytest.fixture
def not_compiled(monkeypatch):
    """Leaves the compiler out, which takes long and changes no number."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)


@pytest.fixture
def ready():
    """Counts how often a side says that it is ready."""
    calls = []
    return lambda: calls.append(True) or len(calls)


@pytest.mark.parametrize("make", [sides.eager_loop, sides.compiled_model, sides.compiled_step])
@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
@pytest.mark.usefixtures("not_compiled")
def test_loops_train_their_share(case, make, ready):
    seconds, steps = make(case, 1, 2)(ready)
    assert (steps, ready()) == (case.members // 2 * case.steps, 2)
    assert seconds > 0


@pytest.mark.parametrize("slots", [1, 2, None])
@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
def test_the_library_is_timed_after_its_first_step(case, slots, ready):
    seconds, steps = sides.library(case, Program(slots=slots), 0, 2)(ready)
    together = slots or case.members // 2
    assert steps == case.members // 2 * (case.steps + 1) - together
    assert (ready(), seconds > 0) == (2, True)


def test_the_compiled_step_is_adam():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    ours = {name: p.detach().clone() for name, p in model.named_parameters()}
    first, second = ({n: torch.zeros_like(p) for n, p in ours.items()} for _ in range(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    count, lr = torch.zeros(()), torch.tensor(0.1)
    for _ in range(5):
        x, y = torch.randn(8, 4), torch.randint(3, (8,))
        optimizer.zero_grad()
        loss = sides.loss_of(model, x, y)
        loss.backward()
        optimizer.step()
        found = sides._adam_step(torch.nn.Linear(4, 3), ours, first, second, count, lr, x, y)
        torch.testing.assert_close(found, loss.detach())
    torch.testing.assert_close(ours, {n: p.detach() for n, p in model.named_parameters()})


def test_sides_take_turns_in_processes_of_their_own():
    case = SMALL["MLP, width 64"]
    with Hosts(1, threads=1) as host:
        start = host.prepare("loop", sides.eager_loop, case)
        assert host.call(torch.get_num_threads) == 1
        paces = alternating({"loop": (host, start)}, rounds=3)
        with pytest.raises(RuntimeError, match="KeyError"):
            host.rate("unknown")
    assert len(paces["loop"].rounds) == 3
    assert paces["loop"].rate == sorted(paces["loop"].rounds)[1] > 0


@pytest.mark.parametrize("side", ["loop", "library"])
def test_whole_runs_train_all_members(side, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["whole", "MLP, width 64", side, "4", "--small"])
    done = []
    monkeypatch.setattr(whole, "run", lambda case, side: done.append((case, side)))
    whole.main()
    assert done == [(replace(SMALL["MLP, width 64"], steps=4), side)]


@pytest.mark.parametrize("case", [SMALL[name] for name in jax_peer.NAMES], ids=jax_peer.NAMES)
def test_jax_gets_the_same_models_and_batches(case, tmp_path):
    jax_peer.write(case, tmp_path / "case.npz")
    file, data = np.load(tmp_path / "case.npz"), case.data()
    models, rates = sides.models_of(case, 0, 1)
    np.testing.assert_allclose(file["rates"], rates)
    for name, value in models[2].state_dict().items():
        np.testing.assert_array_equal(file[f"p/{name}"][2], value)
    rows = file["rows"]
    assert rows.shape == (case.steps, case.members, case.batch)
    if "tokens" in file.files:
        windows = file["tokens"][rows[1, 0][:, None] + np.arange(int(file["context"]) + 1)]
        np.testing.assert_array_equal(windows[:, :-1], data.inputs[rows[1, 0]])
        np.testing.assert_array_equal(windows[:, 1:], data.targets[rows[1, 0]])
    else:
        np.testing.assert_array_equal(file["inputs"], data.inputs)
