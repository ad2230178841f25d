"""Help, refusals, and verbs that do not train."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mutransfer import Plan
from mutransfer.rules import DISAGREEMENTS, PARAMETRIZATIONS

Command = Callable[..., Any]
VERBS = (
    *("demo", "plan", "check", "sweep", "status", "transfer", "report", "rules", "limit"),
    "experiment",
)
PLAN = ("plan", "mutransfer.tasks:mlp", "--width", 64, "--base-width", 16)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_overview_names_every_verb(command: Command, arguments: tuple[str, ...]) -> None:
    answer = command(*arguments)
    assert answer.code == 0 and answer.err == ""
    assert re.findall(r"^  (\w+)  +\w", answer.out, re.M) == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_examples(command: Command, verb: str) -> None:
    answer = command(verb, "--help")
    assert answer.code == 0 and answer.err == ""
    assert answer.out.startswith(f"usage: mutransfer {verb}")
    assert len(re.findall(rf"^Try: mutransfer {verb}", answer.out, re.M)) >= 2


@pytest.mark.parametrize("verb", VERBS)
def test_examples_use_options_that_exist(command: Command, verb: str) -> None:
    head, options = re.split(r"^\W* options ", command(verb, "--help").out, maxsplit=1, flags=re.M)
    examples = " ".join(re.findall(r"^Try: (.*)", head, re.M))
    assert set(re.findall(r"--[\w-]+", examples)) <= set(re.findall(r"--[\w-]+", options))


STUDY = """
import mutransfer as mt
from mutransfer.tasks import mlp
study = mt.Study(mlp, width=[8], depth=[2], lr=[0.1], {})
"""


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        (("swep",), "", "unknown verb 'swep'; choose one of demo, plan, check, sweep"),
        (("rules", "mupp"), "", "unknown rule 'mupp'; choose one of sp, sp-layerwise"),
        (("rules", "mup, sqrt"), "", "'sqrt' changes no rule"),
        (
            ("rules", "default"),
            "",
            "'default' is chosen by a model's residual branches; choose one of sp",
        ),
        (("rules", "mup, decay=sqrt, decay=constant"), "", "'decay' stands twice"),
        (("rules", "--cite"), "", "name a rule"),
        (("rules", "mup", "--json", "--latex"), "", "exclude each other"),
        (("rules", "mup", "--optimizer", "lbfgs"), "", "unknown optimizer 'lbfgs'"),
        (
            ("rules", "mup", "--form", "table1"),
            "",
            "unknown form 'table1'; choose one of plain, table3",
        ),
        ((*PLAN, "--rule", "mupp"), "", "unknown rule 'mupp'"),
        ((*PLAN, "--optimizer", "lbfgs"), "", "unknown optimizer 'lbfgs'"),
        ((*PLAN, "--explain", "nope"), "", "the plan has no tensor 'nope'"),
        ((*PLAN, "--explain", "nope", "--json"), "", "--explain is a text: leave --json out"),
        (
            ("transfer", "nowhere", "--collapse", "--at", "width=8", "--over", "lr"),
            "",
            "--collapse compares the sizes that were run: leave --at and --over out",
        ),
        (("transfer", "nowhere", "--regret", -1), "", "--regret -1: give a loss of at least 0"),
        (("transfer", "nowhere", "--regret", "nan"), "", "--regret nan: give a loss of at least 0"),
        (("limit", "--seconds", -1), "", "give a positive budget, or None (--seconds inf)"),
        (
            ("plan", "mutransfer.tasks:lstm", "--width", 8, "--base-width", 8),
            "",
            "mutransfer.tasks has no 'lstm'",
        ),
        (
            ("plan", "mutransfer.tasks:ACTIVATIONS", "--width", 8, "--base-width", 8),
            "",
            "is a dict, not a function that makes a model",
        ),
        (
            ("plan", "mutransfer.tasks:digits", "--width", 8, "--base-width", 8),
            "",
            "digits failed when called with width=",
        ),
        (
            ("plan", "no_such_package:build", "--width", 8, "--base-width", 8),
            "",
            "cannot import no_such_package",
        ),
        (
            ("plan", "my_model", "--width", 8, "--base-width", 8),
            "",
            "'my_model' names no object: write FILE.py:NAME",
        ),
        (("sweep", "missing.py:study", "--out", "a"), "", "there is no file missing.py"),
        (("sweep", "given.py:other", "--out", "a"), "study = 1", "given.py has no 'other'"),
        (
            ("sweep", "given.py:study", "--out", "a"),
            "study = 1",
            "given.py:study is an int, not a mutransfer.Study",
        ),
        (
            ("sweep", "given.py:study", "--out", "a"),
            "1 / 0",
            "given.py failed: ZeroDivisionError: division by zero",
        ),
        (("sweep", "given.py:study", "--out", "a"), "study = (", "given.py failed: SyntaxError"),
        (
            ("sweep", "given.py:study", "--out", "a"),
            STUDY.format("task='imagenet'"),
            "unknown task 'imagenet'",
        ),
        (
            ("sweep", "given.py:study", "--out", "a"),
            STUDY.format("task='none.txt'"),
            "cannot read the text file none.txt",
        ),
        (
            ("sweep", "given.py:study", "--out", "a"),
            STUDY.format("rules=['mupp']"),
            "unknown rule 'mupp'",
        ),
        (
            ("sweep", "given.py:study", "--out", "a"),
            STUDY.format("optimizer='sophia'"),
            "unknown optimizer 'sophia'",
        ),
        (
            ("sweep", "given.py:study", "--out", "given.py/a"),
            STUDY.format("steps=1"),
            "cannot write to given.py/a",
        ),
        (("transfer", "nowhere"), "", "nowhere holds no sweep"),
        (("report", "nowhere"), "", "nowhere holds no sweep"),
        (("limit", "imagenet"), "", "unknown task 'imagenet'; choose one of digits"),
        (
            ("limit", "given.py:study"),
            "study = 1",
            "given.py:study is an int, not a mutransfer.limits.Problem",
        ),
        (("limit", "--over", "momentum"), "", "give the values of momentum, ascending"),
        (
            ("limit", "--depth", 2, "--values", 1, 0.5),
            "",
            "values are [1.0, 0.5]: give at least one, ascending",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    command: Command, tmp_path: Path, arguments: tuple[object, ...], content: str, message: str
) -> None:
    (tmp_path / "given.py").write_text(content)
    answer = command(*arguments)
    assert answer.code == 2 and answer.out == ""
    assert answer.err.startswith("mutransfer: ") and message in answer.err
    assert answer.err.count("\n") == 1 and answer.err.endswith("\n")
    assert "Traceback" not in answer.err


MISSING = [
    (("sweep", "a.py:b"), "--out"),
    (("plan",), "--width"),
    # The last, as tyro before 1.0 remembers it for the rest of the process.
    (("rules", "--colour"), "--colour"),
]


@pytest.mark.parametrize(("arguments", "named"), MISSING)
def test_missing_and_unknown_options_are_named(
    command: Command, arguments: tuple[str, ...], named: str
) -> None:
    answer = command(*arguments)
    assert answer.code == 2 and named in answer.err and answer.out == ""


def test_the_rules_are_listed_with_their_sources(command: Command) -> None:
    out = command("rules").out
    for rule in PARAMETRIZATIONS.values():
        assert rule.name in out and rule.title in out and rule.source in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("mup",), ["hidden", "fan_in^-1/2", "1", "fan_in^-1", "fan_out^-1", "fan_in"]),
        (
            ("mup", "--optimizer", "sgd"),
            ["hidden", "fan_in^-1/2", "1", "fan_in^-1 · fan_out", "1", "fan_in · fan_out^-1"],
        ),
        (("sp",), ["hidden", "fan_in^-1/2", "1", "1", "1", "1"]),
    ],
)
def test_a_rules_table_has_a_row_for_every_role(
    command: Command, arguments: tuple[str, ...], expected: list[str]
) -> None:
    rows = [re.split("  +", line.strip()) for line in command("rules", *arguments).out.splitlines()]
    assert ["role", "init", "multiplier", "lr", "eps", "decay"] in rows
    (hidden,) = [row for row in rows if row[:1] == ["hidden"]]
    assert hidden == expected


def test_rules_as_json_are_the_table(command: Command) -> None:
    answer = json.loads(command("rules", "mup", "--json").out)
    assert (answer["rule"], answer["optimizer"], answer["form"]) == ("mup", "adamw", "plain")
    assert answer["multipliers"].keys() == {"attention logits", "logits of a tied head"}
    data = answer["roles"]
    assert data["hidden"]["lr"] == {"fan_in": "-1"} and data["readout"]["init"] == {"fan_in": "-1"}
    assert all(row.keys() == {"init", "multiplier", "lr", "eps", "decay"} for row in data.values())
    _, table, *_ = command("rules", "mup").out.split("\n\n")
    assert data.keys() == {line.split()[0] for line in table.splitlines()[1:]}


def test_a_plan_is_printed(command: Command) -> None:
    answer = command(*PLAN)
    assert answer.code == 0 and answer.err == ""
    assert all(name in answer.out for name in ("input.weight", "readout.bias", "hidden"))


def test_a_plan_as_json_is_the_plan(command: Command) -> None:
    plan = Plan.from_json(command(*PLAN, "--json", "--optimizer", "adam", "--rule", "mup").out)
    readout = plan["readout.weight"]
    assert (plan.rule, plan.optimizer) == ("mup", "adam")
    assert readout.factor("lr") == readout.factor("init") == 1 / 4


def test_one_tensor_is_explained(command: Command) -> None:
    out = command(*PLAN, "--explain", "readout.weight").out
    assert "readout.weight" in out and "2203.03466" in out and "input.weight" not in out


@pytest.mark.parametrize(
    ("given", "depths"),
    [((), [1, 1]), (("--depth", 4), [1, 1]), (("--depth", 4, "--base-depth", 2), [2, 4])],
    ids=["none", "one", "both"],
)
def test_depths_are_passed_on_where_they_are_given(
    command: Command, given: tuple[object, ...], depths: list[int]
) -> None:
    sizes = ("--width", 16, "--base-width", 16, *given)
    out = command("plan", "mutransfer.tasks:resmlp", *sizes, "--json").out
    base, model = json.loads(out)["depth"]
    assert model / base == depths[1] / depths[0]


def test_a_builder_in_a_file_may_import_its_neighbours(command: Command, tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_model.py").write_text("from mutransfer.tasks import mlp as build")
    (tmp_path / "my_own_model.py").write_text("from neighbour_of_model import build")
    assert command("plan", "my_own_model.py:build", "--width", 8, "--base-width", 8).code == 0


def test_a_module_in_this_folder_is_found(command: Command, tmp_path: Path) -> None:
    (tmp_path / "my_module_of_models.py").write_text("from mutransfer.tasks import mlp as build")
    assert command("plan", "my_module_of_models:build", "--width", 8, "--base-width", 8).code == 0


def test_an_interrupt_is_code_130(command: Command, tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text("def build(width):\n    raise KeyboardInterrupt\n")
    answer = command("plan", "interrupted.py:build", "--width", 8, "--base-width", 8)
    assert answer.code == 130 and answer.out == ""
    assert answer.err == (
        "mutransfer: interrupted; every finished run is kept, "
        "and the same command goes on from there\n"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["rules", "mup"], ["sweep", "--help"]])
def test_help_and_rules_do_not_import_torch(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mutransfer", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = set(re.findall(r"\|\s+([\w.]+)$", ran.stderr, re.M))
    assert "mutransfer.cli" in imported
    assert not imported & {"torch", "numpy", "matplotlib", "jinja2", "sklearn"}
    assert ran.stdout.strip()


def test_a_closed_pipe_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "mutransfer", "rules", "completep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 0


def test_rules_in_the_forms_of_the_paper(command: Command) -> None:
    out = command("rules", "mup", "--optimizer", "adam", "--form", "table9").out
    rows = [re.split("  +", line.strip()) for line in out.splitlines()]
    assert ["init. var.", "1/fan_out (1/fan_in)", "1/fan_in", "1/fan_in"] in rows
    assert ["Adam LR", "1/√fan_out (1)", "1/√fan_in (1)", "1/fan_in (1)"] in rows
    assert "from table3:" in out and "output weights: theta = 1/√fan_in; init × √fan_in" in out


def test_rules_in_latex(command: Command) -> None:
    lines = command("rules", "mup", "--form", "table3", "--latex").out.splitlines()
    assert lines[0] == r"\begin{tabular}{llll}" and lines[-1] == r"\end{tabular}"
    inverse, squared = r"$\mathrm{fan\_in}^{-1}$", r"$\mathrm{fan\_in}^{-2}$"
    assert rf"init. var. & {inverse} & {squared} ({inverse}) & {inverse} \\" in lines
    assert r"hidden & $\mathrm{fan\_in}^{-1/2}$" in command("rules", "mup", "--latex").out


def test_citations_and_disagreements_are_printed(command: Command) -> None:
    assert command("rules", "completep", "--optimizer", "muon", "--cite").out.count("@misc{") == 3
    out = command("rules", "--disagreements").out
    assert all(f"{name}: " in out for name in DISAGREEMENTS)


def test_an_optimizer_of_matrices_has_rows_for_these_alone(command: Command) -> None:
    assert command("rules", "mup", "--json").out.count('"bias"') == 1
    assert '"bias"' not in command("rules", "mup", "--optimizer", "muon", "--json").out
