"""A script that knows nothing of mutransfer: a perceptron by hand, logged as a CSV or as JSON.

python train.py --lr 0.1 --width 32 --out folder
python train.py --lr 0.1 --width 32
"""

import argparse
import json
from pathlib import Path

import numpy as np


def train(width, lr, seed, steps):
    """Yield the loss of each step; layers and rates are those of muP for SGD."""
    draw = np.random.default_rng(seed)
    first = draw.normal(size=(8, width)) / 8**0.5
    second = draw.normal(size=(width, 1)) / width
    for _ in range(steps):
        x = draw.normal(size=(64, 8))
        hidden = np.maximum(x @ first, 0)
        error = hidden @ second - np.maximum(x[:, :1], 0)
        yield float((error**2).mean())
        gradient = 2 * error / len(x)
        back = (gradient @ second.T) * (hidden > 0)
        first -= lr * width * x.T @ back
        second -= lr / width * hidden.T @ gradient


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    losses = enumerate(train(args.width, args.lr, args.seed, args.steps))
    if args.out is None:
        for iteration, loss in losses:
            print(json.dumps({"iteration": iteration, "train_loss": loss}))
        return
    with (args.out / "log.csv").open("w") as file:
        print("iteration,nll", file=file)
        for iteration, loss in losses:
            print(f"{iteration},{loss}", file=file, flush=True)


if __name__ == "__main__":
    main()
