"""Scripts that stay as they are, run as commands."""

import json
import math
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mutransfer as mt
from mutransfer import MutransferError, Runs
from mutransfer.studies import Points, Study, command, missing
from tests.studies.small_study import double, study

Script = Callable[[str], str]

TRAIN = """
import argparse
parser = argparse.ArgumentParser()
for name in ("lr", "width", "seed", "steps"):
    parser.add_argument("--" + name, type=float, default=0)
parser.add_argument("--out")
a = parser.parse_args()
losses = [1 + a.width * a.lr / (1 + step) + a.seed / 8 for step in range(5)]
"""
PRINT = """
import json
print("loading data {not json")
for step, loss in enumerate(losses):
    print(json.dumps({"step": 10 * step, "loss": loss, "lr": a.lr}), flush=True)
    print([1], "{", '{"epoch": 1}', sep="\\n")
"""


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes a script, and returns the words that run it."""

    def write(text: str) -> str:
        path = tmp_path / "a script.py"
        path.write_text(text)
        return "{python} " + shlex.quote(str(path))

    return write


def own(train: Any, **changes: Any) -> Study:
    grid: dict[str, Any] = {"width": [8, 16], "lr": [0.25, 0.5], "seeds": 2, "steps": 50}
    return Study(None, **grid | changes, train=train)


def one(folder: Path, train: Any, retry: str | None = None, **changes: Any) -> dict[str, Any]:
    # A width is an argument of every script.
    train = replace(train, template=f"{train.template} {{width}}")
    study = own(train, **{"width": [8], "lr": 0.5, "seeds": 1} | changes)
    (row,) = mt.sweep(study, folder, retry=retry).rows
    return row


def expected(row: dict[str, Any]) -> list[float]:
    return [1 + row["width"] * row["lr"] / (1 + step) + row["seed"] / 8 for step in range(5)]


def test_json_lines_on_standard_output(script: Script, tmp_path: Path) -> None:
    words = script(TRAIN + PRINT)
    train = command(f"{words} --lr {{lr}} --width {{width}} --seed {{seed}}")
    wanted = own(train)
    runs = mt.sweep(wanted, tmp_path / "a")
    assert len(runs.rows) == 8 and runs.rules == ["as it is"]
    for row in runs.rows:
        assert row["status"] == "finished" and row["curve"] == pytest.approx(expected(row))
        assert row["loss"] == pytest.approx(sum(expected(row)) / 5)
        assert row["reported_at"] == [0, 40] and row["seconds"] > 0
    assert missing(wanted, tmp_path / "a") == []
    assert mt.sweep(wanted, tmp_path / "a").rows == runs.rows


TABLE = """
import csv, pathlib
path = pathlib.Path(a.out)
path.parent.mkdir(parents=True, exist_ok=True)
with path.open("w", newline="") as file:
    writer = csv.writer(file, delimiter={delimiter!r})
    writer.writerow(["Step", "train_nll", "val_nll", "note"])
    for step, loss in enumerate(losses):
        writer.writerow([step, loss, loss + 1 if step % 2 else "", "a, b"])
        file.flush()
