"""A training loop of one's own: a DataLoader, validation, and checkpoints to go on from.

    mutransfer sweep examples/own_loop.py:study --out runs/own
    mutransfer sweep examples/own_loop.py:limited --out runs/limited

In `limited` the runs of the widest network fail. They are recorded as failed, the others go on, and
the exit code of the command is 1. The same command tries them again.
"""

import dataclasses

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import mutransfer as mt

BATCH = 32


def build(width):
    return nn.Sequential(
        nn.Linear(8, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 4),
    )


def examples(number, seed):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(number, 8, generator=draw)
    return TensorDataset(x, x.square().unflatten(1, (4, 2)).sum(2).argmax(1))


def train(trial):
    model, checkpoint = trial.model, trial.folder / "checkpoint.pt"
    optimizer = torch.optim.AdamW(trial.param_groups(undecayed=["bias"]))
    data, losses = examples(512, seed=0), []
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        losses = saved["losses"]
        # The record has the whole run, and not only what comes after the checkpoint.
        for step, loss in enumerate(losses, 1):
            trial.report(step, loss)

    steps = trial.hyperparameters["steps"]
    while len(losses) < steps:
        order = torch.Generator().manual_seed(1_000_003 * trial.seed + len(losses))
        for x, y in DataLoader(data, BATCH, shuffle=True, generator=order):
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            trial.plan.clip_grad_norm_(model, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            trial.report(len(losses), losses[-1])
        trial.report(len(losses), **validated(model))
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**state, "losses": losses}, checkpoint)


@torch.no_grad()
def validated(model):
    x, y = examples(512, seed=1).tensors
    logits = model(x)
    error = (logits.argmax(1) != y).float().mean()
    return {"validation": F.cross_entropy(logits, y).item(), "error": error.item()}


study = mt.Study(
    build,
    width=[16, 32, 64],
    lr=mt.log2(-9, -4),
    weight_decay=0.1,
    steps=64,
    batch=BATCH,
    seeds=2,
    train=train,
)


def train_what_fits(trial):
    if trial.size["width"] > 32:
        raise MemoryError(f"width {trial.size['width']} does not fit into this machine")
    train(trial)


limited = dataclasses.replace(study, train=train_what_fits)
