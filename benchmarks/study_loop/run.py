"""Time of the library's loop for one member, against a loop in plain PyTorch.

Both train the same models of Hugging Face on the same masked batches, which cannot be stacked, with
the same parameter groups and schedule, and clip gradients, and take turns within one process:

    python benchmarks/study_loop/run.py [--json FILE]
"""

import argparse
import copy
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

import mutransfer as mt
from mutransfer.core import about, text
from mutransfer.tasks import Task, cross_entropy
from mutransfer.training import Member, Recipe, StackingWarning, schedule, train

STEPS, BATCH, ROUNDS, LR, CLIP = 100, 8, 5, 2.0**-8, 1.0
VOCABULARY, CONTEXT, HEAD = 256, 32, 16


def llama(width: int) -> nn.Module:
    """Return a small Llama."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=width // HEAD,
        num_key_value_heads=width // HEAD,
        max_position_embeddings=CONTEXT,
    )
    return LlamaForCausalLM(config)


def gpt2(width: int) -> nn.Module:
    """Return a small GPT-2, its head tied."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=width,
        n_layer=2,
        n_head=width // HEAD,
        n_positions=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config)


def bert(width: int) -> nn.Module:
    """Return a small BERT that classifies."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=width // HEAD,
        max_position_embeddings=CONTEXT,
        num_labels=3,
    )
    return BertForSequenceClassification(config)


MODELS: dict[str, Callable[[int], nn.Module]] = {
    "LlamaForCausalLM": llama,
    "GPT2LMHeadModel": gpt2,
    "BertForSequenceClassification": bert,
}


def task(name: str) -> Task:
    """Return random texts with a mask: next tokens, or the class of a text."""
    tokens = torch.randint(VOCABULARY, (256, CONTEXT + 1), generator=torch.Generator())
    mask = torch.ones(256, CONTEXT, dtype=torch.long)
    mask[::2, -8:] = 0
    return Task(
        name=name,
        inputs={"input_ids": tokens[:, :-1], "attention_mask": mask},
        targets=tokens[:, 0] % 3 if "Bert" in name else tokens[:, 1:],
        loss=cross_entropy,
    )


def by_hand(model: nn.Module, plan: mt.Plan, data: Task) -> list[float]:
    """Train as a user would, and return the losses."""
    model = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(plan.param_groups(model, LR))
    factors = schedule("cosine", STEPS, warmup=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: [*factors, 0.0][step])
    losses = []
    for rows in data.batches(0, STEPS, BATCH):
        optimizer.zero_grad()
        output = model(**{key: value[rows] for key, value in data.inputs.items()})
        loss = data.loss(output, data.targets[rows])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def by_library(model: nn.Module, plan: mt.Plan, data: Task) -> list[float]:
    """Train by `mutransfer.training`, and return the losses."""
    member = Member(model=model, table=plan.table(model, LR), seed=0, clip=plan.clip)
    recipe = Recipe(task=data, steps=STEPS, batch=BATCH, schedule="cosine", warmup=0.1, clip=CLIP)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackingWarning)
        return train([member], recipe).losses[0].tolist()


def measured(name: str) -> dict[str, object]:
    """Return the seconds of both sides, fastest of the rounds in turns, and their ratio."""
    torch.manual_seed(0)
    model, base, data = MODELS[name](64), MODELS[name](32), task(name)
    example = {key: value[:2] for key, value in data.inputs.items()}
    plan = mt.plan(model, base, example_inputs=example)
    plan.initialize(model)
    sides, losses, times = (by_hand, by_library), {}, {by_hand: [], by_library: []}
    for number in range(ROUNDS + 1):
        for side in sides if number % 2 else sides[::-1]:
            torch.manual_seed(0)
            start = time.perf_counter()
            losses[side] = side(model, plan, data)
            # The first round warms up allocators and caches, and is not counted.
            times[side] += [time.perf_counter() - start] if number else []
    # The fastest rounds are those that other work on the machine disturbed least.
    hand, library = (min(times[side]) for side in sides)
    same = torch.allclose(torch.tensor(losses[by_hand][0]), torch.tensor(losses[by_library][0]))
    return {
        "model": name,
        "hand": hand,
        "library": library,
        "ratio": library / hand,
        "same first loss": same,
    }


def main() -> None:
    """Measure every model, print it, and write the figures where a file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    results = []
    for name in MODELS:
        figures = measured(name)
        results.append(figures)
        print(
            f"{name}: by hand {figures['hand']:.2f} s, library {figures['library']:.2f} s for "
            f"{STEPS} steps, ratio {figures['ratio']:.3f}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(text({"about": about(), "results": results}) + "\n")


if __name__ == "__main__":
    main()
