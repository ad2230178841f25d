"""Mixed fan-ins, experts, convolutions, recurrences and adapters."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.cases.families import (
    HIDDEN,
    IMAGES,
    INPUT,
    NARROW,
    READOUT,
    ROWS,
    SEQUENCES,
    VECTOR,
    Factors,
    Family,
    cases,
    wrong,
)
from tests.models import Net, square


def mixed(run: Callable[..., Any], right: dict[str, str | Factors] | None, **parts: Any) -> Family:
    return Family(
        make=lambda w: Net(run, a=nn.Linear(10, w), **{n: p(w) for n, p in parts.items()}),
        right=right,
        inputs=ROWS,
    )


def beside(extra: int, out: int = 0) -> Callable[[int], nn.Module]:
    return lambda w: nn.Linear(w + extra, out or w)


MIXED = {
    "features beside data": mixed(
        lambda m, x: m.c(torch.relu(m.b(torch.cat([torch.relu(m.a(x)), x], -1)))),
        {"b.weight": HIDDEN, "c.weight": READOUT},
        b=beside(10),
        c=lambda w: nn.Linear(w, 3),
    ),
    "data beside features": mixed(
        lambda m, x: m.c(torch.relu(m.b(torch.hstack([x, torch.relu(m.a(x))])))),
        {"b.weight": HIDDEN, "c.weight": READOUT},
        b=beside(10),
        c=lambda w: nn.Linear(w, 3),
    ),
    "readout of both": mixed(
        lambda m, x: m.c(torch.cat([torch.relu(m.a(x)), x], -1)),
        {"c.weight": READOUT},
        c=beside(10, 3),
    ),
    "a constant beside features": mixed(
        lambda m, x: m.c(F.pad(torch.relu(m.a(x)), (0, 1), value=1.0)),
        {"c.weight": READOUT},
        c=beside(1, 3),
    ),
    "two widths": mixed(
        lambda m, x: m.c(torch.cat([torch.relu(m.a(x)), torch.tanh(m.b(x))], -1)),
        {"c.weight": READOUT, "b.weight": INPUT},
        b=lambda w: nn.Linear(10, 2 * w),
        c=lambda w: nn.Linear(3 * w, 3),
    ),
    "dense concatenations": mixed(
        lambda m, x: _dense(m, torch.relu(m.a(x))),
        {"b.weight": HIDDEN, "c.weight": READOUT},
        b=lambda w: nn.Linear(w, w),
        c=lambda w: nn.Linear(2 * w, 3),
    ),
}


def _dense(m: Any, h: Tensor) -> Tensor:
    return m.c(torch.cat([h, torch.relu(m.b(h))], -1))


class Experts(nn.Module):
    """Experts of one tensor each, in many forms."""

    def __init__(self, w: int, how: str) -> None:
        super().__init__()
        self.how, self.inp, self.head = how, nn.Linear(10, w), nn.Linear(w, 3)
        self.router = nn.Linear(w, 4, bias=False)
        self.up = nn.Parameter(torch.randn(4, w, 2 * w) * w**-0.5)
        self.down = nn.Parameter(torch.randn(4, 2 * w, w) * w**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x)
        return self.head(h + getattr(self, self.how)(torch.tanh(h)))

    def bmm(self, h: Tensor) -> Tensor:
        y = torch.relu(torch.bmm(h.expand(4, -1, -1), self.up))
        return torch.einsum("ebd,be->bd", torch.bmm(y, self.down), self.router(h).softmax(-1))

    def einsum(self, h: Tensor) -> Tensor:
        y = torch.relu(torch.einsum("bd,edf->bef", h, self.up))
        return torch.einsum("bef,efd,be->bd", y, self.down, self.router(h).softmax(-1))

    def gathered(self, h: Tensor) -> Tensor:
        weight, index = self.router(h).softmax(-1).max(-1)
        y = torch.relu(torch.einsum("bd,bdf->bf", h, self.up[index]))
        return torch.einsum("bf,bfd->bd", y, self.down[index]) * weight[:, None]

    def loop(self, h: Tensor) -> Tensor:
        weights, chosen = self.router(h).softmax(-1).topk(2)
        out = torch.zeros_like(h)
        for i in range(4):
            rows, slot = torch.where(chosen == i)
            y = torch.relu(h[rows] @ self.up[i]) @ self.down[i]
            out.index_add_(0, rows, y * weights[rows, slot, None])
        return out

    def sigmoids(self, h: Tensor) -> Tensor:
        gates = self.router(h).sigmoid()
        return sum(
            gates[:, i, None] * (torch.relu(h @ self.up[i]) @ self.down[i]) for i in range(4)
        )


ROUTED = {"up": HIDDEN, "down": HIDDEN, "router.weight": (1 / 4, 1 / 4), "head.weight": READOUT}
EXPERTS = {
    how: Family(make=lambda w, how=how: Experts(w, how), inputs=ROWS, right=ROUTED)
    for how in ("bmm", "einsum", "gathered", "loop")
} | {
    "sigmoids": Family(
        make=lambda w: Experts(w, "sigmoids"), inputs=ROWS, right=ROUTED | {"router.weight": NARROW}
    )
}
CONVOLUTIONS = {
    "depthwise": Family(
        make=lambda w: nn.Sequential(
            nn.Conv2d(3, w, 3),
            nn.Conv2d(w, w, 3, groups=w),
            nn.ReLU(),
            nn.Conv2d(w, w, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(w, 3),
        ),
        right={"0.weight": INPUT, "1.weight": VECTOR, "3.weight": HIDDEN, "6.weight": READOUT},
        inputs=IMAGES,
    ),
    "groups of a fixed number": Family(
        make=lambda w: nn.Sequential(
            nn.Conv2d(3, w, 3),
            nn.Conv2d(w, w, 3, groups=4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * w, 3),
        ),
        right={"1.weight": HIDDEN, "4.weight": READOUT},
        inputs=IMAGES,
    ),
    "groups that grow in number": Family(
        make=lambda w: nn.Sequential(
            nn.Conv2d(3, w, 3), nn.Conv2d(w, w, 3, groups=w // 4), nn.ReLU(), nn.Conv2d(w, 3, 1)
        ),
        right={"1.weight": INPUT, "3.weight": READOUT},
        inputs=IMAGES,
    ),
    "transposed": Family(
        make=lambda w: nn.Sequential(
            nn.Conv2d(3, w, 3),
            nn.ReLU(),
            nn.ConvTranspose2d(w, w, 2, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(w, 3, 2, 2),
        ),
        right={"2.weight": HIDDEN, "4.weight": READOUT},
        inputs=IMAGES,
    ),
    "unfolded": Family(
        make=lambda w: Net(
            lambda m, x: m.c(torch.relu(m.b(F.unfold(torch.relu(m.a(x)), 3).mT)).mean(1)),
            a=nn.Conv2d(3, w, 3),
            b=nn.Linear(9 * w, w),
            c=nn.Linear(w, 3),
        ),
        right={"b.weight": HIDDEN, "c.weight": READOUT},
        inputs=IMAGES,
    ),
    "squeeze and excitation": Family(
        make=lambda w: Net(
            lambda m, x: m.c(
                (lambda h: h * m.u(torch.relu(m.d(h.mean((2, 3))))).sigmoid()[..., None, None])(
                    torch.relu(m.a(x))
                )
            ).mean((2, 3)),
            a=nn.Conv2d(3, w, 3),
            d=nn.Linear(w, 4),
            u=nn.Linear(4, w),
            c=nn.Conv2d(w, 3, 1),
        ),
        right={"d.weight": READOUT, "u.weight": INPUT, "c.weight": READOUT},
        inputs=IMAGES,
    ),
    "pixels shuffled": Family(
        make=lambda w: nn.Sequential(
            nn.Conv2d(3, w, 3),
            nn.ReLU(),
            nn.Conv2d(w, 4 * w, 1),
            nn.PixelShuffle(2),
            nn.ReLU(),
            nn.Conv2d(w, 3, 1),
        ),
        right={"2.weight": HIDDEN, "5.weight": READOUT},
        inputs=IMAGES,
    ),
    "recurrent": Family(
        make=lambda w: Net(
            lambda m, x: m.c(m.r(x)[0][:, -1]),
            r=nn.LSTM(10, w, batch_first=True),
            c=nn.Linear(w, 3),
        ),
        right={"r.weight_hh_l0": HIDDEN, "r.weight_ih_l0": INPUT, "c.weight": READOUT},
        inputs=SEQUENCES,
    ),
    "a state space": Family(
        make=lambda w: Net(
            lambda m, x: m.c(_scan(m, m.a(x))),
            a=nn.Linear(10, w),
            c=nn.Linear(w, 3),
            rate=nn.Parameter(torch.ones(w, 4)),
            inner=nn.Linear(w, 4),
            outer=nn.Linear(w, 4),
        ),
        right={"rate": VECTOR, "inner.weight": NARROW, "outer.weight": NARROW, "c.weight": READOUT},
        inputs=SEQUENCES,
    ),
}


def _scan(m: Any, x: Tensor) -> Tensor:
    state, outputs = x.new_zeros(2, x.shape[-1], 4), []
    for t in range(x.shape[1]):
        state = state * torch.exp(-m.rate.exp()) + x[:, t, :, None] * m.inner(x[:, t])[:, None]
        outputs.append((state * m.outer(x[:, t])[:, None]).sum(-1))
    return torch.stack(outputs, 1)


ADAPTERS = {
    "read off": Family(
        make=lambda w: _adapted(w),
        right={"A.weight": READOUT, "B.weight": INPUT},
        inputs=ROWS,
    ),
    "of a growing rank, declared": Family(
        make=lambda w: _adapted(w, w // 4),
        right=None,
        inputs=ROWS,
        options={"roles": {"A.*": "lora-a", "B.*": "lora-b", "w.*": "frozen"}},
    ),
}


def _adapted(w: int, rank: int = 4) -> nn.Module:
    return Net(
        lambda m, x: m.c(torch.relu(m.w(m.a(x)) + m.B(m.A(m.a(x))) * 16 / rank)),
        a=nn.Linear(10, w),
        w=square(w).requires_grad_(False),
        A=nn.Linear(w, rank, False),
        B=nn.Linear(rank, w, False),
        c=nn.Linear(w, 3),
    )


FAMILIES = {
    **{f"mixed, {k}": v for k, v in MIXED.items()},
    **{f"experts, {k}": v for k, v in EXPERTS.items()},
    **{f"convolution, {k}": v for k, v in CONVOLUTIONS.items()},
    **{f"adapter, {k}": v for k, v in ADAPTERS.items()},
}
FAULTS: dict[str, str] = {}


@pytest.mark.parametrize(("name", "optimizer"), cases(FAMILIES, FAULTS))
def test_layers_of_several_kinds_scale_as_theory_has_it(name: str, optimizer: str) -> None:
    assert wrong(FAMILIES[name], optimizer) == {}
