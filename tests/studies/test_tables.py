"""Anybody's table of runs: columns, units, states, and the formats of trackers."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError, Runs, Size

Write = Callable[..., Path]
SMALL = Size(width=64)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file and returns its path."""

    def text(content: str, name: str = "runs.csv") -> Path:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return text


def values(runs: Runs, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in runs.rows]


PLAIN = "width,lr,loss\n64,0.25,2\n64,0.5,1.5\n128,0.25,1\n"


def test_a_plain_table_is_a_record(write: Write) -> None:
    runs = Runs.from_table(write(PLAIN))
    assert runs.axes == ("width",) and runs.hyperparameters == ("lr",)
    assert runs.rules == ["default"] and runs.sizes("default") == [SMALL, Size(width=128)]
    rates, losses = runs.losses("default", SMALL)
    assert rates == [0.25, 0.5] and losses.tolist() == [[2.0, 1.5]]
    assert runs.seeds("default", SMALL) == {0}
    assert "width is the column width, lr lr, loss loss" in runs.notes
    assert any("every run counts as seed 0" in note for note in runs.notes)
    assert Runs.from_json(json.dumps(runs.to_json(), allow_nan=False)) == runs


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("d_model,learning_rate,final_loss", "width is the column d_model, lr learning_rate"),
        ("hidden_size,Learning Rate,val_loss", "lr Learning Rate, loss val_loss"),
        ("config.width,config.lr,summary.loss", "lr config.lr, loss summary.loss"),
        ("config/width,config/lr,eval/loss", "lr config/lr, loss eval/loss"),
        ("params.width,params.lr,metrics.val_loss", "lr params.lr, loss metrics.val_loss"),
        ("params_width,params_lr,value", "width is the column params_width, lr params_lr"),
    ],
)
def test_obvious_names_are_recognised_and_said(write: Write, header: str, names: str) -> None:
    runs = Runs.from_table(write(PLAIN.replace("width,lr,loss", header)))
    assert values(runs, "width", "lr", "loss") == [(64, 0.25, 2), (64, 0.5, 1.5), (128, 0.25, 1)]
    assert names in runs.notes[0]


def test_a_second_column_that_may_be_the_loss_is_said(write: Write) -> None:
    runs = Runs.from_table(write("width,lr,val_loss,train_loss\n64,0.25,2,1\n"))
    assert values(runs, "loss") == [(2.0,)]
    assert "train_loss may be meant by loss as well: columns={'loss': 'train_loss'}" in " ".join(
        runs.notes
    )


@pytest.mark.parametrize(
    ("setting", "logged"),
    [
        ("params.learning_rate", "metrics.lr"),
        ("config.learning_rate", "lr"),
        ("config.lr", "summary.lr"),
        ("learning_rate", "metrics.lr"),
    ],
)
def test_the_rate_is_the_one_that_was_set(write: Write, setting: str, logged: str) -> None:
    """A schedule ends at a tenth of it, which trackers log under the first of its names."""
    text = f"width,{logged},{setting},loss\n64,0.025,0.25,2\n64,0.05,0.5,1\n"
    runs = Runs.from_table(write(text))
    assert values(runs, "lr") == [(0.25,), (0.5,)]
    note = f"column {logged} may be meant by lr as well: columns={{'lr': '{logged}'}} takes it"
    assert note in runs.notes
    named = Runs.from_table(write(text), {"lr": logged})
    assert values(named, "lr") == [(0.025,), (0.05,)]


def test_a_setting_that_never_varies_is_not_the_swept_rate(write: Write) -> None:
    text = "width,config.init_lr,lr,loss\n64,1e-7,0.25,2\n64,1e-7,0.5,1\n"
    assert values(Runs.from_table(write(text)), "lr") == [(0.25,), (0.5,)]


@pytest.mark.parametrize("cell", [repr(float(np.float32(0.001))), "1e-3", "0.00100000000000000002"])
def test_a_rate_that_is_written_in_two_ways_is_one(write: Write, cell: str) -> None:
    text = f"width,lr,seed,loss\n64,0.001,0,2\n64,0.00101,0,3\n64,{cell},1,2\n64,0.00101,1,3\n"
    runs = Runs.from_table(write(text))
    rates, losses = runs.losses("default", SMALL)
    assert rates == [0.001, 0.00101] and losses.tolist() == [[2, 3], [2, 3]]
    said = "values of lr that differ by rounding alone are one" in runs.notes
    assert said == (float(cell) != 0.001)


