"""Rows of one run that agree or not, curves, and tables that cannot be read."""

import re
from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError, Runs


def read(tmp_path: Path, text: str, name: str = "runs.csv", **options: Any) -> Runs:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return Runs.from_table(path, **options)


HEAD = "width,lr,loss,name\n"


def test_rows_of_one_run_that_agree_count_once(tmp_path: Path) -> None:
    text = f"{HEAD}64,0.5,2,a\n64,0.50,2.0000000000001,b\n64,1,nan,a\n64,1,,b\n"
    runs = read(tmp_path, text)
    assert [(row["lr"], row["loss"]) for row in runs.rows] == [(0.5, 2.0), (1.0, None)]
    assert "2 rows repeat others and count once" in runs.notes


def test_rows_of_one_run_that_disagree_are_refused(tmp_path: Path) -> None:
    text = f"{HEAD}32,0.5,2,a\n64,0.5,2,a\n64,0.5,2.5,b\n"
    with pytest.raises(MutransferError) as error:
        read(tmp_path, text)
    sentence = str(error.value)
    assert "rows 3 and 4 are one run, rule default, width 64, lr 0.5, seed 0" in sentence
    assert "losses 2 and 2.5; they differ in name: name the column" in sentence
    assert "columns={'seed': COLUMN}" in sentence
    runs = read(tmp_path, text, columns={"seed": "name"})
    assert [row["seed"] for row in runs.rows] == [0, 0, 1]


def test_curves_give_their_last_loss(tmp_path: Path) -> None:
    """An empty loss was not logged at that step; one that is no number has diverged."""
    text = "width,lr,_step,loss\n64,1,0,3\n64,1,20,2\n64,1,10,2.5\n64,1,30,\n64,2,0,3\n64,2,9,NaN\n"
    runs = read(tmp_path, text)
    assert [(row["lr"], row["loss"]) for row in runs.rows] == [(1.0, 2.0), (2.0, None)]
    assert any("the last _step with a loss counts, 2 of 6 rows" in note for note in runs.notes)


def test_curves_of_two_runs_that_disagree_are_refused(tmp_path: Path) -> None:
    text = "Name,width,lr,_step,loss\na,64,1,0,3\na,64,1,9,2\nb,64,1,0,3\nb,64,1,9,1\n"
    with pytest.raises(MutransferError, match="rows 3 and 5 are one run"):
        read(tmp_path, text)


def test_a_logged_schedule_is_not_taken_for_many_runs(tmp_path: Path) -> None:
    text = "Name,width,lr,step,loss\na,64,1,0,3\na,64,0.5,9,2\n"
    with pytest.raises(MutransferError, match="run a changes its size, hyperparameters or seed at"):
        read(tmp_path, text)
    runs = read(tmp_path, text.replace("Name", "comment"))
    assert "every row counts as a run, although there is a column step" in runs.notes


def test_a_column_of_steps_may_be_an_axis(tmp_path: Path) -> None:
    text = "step,lr,loss\n100,1,3\n200,1,2\n"
    assert len(read(tmp_path, text, axes=["step"]).rows) == 2


@pytest.mark.parametrize(
    "text",
    [
        "# my runs\n# on two machines, in May\nwidth,lr,loss\n64,1,3\n64,x,2\n",
        'sep=;\n"sep=;"\nwidth;lr;loss\n64;1;3\n64;x;2\n',
        "# of May\n# more\nwidth\tlr\tloss\n64\t1\t3\n64\tx\t2\n",
    ],
)
def test_lines_before_the_names_are_left_out(tmp_path: Path, text: str) -> None:
    right = "\n".join(text.splitlines()[:-1])
    (row,) = read(tmp_path, right).rows
    assert (row["width"], row["lr"], row["loss"]) == (64, 1, 3)
    with pytest.raises(MutransferError, match="'x' in column lr, row 5, is no number"):
        read(tmp_path, text)


def test_a_comment_may_hold_the_names(tmp_path: Path) -> None:
    """As NumPy writes them."""
    (row,) = read(tmp_path, "# of May\n# width,lr,loss\n64,1,3\n").rows
    assert (row["width"], row["lr"], row["loss"]) == (64, 1, 3)
    assert read(tmp_path, "#params,lr,loss\n64,1,3\n", axes=["params"]).rows[0]["params"] == 64


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_of_utf_16_reads(tmp_path: Path, encoding: str) -> None:
    mark = "" if encoding == "utf-16" else "\ufeff"
    path = tmp_path / "runs.csv"
    path.write_text(f"{mark}width,lr,loss\n64,1,3\n", encoding=encoding)
    (row,) = Runs.from_table(path).rows
    assert (row["width"], row["lr"], row["loss"]) == (64, 1, 3)


