"""Time and memory of a plan for a Llama-3-70B-shaped model on the meta device. Run it with python benchmarks/plan_large/run.py."""

import resource
import time

import torch
import transformers

import mutransfer as mt


def llama(width: int, depth: int, heads: int, feed_forward: int) -> torch.nn.Module:
    config = transformers.LlamaConfig(
        hidden_size=width,
        intermediate_size=feed_forward,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=8,
        vocab_size=128256,
    )
    with torch.device("meta"):
        return transformers.LlamaForCausalLM(config)


def main() -> None:
    model, base = llama(8192, 80, 64, 28672), llama(1024, 10, 8, 3584)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    plan = mt.plan(model, base)
    seconds, memory = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(plan)
    billions = sum(parameter.numel() for parameter in model.parameters()) / 1e9
    print(f"{billions:.1f} billion parameters, {plan.depth[1]} branches: {seconds:.1f} s, {memory / 1024:.0f} MB more")


if __name__ == "__main__":
    main()
