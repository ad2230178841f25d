"""Training of many networks at once in JAX: vmap, jit, scan over steps.

Run by an interpreter that has jax and numpy, and nothing of this library:

    python peer.py DATA.npz serve|whole

DATA.npz holds initial parameters, batches and rates of all members; `run.py` writes it. Answers are
lines of JSON. `serve` times a round for every line on its input, `whole` trains all steps once.
"""

import json
import sys
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BETAS, EPS = (0.9, 0.999), 1e-8

Tree = dict[str, Any]


def linear(p: Tree, name: str, x: Any) -> Any:
    """Return a linear layer's output; weights are stored (out, in)."""
    y = x @ p[f"{name}.weight"].T
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def norm(p: Tree, name: str, x: Any) -> Any:
    """Return a layer norm's output."""
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]


def mlp(p: Tree, x: Any) -> Any:
    """Return the logits of a multilayer perceptron."""
    x = jax.nn.relu(linear(p, "input", x))
    for number in range(sum(n.startswith("hidden.") and n.endswith("weight") for n in p)):
        x = jax.nn.relu(linear(p, f"hidden.{number}", x))
    return linear(p, "readout", x)


def attention(p: Tree, name: str, x: Any) -> Any:
    """Return causal attention with heads of 16."""
    time_, width = x.shape[-2:]
    heads = max(1, width // 16)

    def split(part: str) -> Any:
        return linear(p, f"{name}.{part}", x).reshape(*x.shape[:-1], heads, -1)

    logits = jnp.einsum("bqhd,bkhd->bhqk", split("query"), split("key"))
    logits = logits / np.sqrt(width // heads)
    logits = jnp.where(jnp.tril(jnp.ones((time_, time_), bool)), logits, -jnp.inf)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(logits, -1), split("value"))
    return linear(p, f"{name}.out", mixed.reshape(x.shape))


def gpt(p: Tree, tokens: Any) -> Any:
    """Return the logits of a pre-norm decoder."""
    x = p["token.weight"][tokens] + p["position.weight"][: tokens.shape[-1]]
    for number in range(sum(n.endswith("up.weight") for n in p)):
        name = f"blocks.{number}"
        x = x + attention(p, name, norm(p, f"{name}.attention_norm", x))
        up = jax.nn.gelu(linear(p, f"{name}.up", norm(p, f"{name}.mlp_norm", x)), approximate=False)
        x = x + linear(p, f"{name}.down", up)
    return linear(p, "head", norm(p, "norm", x))


def loss_of(model: Any, p: Tree, inputs: Any, targets: Any) -> Any:
    """Return the mean cross-entropy."""
    logs = jax.nn.log_softmax(model(p, inputs))
    return -jnp.take_along_axis(logs, targets[..., None], -1).mean()


def step(model: Any, data: Any, state: Tree, rows: Any, lr: Any) -> tuple[Tree, Any]:
    """Return a member after one step of Adam (1412.6980), and its loss before it."""
    inputs, targets = data(rows)
    loss, gradients = jax.value_and_grad(partial(loss_of, model))(state["p"], inputs, targets)
    count = state["count"] + 1
    first = jax.tree.map(lambda m, g: BETAS[0] * m + (1 - BETAS[0]) * g, state["m"], gradients)
    second = jax.tree.map(lambda v, g: BETAS[1] * v + (1 - BETAS[1]) * g**2, state["v"], gradients)
    size, scale = lr / (1 - BETAS[0] ** count), jnp.sqrt(1 - BETAS[1] ** count)

    def moved(p: Any, m: Any, v: Any) -> Any:
        return p - size * m / (jnp.sqrt(v) / scale + EPS)

    after = jax.tree.map(moved, state["p"], first, second)
    return {"p": after, "m": first, "v": second, "count": count}, loss


def programs(model: Any, data: Any, lr: Any) -> dict[str, Any]:
    """Return programs of many steps: a scan, and a loop over jitted steps."""
    together = jax.vmap(partial(step, model, data))

    def one(state: Tree, rows: Any) -> tuple[Tree, Any]:
        return together(state, rows, lr)

    jitted = jax.jit(one)

    def looped(state: Tree, rows: Any) -> tuple[Tree, Any]:
        losses = []
        for each in rows:
            state, loss = jitted(state, each)
            losses.append(loss)
        return state, jnp.stack(losses)

    return {"scan": jax.jit(lambda state, rows: jax.lax.scan(one, state, rows)), "loop": looped}


def read(path: str) -> tuple[Any, Any, Tree, Any, Any]:
    """Return model, data, state, rows (steps, member, batch) and rates of a file."""
    file = np.load(path)
    p = {n.removeprefix("p/"): jnp.asarray(file[n]) for n in file.files if n.startswith("p/")}
    rates = jnp.asarray(file["rates"])
    zeros = jax.tree.map(jnp.zeros_like, p)
    state = {"p": p, "m": zeros, "v": zeros, "count": jnp.zeros(len(rates))}
    if "tokens" in file.files:
        tokens, context = jnp.asarray(file["tokens"], jnp.int32), int(file["context"])
        places = jnp.arange(context + 1)

        def windows(rows: Any) -> tuple[Any, Any]:
            taken = tokens[rows[:, None] + places]
            return taken[:, :-1], taken[:, 1:]

        return gpt, windows, state, jnp.asarray(file["rows"]), rates
    inputs, targets = jnp.asarray(file["inputs"]), jnp.asarray(file["targets"], jnp.int32)
    return mlp, lambda rows: (inputs[rows], targets[rows]), state, jnp.asarray(file["rows"]), rates


def main() -> None:
    """Train as the command line says."""
    path, kind = sys.argv[1:]
    model, data, state, rows, rates = read(path)
    ways = programs(model, data, rates)
    if kind == "whole":
        _, losses = ways["scan"](state, rows)
        print(json.dumps({"losses": np.asarray(losses).mean(1).tolist()}))
        return
    for name in map(str.strip, sys.stdin):
        start = time.perf_counter()
        _, losses = jax.block_until_ready(ways[name](state, rows))
        seconds = time.perf_counter() - start
        means = np.asarray(losses).mean(1).tolist()
        print(json.dumps({"seconds": seconds, "losses": means}), flush=True)


if __name__ == "__main__":
    main()
