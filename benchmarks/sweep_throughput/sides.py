"""Sides of the benchmark: loops as users write them, the library's programs.

A side is made for a share of the members, and called once a round. It calls `ready` after its own
warm-up, and returns the seconds and the number of member-steps that it did since.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mutransfer.studies import members, recipe
from mutransfer.training import Program, train

from .cases import Case

Side = Callable[[Callable[[], object]], tuple[float, int]]

BETAS, EPS = (0.9, 0.999), 1e-8


def models_of(case: Case, first: int, stride: int) -> tuple[list[nn.Module], list[float]]:
    """Return models and rates of every so many-th member."""
    study = case.study(1)
    runs = study.runs()[first::stride]
    models = [copy.deepcopy(each.model).to(case.device) for each in members(study, runs)]
    return models, [float(run.point["lr"]) for run in runs]


def data_of(case: Case) -> tuple[Tensor, Tensor]:
    """Return inputs and targets on the device."""
    data = case.data()
    assert isinstance(data.inputs, Tensor)
    return data.inputs.to(case.device), data.targets.to(case.device)


def now(case: Case) -> float:
    """Return the time when the device has done all that it was given."""
    if case.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def loss_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())


def eager_loop(case: Case, first: int = 0, stride: int = 1) -> Side:
    """Return an ordinary loop over models, each with its own fused torch.optim.Adam."""
    models, rates = models_of(case, first, stride)
    inputs, targets = data_of(case)

    def side(ready: Callable[[], object]) -> tuple[float, int]:
        ready()
        start = now(case)
        for model, lr in zip(models, rates, strict=True):
            optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
            for _ in range(case.steps):
                rows = torch.randint(len(targets), (case.batch,), device=case.device)
                optimizer.zero_grad()
                loss_of(model, inputs[rows], targets[rows]).backward()
                optimizer.step()
        return now(case) - start, len(models) * case.steps

    return side


def compiled_model(case: Case, first: int = 0, stride: int = 1, **options: Any) -> Side:
    """Return the same loop with model and loss compiled.

    All members train in one model, which takes their parameters: it is compiled once.
    """
    models, rates = models_of(case, first, stride)
    inputs, targets = data_of(case)
    states = [copy.deepcopy(model.state_dict()) for model in models]
    model, loss = models[0], torch.compile(loss_of, dynamic=False, **options)

    def side(ready: Callable[[], object]) -> tuple[float, int]:
        optimizer = torch.optim.Adam(model.parameters(), lr=rates[0], fused=True)

        def step() -> None:
            rows = torch.randint(len(targets), (case.batch,), device=case.device)
            optimizer.zero_grad()
            loss(model, inputs[rows], targets[rows]).backward()
            optimizer.step()

        step()
        ready()
        start = now(case)
        for state, lr in zip(states, rates, strict=True):
            model.load_state_dict(state)
            optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
            for _ in range(case.steps):
                step()
        return now(case) - start, len(states) * case.steps

    return side


def compiled_step(case: Case, first: int = 0, stride: int = 1) -> Side:
    """Return a loop whose whole step is compiled: gradient and an Adam of its own."""
    models, rates = models_of(case, first, stride)
    (inputs, targets), template = data_of(case), copy.deepcopy(models[0])
    states = [{n: p.detach() for n, p in model.named_parameters()} for model in models]
    program = torch.compile(_adam_step, dynamic=False)

    def side(ready: Callable[[], object]) -> tuple[float, int]:
        def trained(state: dict[str, Tensor], lr: float, steps: int) -> None:
            parameters = {name: value.clone() for name, value in state.items()}
            first, second = (
                {name: torch.zeros_like(value) for name, value in state.items()} for _ in range(2)
            )
            count = torch.zeros((), device=case.device)
            rate = torch.full((), lr, device=case.device)
            for _ in range(steps):
                rows = torch.randint(len(targets), (case.batch,), device=case.device)
                batch = inputs[rows], targets[rows]
                program(template, parameters, first, second, count, rate, *batch)

        trained(states[0], rates[0], 1)
        ready()
        start = now(case)
        for state, lr in zip(states, rates, strict=True):
            trained(state, lr, case.steps)
        return now(case) - start, len(states) * case.steps

    return side


def _adam_step(
    template: nn.Module,
    parameters: dict[str, Tensor],
    first: dict[str, Tensor],
    second: dict[str, Tensor],
    count: Tensor,
    lr: Tensor,
    inputs: Tensor,
    targets: Tensor,
) -> Tensor:
    """Train a step of Adam (1412.6980) in place, and return the loss before it."""

    def score(values: dict[str, Tensor]) -> Tensor:
        output = torch.func.functional_call(template, values, (inputs,))
        return nn.functional.cross_entropy(output.flatten(0, -2), targets.flatten())

    gradients, loss = torch.func.grad_and_value(score)(parameters)
    count += 1
    size, scale = lr / (1 - BETAS[0] ** count), (1 - BETAS[1] ** count).sqrt()
    for name, gradient in gradients.items():
        first[name].lerp_(gradient, 1 - BETAS[0])
        second[name].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        parameters[name] -= size * first[name] / (second[name].sqrt() / scale + EPS)
    return loss


def library(case: Case, program: Program, first: int = 0, stride: int = 1) -> Side:
    """Return the library's training of the same members by one of its programs."""
    study = case.study(case.steps + 1)
    runs = study.runs()[first::stride]
    trained, shared = members(study, runs), replace(recipe(study, runs[0]), device=case.device)

    def side(ready: Callable[[], object]) -> tuple[float, int]:
        clock: dict[str, Any] = {"done": 0}

        def watch(count: int) -> None:
            if "start" in clock:
                clock["done"] += count
                return
            # The first step comes after stacking and compiling.
            ready()
            clock["start"] = now(case)

        train(trained, shared, watch, program=program)
        return now(case) - clock["start"], clock["done"]

    return side
