"""Axes of betas: ticks where 1 - beta is a round number."""

import shutil
import subprocess
from importlib.resources import files

import pytest

from mutransfer.core import MEMORY, place_of
from mutransfer.figures._beta_axis import beta_ticks

AXES = [(-0.4, 7.0, 8), (3.0, 11.0, 9), (3.0, 17.0, 9), (5.0, 5.4, 8)]


@pytest.mark.parametrize(("low", "high", "most"), AXES)
def test_ticks_stand_where_their_labels_say(low: float, high: float, most: int) -> None:
    ticks = beta_ticks(low, high, most)
    assert 2 <= len(ticks) <= most and ticks == sorted(ticks)
    for place, text in ticks:
        assert low <= place <= high
        assert place_of(float(text), MEMORY) == pytest.approx(place, abs=0.05)
    assert len({text for _, text in ticks}) == len(ticks)


def test_a_beta_of_0_has_a_tick() -> None:
    assert beta_ticks(-0.4, 7.0, 8)[0] == (0.0, "0")


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_page_places_betas_as_the_figures_do() -> None:
    assets = files("mutransfer.report") / "assets"
    script = "".join((assets / f"{name}.js").read_text() for name in ("runs", "draw"))
    script += (
        "\nconst own = { scale: MEMORY };"
        "\nconsole.log(placeOf(own, 0.75), valueAt(own, 2), valueText(own, 0.9995));"
        "\nconsole.log(placeTicks(own, [3, 11], 1000).ticks.join());"
    )
    said = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    first, second = said.stdout.splitlines()
    assert first == "2 0.75 0.9995"
    expected = [place for place, _ in beta_ticks(3, 11, 18)]
    assert [float(each) for each in second.split(",")] == pytest.approx(expected)
