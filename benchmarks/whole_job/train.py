"""One run of a sweep, as scripts of this kind do it: flags in, a loss out.

python train.py --width 64 --lr 0.01 --seed 0
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn


def main() -> None:
    """Train a perceptron on handwritten digits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    data = load_digits()
    images = torch.tensor(data.data, dtype=torch.float32)
    images = (images - images.mean()) / images.std()
    labels = torch.tensor(data.target).long()

    layers: list[nn.Module] = []
    inputs = images.shape[1]
    for _ in range(args.depth):
        layers += [nn.Linear(inputs, args.width), nn.ReLU()]
        inputs = args.width
    model = nn.Sequential(*layers, nn.Linear(inputs, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, fused=True)
    order = torch.randperm(len(images))
    per_epoch, losses = len(images) // args.batch, []
    for step in range(args.steps):
        if step and step % per_epoch == 0:
            order = torch.randperm(len(images))
        start = step % per_epoch * args.batch
        rows = order[start : start + args.batch]
        loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"width {args.width} lr {args.lr} seed {args.seed} loss {sum(losses) / len(losses)}")


if __name__ == "__main__":
    main()
