"""The network of `limits.Problem` with explicit weights, and the optimizer that trains it."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from mutransfer.limits import Problem

ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "abs": torch.abs,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "gelu": nn.functional.gelu,
}


class LimitNetwork(nn.Module):
    """The network of `limits.Problem`, with the weights that `limits.simulate` draws for a seed."""

    def __init__(self, problem: Problem, depth: int, width: int, seed: int) -> None:
        super().__init__()
        self.problem, self.depth, self.width = problem, depth, width
        random = np.random.default_rng([seed, width, depth])

        def normal(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.tensor(random.standard_normal(shape)))

        matrices = depth * problem.block_depth
        self.input = normal(width, problem.inputs.shape[1])
        self.hidden = nn.ParameterList([normal(width, width) for _ in range(matrices)])
        self.output = normal(width)
        self.input.requires_grad_(problem.train_input)
        self.output.requires_grad_(problem.train_readout)

    def branch(self, h: Tensor, matrices: list[Tensor]) -> Tensor:
        """Return the output of one branch, without its factor."""
        phi, root = ACTIVATIONS[self.problem.phi.name], math.sqrt(self.width)
        for matrix in matrices:
            h = (
                phi(h) @ matrix.T / root
                if self.problem.block == "pre"
                else phi(h @ matrix.T / root)
            )
        return h - h.mean(1, keepdim=True) if self.problem.block == "post" else h

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the outputs, and the residual stream at every layer."""
        problem, matrices = self.problem, list(self.hidden)
        layers = [x @ self.input.T / math.sqrt(x.shape[1])]
        for start in range(0, len(matrices), problem.block_depth):
            branch = self.branch(layers[-1], matrices[start : start + problem.block_depth])
            layers.append(layers[-1] + problem.beta0 / self.depth**problem.alpha * branch)
        return layers[-1] @ self.output / (problem.gamma0 * self.width), layers

    def rates(self) -> Iterator[tuple[nn.Parameter, float]]:
        """Yield every trained tensor with its rate over that of the problem."""
        rate = self.problem.gamma0**2 * self.width
        hidden = rate * self.depth ** max(0.0, 2 * self.problem.alpha - 1)
        yield from ((end, rate) for end in (self.input, self.output) if end.requires_grad)
        yield from ((matrix, hidden) for matrix in self.hidden)


class LimitSGD(torch.optim.SGD):
    """The optimizer of a problem: rates that follow its schedule, decay of every tensor."""

    def __init__(self, problem: Problem, *networks: LimitNetwork) -> None:
        self.problem, self.steps = problem, 0
        groups = [
            {"params": [tensor], "factor": factor, "weight_decay": problem.weight_decay / factor}
            for network in networks
            for tensor, factor in network.rates()
        ]
        super().__init__(groups, lr=0.0, momentum=problem.momentum, nesterov=problem.nesterov)

    def step(self, closure: None = None) -> None:
        """Take the next step of the problem's schedule."""
        schedule = self.problem.schedule
        if schedule is None:
            factor = 1.0
        else:
            factor = schedule(self.steps) if callable(schedule) else schedule[self.steps]
        for group in self.param_groups:
            group["lr"] = self.problem.lr * factor * group["factor"]
        super().step(closure)
        self.steps += 1
