"""Panels of any hyperparameter, and of tables with many sizes."""

from itertools import product

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mutransfer import Runs, transfer
from mutransfer.core import MEMORY
from mutransfer.figures import Section, panels, sections, transfer_figure

BETA2 = "beta2, logarithmic in 1 - beta2"


@pytest.fixture(scope="module")
def figure(several: Runs) -> Figure:
    return transfer(several).figure()


def axes_of(figure: Figure, name: str) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_xlabel() == name]


def test_there_is_a_row_for_every_hyperparameter(several: Runs) -> None:
    drawn = panels(sections(transfer(several)))
    assert [(panel.row, panel.rule, panel.scale) for panel in drawn] == [
        (row, rule, scale)
        for row, scale in [
            ("Width", "log2"),
            ("readout", "log2"),
            ("beta2", MEMORY),
            ("schedule", "choice"),
        ]
        for rule in ("sp", "default")
    ]


@pytest.mark.parametrize("name", ["learning rate", "readout", BETA2, "schedule"])
def test_every_hyperparameter_is_on_its_scale(figure: Figure, several: Runs, name: str) -> None:
    over = {"learning rate": "lr", BETA2: "beta2"}.get(name, name)
    for axes in axes_of(figure, name):
        line = next(line for line in axes.lines if str(line.get_label()).startswith("width"))
        values, _ = several.losses("default", several.sizes("default")[0], over)
        expected = np.arange(3.0)
        if over != "schedule":
            expected = -np.log2(1 - np.array(values)) if over == "beta2" else np.log2(values)
        assert np.asarray(line.get_xdata()).tolist() == expected.tolist()


def test_choices_are_named_and_the_best_is_marked(figure: Figure) -> None:
    sp, default = axes_of(figure, "schedule")
    for axes in (sp, default):
        assert [label.get_text() for label in axes.get_xticklabels()] == [
            "constant",
            "cosine",
            "linear",
        ]
        dots = [line for line in axes.lines if line.get_label() == "_optimum"]
        assert [dot.get_xdata()[0] for dot in dots] == [1.0] * 3
        assert not [line for line in axes.lines if line.get_label() == "_drift"]


def test_the_loss_is_named_as_the_metric(several: Runs) -> None:
    rows = [{**row, "validation": row["loss"]} for row in several.rows]
    runs = Runs(header=several.header, rows=rows, metric="validation")
    drawn = transfer_figure(panels([Section.of(transfer(runs, over="lr"))]))
    assert axes_of(drawn, "learning rate")[0].get_ylabel() == "validation loss"


def test_many_sizes_share_a_panel_without_a_path() -> None:
    sizes = list(product((10**6, 10**7), range(1, 9)))
    rows = [
        {"rule": "x", "params": params, "tokens": tokens, "lr": 2.0**power, "seed": 0}
        | {"loss": 1 + (power + 5) ** 2}
        for params, tokens in sizes
        for power in range(-8, -2)
    ]
    runs = Runs(header={"axes": ["params", "tokens"], "table": {"loss": "l"}}, rows=rows)
    (panel,) = panels([Section.of(transfer(runs))])
    assert panel.crowded and len(panel.lines) == len(sizes)
    (axes,) = axes_of(transfer_figure([panel]), "learning rate")
    assert len([line for line in axes.lines if line.get_label() == "_optimum"]) == len(sizes)
    assert not [line for line in axes.lines if line.get_label() in ("_drift", "_interval")]
