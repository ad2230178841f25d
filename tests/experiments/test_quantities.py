"""Quantities that experiments measure."""

import csv
import math

from mutransfer import Runs
from mutransfer.experiments import headline_resnet
from mutransfer.experiments._quantities import drift, optima

LOWEST = {16: -4, 32: -6, 64: -8}
"""Log2 of the best rate by width, the last one at the edge of the rates."""


def swept(path, lowest=LOWEST):
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["width", "lr", "seed", "loss"])
        for width, best in lowest.items():
            for power in range(-8, -1):
                table.writerow([width, 2.0**power, 0, 1 + 0.1 * (power - best) ** 2])
    return Runs.from_table(path, axes=["width"])


def test_an_optimum_at_the_edge_is_that_edge(tmp_path):
    runs = swept(tmp_path / "runs.csv")
    best = optima(runs, runs.rules[0])
    assert [one.status for one in best] == ["inside", "inside", "edge"]
    assert (best[-1].position, best[-1].low, best[-1].high) == (-8, -math.inf, -8)
    assert drift(runs, runs.rules[0], "width").value < -1


def test_edges_alone_have_no_drift(tmp_path):
    runs = swept(tmp_path / "runs.csv", {16: -4, 32: -8, 64: -9})
    assert math.isnan(drift(runs, runs.rules[0], "width").value)


def test_a_diverged_network_leaves_no_accuracy_to_compare():
    def runs(*values):
        rows = [
            {"rule": rule, "width": 8, "lr": 1.0, "seed": seed, "loss": value, "accuracy": value}
            for seed, value in enumerate(values)
            for rule in ("sp", "mup")
        ]
        return Runs(header={"axes": ["width"]}, rows=rows)

    found = headline_resnet._changes(runs(None, 0.5), runs(0.4, 0.25), "sp")
    assert math.isnan(found[headline_resnet.ACCURACY].value)
    whole = headline_resnet._changes(runs(0.5, 0.5), runs(0.5, 0.25), "sp")
    assert whole[headline_resnet.ACCURACY].value == -12.5
