"""Flags of Megatron-LM with which it scales as a plan does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ..core import MutransferError
from ..plans import Hyperparameters, Plan, Row, TensorPlan, resolved, table
from ..rules import Place, Role
from ._groups import torch_defaults

_AS_VECTORS = {
    *(Role.EMBEDDING, Role.POSITION, Role.READOUT),
    *(Role.BIAS, Role.GAIN, Role.HEAD_GAIN),
}
_QUANTITIES = ("init", "lr", "eps", "decay")


def megatron_flags(
    plan: Plan,
    lr: float,
    *,
    weight_decay: float | None = None,
    eps: float | None = None,
    base_head_dim: int,
    ignore: Sequence[str] = (),
) -> list[str]:
    """Return flags that make Megatron-LM scale an Adam or AdamW run as the plan does.

    They come over the flags of the base run. Megatron-LM's muP is Table 8 of Tensor Programs V
    (2203.03466) with one width. Logits have the multiplier 1/width. Hidden matrices have init
    1/sqrt(width), rate and eps 1/width. All other tensors, the readout among them, are as at base
    size. Weight decay is the same for all, or 0 for vectors.

    Wishes of a plan beyond that are refused. Nearly always this is the eps of tensors that are no
    hidden matrices, which Megatron-LM leaves while their gradients fall with width. Where eps is
    small compared with these gradients, ignore it. Every other flag, such as `--init-method-std`,
    stays as at base size.

    Args:
        plan: The plan of a language model of the shape that Megatron-LM trains, with untied
            embeddings and of the base's depth.
        lr: The learning rate at base size.
        weight_decay: The weight decay at base size; torch's default where it is not given.
        eps: Adam's eps at base size; torch's default where it is not given.
        base_head_dim: Size of a head in the base: Megatron-LM then scales attention logits by
            sqrt(base_head_dim)/head_dim.
        ignore: Quantities whose difference you accept, of "init", "lr", "eps" and "decay", such as
            ("eps",).

    Returns:
        The flags, for a command line.

    Raises:
        MutransferError: Megatron-LM cannot train so; the message names the tensor, the quantity and
            the size of the difference.
    """
    _check(plan, ignore)
    if isinstance(base_head_dim, bool) or not (
        isinstance(base_head_dim, int) and base_head_dim > 0
    ):
        raise MutransferError(
            f"base_head_dim is {base_head_dim!r}: give the size of a head in the base, such as 64"
        )
    readouts = [tensor for tensor in plan.tensors.values() if tensor.role == Role.READOUT]
    if len(readouts) != 1 or len(readouts[0].shape) != 2:
        raise MutransferError(
            "Megatron-LM's scaling is known here for models with one readout of their own, "
            f"and the plan has {len(readouts)}"
        )
    width = readouts[0].ratios["fan_in"]
    family = plan.family()
    given = Hyperparameters(lr=lr, weight_decay=weight_decay, eps=eps)
    values = resolved(given, family, torch_defaults(family))
    skipped = {*ignore, *(["eps"] if values.eps == 0 else [])}
    skipped |= {"decay"} if values.weight_decay == 0 else set()
    rows = table(plan)
    differences = [
        text
        for name, tensor in plan.tensors.items()
        for text in _differences(tensor, rows[name], float(width), skipped)
    ]
    if differences:
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise MutransferError(
            "Megatron-LM cannot train as planned: " + "; ".join(differences[:3]) + more
        )
    numbers: dict[str, Any] = {
        "--lr": values.lr,
        "--weight-decay": values.weight_decay,
        "--adam-eps": values.eps,
    }
    hidden = str(readouts[0].base_shape[1])
    mup = ["--use-mup", "--mup-base-hidden-size", hidden]
    mup += ["--mup-base-head-dim", str(base_head_dim)]
    return [*mup, *(text for key, value in numbers.items() for text in (key, repr(value)))]


def _check(plan: Plan, ignore: Sequence[str]) -> None:
    if plan.optimizer not in ("adam", "adamw"):
        raise MutransferError(
            f"the plan is for {plan.optimizer}, "
            "and flags of Megatron-LM are known here for adam and adamw"
        )
    if isinstance(ignore, str) or set(ignore) - set(_QUANTITIES):
        raise MutransferError(f'ignore is {ignore!r}: give a list of "init", "lr", "eps", "decay"')
    if plan.tuning:
        raise MutransferError(
            f"flags of Megatron-LM cannot say what is tuned ({', '.join(plan.tuning)}): export the "
            "plan as a snippet, or give the plan without it and Megatron-LM's own multipliers"
        )
    if plan.forward:
        raise MutransferError(
            f"Megatron-LM cannot multiply the output of {next(iter(plan.forward))}, as planned"
        )


def _differences(tensor: TensorPlan, row: Row, width: float, skipped: set[str]) -> Iterator[str]:
    """Yield where Megatron-LM's factors of a tensor are not the planned ones.

    The multiplier is taken out of the tensor again (Tensor Programs V, Lemma J.1).
    """
    multiplier = row.multiplier
    assert isinstance(row.eps, float), "Adam has one eps"
    planned = {
        "init": row.init / multiplier,
        "multiplier": multiplier,
        "lr": row.lr_factor / multiplier,
        "eps": row.eps * multiplier,
        "decay": row.weight_decay * multiplier,
    }
    theirs = dict.fromkeys(planned, 1.0)
    if "head_dim" in dict(tensor.multiplier.exponents):
        theirs["multiplier"] = float(tensor.ratios["head_dim"]) ** -0.5
    if tensor.role in (Role.HIDDEN, Role.KEY_VALUE):
        theirs |= {"init": width**-0.5, "lr": 1 / width, "eps": 1 / width}
        if tensor.place == Place.BRANCH_END:
            theirs["init"] *= float(tensor.ratios["depth"]) ** -0.5
    elif tensor.role == Role.READOUT:
        theirs["multiplier"] = 1 / width
    elif tensor.role not in _AS_VECTORS:
        yield (
            f"{tensor.name} is for the role {tensor.role}, "
            "whose scaling in Megatron-LM is not known here"
        )
        return
    for name, factor in planned.items():
        if name not in skipped and not math.isclose(factor, theirs[name], rel_tol=1e-9):
            yield (
                f"{tensor.name}: {name} at {factor:.6g} times the base's is planned, "
                f"and Megatron-LM has {theirs[name]:.6g}"
            )
