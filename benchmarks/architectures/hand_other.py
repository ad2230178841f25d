"""Networks written by hand for images, sets, fields, games and data of other kinds."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from .entry import normal, tokens
from .hand import (
    CHAIN,
    LOOP,
    MLP,
    WIDTH_ONLY,
    Attention,
    PreNorm,
    Stream,
    by_hand,
    features,
    images,
    sequence,
)
from .truth import (
    BOTTLENECK,
    HIDDEN,
    POSITION,
    READOUT,
    VECTOR,
    Kind,
    Truth,
)

HEADED = {"head.weight": READOUT}


class Plain(nn.Module):
    """A perceptron."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.head = nn.Linear(10, n), nn.Linear(n, 5)
        self.layers = nn.ModuleList(nn.Linear(n, n) for _ in range(d))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.inp(x))
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.head(x)


class DiT(nn.Module):
    """A diffusion transformer: adaptive norms with gates that start at zero."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.time, self.head = nn.Linear(10, n), nn.Linear(3, n), nn.Linear(n, 5)
        self.last = nn.Linear(n, 2 * n)
        self.attention = nn.ModuleList(Attention(n) for _ in range(d))
        self.mlp = nn.ModuleList(MLP(n) for _ in range(d))
        self.ada = nn.ModuleList(nn.Linear(n, 6 * n) for _ in range(d))
        self.norm = nn.LayerNorm(n, elementwise_affine=False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x, c = self.inp(x), F.silu(self.time(t))[:, None]
        for attention, mlp, ada in zip(self.attention, self.mlp, self.ada, strict=True):
            a, b, g, e, f, h = ada(c).chunk(6, -1)
            x = x + g * attention(self.norm(x) * (1 + a) + b)
            x = x + h * mlp(self.norm(x) * (1 + e) + f)
        shift, scale = self.last(c).chunk(2, -1)
        return self.head(self.norm(x) * (1 + scale) + shift)


class Towers(nn.Module):
    """Two towers and the dot product of what they make."""

    def __init__(self, n: int, cosine: bool) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(10, n), nn.ReLU(), nn.Linear(n, n))
        self.right = nn.Sequential(nn.Linear(12, n), nn.ReLU(), nn.Linear(n, n))
        self.cosine = cosine

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        a, b = self.left(x), self.right(y)
        if self.cosine:
            a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
        return a @ b.T


class DeepFM(nn.Module):
    """Factorisation machine and deep network on the same embeddings."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.table, self.first = nn.Embedding(40, 8), nn.Embedding(40, 1)
        self.deep = nn.Sequential(
            nn.Linear(32, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 1)
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        pairs = (x.sum(1).square() - x.square().sum(1)).sum(-1) / 2
        return pairs + self.first(ids).sum((1, 2)) + self.deep(x.flatten(1)).squeeze(-1)


class Siren(nn.Module):
    """A field with sines as activations."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.head = nn.Linear(3, n), nn.Linear(n, 1)
        self.layers = nn.ModuleList(nn.Linear(n, n) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sin(30 * self.inp(x))
        for layer in self.layers:
            x = torch.sin(layer(x))
        return self.head(x)


class NeRF(nn.Module):
    """A field whose input comes in again beside the features, by its own matrix."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.a, self.b, self.again = nn.Linear(18, n), nn.Linear(n, n), nn.Linear(18, n)
        self.density, self.colour = nn.Linear(n, 1), nn.Linear(n, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([f(2.0**k * x) for k in range(3) for f in (torch.sin, torch.cos)], -1)
        h = F.relu(self.b(F.relu(self.a(x))) + self.again(x))
        return torch.cat([self.density(h), self.colour(h).sigmoid()], -1)


class Concatenated(nn.Module):
    """A field whose input is concatenated to the features."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(18, n), nn.Linear(n + 18, n), nn.Linear(n, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.b(torch.cat([F.relu(self.a(x)), x], -1))))


class KAN(nn.Module):
    """A Kolmogorov-Arnold network: a learned function on every edge, by fixed basis functions."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.head = nn.Linear(10, n), nn.Linear(n, 5)
        self.edges = nn.Parameter(torch.randn(n, n, 6) / math.sqrt(6 * n))
        self.base = nn.Linear(n, n)
        self.register_buffer("grid", torch.linspace(-2, 2, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        basis = torch.exp(-((x[..., None] - self.grid) ** 2))
        return self.head(torch.einsum("bik,oik->bo", basis, self.edges) + self.base(F.silu(x)))


class WeightNorm(nn.Module):
    """Weight norm on the hidden layer."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.head = nn.Linear(10, n), nn.Linear(n, 5)
        self.hidden = parametrizations.weight_norm(nn.Linear(n, n))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.hidden(F.relu(self.inp(x)))))


class StandardisedLinear(nn.Linear):
    """Scaled weight standardisation (NFNet): a gain, and 1/sqrt(fan-in)."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__(i, o)
        self.gain = nn.Parameter(torch.ones(o, 1))

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        w = (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True)
        return F.linear(x, w * (self.gain * w.shape[1] ** -0.5), self.bias)


class Standardised(nn.Module):
    """A perceptron with standardised weights."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.hidden, self.head = (
            nn.Linear(10, n),
            StandardisedLinear(n, n),
            nn.Linear(n, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.hidden(F.relu(self.inp(x)))))


class Perceiver(nn.Module):
    """Learned latents that attend to the input, then to themselves."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.latents, self.inp = nn.Parameter(torch.randn(4, n)), nn.Linear(10, n)
        self.cross, self.mix = Attention(n), nn.LayerNorm(n)
        self.blocks = nn.ModuleList(PreNorm(n, Attention(n)) for _ in range(d))
        self.head = nn.Linear(n, 5)

    def forward(self, x: Tensor) -> Tensor:
        z = self.latents.expand(len(x), -1, -1)
        z = z + self.cross(self.mix(z), self.inp(x))
        for block in self.blocks:
            z = block(z)
        return self.head(z.mean(1))


class SlotAttention(nn.Module):
    """Slots that compete for the input, updated by a GRU three times."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.slots = nn.Linear(10, n), nn.Parameter(torch.randn(1, 3, n))
        self.q, self.k, self.v = (nn.Linear(n, n, bias=False) for _ in range(3))
        self.norm, self.cell, self.head = nn.LayerNorm(n), nn.GRUCell(n, n), nn.Linear(n, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        k, v = self.k(x) / x.shape[-1], self.v(x)
        slots = self.slots.expand(len(x), -1, -1)
        for _ in range(3):
            shares = (k @ self.q(self.norm(slots)).transpose(1, 2)).softmax(-1)
            shares = shares / shares.sum(1, keepdim=True)
            new = self.cell((shares.transpose(1, 2) @ v).flatten(0, 1), slots.flatten(0, 1))
            slots = new.view_as(slots)
        return self.head(slots)


class Sets(nn.Module):
    """A set transformer: inducing points, and pooling by a learned seed."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.points = nn.Linear(10, n), nn.Parameter(torch.randn(1, 4, n))
        self.seed = nn.Parameter(torch.randn(1, 1, n))
        self.gather, self.spread, self.pool = Attention(n), Attention(n), Attention(n)
        self.head = nn.Linear(n, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        middle = self.gather(self.points.expand(len(x), -1, -1), x)
        x = x + self.spread(x, middle)
        return self.head(self.pool(self.seed.expand(len(x), -1, -1), x)[:, 0])


class ODE(nn.Module):
    """A neural differential equation, four steps of Euler."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.field, self.head = nn.Linear(10, n), MLP(n), nn.Linear(n, 5)
        self.steps = 2 * d

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        for _ in range(self.steps):
            x = x + self.field(torch.tanh(x)) / self.steps
        return self.head(x)


class Equilibrium(nn.Module):
    """A deep equilibrium model: one layer until nothing changes."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.layer, self.head = nn.Linear(10, n), nn.Linear(n, n), nn.Linear(n, 5)

    def forward(self, x: Tensor) -> Tensor:
        start = self.inp(x)
        z = torch.zeros_like(start)
        with torch.no_grad():
            for _ in range(20):
                z = torch.tanh(0.5 * self.layer(z) + start)
        return self.head(torch.tanh(0.5 * self.layer(z) + start))


class Quantised(nn.Module):
    """A vector-quantised autoencoder with a codebook of fixed size."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Linear(10, n), nn.ReLU(), nn.Linear(n, 6))
        self.codes = nn.Embedding(16, 6)
        self.down = nn.Sequential(nn.Linear(6, n), nn.ReLU(), nn.Linear(n, 10))

    def forward(self, x: Tensor) -> Tensor:
        z = self.up(x)
        code = self.codes(torch.cdist(z, self.codes.weight).argmin(-1))
        return self.down(z + (code - z).detach())


class Variational(nn.Module):
    """A variational autoencoder with a latent of fixed size."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.up, self.mean, self.spread = nn.Linear(10, n), nn.Linear(n, 4), nn.Linear(n, 4)
        self.down, self.head = nn.Linear(4, n), nn.Linear(n, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.up(x))
        mean, spread = self.mean(h), self.spread(h)
        noise = torch.linspace(-1, 1, 4)
        return self.head(F.relu(self.down(mean + noise * (spread / 2).exp()))), mean, spread


class Adversaries(nn.Module):
    """A generator and a discriminator in one module."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            *(nn.Linear(10, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 12))
        )
        self.critic = nn.Sequential(
            *(nn.Linear(12, n), nn.LeakyReLU(0.2), nn.Linear(n, n), nn.LeakyReLU(0.2)),
            nn.Linear(n, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.critic(self.generator(z))


class UNet(nn.Module):
    """A U-Net: two scales, features concatenated on the way up."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, n, 3, padding=1)
        self.b = nn.Conv2d(n, 2 * n, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(2 * n, n, 2, stride=2)
        self.c, self.head = nn.Conv2d(2 * n, n, 3, padding=1), nn.Conv2d(n, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.a(x))
        up = self.up(F.relu(self.b(a)))
        return self.head(F.relu(self.c(torch.cat([a, up], 1))))


class WaveNet(nn.Module):
    """Dilated causal convolutions with gates; a sum of all skips is read out."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp = nn.Conv1d(1, n, 1)
        self.gates = nn.ModuleList(nn.Conv1d(n, 2 * n, 2, dilation=2**i) for i in range(d))
        self.outs = nn.ModuleList(nn.Conv1d(n, n, 1) for _ in range(d))
        self.skips = nn.ModuleList(nn.Conv1d(n, n, 1) for _ in range(d))
        self.head = nn.Conv1d(n, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        total = torch.zeros_like(x)
        for index, (gate, out, skip) in enumerate(
            zip(self.gates, self.outs, self.skips, strict=True)
        ):
            a, b = gate(F.pad(x, (2**index, 0))).chunk(2, 1)
            h = torch.tanh(a) * b.sigmoid()
            x, total = x + out(h), total + skip(h)
        return self.head(F.relu(total))


class Tower(nn.Module):
    """AlphaZero: a residual tower of convolutions with a policy and a value."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp = nn.Sequential(nn.Conv2d(3, n, 3, padding=1, bias=False), nn.BatchNorm2d(n))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(n),
                nn.ReLU(),
                nn.Conv2d(n, n, 3, padding=1, bias=False),
                nn.BatchNorm2d(n),
                nn.ReLU(),
                nn.Conv2d(n, n, 3, padding=1, bias=False),
            )
            for _ in range(d)
        )
        self.norm = nn.BatchNorm2d(n)
        self.policy, self.value = nn.Conv2d(n, 2, 1), nn.Conv2d(n, 1, 1)
        self.move, self.outcome = nn.Linear(512, 9), nn.Linear(256, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.inp(x)
        for block in self.blocks:
            x = x + block(x)
        x = F.relu(self.norm(x))
        policy, value = F.relu(self.policy(x)), F.relu(self.value(x))
        return self.move(policy.flatten(1)), torch.tanh(self.outcome(value.flatten(1)))


class ActorCritic(nn.Module):
    """A Gaussian policy and a value on one trunk."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(10, n), nn.Tanh(), nn.Linear(n, n), nn.Tanh())
        self.mean, self.value = nn.Linear(n, 3), nn.Linear(n, 1)
        self.log_std = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.trunk(x)
        return self.mean(h), self.log_std.exp().expand(len(x), 3), self.value(h)


class Dueling(nn.Module):
    """A dueling Q-network on images."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *(nn.Conv2d(3, n, 4, 2), nn.ReLU(), nn.Conv2d(n, n, 3, 2), nn.ReLU(), nn.Flatten())
        )
        self.fc, self.value, self.advantage = nn.Linear(9 * n, n), nn.Linear(n, 1), nn.Linear(n, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.fc(self.convolutions(x)))
        advantage = self.advantage(h)
        return self.value(h) + advantage - advantage.mean(-1, keepdim=True)


class TiedAutoencoder(nn.Module):
    """An autoencoder whose decoder is the encoder transposed."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n, 10) / math.sqrt(10))
        self.up, self.down = nn.Parameter(torch.zeros(n)), nn.Parameter(torch.zeros(10))
        self.gain = nn.Parameter(torch.ones(n))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.sigmoid(F.linear(x, self.weight, self.up)) * self.gain
        return F.linear(h, self.weight.T, self.down)


class Equivariant(nn.Module):
    """E(n)-equivariant messages: distances and differences of positions."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.head = nn.Linear(10, n), nn.Linear(n, 1)
        self.message = nn.Sequential(nn.Linear(2 * n, n), nn.SiLU(), nn.Linear(n, n), nn.SiLU())
        self.near, self.shift, self.update = nn.Linear(1, 2 * n), nn.Linear(n, 1), MLP(2 * n, n, n)

    def forward(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.inp(h)
        shape = (-1, h.shape[1], h.shape[1], -1)
        pairs = torch.cat([h[:, :, None].expand(shape), h[:, None].expand(shape)], -1)
        difference = x[:, :, None] - x[:, None]
        m = self.message(pairs + self.near(difference.square().sum(-1, keepdim=True)))
        x = x + (difference * self.shift(m)).mean(2)
        return self.head(h + self.update(torch.cat([h, m.mean(2)], -1))), x


class Spectral(nn.Module):
    """A Fourier neural operator: complex matrices on the lowest frequencies."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.head = nn.Linear(1, n), nn.Linear(n, 1)
        self.waves = nn.Parameter(torch.randn(4, n, n, 2) / n)
        self.local = nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        low = torch.fft.rfft(x, dim=1, norm="ortho")[:, :4]
        low = torch.einsum("bki,kio->bko", low, torch.view_as_complex(self.waves))
        return self.head(F.gelu(self.local(x) + torch.fft.irfft(low, x.shape[1], 1, "ortho")))


class Capsules(nn.Module):
    """Routing by agreement between capsules of fixed size."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp = nn.Linear(10, n)
        self.votes = nn.Linear(n, 6 * 4 * 8)

    def forward(self, x: Tensor) -> Tensor:
        votes = self.votes(F.relu(self.inp(x))).view(-1, 6, 4, 8)
        logits = torch.zeros_like(votes[..., 0])
        for _ in range(3):
            out = squash((logits.softmax(-1)[..., None] * votes).sum(1))
            logits = logits + (votes * out[:, None]).sum(-1)
        return out


def squash(x: Tensor) -> Tensor:
    """Return vectors of length below one."""
    square = x.square().sum(-1, keepdim=True)
    return x * square.sqrt() / (1 + square)


class Hyper(nn.Module):
    """A network that makes the weights of a small layer of another."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.hidden, self.head = nn.Linear(3, n), nn.Linear(n, n), nn.Linear(n, 60)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        weights = self.head(F.relu(self.hidden(F.relu(self.inp(c))))).view(-1, 6, 10)
        return torch.einsum("bi,boi->bo", x, weights)


class Pairs(nn.Module):
    """A transformer of pairs (AlphaFold): triangles of edges."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.head, self.norm = nn.Linear(10, n), nn.Linear(n, 5), nn.LayerNorm(n)
        self.left, self.right, self.out = (nn.Linear(n, n) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x[:, :, None] - x[:, None])
        y = self.norm(x)
        triangle = torch.einsum("bikc,bjkc->bijc", self.left(y).sigmoid(), self.right(y))
        return self.head(x + self.out(triangle))


class Bilinear(nn.Module):
    """A bilinear layer between two features."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(10, n), nn.Linear(12, n)
        self.pair = nn.Bilinear(n, n, 5)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.pair(F.relu(self.left(x)), F.relu(self.right(y)))


class NoNorm(nn.Module):
    """A residual MLP without norms."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.mlp = MLP(n)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(x)


def pair() -> tuple[Tensor, Tensor]:
    """Return features for two towers."""
    return normal(4, 10), normal(4, 12, seed=1)


def last(prefix: str, *names: str) -> dict[str, Kind]:
    """Return the kinds of a layer that carries 1/m more, as a dot product asks for."""
    return {f"{prefix}.weight": HIDDEN.times(-1), f"{prefix}.bias": VECTOR.times(-1)}


ENTRIES = (
    by_hand("Perceptron", Plain, features, Truth(kinds=HEADED), "", **CHAIN),
    by_hand(
        "Residual perceptron without norms",
        lambda n, d: Stream(n, (NoNorm(n) for _ in range(d))),
        features,
        Truth(kinds=HEADED, ends=("blocks.*.mlp.2.*",)),
    ),
    by_hand(
        "DiT",
        DiT,
        lambda: (sequence(), normal(2, 3, seed=1)),
        Truth(kinds=HEADED, ends=("attention.*.out.*", "mlp.*.2.*")),
        "adaptive norms, gates from the time",
    ),
    by_hand(
        "Two towers, dot product",
        lambda n, d: Towers(n, False),
        pair,
        (Truth(kinds=last("left.2")), Truth(kinds=last("right.2"))),
        "a sum of products of features without 1/n",
        **WIDTH_ONLY,
    ),
    by_hand(
        "Two towers, cosine",
        lambda n, d: Towers(n, True),
        pair,
        Truth(),
        "",
        **WIDTH_ONLY,
    ),
    by_hand(
        "DeepFM",
        DeepFM,
        lambda: tokens(4, 4, high=40),
        Truth(kinds={"deep.4.weight": READOUT}),
        "embeddings of fixed size",
        **WIDTH_ONLY,
    ),
    by_hand("SIREN", Siren, lambda: normal(6, 3), Truth(kinds=HEADED), "sines", **WIDTH_ONLY),
    by_hand(
        "NeRF",
        NeRF,
        lambda: normal(6, 3),
        Truth(kinds={"density.weight": READOUT, "colour.weight": READOUT}),
        "the input comes in twice",
        **WIDTH_ONLY,
    ),
    by_hand(
        "Features beside the input",
        Concatenated,
        lambda: normal(6, 18),
        Truth(kinds=HEADED),
        "a matrix over the width and eighteen fixed inputs",
        widths=(32, 128),
        refused={"width": "mixed fan-in"},
        **WIDTH_ONLY,
    ),
    by_hand(
        "KAN",
        KAN,
        features,
        Truth(kinds={"edges": HIDDEN, **HEADED}),
        "a learned function on every edge",
        hints={"axes": {"edges": ("out", "in", "finite")}},
        **WIDTH_ONLY,
    ),
    by_hand(
        "Weight norm",
        WeightNorm,
        features,
        (
            Truth(kinds={"hidden.*.original1": HIDDEN, **HEADED}),
            Truth(kinds={"hidden.*.original1": Kind((0.0,), -0.5), **HEADED}),
        ),
        "a direction and a length",
        **WIDTH_ONLY,
    ),
    by_hand(
        "Scaled weight standardisation", Standardised, features, Truth(kinds=HEADED), **WIDTH_ONLY
    ),
    by_hand(
        "Perceiver",
        Perceiver,
        sequence,
        Truth(kinds={"latents": POSITION, **HEADED}, ends=("blocks.*.branch.out.*",)),
        "latents that attend to the input",
    ),
    by_hand(
        "Slot attention",
        SlotAttention,
        sequence,
        Truth(kinds={"slots": POSITION, **HEADED}),
        "a softmax over slots; a GRU in a loop",
        **WIDTH_ONLY,
    ),
    by_hand(
        "Set transformer",
        Sets,
        sequence,
        Truth(kinds={"points": POSITION, "seed": POSITION, **HEADED}),
        "inducing points",
        **WIDTH_ONLY,
    ),
    by_hand("Neural ODE", ODE, features, Truth(kinds=HEADED), "Euler's steps", **LOOP),
    by_hand("Deep equilibrium", Equilibrium, features, Truth(kinds=HEADED), "a loop", **WIDTH_ONLY),
    by_hand(
        "VQ-VAE",
        Quantised,
        features,
        Truth(kinds={"up.2.weight": BOTTLENECK, "down.2.weight": READOUT}),
        "a codebook, a straight-through estimate",
        **WIDTH_ONLY,
    ),
    by_hand(
        "VAE",
        Variational,
        features,
        Truth(kinds={"mean.weight": BOTTLENECK, "spread.weight": BOTTLENECK, **HEADED}),
        "a latent of fixed size that is an output, too",
        **WIDTH_ONLY,
    ),
    by_hand(
        "GAN",
        Adversaries,
        features,
        Truth(kinds={"generator.4.weight": BOTTLENECK, "critic.4.weight": READOUT}),
        "two networks in one module",
        **WIDTH_ONLY,
    ),
    by_hand("U-Net", UNet, images, Truth(kinds=HEADED), "concatenated skips", **WIDTH_ONLY),
    by_hand(
        "WaveNet",
        WaveNet,
        lambda: normal(2, 1, 24),
        Truth(kinds=HEADED, ends=("outs.*", "skips.*")),
        "dilated convolutions; a sum of skips is read out",
        depths=None,
    ),
    by_hand(
        "AlphaZero",
        Tower,
        images,
        Truth(
            kinds={"policy.weight": BOTTLENECK, "value.weight": BOTTLENECK}, ends=("blocks.*.5.*",)
        ),
        "a tower of convolutions, policy and value",
    ),
    by_hand(
        "Actor and critic",
        ActorCritic,
        features,
        Truth(kinds={"mean.weight": READOUT, "value.weight": READOUT}),
        "two readouts",
        **WIDTH_ONLY,
    ),
    by_hand(
        "Dueling DQN",
        Dueling,
        images,
        Truth(kinds={"value.weight": READOUT, "advantage.weight": READOUT}),
        "convolutions, flattened",
        **WIDTH_ONLY,
    ),
    by_hand(
        "Tied autoencoder",
        TiedAutoencoder,
        features,
        Truth(kinds={"gain": VECTOR.times(-1)}),
        "encoder and decoder share a matrix; a gain carries 1/n",
        **WIDTH_ONLY,
    ),
    by_hand(
        "Equivariant network",
        Equivariant,
        lambda: (sequence(), normal(2, 8, 3, seed=1)),
        Truth(kinds={"shift.weight": READOUT, **HEADED}),
        "distances and differences of positions",
        **WIDTH_ONLY,
    ),
    by_hand(
        "Fourier neural operator",
        Spectral,
        lambda: normal(2, 16, 1),
        Truth(kinds={"waves": HIDDEN, **HEADED}),
        "complex matrices on frequencies",
        hints={"axes": {"waves": ("finite", "in", "out", "finite")}},
        **WIDTH_ONLY,
    ),
    by_hand(
        "Capsules",
        Capsules,
        features,
        Truth(kinds={"votes.weight": BOTTLENECK}),
        "routing by agreement",
        **WIDTH_ONLY,
    ),
    by_hand(
        "Hypernetwork",
        Hyper,
        lambda: (features(), normal(4, 3, seed=1)),
        Truth(kinds={"head.weight": Kind((-0.5, -1.0), -1.0)}),
        "the weights that it makes are of fixed size",
        **WIDTH_ONLY,
    ),
    by_hand(
        "Triangles of pairs",
        Pairs,
        sequence,
        Truth(kinds=HEADED),
        "products summed over nodes",
        **WIDTH_ONLY,
    ),
    by_hand(
        "Bilinear readout",
        Bilinear,
        pair,
        Truth(kinds={"pair.weight": Kind((-2.0, -1.0), -2.0)}),
        "a sum over pairs of features",
        refused={"width": "a sum over pairs of features"},
        **WIDTH_ONLY,
    ),
)
