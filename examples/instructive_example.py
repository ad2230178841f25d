"""The instructive example of Tensor Programs V (2203.03466, section 5).

The network is f = Vᵀ U x with n hidden neurons, trained by SGD:

    python examples/instructive_example.py --figure instructive-example.png

The script prints the output and the size of each tensor as n grows: in muP, in standard
parametrization, and with two bugs. Its text is docs/instructive-example.md.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mutransfer import rules
from mutransfer.rules import Role

Tensor = np.ndarray
Pair = tuple[Tensor, Tensor]
Histories = list[list[Pair]]

WIDTHS = [2**k for k in range(8, 20, 2)]
STEPS = 4


def step(U: Tensor, V: Tensor, lr_u: float, lr_v: float, theta: float) -> Pair:
    """Return U and V after a step of SGD at x = 1, with theta = -dloss/df.

    U' = U + lr_u theta V and V' = V + lr_v theta U.
    """
    U_ = U + lr_u * theta * V
    V_ = V + lr_v * theta * U
    return U_, V_


def swapped(U: Tensor, V: Tensor, lr_u: float, lr_v: float, theta: float) -> Pair:
    """Return V and U after the same step: the bug.

    `U, V = swapped(...)` gives each tensor the name of the other.
    """
    U_, V_ = step(U, V, lr_u, lr_v, theta)
    return V_, U_


@dataclass(frozen=True)
class Setup:
    """Rules of both tensors, and the step that trains them."""

    input: str
    readout: str
    update: Callable[..., Pair] = step

    def scales(self, n: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return initial standard deviation and rate of U, and of V, relative to width 1."""
        u = _scales(self.input, Role.INPUT, fan_in=1, fan_out=n)
        v = _scales(self.readout, Role.READOUT, fan_in=n, fan_out=1)
        return u, v


def _scales(rule: str, role: Role, **fans: int) -> tuple[float, float]:
    quantities = rules.parametrization(rule).quantities(role, rules.family("sgd"))
    return quantities.init.evaluate(fans), quantities.lr.evaluate(fans)


SETUPS = {
    "muP": Setup(input="mup", readout="mup"),
    "standard": Setup(input="sp", readout="sp"),
    "muP, swapped return": Setup(input="mup", readout="mup", update=swapped),
    "muP for V only": Setup(input="sp", readout="mup"),
}


def draw(setup: Setup, n: int, seed: int = 0) -> Pair:
    """Return Gaussian U and V of n entries each."""
    (std_u, _), (std_v, _) = setup.scales(n)
    rng = np.random.default_rng([seed, n])
    return std_u * rng.standard_normal(n), std_v * rng.standard_normal(n)


def constant(f: float) -> float:
    """Return theta of the loss -f, which ignores the output."""
    return 1.0


def feedback(f: float, target: float = 1.0, eta: float = 0.3) -> float:
    """Return theta of the squared loss at rate eta, which shrinks as f nears its target."""
    return eta * (target - f)


def train(
    setup: Setup,
    U: Tensor,
    V: Tensor,
    theta: Callable[[float], float] = constant,
    steps: int = STEPS,
) -> list[Pair]:
    """Return (U, V) before the first step and after every step."""
    (_, lr_u), (_, lr_v) = setup.scales(len(U))
    history = [(U, V)]
    for _ in range(steps):
        U, V = setup.update(U, V, lr_u, lr_v, theta(output(U, V)))
        history.append((U, V))
    return history


def output(U: Tensor, V: Tensor) -> float:
    """Return f at x = 1."""
    return float(V @ U)


def limit(t: int, theta: float) -> float:
    """Return f after t steps of muP at infinite width.

    In a step U + nV grows by the factor 1 + theta, and U - nV by 1 - theta.
    """
    return ((1 + theta) ** (2 * t) - (1 - theta) ** (2 * t)) / 2


def sizes(history: Sequence[Pair], t: int) -> dict[str, float]:
    """Return the RMS entries of U and nV after step t, and of their changes in step t.

    V is multiplied by n because its entries are of size 1/n in muP.
    """
    (U, V), (U0, V0), n = history[t], history[t - 1], len(history[t][0])
    return {
        "U": _rms(U),
        "nV": _rms(n * V),
        "change of U": _rms(U - U0),
        "change of nV": _rms(n * (V - V0)),
    }


def _rms(x: Tensor) -> float:
    return float(np.sqrt(np.mean(x**2)))


def slope(values: Iterable[float], widths: Sequence[int] = WIDTHS) -> float:
    """Return the power of n that the values follow; muP promises 0."""
    return float(np.polyfit(np.log2(widths), np.log2(np.abs(list(values))), 1)[0])


def outputs(histories: Histories) -> list[list[float]]:
    """Return f by width and step."""
    return [[output(*pair) for pair in history] for history in histories]


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str | float]]) -> None:
    """Print a table: text as it is, numbers with three digits."""
    texts = ([cell if isinstance(cell, str) else f"{cell:.3g}" for cell in row] for row in rows)
    cells = [head, *texts]
    first, *others = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}\n")
    for name, *values in cells:
        columns = (f"{value:>{size}}" for value, size in zip(values, others, strict=True))
        print(f"  {name:<{first}}", *columns, sep="  ")