def test_losses_beyond_float32_have_diverged(tmp_path: Path) -> None:
    rows = read(tmp_path, "width,lr,loss\n64,1,3\n64,2,1e300\n64,4,1e30\n").rows
    assert [row["status"] for row in rows] == ["finished", "diverged", "finished"]


def test_a_trailing_comma_is_no_further_cell(tmp_path: Path) -> None:
    rows = read(tmp_path, "width,lr,loss\n64,1,3,\n64,2,2,, \n").rows
    assert [row["loss"] for row in rows] == [3, 2]


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("", {}, "is empty: a table needs a row of column names"),
        ("width,lr,loss\n", {}, "has column names and no rows"),
        ("width,lr,loss\n64,0.5\n", {}, "line 2 has fewer cells than the 3 columns"),
        (
            "width,lr,loss\n512,0.00024,2.5\n512,0.00048,21,67\n",
            {},
            "line 3 has more cells than the 3 columns: a cell that holds ',' itself",
        ),
        ("width,rate,loss\n64,1,2\n", {}, "no column for lr: .* the columns are width, rate, loss"),
        ("width,lr,y\n64,1,2\n", {}, "has no column for loss: name it with columns={'loss': COL"),
        ("a,lr,loss\n64,1,2\n", {}, r"no column for width or depth, nor .* axes=\[\"params\""),
        ("width,lr,loss\n1,1,2\n", {"columns": {"lr": "eta"}}, "has no column 'eta' for lr; the"),
        ("width,lr,loss\n1,1,2\n", {"columns": {"loss": "lr"}}, "is named for two things: width"),
        ("width,lr,loss\n1,1,2\n", {"axes": ["params"]}, "has no column for params"),
        ("width,lr,loss\n1,1,2\n", {"axes": "width"}, "axes is a list of the columns"),
        ("width,lr,loss\n1,1,2\n", {"metric": "final"}, "has no column for final"),
        ("width,lr,loss\n1,x,2\n", {}, "'x' in column lr, row 2, is no number"),
        ("width;lr;loss\n1;0,5;2\n", {}, "'0,5' in column lr, row 2, is no number: write it with"),
        ("width,lr,loss\n1,1,ok\n", {}, "'ok' in column loss, row 2, is no number"),
        ("width,lr,loss\n1,-8,2\n", {}, "lr is -8 in row 2, .* columns={'lr': 'log2:lr'}"),
        ("width,log_lr,loss\n1,-8,2\n", {}, "name it with columns={'lr': 'log2:log_lr'}"),
        ("width,lr,loss\n1,0,2\n", {}, "lr is 0 in row 2, and lr must be positive: correct or"),
        ("width,lr,loss\n0,1,2\n", {}, "width is 0 in row 2, and width must be positive"),
        ("width,lr,loss,lr\n1,1,2,3\n", {}, "has several columns lr: rename all but one"),
        ("width,lr,loss\n,1,2\n", {}, "has no runs left: .* rows without width are left out"),
        ("width,lr,loss\n1,5000,2\n", {"columns": {"lr": "log2:lr"}}, "larger than any number"),
        ("config.lr,params.lr,width,loss\n1,1,1,1\n", {}, "config.lr, params.lr, each of which"),
        ('Step,"a - loss","a - loss__MIN"\n0,1,1\n', {}, "is the export of a chart, with a column"),
        ("Wall time,Step,Value\n1,1,1\n", {}, "is the curve of one run: make a table with a row"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, text: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(MutransferError, match=sentence) as error:
        read(tmp_path, text, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("x", "runs.xlsx", "of an unknown kind: its name must end in .csv, .tsv"),
        ("[1]\n", "runs.jsonl", "line 1 is no object of JSON"),
        ('{"lr": 1}\n{"lr"\n', "runs.jsonl", "line 2 is no JSON"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, name: str, sentence: str) -> None:
    with pytest.raises(MutransferError, match=sentence):
        read(tmp_path, text, name)


def test_other_things_than_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MutransferError, match="a table is a path or a data frame, not an int"):
        Runs.from_table(5)
    missing = tmp_path / "missing.csv"
    with pytest.raises(MutransferError, match=re.escape(f"there is no file {missing}")):
        Runs.from_table(missing)


def test_betas_above_1_are_refused(tmp_path: Path) -> None:
    head, rows = "width,lr,beta2,loss\n", "64,1,0.9,3\n64,1,1,2\n"
    options = {"hyperparameters": ["lr", "beta2"]}
    assert len(read(tmp_path, head + rows, **options).rows) == 2
    with pytest.raises(MutransferError, match=r"beta2 has the value 1\.5, and beta2 is at most 1"):
        read(tmp_path, f"{head}{rows}64,1,1.5,2\n", **options)
