"""Time and memory of a plan for a Llama-3-70B-shaped model on the meta device.

python benchmarks/plan_large/run.py
"""

import resource
import time

import torch
import transformers

import mutransfer as mt


def llama(width: int, depth: int, heads: int, feed_forward: int) -> torch.nn.Module:
    """Return a Llama of this shape on the meta device."""
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


def peak_memory() -> int:
    """Return the largest memory of the process so far, in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Make the plan; print it, its seconds, and the memory that it added."""
    model, base = llama(8192, 80, 64, 28672), llama(1024, 10, 8, 3584)
    before, start = peak_memory(), time.perf_counter()
    plan = mt.plan(model, base)
    seconds, memory = time.perf_counter() - start, (peak_memory() - before) / 1024
    print(plan)
    billions = sum(parameter.numel() for parameter in model.parameters()) / 1e9
    print(
        f"{billions:.1f} billion parameters, {plan.depth[1]} branches: "
        f"{seconds:.1f} s, {memory:.0f} MB more"
    )


if __name__ == "__main__":
    main()
