"""The outcome of every rule: its transfer, or the refusal that leaves the others."""

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from mutransfer import MutransferError, Runs, Size, transfer
from mutransfer.certificates import Refusal, Transfer, Transfers
from tests.fragments import Fragment

Record = Callable[..., Runs]


def flat(*_: float) -> float:
    return -5.0


@pytest.fixture(scope="module")
def both(record: Record) -> Runs:
    """Rules with and without an optimum inside the grid."""
    good = record(flat, rule="mup")
    refused = record(flat, rule="sp", powers=range(-12, -5))
    return replace(good, rows=[*good.rows, *refused.rows])


def test_every_rule_has_its_own_transfer(record: Record) -> None:
    one = record(flat, rule="mup")
    other = record(lambda doublings, _: -5 - doublings, rule="sp")
    transfers = transfer(replace(one, rows=[*one.rows, *other.rows]))
    assert [(each.rule, round(each.drift["width"].value)) for each in transfers.granted] == [
        ("mup", 0),
        ("sp", -1),
    ]
    assert transfers.ok and len(transfers) == 2 and list(transfers) == ["mup", "sp"]
    assert dict(transfers) == dict(zip(("mup", "sp"), transfers.outcomes, strict=True))
    assert "ntk" not in transfers
    transfers.raise_if_refused()


def test_a_refused_rule_leaves_the_others(record: Record, both: Runs) -> None:
    transfers = transfer(both, {"width": 1024})
    (mup,) = transfers.granted
    assert mup == transfer(record(flat), {"width": 1024})["mup"] == transfers["mup"]
    assert [outcome.rule for outcome in transfers.outcomes] == ["mup", "sp"]
    (refusal,) = transfers.refusals
    assert refusal == transfers["sp"] and "the optimum is not bracketed" in refusal.reason
    assert not transfers.ok
    with pytest.raises(MutransferError) as error:
        transfers.raise_if_refused()
    assert str(error.value) == refusal.reason


def test_a_refused_rule_has_no_hyperparameters(both: Runs) -> None:
    transfers = transfer(both)
    assert transfers["mup"].hyperparameters == {"lr": pytest.approx(2**-5, rel=0.1)}
    with pytest.raises(MutransferError, match="not bracketed"):
        _ = transfers["sp"].hyperparameters


def test_the_order_of_rows_does_not_matter(record: Record) -> None:
    runs = record(lambda doublings, _: -5 - 0.3 * doublings, noise=0.1)
    backwards = transfer(replace(runs, rows=runs.rows[::-1]))
    assert backwards.outcomes == transfer(runs).outcomes


LOW = "'mup' at width 32, depth 2: the lowest loss is at the edge .* below it"
HIGH = "'mup' at width 32, depth 2: the lowest loss is at the edge .* above it"


@pytest.mark.parametrize(
    ("keep", "at", "reason"),
    [
        (lambda row: row["width"] == 32, {"width": 64}, "the sweep has one width only, 32, and"),
        (lambda row: row["lr"] in (2**-5, 2**-4), {}, "was run at 2 rates: an optimum needs at"),
        (lambda row: row["lr"] > 2**-5, {}, LOW),
        (lambda row: row["lr"] < 2**-5, {}, HIGH),
        (lambda row: True, {"depth": 4}, "the sweep has one depth only, 2, and says nothing of"),
    ],
    ids=["one size", "two rates", "low edge", "high edge", "fixed axis"],
)
def test_a_rule_that_shows_nothing_is_refused(
    record: Record, keep: Callable[..., bool], at: Mapping[str, int], reason: str
) -> None:
    runs = record(flat)
    transfers = transfer(replace(runs, rows=[row for row in runs.rows if keep(row)]), at)
    assert not transfers.granted
    with pytest.raises(MutransferError, match=reason):
        transfers.raise_if_refused()


