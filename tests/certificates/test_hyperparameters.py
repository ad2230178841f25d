"""Any hyperparameter: on its scale, several at once, and choices that have no scale."""

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError, Runs, Transfer, transfer
from mutransfer.certificates import Choice, Refusal, Transfers
from mutransfer.core import value_at
from tests.records import several as several

WIDTHS = (32, 64, 128)
NEAR = 0.15
"""Octaves, and shares, by which optima of curves without noise are found."""


def test_each_hyperparameter_is_found_along_its_own_slice(several: Runs) -> None:
    found = transfer(several, at={"width": 512})
    assert found.over == "lr" and [each.over for each in found.others] == [
        "readout",
        "beta2",
        "schedule",
    ]
    assert found["default"].hyperparameters == {
        "lr": pytest.approx(2**-6, rel=NEAR),
        "readout": pytest.approx(2.0, rel=NEAR),
        "beta2": pytest.approx(0.93, abs=0.01),
        "schedule": "cosine",
    }
    assert found["default"].intervals.keys() == {"lr", "readout", "beta2"}
    for name, (low, high) in found["default"].intervals.items():
        assert low < found["default"].hyperparameters[name] < high
    readout = transfer(several, at={"width": 512}, over="readout")["sp"]
    assert isinstance(readout, Transfer) and readout.scale == "log2"
    assert readout.drift["width"].value == pytest.approx(-0.6, abs=NEAR)
    assert readout.hyperparameters == {"readout": pytest.approx(2 * 2**-2.4, rel=2 * NEAR)}
    alone = transfer(several, at={"width": 512}, over="lr")["default"]
    assert isinstance(alone, Transfer) and alone.regret.high < found["default"].regret.high


def test_a_hyperparameter_that_drifts_is_warned_of_where_it_is_used(several: Runs) -> None:
    found = transfer(several)
    warnings = found["sp"].warnings if isinstance(found["sp"], Transfer) else ()
    (warning,) = [each for each in warnings if each.startswith("readout: the optimum drifts")]
    assert "it does not transfer" in warning


def test_a_linear_scale_has_no_octaves() -> None:
    runs = swept_over("keep", [0.8, 0.85, 0.9, 0.95, 0.99], lambda keep: 2 * (keep - 0.93) ** 2, 0)
    keep = transfer(runs)["mup"]
    assert isinstance(keep, Transfer) and keep.scale == "linear"
    assert [best.position for best in keep.optima] == pytest.approx([0.93] * 4, abs=0.01)
    assert keep.value == keep.place.value and "octave" not in str(keep)
    assert "the best keep" in str(transfer(runs))


def test_intervals_of_several_hold_with_the_others_held(several: Runs) -> None:
    held = "each interval holds with the others at these values"
    assert held in str(transfer(several)["default"])
    assert held not in str(transfer(several, over="lr")["default"])


def test_the_advice_is_code_for_the_plan(several: Runs) -> None:
    advice = transfer(several, at={"width": 512})["default"].advice
    assert advice == (
        "train at width 512, depth 2 with lr=0.016, readout=2, beta2=0.933, schedule='cosine': "
        "plan.tuned(readout=2).param_groups(model, lr=0.016)"
    )


def test_every_rate_is_a_decimal_too(several: Runs) -> None:
    found = transfer(several, at={"width": 512}, over="lr")
    text = str(found)
    sp = found["sp"]
    assert isinstance(sp, Transfer)
    assert f"rate 2^{sp.place.value:.2f} ({2**sp.place.value:.2g}) [" in text
    for best in sp.optima:
        assert f"{best.position:.2f} [{best.low:.2f}, {best.high:.2f}] {best.value:.2g}" in text
    data = sp.to_json()
    assert data["value"] == sp.value == 2**sp.place.value
    assert [each["value"] for each in data["optima"]] == [2**best.position for best in sp.optima]


# Choices