"""
COLUMNS = {"step": "Step", "loss": "train_nll", "validation": "val_nll"}


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_tables_with_columns_of_any_name(
    suffix: str, delimiter: str, script: Script, tmp_path: Path
) -> None:
    words = script(TRAIN + TABLE.format(delimiter=delimiter))
    log = "{folder}/my logs/log." + suffix
    train = command(
        f"{words} --lr {{lr:.6f}} --width {{width}} --seed {{seed}} --out '{log}'",
        log=log,
        columns=COLUMNS,
    )
    runs = mt.sweep(own(train), tmp_path / "a")
    for row in runs.rows:
        assert row["status"] == "finished", row
        assert row["curve"] == pytest.approx(expected(row))
        assert row["validation"] == pytest.approx(expected(row)[3] + 1)
    assert Runs.read(tmp_path / "a", metric="validation").metric == "validation"


def test_json_lines_in_a_file_beside_the_script(script: Script, tmp_path: Path) -> None:
    """The log and the script are named relative to a folder with a space in its name."""
    folder = tmp_path / "my runs"
    folder.mkdir()
    (folder / "train.py").write_text(
        TRAIN
        + 'import json\nwith open(a.out, "w") as file:\n'
        + "    for step, loss in enumerate(losses):\n"
        + '        print(json.dumps({"iter": step, "train/loss": loss}), file=file)\n'
    )
    line = "{python} train.py --lr {lr} --width {width} --seed {seed} --out"
    name = "log {width} {lr} {seed}.jsonl"
    runs = mt.sweep(own(command(f"{line} '{name}'", log=name, cwd=folder)), tmp_path / "a record")
    for row in runs.rows:
        assert row["curve"] == pytest.approx(expected(row)), row
    assert len(list(folder.glob("log*.jsonl"))) == 8


def test_a_log_of_an_earlier_run_is_not_read(script: Script, tmp_path: Path) -> None:
    """All runs write the same file, one after the other."""
    log = tmp_path / "log.csv"
    words = script("import time\ntime.sleep(0.3)\n" + TRAIN + TABLE.format(delimiter=","))
    train = command(
        f"{words} --lr {{lr}} --width {{width}} --out {shlex.quote(str(log))}",
        log=str(log),
        columns=COLUMNS,
    )
    runs = mt.sweep(own(train, seeds=1, width=[8]), tmp_path / "a")
    assert [row["status"] for row in runs.rows] == ["finished"] * 2
    for row in runs.rows:
        assert row["curve"] == pytest.approx(expected(row))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'import sys\nprint("x", file=sys.stderr)\nsys.exit("no such file: data.bin")',
            "the command ended with exit code 1: no such file: data.bin",
        ),
        (
            "raise ValueError('bad data')",
            "the command ended with exit code 1: ValueError: bad data",
        ),
        (
            "import sys; sys.exit('  traceback : Signal 6 (SIGABRT) received by PID 7\\n======')",
            "the command ended with exit code 1: Signal 6 (SIGABRT) received by PID 7",
        ),
        (
            "import sys; sys.exit(3)",
            "the command ended with exit code 3: it wrote nothing to stderr",
        ),
        (
            "print('step 3: loss 2.5')",
            "the command logged no step and loss in its standard output: write JSON lines such as "
            '{"step": 10, "loss": 2.5}, or a CSV, and name other columns by columns=',
        ),
        ("print('{\"step\": 3}')", "the command logged no step and loss in its standard output"),
        (
            'print(\'{"step": 3, "loss": NaN}\')',
            "the first loss reported, at step 3, is nan: look at the data and the initial values",
        ),
        (
            'for s in (3, 2): print(\'{"step": %d, "loss": 1}\' % s)',
            "step 2 was reported after step 3: report steps in order",
        ),
    ],
)
def test_what_a_script_does_wrong_is_the_message_of_its_run(
    text: str, message: str, script: Script, tmp_path: Path
) -> None:
    row = one(tmp_path / "a", command(script(text)))
    assert row["status"] == "failed" and row["message"].startswith(message)
    assert (
        row["loss"] is None
        and len(missing(own(command("x {lr} {width}"), seeds=1), tmp_path / "b")) == 4
    )


def test_a_script_that_fails_at_last_has_failed(script: Script, tmp_path: Path) -> None:
    row = one(tmp_path / "a", command(script('print(\'{"step": 3, "loss": 2.0}\')\n1 / 0')))
    assert row["status"] == "failed" and row["loss"] is None and row["curve"] == [2.0]
    assert row["message"].endswith("ZeroDivisionError: division by zero")


def test_a_script_that_writes_no_log_has_failed(script: Script, tmp_path: Path) -> None:
    row = one(tmp_path / "a", command(script("pass"), log="{folder}/log.csv"))
    assert row["status"] == "failed" and "logged no step and loss in" in row["message"]


def test_a_script_is_tried_again_after_it_failed(script: Script, tmp_path: Path) -> None:
    train = command(script("1 / 0"))
    assert one(tmp_path / "a", train)["status"] == "failed"
    script('print(\'{"step": 3, "loss": 2.0}\')')
    assert one(tmp_path / "a", train)["status"] == "failed"
    row = one(tmp_path / "a", train, retry="failed")
    assert row["status"] == "finished" and row["loss"] == 2.0


ENDLESS = """
import json, os, pathlib, subprocess, sys, time
children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])]
ids = [os.getpid(), *(child.pid for child in children)]
pathlib.Path(sys.argv[1]).write_text(json.dumps(ids))
for step in range(1000):
    print(json.dumps({"step": step, "loss": 1.0 if step < 3 else LOSS}), flush=True)
    time.sleep(0.01 if step < 5 else 30)