def test_sizes_that_only_grow_together_reach_along_their_line_alone() -> None:
    rows = [
        {
            **{"rule": "sp", "width": width, "depth": depth, "lr": 2.0**power, "seed": seed},
            "loss": 1 + (power - best) ** 2,
        }
        for (width, depth), best in {(32, 4): -6, (64, 8): -6.5, (128, 16): -7}.items()
        for power in range(-10, -3)
        for seed in range(3)
    ]
    runs = Runs(header={}, rows=rows)
    refusal = transfer(runs, {"width": 256})["sp"]
    assert isinstance(refusal, Refusal)
    assert "width and depth only vary together" in refusal.reason
    along = transfer(runs, {"width": 256, "depth": 32})["sp"]
    assert isinstance(along, Transfer) and along.place.low < -7.5 < along.place.high
    assert any("only vary together" in warning for warning in along.warnings)


@pytest.mark.parametrize(
    ("at", "sentence"),
    [
        ({"heads": 4}, "target has heads: it takes width and depth"),
        ({"width": 0}, "target width is 0: give a size of at least 1"),
    ],
)
def test_impossible_targets_are_bad_input(both: Runs, at: Mapping[str, int], sentence: str) -> None:
    with pytest.raises(MutransferError, match=sentence):
        transfer(both, at)


def test_empty_records_and_unknown_rules_are_bad_input(both: Runs) -> None:
    with pytest.raises(MutransferError, match="the record is empty: run the sweep first"):
        transfer(Runs(header={}, rows=[]))
    with pytest.raises(MutransferError, match="the record has no rule 'ntk'; it has mup, sp"):
        transfer(both)["ntk"]


def test_json_is_a_certificate_or_a_refusal_with_the_same_keys(both: Runs) -> None:
    granted, refused = (outcome.to_json() for outcome in transfer(both, {"width": 1024}).outcomes)
    for data in (granted, refused):
        assert json.loads(json.dumps(data, allow_nan=False))["at"] == {"width": 1024, "depth": 2}
    assert granted["refusal"] is None and granted["regret"].keys() == {"value", "low", "high"}
    (low, high), value = granted["intervals"]["lr"], granted["hyperparameters"]["lr"]
    assert low < value < high
    assert "not bracketed" in refused["refusal"] and refused["warnings"] == []
    assert (refused["hyperparameters"], refused["intervals"], refused["regret"]) == ({}, {}, None)


def test_outcomes_survive_json_pickle_and_replace(record: Record, both: Runs) -> None:
    transfers = transfer(both, {"width": 1024})
    results: list[Any] = [transfers, *transfers.outcomes]
    for result in results:
        text = json.dumps(result.to_json(), allow_nan=False)
        assert type(result).from_json(text) == type(result).from_json(json.loads(text)) == result
        assert pickle.loads(pickle.dumps(result)) == replace(result) == result
    assert len({*transfers.outcomes, *transfer(both, {"width": 1024}).outcomes}) == 2


@pytest.mark.parametrize("kind", [Transfer, Transfers, Refusal])
@pytest.mark.parametrize("data", ["[]", "{", {}, {"rule": "sp"}, {"outcomes": [{}], "runs": {}}])
def test_other_data_is_refused(kind: type[Transfers], data: str | Mapping[str, Any]) -> None:
    with pytest.raises(MutransferError, match=rf"written by {kind.__name__}\.to_json"):
        kind.from_json(data)


def test_outcomes_print_as_tables_and_are_short_in_a_debugger(both: Runs) -> None:
    transfers = transfer(both, {"width": 1024})
    text = str(transfers)
    for best in transfers["mup"].optima:
        assert f"width {best.size['width']} " in text and f"{best.log2_lr:.2f} [" in text
    assert "predicted for width 1024" in text and "runs that diverged" in text
    assert str(transfers["sp"]) in text and str(transfers["mup"]) in text
    for result in (transfers, *transfers.outcomes):
        assert len(repr(result)) <= 500 and "\n" not in repr(result)
        assert not {*str(result).split()} - {*Fragment(result._repr_html_()).words}


def test_sizes_and_axes_are_those_of_the_record(record: Record) -> None:
    runs = record(flat, widths=(32, 128), depths=(2, 8))
    transfers = transfer(runs)
    assert transfers.axes == ("width", "depth")
    assert transfers.sizes == tuple(
        Size(width=width, depth=depth) for width in (32, 128) for depth in (2, 8)
    )
