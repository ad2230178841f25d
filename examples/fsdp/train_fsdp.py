"""Train with FSDP2, in as many processes as torchrun starts.

torchrun --standalone --nproc-per-node 2 train_fsdp.py --lr 0.01 --width 64 --steps 50
"""

import argparse
import json

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F

import mutransfer as mt


def build(width):
    return nn.Sequential(
        nn.Linear(8, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 1),
    )


def batch(step, seed, rank):
    draw = torch.Generator().manual_seed(1_000_003 * seed + 1009 * step + rank)
    x = torch.randn(16, 8, generator=draw)
    return x, x[:, :1] * x[:, 1:2]


def train(args):
    mesh = dist.init_device_mesh("cpu", (dist.get_world_size(),))
    torch.manual_seed(args.seed)
    model = build(args.width)
    plan = mt.plan(model, build(16))
    plan.initialize(model)
    for layer in model[::2]:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(plan.param_groups(model, args.lr, undecayed=["bias"]))

    for step in range(1, args.steps + 1):
        x, y = batch(step, args.seed, dist.get_rank())
        loss = F.mse_loss(model(x), y)
        loss.backward()
        plan.clip_grad_norm_(model, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        mean = loss.detach() / dist.get_world_size()
        dist.all_reduce(mean)
        if dist.get_rank() == 0:
            print(json.dumps({"step": step, "loss": mean.item()}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    for name in ("width", "steps", "seed"):
        parser.add_argument(f"--{name}", type=int, default=0)
    args = parser.parse_args()
    dist.init_process_group("gloo")
    # In a function of its own: the sharded model goes before the processes part.
    train(args)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
