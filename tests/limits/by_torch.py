"""Networks of finite width, trained by torch with explicit weights and autograd."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from mutransfer.limits import Problem
from tests.models import LimitNetwork, LimitSGD

Array = np.ndarray[Any, np.dtype[np.float64]]
LOSS = {
    "mse": lambda f, y: 0.5 * ((f - y) ** 2).mean(),
    "logistic": lambda f, y: nn.functional.softplus(-y * f).mean(),
    "cosh": lambda f, y: torch.cosh(f - y).mean(),
}


class Run(NamedTuple):
    """One training run.

    Attributes:
        outputs: (times, examples).
        features: (layers, times, examples, width).
        gradients: gamma0 N df/dh, the same shape.
    """

    outputs: Array
    features: Array
    gradients: Array


def by_torch(p: Problem, width: int, depth: int, seed: int) -> Run:
    """Train the network that `limits.simulate` trains for this seed."""
    network = LimitNetwork(p, depth, width, seed)
    optimizer = LimitSGD(p, network)
    inputs, targets = torch.tensor(p.inputs, requires_grad=True), torch.tensor(p.targets)
    times = []
    for step in range(p.steps + 1):
        f, layers = network(inputs)
        back = torch.autograd.grad(f.sum(), layers, retain_graph=True)
        fields = f.detach().clone(), torch.stack(layers).detach(), torch.stack(back)
        times.append([field.numpy() for field in fields])
        if step < p.steps:
            batch = range(len(targets)) if p.batches is None else p.batches[step]
            optimizer.zero_grad()
            LOSS[p.objective.name](f[list(batch)], targets[list(batch)]).backward()
            optimizer.step()
    outputs, features, gradients = zip(*times, strict=True)
    return Run(np.array(outputs), np.stack(features, 1), p.gamma0 * width * np.stack(gradients, 1))