def test_columns_axes_and_metrics_are_those_that_are_named(write: Write) -> None:
    text = "N,D,eta,run,a,b,top1\n1e9,2e10,0.5,7,3.5,3.25,0.5\n1e9,4e10,0.5,7,3,2.75,0.75\n"
    columns = {"params": "N", "tokens": "D", "lr": "eta", "seed": "run", "loss": "a"}
    columns |= {"validation": "b", "accuracy": "top1"}
    runs = Runs.from_table(write(text), columns, axes=["params", "tokens"])
    assert runs.sizes("default") == [
        Size(params=10**9, tokens=2 * 10**10),
        Size(params=10**9, tokens=4 * 10**10),
    ]
    assert str(runs.sizes("default")[1]) == "params 1e+09, tokens 4e+10"
    assert values(runs, "seed", "loss", "validation", "accuracy") == [
        (7, 3.5, 3.25, 0.5),
        (7, 3.0, 2.75, 0.75),
    ]
    (size, _) = runs.sizes("default")
    assert runs.with_metric("validation").losses("default", size)[1].tolist() == [[3.25]]


@pytest.mark.parametrize(
    ("unit", "cell", "expected"),
    [("log2", "-8", 2.0**-8), ("log10", "-3", 1e-3), ("ln", "-1", math.exp(-1))],
)
def test_units_of_logarithms_are_taken_off(
    write: Write, unit: str, cell: str, expected: float
) -> None:
    path = write(f"width,log_lr,loss\n64,{cell},2\n")
    runs = Runs.from_table(path, {"lr": f"{unit}:log_lr"})
    assert values(runs, "lr") == [(pytest.approx(expected, rel=1e-15),)]


@pytest.mark.parametrize("cell", ["", "nan", "NaN", "inf", "Infinity", "null"])
def test_a_loss_that_is_no_number_has_diverged(write: Write, cell: str) -> None:
    runs = Runs.from_table(write(f"{PLAIN}128,0.5,{cell}\n"))
    assert values(runs, "status")[-1] == ("diverged",)
    assert runs.losses("default", Size(width=128))[1].tolist() == [[1.0, math.inf]]


def test_runs_that_did_not_finish_are_left_out_and_said(write: Write) -> None:
    """An export of Weights & Biases."""
    text = '"Name","State","Notes","lr","width","loss"\n'
    for name, state, loss in [
        ("a", "finished", 2),
        ("b", "crashed", ""),
        ("c", "running", 3),
        ("d", "killed", 9),
    ]:
        text += f'"{name}","{state}","-","0.{ord(name)}","64","{loss}"\n'
    runs = Runs.from_table(write(text))
    assert values(runs, "lr") == [(0.97,)]
    assert (
        "runs that did not finish are left out: 1 crashed, 1 running, 1 killed (rows 3, 4, 5)"
    ) in runs.notes


def test_rows_without_a_size_or_a_rate_are_left_out_and_said(write: Write) -> None:
    runs = Runs.from_table(write(f"{PLAIN},0.25,1\n256,,1\n"))
    assert len(runs.rows) == 3
    assert {"rows without width are left out (row 5)", "rows without lr are left out (row 6)"} <= {
        *runs.notes
    }


def test_rules_seeds_and_choices_may_be_text(write: Write) -> None:
    text = "width,lr,loss,seed,rule,schedule\n64,0.5,2,b,sp,cosine\n64,0.5,3,a,mup,linear\n"
    runs = Runs.from_table(write(text), hyperparameters=["lr", "schedule"])
    assert values(runs, "rule", "seed", "schedule") == [("sp", 1, "cosine"), ("mup", 0, "linear")]
    assert runs.header["scales"] == {"lr": "log2", "schedule": "choice"}
    assert Runs.from_table(write(text.replace(",linear", ",cosine")), rule="x").rules == ["x"]


# Axes

LANGUAGE = (
    "n_params,num_tokens,batch_sequences,max_steps,lr,loss\n"
    "1e8,1e9,32,61035,0.25,3\n1e8,1e9,64,30518,0.25,2.5\n2e8,1e9,64,30518,0.25,2\n"
)


@pytest.mark.parametrize(
    ("axis", "header"),
    [
        *[("params", name) for name in ("params", "num_parameters", "n_params", "config.params")],
        *[("tokens", name) for name in ("tokens", "Training Tokens", "n_tokens")],
        *[("batch", name) for name in ("batch", "batch_size", "batch_sequences", "config.bs")],
        *[("steps", name) for name in ("steps", "max_steps", "num_train_steps")],
        *[("context", name) for name in ("context", "seq_len", "block_size", "n_ctx")],
    ],
)
def test_axes_are_recognised_by_their_names(write: Write, axis: str, header: str) -> None:
    runs = Runs.from_table(write(PLAIN.replace("width", header)), axes=[axis])
    assert values(runs, axis) == [(64,), (64,), (128,)]


def test_axes_are_those_that_tell_runs_apart(write: Write) -> None:
    """Tokens are the same everywhere, and steps follow from the batch."""
    runs = Runs.from_table(write(LANGUAGE))
    assert runs.axes == ("params", "batch")
    assert any("the axes are params, batch: params and batch tell runs" in n for n in runs.notes)