def after(steps: int) -> list[str]:
    """Return the head of a table with one column a step."""
    return ["", *(f"t = {t}" for t in range(steps + 1))]


def width(n: int) -> str:
    """Return a width as a power of two."""
    return f"n = 2^{n.bit_length() - 1}"


def power(values: Iterable[float]) -> str:
    """Return the power of n that the values follow, as text; never -0.00."""
    return f"{round(slope(values), 2) + 0.0:+.2f}"


def print_outputs(title: str, histories: Histories) -> None:
    """Print f after every step, at every width."""
    f = outputs(histories)
    rows: list[list[str | float]] = [[width(n), *row] for n, row in zip(WIDTHS, f, strict=True)]
    if title == "muP":
        rows.append(["infinite n", *(limit(t, constant(0)) for t in range(STEPS + 1))])
    rows.append(["power of n", "", *(power(row[t] for row in f) for t in range(1, STEPS + 1))])
    table(f"Output f, theta = 1: {title}", after(STEPS), rows)


def print_tensors(title: str, histories: Histories) -> None:
    """Print the sizes of the tensors after step 1, at every width, and their powers of n."""
    first, second = ([sizes(history, t) for history in histories] for t in (1, 2))
    rows = []
    for key in first[0]:
        values = [row[key] for row in first]
        rows.append([key, *values, power(values), power(row[key] for row in second)])
    head = ["", *map(width, WIDTHS), "power of n", "after step 2"]
    table(f"Each tensor's RMS entry after step 1, theta = 1: {title}", head, rows)


def print_feedback(steps: int = 8) -> None:
    """Print f with feedback: of muP at every width, and of all setups at the largest."""
    muP, widest = SETUPS["muP"], WIDTHS[-1]
    f = outputs([train(muP, *draw(muP, n), feedback, steps) for n in WIDTHS])
    rows = [[width(n), *row] for n, row in zip(WIDTHS, f, strict=True)]
    table("Output f, theta = 0.3 (1 - f): muP", after(steps), rows)
    f = outputs([train(setup, *draw(setup, widest), feedback) for setup in SETUPS.values()])
    rows = [[title, *row] for title, row in zip(SETUPS, f, strict=True)]
    table(f"Output f, theta = 0.3 (1 - f): all at {width(widest)}", after(STEPS), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all tables, and draw the picture where a path is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", metavar="PATH", help="also draw the picture")
    options = parser.parse_args(arguments)
    runs = {
        title: [train(setup, *draw(setup, n)) for n in WIDTHS] for title, setup in SETUPS.items()
    }
    for show in (print_outputs, print_tensors):
        for title, histories in runs.items():
            show(title, histories)
    print_feedback()
    if options.figure:
        picture(runs, options.figure)


STYLES = {
    "U": {"color": "#1f6fb4"},
    "nV": {"color": "#c0392b"},
    "change of U": {"color": "#1f6fb4", "linestyle": "--", "markerfacecolor": "white"},
    "change of nV": {"color": "#c0392b", "linestyle": "--", "markerfacecolor": "white"},
}


def picture(runs: dict[str, Histories], path: str) -> None:
    """Draw f after every step above, and the tensors after the first step below.

    The legend gives the power of n that each line follows.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7), layout="constrained")
    axes = figure.subplots(2, len(runs))
    shades = colormaps["YlGnBu"](np.linspace(0.4, 1.0, STEPS))
    for (title, histories), above, below in zip(runs.items(), *axes, strict=True):
        f = np.array(outputs(histories))[:, 1:]
        for t, values in enumerate(f.T):
            _line(above, values, f"t = {t + 1}", color=shades[t])
        # The legend is at the upper left: the lines' left ends have to stay below it.
        low = f.min() / 4
        high = low * max((f.max() / low) ** 1.15, (f[0].max() / low) ** 2.2)
        _finish(above, low, high, guides={"slope of $n$": (2 * low, 1)})
        first = [sizes(history, 1) for history in histories]
        for tensor, style in STYLES.items():
            _line(below, [row[tensor] for row in first], tensor, **style)
        _finish(below, 1e-6, 1e10, guides={"slope of $n$, of $1/n$": (1, 1), "_": (1, -1)})
        above.set_title(title, fontweight="bold", loc="left")
        below.set_xlabel("width n")
    axes[0, 0].set_ylabel("output f after step t, theta = 1")
    axes[1, 0].set_ylabel("RMS entry after step 1, theta = 1")
    figure.savefig(path, dpi=110)


def _line(axes, values: Sequence[float], label: str, **style) -> None:
    exponent = round(slope(values), 1) + 0.0
    label = f"{label}:  $n^{{{exponent:g}}}$"
    axes.plot(WIDTHS, values, marker="o", markersize=4.5, label=label, **style)


def _finish(axes, low: float, high: float, guides: dict[str, tuple[float, int]]) -> None:
    for label, (start, exponent) in guides.items():
        line = [start * (n / WIDTHS[0]) ** exponent for n in WIDTHS]
        axes.plot(WIDTHS, line, ":", color="#999999", label=label, zorder=1)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.grid(color="#e8e8e8")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False, fontsize=8.5)


if __name__ == "__main__":
    main()