def test_a_choice_is_the_same_at_every_size(several: Runs) -> None:
    choice = transfer(several, over="schedule")["default"]
    assert isinstance(choice, Choice) and choice.same and choice.value == "cosine"
    assert [best.choice for best in choice.best] == ["cosine"] * 3
    assert str(choice).splitlines()[0] == "default: schedule cosine is best at every size"
    assert transfer(several, over="schedule").choices[0].rule == "sp"


def chosen(losses: dict[int, dict[str, list[float]]]) -> Choice:
    """Return the choice at these widths, from losses of every seed."""
    rows = [
        {"rule": "sp", "width": width, "depth": 2, "lr": 1.0, "schedule": name, "seed": seed}
        | {"loss": loss}
        for width, choices in losses.items()
        for name, values in choices.items()
        for seed, loss in enumerate(values)
    ]
    runs = Runs(header={"hyperparameters": ["lr", "schedule"]}, rows=rows)
    choice = transfer(runs, over="schedule")["sp"]
    assert isinstance(choice, Choice)
    return choice


def test_a_choice_that_changes_with_size_is_said() -> None:
    clear, other = {"a": [1.0] * 3, "b": [2.0] * 3}, {"a": [2.0] * 3, "b": [1.0] * 3}
    choice = chosen({32: clear, 64: other})
    assert not choice.same and choice.value == "b"
    assert "the best schedule changes with size: a at width 32, depth 2; b at" in str(choice)
    assert choice.summary == "sp: the best schedule changes with size", "a headline lists no sizes"


def test_a_choice_within_the_noise_of_the_seeds_is_as_good() -> None:
    """At the second size b wins by less than its seeds differ; a is as good everywhere."""
    clear = {"a": [1.0] * 3, "b": [2.0, 2.1, 2.2]}
    close = {"a": [1.0, 1.1, 1.2], "b": [1.1, 0.9, 1.15]}
    choice = chosen({32: clear, 64: close})
    assert [best.choice for best in choice.best] == ["a", "b"]
    assert set(choice.best[1].tied) == {"a", "b"} and choice.same and choice.value == "a"
    assert "a is best, or as good within the seeds' noise, at every size" in str(choice)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_equal_choices_seldom_seem_to_change(seeds: int) -> None:
    """At four sizes and among three choices, the best of few seeds is another nearly always."""
    random = np.random.default_rng(seeds)

    def changes(shift: float) -> bool:
        losses = random.standard_normal((4, 3, seeds))
        losses[:2, 0] -= shift
        losses[2:, 1] -= shift
        each = {
            32 << i: dict(zip("abc", own.tolist(), strict=True)) for i, own in enumerate(losses)
        }
        return not chosen(each).same

    assert sum(changes(0.0) for _ in range(40)) <= 4
    assert seeds == 1 or sum(changes(30.0) for _ in range(20)) >= 15


def test_a_choice_that_diverges_is_never_the_best() -> None:
    choice = chosen({32: {"a": [1.0, math.nan], "b": [2.0, 2.0]}, 64: {"a": [3, 3], "b": [2, 2]}})
    assert choice.same and choice.value == "b"


def test_one_choice_alone_and_only_diverged_ones_are_refused() -> None:
    for losses, sentence in [({"a": [1.0]}, "one schedule alone, a"), ({}, "every schedule div")]:
        losses = losses or {"a": [math.inf], "b": [math.inf]}
        with pytest.raises(AssertionError):
            chosen({32: losses})
        rows: list[dict[str, Any]] = [
            {"rule": "sp", "width": 32, "depth": 2, "lr": 1.0, "schedule": name, "seed": 0}
            | {"loss": loss}
            for name, (loss,) in losses.items()
        ]
        runs = Runs(header={"hyperparameters": ["lr", "schedule"]}, rows=rows)
        refusal = transfer(runs, over="schedule")["sp"]
        assert isinstance(refusal, Refusal) and sentence in refusal.reason


# Faults


def test_a_hyperparameter_that_is_refused_leaves_the_rest(several: Runs) -> None:
    rows = [row for row in several.rows if row["readout"] <= 1]
    found = transfer(replace(several, rows=rows))["default"]
    assert found.hyperparameters.keys() == {"lr", "beta2", "schedule"}
    assert any("readout is not known: " in warning for warning in found.warnings)
    assert any("add values of readout above it" in warning for warning in found.warnings)


