"""The pictures of docs/limits.md are drawn from what is solved and trained."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "examples" / "infinite_networks.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("infinite_networks", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(axes):
    return {line.get_label(): line.get_ydata() for line in axes.lines}


def test_the_dynamics_are_those_of_the_limit(example, capsys):
    wider, deeper, features = example.dynamics(widths=(32, 512), depths=(1, 4), seeds=4).axes
    limit = drawn(wider)["∞"]
    assert abs(drawn(wider)["512"] - limit).max() < abs(drawn(wider)["32"] - limit).max()
    assert (
        abs(drawn(deeper)["4"] - drawn(deeper)["∞"]).max()
        < abs(drawn(deeper)["1"] - drawn(deeper)["∞"]).max()
    )
    assert drawn(features)["20"][-1] > 2 * drawn(features)["0"][-1]
    assert "width  inf, depth inf" in capsys.readouterr().out


def test_the_errors_fall_with_size(example, capsys):
    one, _, depth = example.finite_size(widths=(32, 64, 128), depths=(4, 8), seeds=20).axes
    for axes in (one, depth):
        _, measured = axes.lines
        assert (measured.get_ydata()[1:] < measured.get_ydata()[:-1]).all()
    assert "error 0.05 = " in capsys.readouterr().out


def test_diversity_stays_with_root_depth_alone(example, capsys):
    example.diversity(limit_depths=(16, 18), depths=(16, 64), steps=60, seeds=1)
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "alpha" in line]
    found = {
        (kind, name, alpha): (float(first), float(change))
        for kind, name, _, alpha, _, first, *_, change in rows
    }
    assert len(found) == 8
    for name in ("relu", "abs"):
        assert found["limit", name, "1"][0] < found["limit", name, "0.5"][0] - 0.01
        assert found["torch", name, "1"][0] < found["torch", name, "0.5"][0] - 0.01
        assert found["torch", name, "1"][1] < found["torch", name, "0.5"][1] - 0.01


def test_width_times_the_square_error_is_the_same_at_every_width(example, capsys):
    example.errors_by_width(widths=(32, 128), networks=120)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["linear", "tanh", "relu"]
    for _, _, small, _, small_error, _, large, _, large_error in rows:
        assert (
            abs(float(small) - float(large))
            < 4 * (float(small_error) ** 2 + float(large_error) ** 2) ** 0.5
        )
        assert 0.3 < float(large) < 2
