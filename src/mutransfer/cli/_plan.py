"""`mutransfer plan`."""

from __future__ import annotations

from tyro.conf import Positional

from ..core import MutransferError, Size
from ._load import load_builder
from ._show import show


def plan(
    build: Positional[str],
    width: int,
    base_width: int,
    depth: int | None = None,
    base_depth: int | None = None,
    rule: str | None = None,
    optimizer: str = "adamw",
    explain: str | None = None,
    json: bool = False,
) -> None:
    """Show the scaling of every tensor of a model, relative to its base.

    Try: mutransfer plan mutransfer.tasks:gpt --width 512 --base-width 64 --depth 8 --base-depth 2

    Try: mutransfer plan my_model.py:build --width 4096 --base-width 256 --json

    Try: mutransfer plan my_model.py:build --width 4096 --base-width 256 --explain head.weight

    Args:
        build: The function that makes the model, as FILE.py:NAME or MODULE:NAME; it is called with
            width=, and depth= where given.
        width: Width of the model to train.
        base_width: Width at which the hyperparameters were found.
        depth: Depth of the model to train.
        base_depth: Depth at which the hyperparameters were found; by default the model's.
        rule: A rule, such as completep or "mup, without eps"; by default chosen by the model's
            residual branches.
        optimizer: The family that trains the model, such as adamw or sgd; muon+adamw where muon
            trains hidden matrices.
        explain: Name of one tensor to derive; a starred name of the table, or a shared one, too.
        json: Print the plan as JSON.
    """
    import torch

    from ..pytorch import build_model
    from ..pytorch import plan as plan_model

    if base_depth is not None and depth is None:
        raise MutransferError("--base-depth was given without --depth: give both, or neither")
    if explain and json:
        raise MutransferError("--explain is a text: leave --json out, or --explain")
    builder = load_builder(build)
    size, base_size = Size(width=width), Size(width=base_width)
    if depth is not None:
        size = size.grown(depth=depth)
        base_size = base_size.grown(depth=depth if base_depth is None else base_depth)
    with torch.device("meta"):
        model = build_model(builder, size)
    model_plan = plan_model(model, build_model(builder, base_size), rule=rule, optimizer=optimizer)
    if explain:
        print(model_plan.explain(explain))
    else:
        show(model_plan, json=json)
