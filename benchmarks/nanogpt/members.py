"""A GPT of width 128 with 32 members, against loops on the same device."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from mutransfer.studies._models import Models
from mutransfer.studies._shapes import shapes
from mutransfer.studies._ways import Asked, choose_ways
from mutransfer.tasks import gpt

from ..sweep_throughput.cases import Case
from ..sweep_throughput.sides import (
    Side,
    compiled_model,
    data_of,
    eager_loop,
    library,
    loss_of,
    models_of,
    now,
)

CASE = Case(build=gpt, width=128, depth=2, task="pydocs", batch=16, steps=20, goals=(20.0, 3.0))
LOOP, OURS = "eager loop, fused Adam", "library, as chosen"
ROUNDS = 5


def graphed_step(case: Case) -> Side:
    """Return a loop over one CUDA graph of gradient and fused Adam."""
    models, rates = models_of(case, 0, 1)
    inputs, targets = data_of(case)
    model, states = models[0], [dict(model.state_dict()) for model in models]
    states[0] = {name: value.clone() for name, value in states[0].items()}
    lr = torch.tensor(rates[0], device=case.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True, capturable=True)
    loss = torch.compile(loss_of, dynamic=False)
    x, y = inputs[: case.batch].clone(), targets[: case.batch].clone()

    def step() -> None:
        loss(model, x, y).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def side(ready: Callable[[], object]) -> tuple[float, int]:
        start = now(case)
        for state, rate in zip(states, rates, strict=True):
            model.load_state_dict(state)
            lr.fill_(rate)
            for held in optimizer.state.values():
                for tensor in held.values():
                    tensor.zero_()
            for _ in range(case.steps):
                rows = torch.randint(len(targets), (case.batch,), device=case.device)
                x.copy_(inputs[rows])
                y.copy_(targets[rows])
                graph.replay()
        return now(case) - start, len(states) * case.steps

    return side


def rivals(case: Case) -> dict[str, Callable[[], Side]]:
    """Return compiled loops; on a processor without the compiler, which is slow."""
    if case.device != "cuda":
        return {"loop by torch.compile": lambda: compiled_model(case, backend="eager")}
    return {
        "compiled loop, CUDA graphs": lambda: compiled_model(case, mode="reduce-overhead"),
        "compiled loop, whole step as a CUDA graph": lambda: graphed_step(case),
    }


def measured(device: str, *, tiny: bool) -> dict[str, Any]:
    """Return the member-steps a second of all sides, medians of rounds in turns."""
    case = replace(CASE.small() if tiny else CASE, device=None if device == "cpu" else device)
    study = case.study(case.long)
    (shape,) = shapes(study, study.runs())
    asked = Asked(shape=shape, expected=len(shape.runs))
    (way,) = choose_ways(Models(study), [asked], case.device)
    assert way is not None
    program = replace(way.program, shrink=None)
    makers = {LOOP: lambda: eager_loop(case), **rivals(case)}
    makers[OURS] = lambda: library(case, program)
    sides: dict[str, Side] = {}
    failed: dict[str, str] = {}
    for name, make in makers.items():
        try:
            sides[name] = make()
            # Compiles, and is not counted.
            sides[name](lambda: None)
        except RuntimeError as error:
            # A rival that this machine cannot run must not cost the other figures.
            failed[name] = str(error).splitlines()[0]
            sides.pop(name, None)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(1 if tiny else ROUNDS):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            seconds, steps = sides[name](lambda: None)
            rates[name].append(steps / seconds)
    return {
        "members": case.members,
        "rates": {name: statistics.median(each) for name, each in rates.items()},
        "failed": failed,
        "way": way.to_json(),
    }


def show(figures: dict[str, Any]) -> None:
    """Print the rates and ratios."""
    rates, goals = figures["rates"], dict.fromkeys(figures["rates"], CASE.goals[1])
    goals[LOOP] = CASE.goals[0]
    print(f"GPT, width {CASE.width}, {figures['members']} members, member-steps a second")
    for name, rate in rates.items():
        goal = "" if name == OURS else f", library {rates[OURS] / rate:.2f}x (goal {goals[name]})"
        print(f"  {name}: {rate:.0f}{goal}")
    for name, reason in figures["failed"].items():
        print(f"  {name}: failed: {reason}")
    print(f"  way: {figures['way']}", flush=True)
