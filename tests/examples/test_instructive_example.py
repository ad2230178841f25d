"""The instructive example has the numbers of its page."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PATH = ROOT / "examples" / "instructive_example.py"
PAGE = (ROOT / "docs" / "instructive-example.md").read_text()


def _load():
    spec = importlib.util.spec_from_file_location("instructive_example", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = _load()
MUP, SP, SWAPPED, V_ONLY = (
    example.SETUPS[title] for title in ("muP", "standard", "muP, swapped return", "muP for V only")
)
THETAS = (-1.5, -0.5, 0.1, 0.5, 1.0, 2.0)
SMALL = [2**k for k in range(8, 15, 2)]


def always(theta):
    return lambda f: theta


def exact(setup, n):
    """A draw with the averages of infinite width: U of 1, 1, .. and V of 1, -1, .., scaled."""
    (std_u, _), (std_v, _) = setup.scales(n)
    return std_u * np.ones(n), std_v * np.resize([1.0, -1.0], n)


def outputs(setup, n, theta, steps=4, seed=0):
    return np.array(
        example.outputs(
            [example.train(setup, *example.draw(setup, n, seed), always(theta), steps)]
        )[0]
    )


def slopes(setup, t, widths=SMALL):
    after = [example.sizes(example.train(setup, *exact(setup, n), steps=t), t) for n in widths]
    return {key: example.slope([at[key] for at in after], widths) for key in after[0]}


@pytest.mark.parametrize("n", [2, 2**8, 2**18])
def test_the_rules_are_those_of_the_paper(n):
    assert MUP.scales(n) == ((1, n), (1 / n, 1 / n))
    assert SP.scales(n) == ((1, 1), (pytest.approx(n**-0.5), 1))
    assert V_ONLY.scales(n) == (SP.scales(n)[0], MUP.scales(n)[1])


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("n", [2, 2**8, 3 * 2**9, 2**18])
def test_mup_with_the_averages_of_infinite_width_is_the_closed_form(theta, n):
    found = example.outputs([example.train(MUP, *exact(MUP, n), always(theta))])[0]
    assert found == pytest.approx([example.limit(t, theta) for t in range(5)], rel=1e-12, abs=1e-12)


def test_the_closed_form_at_theta_one():
    assert [example.limit(t, 1.0) for t in range(5)] == [0, 2, 8, 32, 128]


@pytest.mark.parametrize("theta", THETAS)
def test_any_draw_follows_the_recursion_of_its_three_averages(theta):
    n, t = 300, np.arange(5)
    U, V = example.draw(MUP, n, seed=3)
    grow, shrink = ((U + sign * n * V) @ (U + sign * n * V) / n for sign in (1, -1))
    expected = (grow * (1 + theta) ** (2 * t) - shrink * (1 - theta) ** (2 * t)) / 4
    assert outputs(MUP, n, theta, seed=3) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("n", [2**8, 2**12, 2**18])
def test_a_random_draw_is_within_its_sampling_error_of_the_closed_form(theta, n):
    """The averages have variances 2/n, 2/n and 1/n.

    So f has the variance ((1 + theta)^(4t) + (1 - theta)^(4t)) / (2n).
    """
    for t, f in enumerate(outputs(MUP, n, theta)):
        deviation = np.sqrt(((1 + theta) ** (4 * t) + (1 - theta) ** (4 * t)) / (2 * n))
        assert abs(f - example.limit(t, theta)) < 4 * deviation


@pytest.mark.parametrize("theta", [-0.5, 1.0])
def test_the_error_falls_as_one_over_the_root_of_the_width(theta):
    """With 200 seeds the mean square is known to 10%, the slope over six octaves to 0.02."""
    errors = [
        np.mean(
            [
                (outputs(MUP, n, theta, 2, seed)[2] - example.limit(2, theta)) ** 2
                for seed in range(200)
            ]
        )
        for n in SMALL
    ]
    predicted = [((1 + theta) ** 8 + (1 - theta) ** 8) / (2 * n) for n in SMALL]
    assert errors == pytest.approx(predicted, rel=0.4)
    assert example.slope(np.sqrt(errors), SMALL) == pytest.approx(-0.5, abs=0.06)


@pytest.mark.parametrize("theta", [0.5, 1.0, 2.0])
def test_the_swapped_return_shows_in_the_output_at_step_two_and_not_before(theta):
    n = 2**16
    right, wrong = outputs(MUP, n, theta), outputs(SWAPPED, n, theta)
    assert np.array_equal(wrong[:2], right[:2])
    leading = [theta ** (2 * t - 3) * (1 + theta**2) * float(n) ** (2 * t - 2) for t in range(2, 5)]
    assert wrong[2:] == pytest.approx(leading, rel=0.05)


def test_the_swapped_return_at_theta_one_is_twice_the_square_of_the_width():
    f = example.outputs(
        [example.train(SWAPPED, *exact(SWAPPED, n), steps=2) for n in example.WIDTHS]
    )
    assert [row[2] for row in f] == pytest.approx([2.0 * n**2 for n in example.WIDTHS], rel=1e-3)


def test_the_swapped_return_is_harmless_in_standard_parametrization():
    both = [
        example.Setup(input="sp", readout="sp", update=update)
        for update in (example.step, example.swapped)
    ]
    assert np.array_equal(outputs(both[0], 64, 1.0), outputs(both[1], 64, 1.0))


@pytest.mark.parametrize("t", [1, 2])
def test_the_tensors_of_mup_keep_their_size_at_every_width(t):
    assert slopes(MUP, t) == pytest.approx(
        {"U": 0, "nV": 0, "change of U": 0, "change of nV": 0}, abs=1e-12
    )


def test_the_tensors_show_the_swapped_return_at_step_one():
    found = slopes(SWAPPED, 1)
    assert (found["U"], found["nV"]) == pytest.approx((-1, 1), abs=1e-12)
    assert found["change of nV"] == pytest.approx(1, abs=0.01)
    n = 2**10
    after = example.sizes(example.train(SWAPPED, *exact(SWAPPED, n), steps=1), 1)
    assert (n * after["U"], after["nV"] / n) == pytest.approx((2**0.5, 2**0.5))


def test_muP_for_v_alone_freezes_u_and_the_output_learns_all_the_same():
    assert outputs(V_ONLY, 2**18, 0.5) == pytest.approx(0.5 * np.arange(5), abs=0.02)
    for t in (1, 2):
        assert slopes(V_ONLY, t) == pytest.approx(
            {"U": 0, "nV": 0, "change of U": -1, "change of nV": 0}, abs=0.01
        )


@pytest.mark.parametrize("theta", [0.5, 1.0])
def test_the_output_of_standard_parametrization_grows_with_the_width(theta):
    f = np.array([outputs(SP, n, theta) for n in example.WIDTHS])
    for t in range(1, 5):
        assert example.slope(f[:, t]) == pytest.approx(1, abs=0.03)
        assert f[-1, t] == pytest.approx(example.WIDTHS[-1] * example.limit(t, theta) / 2, rel=0.02)


@pytest.mark.parametrize("n", example.WIDTHS)
def test_with_feedback_mup_reaches_the_target_at_every_width(n):
    f = example.outputs([example.train(MUP, *example.draw(MUP, n), example.feedback, 16)])[0]
    assert f[-1] == pytest.approx(1, abs=1e-5)
    assert f[:6] == pytest.approx([0, 0.6, 0.87, 0.97, 0.99, 1.0], abs=2 / n**0.5 + 0.01)


def test_with_feedback_muP_for_v_alone_reaches_the_target_too():
    assert example.outputs(
        [example.train(V_ONLY, *example.draw(V_ONLY, 2**12), example.feedback, 40)]
    )[0][-1] == pytest.approx(1, abs=1e-4)


def test_the_command_prints_the_tables_of_the_page(capsys):
    example.main([])
    printed = capsys.readouterr().out
    blocks = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 9
    for block in blocks:
        assert block.strip() in printed


def test_the_command_draws_the_picture(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    example.main(["--figure", str(tmp_path / "picture.png")])
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", PAGE))
def test_links_of_the_page_lead_somewhere(target):
    assert (ROOT / "docs" / target).exists()


def test_the_page_shows_the_bug_as_it_is():
    namespace = {
        "U": np.array([1.0, 2.0]),
        "V": np.array([3.0, 5.0]),
        "lr_u": 2.0,
        "lr_v": 0.5,
        "theta": 1.0,
    }
    before = (namespace["U"], namespace["V"])
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], namespace)
    expected = example.swapped(*before, 2.0, 0.5, 1.0)
    assert np.array_equal(namespace["U"], expected[0])
    assert np.array_equal(namespace["V"], expected[1])