def test_axes_of_a_target_come_first(write: Write) -> None:
    runs = Runs.from_table(write(LANGUAGE), at=["tokens", "steps"])
    assert runs.axes == ("tokens", "steps", "params")
    with pytest.raises(MutransferError, match="has no column for context"):
        Runs.from_table(write(LANGUAGE), at=["context"])


def test_width_stays_alone_where_it_tells_runs_apart(write: Write) -> None:
    """A batch that grows with the width is no axis unless the target names it."""
    table = write("width,batch_size,lr,loss\n64,32,0.5,2\n128,64,0.5,1\n128,64,0.5,1\n")
    assert Runs.from_table(table).axes == Runs.from_table(table, at=["width"]).axes == ("width",)
    assert Runs.from_table(table, at=["width", "batch"]).axes == ("width", "batch")
    seeds = write("width,batch_size,seed,lr,loss\n64,32,0,0.5,2\n64,64,1,0.5,1\n")
    assert Runs.from_table(seeds).axes == ("width",)


# Formats


def test_every_format_reads_alike(write: Write) -> None:
    expected = Runs.from_table(write(PLAIN)).rows
    tabs = write(PLAIN.replace(",", "\t"), "runs.tsv")
    semicolons = write("\ufeff" + PLAIN.replace(",", ";"), "semicolons.csv")
    rows = [{"config": {"width": r["width"], "lr": r["lr"]}, "loss": r["loss"]} for r in expected]
    lines = write("".join(json.dumps(row) + "\n" for row in rows), "runs.jsonl")
    whole = write(json.dumps(rows), "runs.json")
    packed = "config,summary\n" + "".join(
        f"\"{{'width': {r['width']}, 'lr': {r['lr']}}}\",\"{{'loss': {r['loss']}}}\"\n"
        for r in expected
    )
    for path in (tabs, semicolons, lines, whole, write(packed, "packed.csv")):
        assert Runs.from_table(path).rows == expected, path.name


class Frame:
    """What a data frame of pandas has, as far as it is used."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = list(columns)
        self._columns = columns

    def __getitem__(self, name: str) -> Any:
        return np.array(self._columns[name])


def test_a_data_frame_reads_as_its_file(write: Write) -> None:
    frame = Frame({"width": [64, 64, 128], "lr": [0.25, 0.5, 0.25], "loss": [2.0, 1.5, 1.0]})
    assert Runs.from_table(frame).rows == Runs.from_table(write(PLAIN)).rows


def test_parquet_reads_or_names_its_extra(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("", "runs.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MutransferError, match=r"needs pyarrow: pip install 'mutransfer\[tables\]'"):
        Runs.from_table(path)
    monkeypatch.undo()
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"width": [64], "lr": [0.5], "loss": [2.0]}), path)
    assert values(Runs.from_table(path), "width", "lr", "loss") == [(64, 0.5, 2.0)]


def test_the_runs_of_a_report_read_again(write: Write) -> None:
    """Our own CSV: infinite and missing losses, states, and columns that are not needed."""
    text = "section,id,rule,width,depth,lr,seed,status,loss,final,diverged_at\n"
    text += "Width,a,sp,64,2,0.5,0,finished,2,1,\nWidth,b,sp,64,2,1,0,diverged,,,17\n"
    runs = Runs.from_table(write(text))
    assert values(runs, "rule", "depth", "status", "loss") == [
        ("sp", 2, "finished", 2.0),
        ("sp", 2, "diverged", None),
    ]


LANGUAGE_MODELS = Path(__file__).parents[3] / "shared" / "data" / "llm-learning-rates.csv"


@pytest.mark.skipif(not LANGUAGE_MODELS.exists(), reason="the table is not part of the package")
def test_a_table_of_language_models_reads() -> None:
    axes = ["params", "tokens", "batch_sequences"]
    runs = Runs.from_table(LANGUAGE_MODELS, {"lr": "learning_rate", "loss": "loss"}, axes)
    assert len(runs.rows) == 1404 and len(runs.sizes("default")) == 120


@pytest.mark.parametrize(
    "name",
    [
        "Test Accuracy (%)",
        "val/acc@1",
        "valacc",
        "mean_reward",
        "eval.top5",
        "testAccuracy",
        "acc1",
    ],
)
def test_metrics_that_are_better_higher_are_refused(write: Write, name: str) -> None:
    runs = Runs.from_table(write(f"width,lr,{name}\n64,0.25,2\n"), {"loss": name})
    with pytest.raises(MutransferError, match="is better where it is higher"):
        runs.check_comparable()


@pytest.mark.parametrize(
    "name",
    ["1 - accuracy", "-reward", "neg_reward", "top1_error", "acc loss", "accumulated", "mapping"],
)
def test_metrics_that_are_better_lower_are_compared(write: Write, name: str) -> None:
    Runs.from_table(write(f"width,lr,{name}\n64,0.25,2\n"), {"loss": name}).check_comparable()