def test_points_at_random_have_no_slice(several: Runs) -> None:
    rows = [{**row, "beta2": 0.8 + 0.01 * number} for number, row in enumerate(several.rows)]
    header = {**several.header, "centre": None}
    refusal = transfer(Runs(header=header, rows=rows))["default"]
    assert isinstance(refusal, Refusal) and "as points drawn at random are" in refusal.reason


def test_a_folder_holds_text_numbers_and_figure(several: Runs, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = transfer(several)
    folder = found.save(tmp_path / "new" / "folder")
    assert {path.name for path in folder.iterdir()} == {
        f"transfer.{ending}" for ending in ("txt", "json", "csv", "png", "svg")
    }
    assert Transfers.from_json((folder / "transfer.json").read_text()) == found
    assert (folder / "transfer.txt").read_text() == f"{found}\n"


def test_a_hyperparameter_that_was_not_swept_is_bad_input(several: Runs) -> None:
    with pytest.raises(MutransferError, match="did not sweep 'momentum': it has lr, readout"):
        transfer(several, over="momentum")


def test_a_value_without_effect_is_named(several: Runs) -> None:
    rows = [{**row, "loss": 2.0} for row in several.rows if row["readout"] != 1]
    header = {**several.header, "hyperparameters": ["readout"], "centre": {}}
    refusal = transfer(Runs(header=header, rows=rows), over="readout")["default"]
    assert "the loss is the same at every readout, so the readout has no effect" in str(refusal)


def test_results_survive_json_and_pickle(several: Runs) -> None:
    found = transfer(several, at={"width": 512})
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Transfers.from_json(text) == found == pickle.loads(pickle.dumps(found))
    choice = transfer(several, over="schedule")["default"]
    assert isinstance(choice, Choice)
    assert Choice.from_json(json.dumps(choice.to_json())) == choice
    assert json.loads(text)["outcomes"][1]["hyperparameters"]["schedule"] == "cosine"


def test_zero_makes_a_scale_linear() -> None:
    rows = [
        {"rule": "sp", "width": width, "depth": 2, "wd": wd, "seed": seed, "loss": (wd - 0.2) ** 2}
        for width in WIDTHS
        for wd in np.linspace(0, 1, 6).tolist()
        for seed in range(3)
    ]
    runs = Runs(header={"hyperparameters": ["wd"], "scales": {"wd": "log2"}}, rows=rows)
    found = transfer(runs)["sp"]
    assert found.hyperparameters == {"wd": pytest.approx(0.2, abs=0.05)}


# Possible values


def swept_over(
    name: str, values: list[float], loss: Callable[[float], float], noise: float = 0.002
) -> Runs:
    """Return a record over one hyperparameter at several widths."""
    random = np.random.default_rng(4)
    rows = [
        {"rule": "mup", "width": width, "lr": 1e-3, name: value, "seed": seed}
        | {"loss": loss(value) + noise * random.standard_normal()}
        for width in (64, 128, 256, 512)
        for value in values
        for seed in range(3)
    ]
    return Runs(header={"axes": ["width"], "hyperparameters": [name]}, rows=rows)


@pytest.mark.parametrize(
    ("name", "values"),
    [("momentum", [0.0, 0.5, 0.9, 0.95, 0.99]), ("beta2", [0.9, 0.95, 0.99, 0.999])],
)
def test_intervals_hold_possible_values_alone(name: str, values: list[float]) -> None:
    runs = swept_over(name, values, lambda value: 3 + 0.02 * math.log2((1 - value) / 0.03) ** 2)
    found = transfer(runs, at={"width": 2048}, over=name)["mup"]
    assert isinstance(found, Transfer)
    places = [(value_at(b.low, b.scale), value_at(b.high, b.scale)) for b in found.optima]
    intervals = [*found.intervals.values(), *places]
    assert all(0 <= low < 0.97 < high < 1 for low, high in intervals)


def test_a_wide_interval_is_given_in_the_values_own_units() -> None:
    """A size half way to the target would know its optimum no better than those that were run."""
    values = [0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999]
    runs = swept_over("keep", values, lambda value: 0.02 * math.log2((1 - value) / 0.02) ** 2)
    refusal = transfer(runs, at={"width": 2048}, over="keep")["mup"]
    assert isinstance(refusal, Refusal) and "octave" not in refusal.reason
    assert "steps of its values) on either side only" in refusal.reason
    assert refusal.reason.endswith("values between those that were run, at width 512")


# 0 on a logarithmic scale

DECAYS = [0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]


def decay_loss(best: float, at_zero: float) -> Callable[[float], float]:
    """Return a parabola in the logarithm, with a value of its own at 0."""
    return lambda value: 3 + (0.01 * math.log2(value / best) ** 2 if value else at_zero)


def test_a_weight_decay_of_0_is_set_aside() -> None:
    """On a linear scale four of the six values would be one."""
    whole = swept_over("weight_decay", DECAYS, decay_loss(0.02, 0.5))
    found = transfer(whole, over="weight_decay")["mup"]
    assert isinstance(found, Transfer) and found.scale == "log2"
    for best in found.optima:
        assert 2**best.low < 0.02 < 2**best.high
        assert best.high - best.low < 4
    note = "weight_decay 0 has no place on a logarithmic scale and is best at no size"
    assert note in found.warnings
    positive = replace(whole, rows=[row for row in whole.rows if row["weight_decay"]])
    alone = transfer(positive, over="weight_decay")["mup"]
    assert isinstance(alone, Transfer) and alone.optima == found.optima


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_decays_in_steps_of_ten_are_refused_until_there_are_more(noise: float) -> None:
    """Three values leave the optimum open by more than two octaves, even without any noise."""
    loss = decay_loss(0.07, 0.3)
    refusal = transfer(swept_over("weight_decay", [0, 0.01, 0.1, 1], loss, noise))["mup"]
    assert isinstance(refusal, Refusal) and "of no use" in refusal.reason
    assert refusal.reason.endswith(
        "run values between those that were run at width 512, which are 3.3 octaves apart; more "
        "seeds alone would not narrow it"
    )
    between = swept_over("weight_decay", [0, 0.01, 0.03, 0.1, 0.3, 1], loss, noise)
    found = transfer(between)["mup"]
    assert isinstance(found, Transfer)
    low, high = found.intervals["weight_decay"]
    assert low < 0.07 < high < 4 * low


def test_a_weight_decay_of_0_that_is_the_best_is_said() -> None:
    runs = swept_over("weight_decay", DECAYS, decay_loss(0.02, -0.5))
    found = transfer(runs, over="weight_decay")["mup"]
    assert isinstance(found, Transfer)
    (warning,) = [each for each in found.warnings if "weight_decay 0" in each]
    assert warning.startswith("weight_decay 0 is better than every other value at width 64; width")
    low = swept_over("weight_decay", DECAYS, decay_loss(1e-6, -0.5))
    refusal = transfer(low, over="weight_decay")["mup"]
    assert isinstance(refusal, Refusal)
    assert refusal.reason.endswith("; weight_decay 0 is better than all of them")


def test_too_few_values_beside_0_stay_on_a_linear_scale() -> None:
    runs = swept_over("weight_decay", [0.0, 0.1, 0.2], lambda value: 3 + (value - 0.1) ** 2)
    found = transfer(runs, over="weight_decay")["mup"]
    assert isinstance(found, Transfer) and found.scale == "linear"
    assert all(best.low >= 0 for best in found.optima)


def test_figures_have_no_place_for_0() -> None:
    pytest.importorskip("matplotlib")
    from mutransfer.figures import Section, panels

    runs = swept_over("weight_decay", DECAYS, decay_loss(0.02, 0.5))
    (panel,) = panels([Section.of(transfer(runs, over="weight_decay"))])
    for line in panel.lines:
        assert line.places.tolist() == pytest.approx([math.log2(v) for v in DECAYS[1:]])
        assert line.losses.shape == (3, len(DECAYS) - 1)
