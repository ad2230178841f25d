"""Updates of stacked matrices; kernels are matrices (out, in * kernel)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ._step import Step
from ._updates_entries import Counts, Numbers

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of torch.optim.Muon's quintic iteration."""


def muon_numbers(count: Counts, *, momentum: float = 0.95) -> Numbers:
    """Return the numbers of `muon`."""
    return {"momentum": momentum, "take": 1 - momentum}


def muon(
    step: Step,
    *,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = NEWTON_SCHULZ,
    ns_steps: int = 5,
    match_rms: bool = False,
) -> None:
    """Update matrices as torch.optim.Muon, with decoupled weight decay.

    The orthogonal update is multiplied by sqrt(max(1, rows / columns)), the convention
    muon-original, or by 0.2 sqrt(max(rows, columns)), the convention muon-match-rms.
    """
    step = step.as_matrices()
    buffer = step.state["momentum"]
    buffer.add_((step.gradient - buffer) * step.number("take"))
    direction = buffer
    if nesterov:
        direction = step.gradient + (buffer - step.gradient) * step.number("momentum")
    update = orthogonalised(direction, step.eps, ns_coefficients, ns_steps)
    rows, columns = step.parameter.shape[-2:]
    scale = 0.2 * math.sqrt(max(rows, columns)) if match_rms else math.sqrt(max(1, rows / columns))
    step.shrink()
    step.parameter.sub_(step.lr * scale * update)


def orthogonalised(
    matrices: Float[Tensor, "row out in"],
    eps: Float[Tensor, "row 1 1"],
    coefficients: tuple[float, float, float],
    steps: int,
) -> Float[Tensor, "row out in"]:
    """Return matrices with singular values near 1, by Newton-Schulz iterations.

    X <- a X + (b X X^T + c (X X^T)^2) X, from X of Frobenius norm 1 (torch.optim.Muon).
    """
    a, b, c = coefficients
    # Bfloat16, as torch: the iteration need not be exact, and losses are compared with torch's.
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=eps.to(x.dtype))
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def shampoo(step: Step) -> None:
    """Update matrices as `training.Shampoo`, L^-1/4 G R^-1/4 (1802.09568)."""
    step = step.as_matrices()
    gradient, left, right = step.gradient, step.state["left"], step.state["right"]
    if step.count == 1:
        left.diagonal(dim1=-2, dim2=-1).copy_(step.eps[..., 0].expand(left.shape[:-1]))
        right.diagonal(dim1=-2, dim2=-1).copy_(step.eps[..., 0].expand(right.shape[:-1]))
    left.add_(gradient @ gradient.mT)
    right.add_(gradient.mT @ gradient)
    step.shrink()
    step.parameter.sub_(step.lr * (fourth_root(left) @ gradient @ fourth_root(right)))


def fourth_root(matrices: Float[Tensor, "*row n n"]) -> Float[Tensor, "*row n n"]:
    """Return the inverse fourth roots of positive matrices."""
    values, vectors = _eigh(matrices)
    # Rounding may leave a tiny eigenvalue negative.
    floor = torch.finfo(values.dtype).tiny
    return (vectors * values.clamp(min=floor).pow(-0.25)[..., None, :]) @ vectors.mT


def soap(
    step: Step,
    *,
    betas: tuple[float, float] = (0.95, 0.95),
    shampoo_beta: float | None = None,
    precondition_frequency: int = 10,
) -> None:
    """Update matrices as `training.SOAP`, Adam in Shampoo's eigenbasis (2409.11321)."""
    step = step.as_matrices()
    beta = betas[1] if shampoo_beta is None else shampoo_beta
    state, gradient = step.state, step.gradient
    if step.count == 1:
        _average_sides(step, beta)
        for side in ("left", "right"):
            state[f"{side} basis"].copy_(eigenbasis(state[side]))
        return
    count = step.count - 1
    left, right = state["left basis"], state["right basis"]
    state["first"].lerp_(gradient, 1 - betas[0])
    state["second"].lerp_((left.mT @ gradient @ right).square(), 1 - betas[1])
    direction = (left.mT @ state["first"] @ right) / state["second"].sqrt().add_(step.eps)
    corrected = (1 - betas[1] ** count) ** 0.5 / (1 - betas[0] ** count)
    step.parameter.sub_(step.lr * corrected * (left @ direction @ right.mT))
    step.shrink()
    _average_sides(step, beta)
    if count % precondition_frequency == 0:
        for side, dim in (("left", -2), ("right", -1)):
            basis, order = turned(state[side], state[f"{side} basis"])
            state[f"{side} basis"].copy_(basis)
            state["second"].copy_(_reordered(state["second"], order, dim))


def _average_sides(step: Step, beta: float) -> None:
    """Update the averages of G G^T and G^T G."""
    step.state["left"].lerp_(step.gradient @ step.gradient.mT, 1 - beta)
    step.state["right"].lerp_(step.gradient.mT @ step.gradient, 1 - beta)


def eigenbasis(matrices: Float[Tensor, "*row n n"]) -> Float[Tensor, "*row n n"]:
    """Return the eigenvectors as columns, those of the largest eigenvalue first."""
    return _eigh(matrices)[1].flip(-1)


def turned(
    matrices: Float[Tensor, "*row n n"], basis: Float[Tensor, "*row n n"]
) -> tuple[Float[Tensor, "*row n n"], Tensor]:
    """Return a basis after one power iteration, and the order of its columns."""
    product = matrices @ basis
    order = (basis * product).sum(-2).argsort(dim=-1, descending=True)
    columns = _reordered(product, order, -1)
    wide = columns.float() if columns.dtype in (torch.bfloat16, torch.float16) else columns
    return torch.linalg.qr(wide)[0].to(columns.dtype), order


def _reordered(tensor: Tensor, order: Tensor, dim: int) -> Tensor:
    index = order[..., None, :] if dim == -1 else order[..., :, None]
    return tensor.gather(dim, index.expand_as(tensor))


def _eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    # Not finite entries, of a member that diverges, must not end the others' training.
    finite = torch.where(matrices.isfinite(), matrices, 0.0)
    values, vectors = torch.linalg.eigh(finite)
    good = matrices.isfinite().flatten(-2).all(-1)[..., None]
    return torch.where(good, values, torch.nan), torch.where(good[..., None], vectors, torch.nan)
