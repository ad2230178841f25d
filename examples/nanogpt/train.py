"""Train a character-level GPT on a text file, in the style of nanoGPT.

    python FILE input.txt --out out --width 128 --depth 2 --lr 0.001

Stopped at any time, the same command goes on from its last checkpoint.
"""

import argparse
import math
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import mutransfer as mt

HEAD = 16
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm_1, self.norm_2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (-1, HEAD)).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).split(x.shape[-1], dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class GPT(nn.Module):
    def __init__(self, vocabulary, context, width, depth):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                # nanoGPT has 0.02, for a width of 768; this is for one of 32.
                is_residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.08 / math.sqrt(2 * depth if is_residual else 1))
        self.head.weight = self.tokens.weight

    def forward(self, x):
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))

    def param_groups(self, weight_decay):
        decayed = [p for p in self.parameters() if p.dim() == 2]
        others = [p for p in self.parameters() if p.dim() < 2]
        return [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    for name, default in {"lr": 0.001, "weight-decay": 0.1, "clip": 1.0}.items():
        parser.add_argument(f"--{name}", type=float, default=default)
    sizes = {"width": 128, "depth": 2, "context": 64, "batch": 16, "accumulate": 1}
    for name, default in {**sizes, "steps": 1000, "save": 100, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def load(path):
    text = path.read_text()
    number = {character: n for n, character in enumerate(sorted(set(text)))}
    data = torch.tensor([number[character] for character in text])
    train, validation = data.split([len(data) * 9 // 10, len(data) - len(data) * 9 // 10])
    return train, validation, len(number)


def draw(data, args, number):
    generator = torch.Generator().manual_seed(1_000_003 * args.seed + number)
    starts = torch.randint(len(data) - args.context, (args.batch, 1), generator=generator)
    rows = data[starts + torch.arange(args.context + 1)].to(DEVICE)
    return rows[:, :-1], rows[:, 1:]


def loss_of(model, x, y):
    with torch.autocast(DEVICE, torch.bfloat16):
        logits = model(x)
    return F.cross_entropy(logits.flatten(0, 1).float(), y.flatten())


def rate_at(step, args):
    warmup = args.steps // 10
    if step < warmup:
        return args.lr * (step + 1) / (warmup + 1)
    share = (step - warmup) / (args.steps - warmup)
    return args.lr * (0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2)


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    train, validation, vocabulary = load(args.text)
    model = GPT(vocabulary, args.context, args.width, args.depth).to(DEVICE)
    plan = mt.plan(model, GPT(vocabulary, args.context, width=32, depth=2))
    plan.initialize(model)
    groups = plan.param_groups(model, args.lr, weight_decay=args.weight_decay, undecayed=["gain"])
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95))

    start, checkpoint, log = 0, args.out / "checkpoint.pt", args.out / "log.csv"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=DEVICE)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        start = saved["step"]
    elif not log.exists():
        log.write_text("step,loss,val_loss\n")

    for step in range(start, args.steps):
        rate = rate_at(step, args)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_factor"]
        total = 0.0
        for part in range(args.accumulate):
            loss = loss_of(model, *draw(train, args, step * args.accumulate + part))
            (loss / args.accumulate).backward()
            total += loss.item() / args.accumulate
        plan.clip_grad_norm_(model, args.clip)
        optimizer.step()
        optimizer.zero_grad()

        val_loss, is_saved = "", (step + 1) % args.save == 0 or step + 1 == args.steps
        if is_saved:
            with torch.no_grad():
                losses = [loss_of(model, *draw(validation, args, -1 - n)) for n in range(8)]
            val_loss = torch.stack(losses).mean().item()
        with log.open("a") as file:
            file.write(f"{step + 1},{total},{val_loss}\n")
        if is_saved:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step + 1}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)


if __name__ == "__main__":
    main()
