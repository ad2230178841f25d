"""Networks on graphs, of layers of torch_geometric."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .entry import Entry, normal, seeded
from .hugging_face import HEAD
from .packages import imported
from .truth import BOTTLENECK, HIDDEN, READOUT, VECTOR, Kind, Truth

NODES, EDGES = 12, 40
WIDTH_ONLY: dict[str, Any] = {"depths": None}


class Net(nn.Module):
    """Two layers on a graph between a linear layer and a readout."""

    def __init__(self, n: int, layers: list[nn.Module], weighted: str | None = None) -> None:
        super().__init__()
        self.inp, self.layers, self.head = nn.Linear(10, n), nn.ModuleList(layers), nn.Linear(n, 5)
        self.weighted = weighted

    def forward(self, x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
        x = self.inp(x).relu()
        extra = {self.weighted: weights} if self.weighted else {}
        for layer in self.layers:
            x = layer(x, edges, **extra).relu()
        return self.head(x)


class Residual(nn.Module):
    """Residual branches of layers on a graph."""

    def __init__(self, n: int, layers: list[nn.Module]) -> None:
        super().__init__()
        self.inp, self.layers, self.head = nn.Linear(10, n), nn.ModuleList(layers), nn.Linear(n, 5)
        self.norms = nn.ModuleList(nn.LayerNorm(n) for _ in layers)
        self.outs = nn.ModuleList(nn.Linear(n, n) for _ in layers)

    def forward(self, x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
        x = self.inp(x)
        for norm, layer, out in zip(self.norms, self.layers, self.outs, strict=True):
            x = x + out(layer(norm(x), edges).relu())
        return self.head(x)


def graph() -> tuple[Tensor, Tensor, Tensor]:
    """Return a graph: features of nodes, edges, and a number on each edge."""
    edges = torch.randint(NODES, (2, EDGES), generator=seeded(1))
    return normal(NODES, 10), edges, normal(EDGES, 1, seed=2)


def conv(name: str, *args: Any, **settings: Any) -> nn.Module:
    """Return a layer of torch_geometric."""
    layer: nn.Module = getattr(imported("torch_geometric.nn"), name)(*args, **settings)
    return layer


def entry(
    name: str, make: Any, special: str = "", weighted: str | None = None, **kinds: Kind
) -> Entry:
    """Return the entry of a network of two such layers."""
    return Entry(
        name=name,
        package="torch_geometric",
        build=lambda n, d: Net(n, [make(n) for _ in range(2)], weighted),
        inputs=graph,
        truths=(Truth(kinds={"head.weight": READOUT, **kinds}),),
        special=special,
        **WIDTH_ONLY,
    )


ATTENTION = {"*.att*": BOTTLENECK}

ENTRIES = (
    entry("GCN", lambda n: conv("GCNConv", n, n)),
    entry("GraphSAGE", lambda n: conv("SAGEConv", n, n)),
    entry("GraphSAGE, max", lambda n: conv("SAGEConv", n, n, aggr="max"), "a maximum of messages"),
    entry(
        "GIN",
        lambda n: conv("GINConv", nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n))),
        "sums of neighbours, then an MLP",
    ),
    entry(
        "GAT",
        lambda n: conv("GATConv", n, n // 2, heads=2),
        "two heads that grow: a vector that sums over features",
        **ATTENTION,
    ),
    entry("GAT v2", lambda n: conv("GATv2Conv", n, n // 2, heads=2), **ATTENTION),
    entry(
        "GAT, heads of fixed size",
        lambda n: conv("GATConv", n, HEAD, heads=n // HEAD),
        "the vectors sum over heads of fixed size",
        **{"*.att*": VECTOR},
    ),
    entry(
        "Graph transformer",
        lambda n: conv("TransformerConv", n, HEAD, heads=n // HEAD, edge_dim=1),
        "attention with features of edges",
        "edge_attr",
    ),
    entry("GATED graph", lambda n: conv("ResGatedGraphConv", n, n), "gates on messages"),
    entry("Chebyshev", lambda n: conv("ChebConv", n, n, K=3), "polynomials of the graph"),
    entry("TAG", lambda n: conv("TAGConv", n, n, K=2)),
    entry(
        "ARMA",
        lambda n: conv("ARMAConv", n, n, num_stacks=2),
        "stacks of matrices (in, out)",
        None,
        **{
            "layers.*.weight": HIDDEN,
            "*.init_weight": HIDDEN,
            "*.root_weight": HIDDEN,
            "layers.*.bias": VECTOR,
        },
    ),
    entry(
        "EdgeConv",
        lambda n: conv("EdgeConv", nn.Sequential(nn.Linear(2 * n, n), nn.ReLU(), nn.Linear(n, n))),
        "a maximum over differences of features",
    ),
    entry(
        "Gated graph sequence",
        lambda n: conv("GatedGraphConv", n, num_layers=2),
        "a GRU in a loop; matrices (in, out)",
        **{"layers.?.weight": HIDDEN},
    ),
    entry(
        "GINE",
        lambda n: conv("GINEConv", nn.Sequential(nn.Linear(n, n)), edge_dim=1),
        "features of edges added to nodes",
        "edge_attr",
    ),
    Entry(
        name="GCN, residual",
        package="torch_geometric",
        build=lambda n, d: Residual(n, [conv("GCNConv", n, n) for _ in range(d)]),
        inputs=graph,
        truths=(Truth(kinds={"head.weight": READOUT}, ends=("outs.*",)),),
        special="pre-norm branches",
    ),
)