"""


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("loss", ['float("nan")', "1e5", 'float("inf")'])
def test_a_run_that_diverges_is_ended_with_its_children(
    loss: str, script: Script, tmp_path: Path
) -> None:
    ids, start = tmp_path / "ids.json", time.monotonic()
    words = script(ENDLESS.replace("LOSS", loss))
    row = one(tmp_path / "a", command(f"{words} {shlex.quote(str(ids))}"))
    assert (row["status"], row["diverged_at"], row["loss"]) == ("diverged", 3, None)
    assert time.monotonic() - start < 15
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(map(is_running, json.loads(ids.read_text()))):
        time.sleep(0.02)
    assert not any(map(is_running, json.loads(ids.read_text())))


def test_losses_that_are_text_or_nothing_are_read(script: Script, tmp_path: Path) -> None:
    lines = [
        '{"step": "1", "loss": "2.0", "acc": "0.5"}',
        '{"step": 2, "loss": null}',
        '{"step": 3.0, "loss": 1.0}',
        '{"step": 4, "acc": 0.75}',
        '{"loss": 7.0}',
        '{"step": null, "loss": 1.0}',
    ]
    words = script(f"print({chr(10).join(lines)!r})")
    row = one(tmp_path / "a", command(words, columns={"accuracy": "acc"}))
    assert (row["status"], row["curve"], row["accuracy"]) == ("finished", [2.0, 1.0], 0.75)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "train --lr {lr} --width {widht}",
            r"the command names \{widht\}, which the study has not",
        ),
        ("train --lr {lr}", r"the study sweeps width, and the command does not name it: write \{w"),
        ("train --width {width}", "the study sweeps lr, and the command does not name it"),
        ("train {lr} {width} {schedule}", r"names \{schedule\}, which the study has not; it has "),
        ("train {lr} {width} {size.width}", r"names \{size.width\}, which the study has not"),
    ],
)
def test_a_command_names_what_is_swept_and_nothing_else(template: str, message: str) -> None:
    with pytest.raises(MutransferError, match=message) as refusal:
        own(command(template + " --seed {seed}"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["seed", "rule"])
def test_a_command_names_seeds_and_rules_where_there_are_several(name: str) -> None:
    """Otherwise all seeds would be one and the same run."""
    several: dict[str, Any] = {"seeds": 2} if name == "seed" else {"rules": ["sp", "mup"]}
    single: dict[str, Any] = {"seeds": 1, "rules": ["sp"]}
    own(command("train {lr} {width}"), **single)
    with pytest.raises(MutransferError, match=f"the study sweeps {name}, and the command does not"):
        own(command("train {lr} {width}"), **single | several)


def test_what_has_one_value_need_not_be_named() -> None:
    own(command("train --lr {lr}"), width=[8], seeds=1)
    own(command("train {width}"), lr=[0.5], seeds=1, schedule=["linear"], batch=[4])


@pytest.mark.parametrize("name", ["batch", "steps", "context", "heads", "readout", "dropout"])
def test_axes_and_hyperparameters_are_to_be_named(name: str) -> None:
    values: dict[str, Any] = {name: [1, 2]}
    if name == "heads":
        values = {"axes": values}
    if name == "dropout":
        values = {"hyperparameters": {name: [0.1, 0.2]}}
    if name == "context":
        values |= {"task": "pydocs"}
    usual = "train {lr} {width} {seed}"
    with pytest.raises(MutransferError, match=f"the study sweeps {name}"):
        own(command(usual), **values)
    own(command(usual + " {" + name + "}"), **values)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "the command is empty"),
        ("  ", "the command is empty"),
        ("train --lr {lr", r"the command 'train --lr \{lr' cannot be read"),
        ("train 'a", "cannot be read: No closing quotation"),
        ("train {}", "the command"),
        ("train {0}", "the command"),
    ],
)
def test_commands_that_cannot_be_read_are_refused(template: str, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        own(command(template), width=[8], lr=0.1, seeds=1)


def test_a_program_that_does_not_exist_fails(tmp_path: Path) -> None:
    row = one(tmp_path, command("no-such-program --lr {lr}"))
    assert row["status"] == "failed"
    assert row["message"] == "cannot run no-such-program: No such file or directory"


def test_a_folder_that_does_not_exist_fails(script: Script, tmp_path: Path) -> None:
    row = one(tmp_path / "a", command(script("pass"), cwd=tmp_path / "none"))
    assert row["status"] == "failed" and "No such file or directory" in row["message"]


def test_hyperparameters_with_dots_may_be_named(script: Script, tmp_path: Path) -> None:
    words = script('import sys; print(\'{"step": 1, "loss": %s}\' % sys.argv[1])')
    patterns = {"init.readout": [0.5, 2.0], "lr.blocks.*": 3}
    changes: dict[str, Any] = {"hyperparameters": patterns, "width": [8], "lr": 0.5, "seeds": 1}
    rows = mt.sweep(
        own(command(words + " {init.readout}{lr.blocks.*:.0f} {width}"), **changes), tmp_path
    )
    assert [row["loss"] for row in rows.rows] == [0.53, 2.03]


def test_everything_that_may_be_named(script: Script, tmp_path: Path) -> None:
    words = script(
        "import json, sys\nprint(json.dumps({'step': 1, 'loss': 1.0}))\n"
        "json.dump(sys.argv[1:], open(sys.argv[1] + '/seen.json', 'w'))"
    )
    names = ["folder", "rule", "seed", "steps", "batch", "lr", "width", "schedule", "warmup"]
    line = " ".join([words, *(f"{{{name}}}" for name in names), "{{literally}}"])
    wanted = own(command(line), lr=0.5, width=[8], seeds=[3], schedule="linear", warmup=7, batch=4)
    (row,) = mt.sweep(wanted, tmp_path / "a b").rows
    assert row["status"] == "finished", row
    (seen,) = (tmp_path / "a b").glob("trials/*/seen.json")
    said = json.loads(seen.read_text())
    assert said == [
        str(seen.parent.resolve()),
        *["as it is", "3", "50", "4", "0.5", "8", "linear", "7", "{literally}"],
    ]


def test_a_value_that_changes_nothing_may_be_named(script: Script, tmp_path: Path) -> None:
    """A script has no idea of neutral values: it gets them as any other."""
    words = script('import sys; print(\'{"step": 1, "loss": %s}\' % sys.argv[1])')
    changes: dict[str, Any] = {"readout": [1.0, 2.0], "width": [8], "lr": 0.5, "seeds": 1}
    rows = mt.sweep(own(command(words + " {readout} {width}"), **changes), tmp_path).rows
    assert [(row["status"], row["loss"]) for row in rows] == [("finished", 1.0), ("finished", 2.0)]
    fixed = own(command(words + " {warmup} {width}"), **changes | {"readout": None, "warmup": 0})
    assert [row["status"] for row in mt.sweep(fixed, tmp_path / "b").rows] == ["finished"]


def test_points_name_hyperparameters_too(script: Script, tmp_path: Path) -> None:
    words = script('import sys; print(\'{"step": 1, "loss": %s}\' % sys.argv[1])')
    design = Points([{"lr": 0.5, "momentum": 0.25}, {"lr": 0.5, "momentum": 0.75}])
    changes: dict[str, Any] = {"width": [8], "lr": 0.5, "seeds": 1, "design": design}
    rows = mt.sweep(own(command(words + " {momentum} {width}"), **changes), tmp_path).rows
    assert [row["loss"] for row in rows] == [0.25, 0.75]
    with pytest.raises(MutransferError, match="the study sweeps momentum"):
        own(command(words + " {width}"), **changes)


def test_a_command_is_part_of_what_a_run_is() -> None:
    changes: dict[str, Any] = {"width": [8], "lr": 0.5, "seeds": 1}
    studies = [
        own(command(given[0] + " {width}", **given[1]), **changes)
        for given in (("a", {}), ("b", {}), ("a", {"log": "x.csv"}), ("a", {"cwd": "x"}))
    ]
    ids = [each.run_id(each.runs()[0]) for each in studies]
    assert len(set(ids)) == 4
    again = own(command("a {width}"), **changes)
    assert again.run_id(again.runs()[0]) == ids[0] and again.identity() == studies[0].identity()
    assert " at 0x" not in json.dumps(again.identity(), default=str)


def test_a_command_beside_a_builder_has_plans(script: Script, tmp_path: Path) -> None:
    train = command(
        script(TRAIN + PRINT) + " --lr {lr} --width {width} --seed {seed} --steps {depth}"
    )
    runs = mt.sweep(study(train=train, build=double, rules=["mup"], lr=[0.5]), tmp_path / "a")
    assert {row["status"] for row in runs.rows} == {"finished"} and runs.rules == ["mup"]
    assert all(math.isfinite(row["loss"]) for row in runs.rows) and os.path.isdir(tmp_path)
