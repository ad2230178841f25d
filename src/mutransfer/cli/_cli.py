"""The command line: each verb calls one public function."""

from __future__ import annotations

import json as json_module
import math
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from tyro.conf import Positional

from ._errors import MutransferError

_DESCRIPTION = """usage: mutransfer VERB ...

Tune small, train large: hyperparameter transfer across width and depth.

Start with `mutransfer demo`. What to run is a Python object that you name as FILE.py:NAME or MODULE:NAME.
Every verb explains itself, with examples: `mutransfer sweep --help`.
"""


def demo(out: Path = Path("mutransfer-demo"), seed: int = 0) -> None:
    """Show on real data that a small network's best learning rate is right for a large one.

    Sweeps an MLP in width and a residual MLP in depth, under standard parametrization and under the default rule,
    then trains a larger network at the rate found on the smallest one. Interrupted, the same command takes it up again.

    Try: mutransfer demo

    Try: mutransfer demo --out runs/demo --seed 100

    Args:
        out: Folder for the report, its figures, and every number.
        seed: First of the three seeds.
    """
    from ._demo import demo as run

    run(out, seed, Console())


def plan(
    build: Positional[str],
    width: int,
    base_width: int,
    depth: int | None = None,
    base_depth: int | None = None,
    rule: str | None = None,
    optimizer: str = "adamw",
    explain: str | None = None,
    json: bool = False,
) -> None:
    """Show how every tensor of a model is initialised and trained, relative to its base.

    Try: mutransfer plan mutransfer.tasks:gpt --width 1024 --base-width 128 --depth 16 --base-depth 4

    Try: mutransfer plan my_model.py:build --width 4096 --base-width 256 --json

    Try: mutransfer plan my_model.py:build --width 4096 --base-width 256 --explain head.weight

    Args:
        build: The function that makes the model, as FILE.py:NAME or MODULE:NAME; it is called with width=, and depth= where given.
        width: Width of the model to train.
        base_width: Width at which the hyperparameters were found.
        depth: Depth of the model to train.
        base_depth: Depth at which the hyperparameters were found; the model's where it is not given.
        rule: A rule, such as completep or "mup, without eps"; chosen by the model's residual branches where it is not given.
        optimizer: The family that trains the model, such as adamw or sgd; with muon for its hidden matrices, muon+adamw.
        explain: Name of one tensor whose factors are to be derived.
        json: Print the plan as JSON.
    """
    import torch

    from . import plan as make
    from ._load import load

    if base_depth is not None and depth is None:
        raise MutransferError("--base-depth was given without --depth: give both, or neither")
    builder = load(build)
    sizes = {"width": width} | ({} if depth is None else {"depth": depth})
    base_sizes = {"width": base_width} | (
        {} if depth is None else {"depth": depth if base_depth is None else base_depth}
    )
    with torch.device("meta"):
        model = _built(builder, build, sizes)
    first, mixed, rest = optimizer.partition("+")
    trained = {"hidden": first, "*": rest} if mixed else optimizer
    made = make(model, _built(builder, build, base_sizes), rule=rule, optimizer=trained)
    print(made.explain(explain) if explain else made.to_json() if json else made)


def check(
    build: Positional[str],
    width: tuple[int, ...] = (),
    depth: tuple[int, ...] = (),
    rule: str | None = None,
    optimizer: str = "adamw",
    lr: float | None = None,
    task: str | None = None,
    steps: int = 4,
    seeds: int = 3,
    joint: bool = False,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Check that features move by the same amount at every width and depth; say which tensor is wrong, and why.

    Trains small networks for a few steps, those of standard parametrization as the negative control. Exit code 0 if the check passes,
    1 if it fails, 3 if it cannot tell.

    Try: mutransfer check mutransfer.tasks:gpt --width 64 128 256 512 --depth 4 8 16

    Try: mutransfer check my_model.py:build --width 128 256 512 --out runs/check

    Try: mutransfer check mutransfer.tasks:gpt --width 64 128 256 --rule sp

    Args:
        build: The function that makes the model, as FILE.py:NAME or MODULE:NAME; it is called with width= and depth= where these are given.
        width: Widths, at least 4 times wider in all; the first is the base.
        depth: Depths, the same.
        rule: A rule, such as completep; chosen by the model's residual branches where it is not given.
        optimizer: The family that trains the model: adamw, adam or sgd.
        lr: The learning rate at base size; 2^-7, and 0.1 for sgd, where it is not given.
        task: A task for data and loss, such as digits; random data where it is not given.
        steps: How many steps are trained.
        seeds: How many networks of each size.
        joint: Combine every width with every depth, rather than one axis at a time.
        out: Folder for the table, the figure, JSON and CSV.
        json: Print JSON.
    """
    from ._live import Counting
    from ._load import load
    from .check import coordinate_check

    with Counting(Console(stderr=json), "check") as counting:
        found = coordinate_check(
            load(build),
            width=width or None,
            depth=depth or None,
            rule=rule,
            optimizer=optimizer,
            lr=lr,
            task=task,
            steps=steps,
            seeds=seeds,
            joint=joint,
            report=counting,
        )
    print(found.to_json() if json else found)
    if out is not None:
        found.save(out)
        print(
            f"\nTable, figure, JSON and CSV are in {out}", file=sys.stderr if json else sys.stdout
        )
    if not found.ok:
        raise SystemExit({"fail": 1}.get(found.verdict, 3))


def sweep(study: Positional[str], out: Path, extend: int = 0) -> None:
    """Train every run of a study; stopped at any time, the same command finishes it.

    Try: mutransfer sweep my_study.py:study --out runs/gpt

    Try: mutransfer sweep my_study.py:study --out runs/gpt --extend 4

    Args:
        study: A mutransfer.Study, as FILE.py:NAME or MODULE:NAME.
        out: Folder of the record.
        extend: How many rates to add beyond the grid where an optimum lies at its edge.
    """
    from . import Study
    from . import sweep as run
    from ._live import LiveSweep, best_table
    from ._load import load

    wanted = load(study)
    if not isinstance(wanted, Study):
        raise MutransferError(f"{study} is a {type(wanted).__name__}, not a mutransfer.Study")
    console = Console()
    with LiveSweep(console, "sweep") as live:
        runs = run(wanted, out, extend=extend, report=live)
    console.print(best_table(runs))
    console.print(
        f"{len(runs.rows)} runs are in {out}; next: mutransfer transfer {out}, mutransfer report {out}"
    )


def transfer(
    runs: Positional[Path], width: int | None = None, depth: int | None = None, json: bool = False
) -> None:
    """Show how far the best learning rate drifts with size, and which rate to use at a larger one.

    Try: mutransfer transfer runs/gpt

    Try: mutransfer transfer runs/gpt --width 8192 --depth 64 --json

    Args:
        runs: Folder of the record that a sweep wrote.
        width: Width of the target; the largest of the sweep where it is not given.
        depth: Depth of the target.
        json: Print JSON.
    """
    from . import Runs
    from .report import Section, transfer_table

    target = {
        name: value for name, value in {"width": width, "depth": depth}.items() if value is not None
    }
    section = Section.of(Runs.read(runs), target)
    if json:
        print(json_module.dumps([each.to_json() for each in section.transfers], indent=1))
    elif section.transfers:
        _print_transfers(section, transfer_table(section))
    if refused := list(dict.fromkeys(section.refusals(target))):
        raise MutransferError("; ".join(refused))


def _print_transfers(section: Any, table: Any) -> None:
    console = Console()
    console.print(table)
    for each in section.transfers:
        print(
            f"{each.rule} at {each.target}: rate 2^{each.rate.value:.2f} [2^{each.rate.low:.2f}, 2^{each.rate.high:.2f}]"
        )
        for warning in each.warnings:
            print(f"  warning: {warning}")


def report(runs: Positional[Path], out: Path | None = None) -> None:
    """Write a sweep's report: one HTML page, the transfer figure as PNG and SVG, every number as CSV and JSON.

    Try: mutransfer report runs/gpt

    Try: mutransfer report runs/gpt --out paper/figure2

    Args:
        runs: Folder of the record that a sweep wrote.
        out: Folder for the report; the record's own where it is not given.
    """
    from . import Runs
    from .report import Section, write_report
    from .sweep import about

    page = write_report(out or runs, [Section.of(Runs.read(runs))], about=about())
    print(f"{page.headline}\nThe report is {page.path}")


def rules(
    name: Positional[str] = "",
    optimizer: str = "adamw",
    form: str = "plain",
    json: bool = False,
    latex: bool = False,
    cite: bool = False,
    disagreements: bool = False,
) -> None:
    """Print a parametrization's table: how every quantity of every role scales.

    In the forms table3, table8, table9 and unit, the table comes first as the paper prints it, and last how one gets there from the others.

    Try: mutransfer rules

    Try: mutransfer rules completep

    Try: mutransfer rules mup --optimizer adam --form table9

    Try: mutransfer rules "completep, alpha=3/4, decay=sqrt, without eps" --optimizer muon

    Try: mutransfer rules --disagreements

    Args:
        name: A rule, with options and ablations after commas; all are listed where it is not given.
        optimizer: The family that trains the tensors; `mutransfer rules` lists them.
        form: plain, table3, table8 or table9 of Tensor Programs V, or unit: equal training, different looks.
        json: Print JSON.
        latex: Print LaTeX, for the package booktabs.
        cite: Print the BibTeX of the rule's papers.
        disagreements: List where sources disagree: each choice, its sides, its default.
    """
    from .rules import DISAGREEMENTS, bibtex, family, parametrization

    if json + latex + cite + disagreements > 1:
        raise MutransferError(
            "--json, --latex, --cite and --disagreements exclude each other: give one"
        )
    if disagreements:
        print("\n".join(map(str, DISAGREEMENTS.values())))
    elif not name and (json or latex or cite):
        raise MutransferError("name a rule, such as mup; mutransfer rules lists them")
    elif not name:
        _list_rules()
    elif cite:
        print(bibtex(parametrization(name).cites + family(optimizer).cites))
    else:
        _print_table(
            parametrization(name),
            family(optimizer),
            form,
            "json" if json else "latex" if latex else "text",
        )


def limit(
    task: str = "digits",
    depth: tuple[float, ...] = (),
    activation: str = "linear",
    block: Literal["pre", "post"] = "pre",
    block_depth: Literal[1, 2] = 1,
    alpha: float | None = None,
    over: Literal["lr", "momentum", "weight_decay", "gamma0", "beta0"] = "lr",
    values: tuple[float, ...] = (),
    metric: Literal["mean", "final"] = "mean",
    width: tuple[int, ...] = (),
    seeds: int = 4,
    lr: float = 0.05,
    steps: int = 20,
    examples: int = 4,
    loss: Literal["mse", "logistic"] = "mse",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    gamma0: float = 1.0,
    beta0: float = 1.0,
    accuracy: float = 0.02,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Solve for networks of infinite width, and show where theory alone puts the best learning rate at each depth.

    A residual network in mean-field scaling is trained on a few examples of two classes. With one finite depth or more, branches without
    depth scaling are put beside it, the same network at the smallest depth; their best rate runs away.

    Try: mutransfer limit

    Try: mutransfer limit --task digits --depth inf

    Try: mutransfer limit --depth 2 4 --activation tanh --alpha 0.5 --values 0.03125 0.0625 0.125 --width 64 --out runs/limit

    Try: mutransfer limit --over momentum --values 0 0.3 0.6 0.8 0.9 0.95 --json

    Args:
        task: A task with classes, such as digits, or a limits.Problem as FILE.py:NAME, which then brings its own network and training.
        depth: Depths, ascending; inf is infinite depth. 2 4 8 16 inf where they are not given.
        activation: linear, relu, abs, tanh, erf or gelu; all but linear are sampled, which takes longer.
        block: W f(h) is pre, f(W h) minus its mean is post.
        block_depth: Matrices in a branch.
        alpha: Branches are multiplied by depth^-alpha: from 1/2 to 1, or 0; where it is not given, 1/2 and beside it 0.
        over: The hyperparameter that is varied.
        values: Its values, ascending; for lr 2^-11 to 1 where they are not given.
        metric: The mean loss over all steps, or the final loss.
        width: Widths of finite networks to train beside the limit.
        seeds: How many of each size.
        lr: The learning rate, where another hyperparameter is varied.
        steps: Steps of gradient descent.
        examples: Examples of the task, half of them of each class.
        loss: The loss.
        momentum: Momentum.
        weight_decay: Weight decay.
        gamma0: Strength of feature learning.
        beta0: Scale of the branches.
        accuracy: Of sampled limits: the loss's 95% interval as a share of the initial loss.
        out: Folder for the figure, JSON and CSV.
        json: Print JSON.
    """
    import dataclasses

    from . import limits
    from ._live import Counting
    from ._load import load

    options: dict[str, Any] = {
        "lr": lr,
        "steps": steps,
        "loss": loss,
        "activation": activation,
        "block": block,
        "block_depth": block_depth,
        "gamma0": gamma0,
        "beta0": beta0,
        "momentum": momentum,
        "weight_decay": weight_decay,
    }
    if ":" in task:
        problem = load(task)
        if not isinstance(problem, limits.Problem):
            raise MutransferError(
                f"{task} is a {type(problem).__name__}, not a mutransfer.limits.Problem"
            )
        own = signature(limit).parameters
        given = [
            name
            for name, value in {**options, "alpha": alpha, "examples": examples}.items()
            if value != own[name].default
        ]
        if given:
            raise MutransferError(
                f"{task} brings its own network and training: leave out {', '.join(given)}"
            )
    else:
        inputs, targets = limits.two_classes(task, examples)
        problem = limits.Problem(
            inputs=inputs, targets=targets, alpha=0.5 if alpha is None else alpha, **options
        )
    if not values and over != "lr":
        raise MutransferError(f"give the values of {over}: --values, ascending")
    depth = depth or (2, 4, 8, 16, *([math.inf] if problem.alpha else []))
    for size in depth:
        problem.check_depth(size)
    depth = tuple(sorted(set(depth)))
    compared = [(problem, depth)]
    finite = tuple(size for size in depth if not math.isinf(size))
    if any(finite) and alpha is None and over != "beta0" and ":" not in task:
        anchor = next(size for size in finite if size)
        compared.append(
            (dataclasses.replace(problem, alpha=0.0, beta0=problem.branch(anchor)), finite)
        )
    found = []
    with Counting(Console(stderr=json), "limit") as counting:
        for each, depths in compared:
            found.append(
                limits.landscape(
                    each,
                    over=over,
                    values=values or [2.0**power for power in range(-11, 1)],
                    depths=[size if math.isinf(size) else int(size) for size in depths],
                    metric=metric,
                    widths=width,
                    seeds=seeds,
                    accuracy=accuracy,
                    report=counting,
                )
            )
    if json:
        print(json_module.dumps([made.to_json() for made in found], indent=1))
    else:
        for shown in found:
            print(f"{shown}\n")
    if out is not None:
        limits.save_landscapes(found, out)
        print(f"Figure, JSON and CSV are in {out}", file=sys.stderr if json else sys.stdout)


def _list_rules() -> None:
    from .rules import FAMILIES, PARAMETRIZATIONS

    for each in PARAMETRIZATIONS.values():
        print(f"{each.name:13}{each.title}\n{'':13}{each.source}")
    print(f"\noptimizers: {', '.join(FAMILIES)}")
    print(
        "options and ablations follow a rule's name: 'mup, decay=sqrt, without eps'; see mutransfer rules --disagreements"
    )


def _print_table(rule: Any, optimizer: Any, form: str, style: str) -> None:
    from .rules import (
        COLUMNS,
        QUANTITIES,
        jumps,
        latex,
        latex_table,
        listing,
        paper_table,
        printed,
        signals,
    )

    rows = listing(rule, optimizer, form)
    paper = [] if form == "plain" or rule.one_rate else paper_table(rule, optimizer, form)
    if style == "json":
        table = {
            row.label: {q: getattr(row.quantities, q).to_json() for q in QUANTITIES} for row in rows
        }
        multipliers = {
            what: multiplier.to_json() for what, multiplier in signals(rule, form).items()
        }
        about = {
            "rule": rule.name,
            "source": rule.source,
            "optimizer": optimizer.name,
            "form": form,
        }
        print(json_module.dumps(about | {"roles": table, "multipliers": multipliers}, indent=1))
    elif style == "latex" and paper:
        cells = [
            [name, *(f"${latex(a)}$" + ("" if a == sp else f" (${latex(sp)}$)") for a, sp in row)]
            for name, row in paper
        ]
        print(latex_table(["", *(column.replace("&", r"\&") for column in COLUMNS)], cells))
    elif style == "latex":
        cells = [
            [row.label, *(f"${latex(getattr(row.quantities, q))}$" for q in QUANTITIES)]
            for row in rows
        ]
        print(latex_table(["role", *QUANTITIES], cells))
    else:
        print(f"{rule.name}: {rule.title}\n{rule.source}; {optimizer.name}, form {form}\n")
        if paper:
            cells = [
                [name, *(printed(a) + ("" if a == sp else f" ({printed(sp)})") for a, sp in row)]
                for name, row in paper
            ]
            _print_cells(["", *COLUMNS], cells)
            print("\nIn brackets: standard parametrization, where it differs.\n")
        _print_cells(
            ["role", *QUANTITIES],
            [[row.label, *(str(getattr(row.quantities, q)) for q in QUANTITIES)] for row in rows],
        )
        print(
            "\nEach entry is relative to the base size: fan_in, fan_out and depth are ratios, target over base."
        )
        print(
            "\n".join(
                f"{place} are multiplied by {multiplier}"
                for place, multiplier in signals(rule, form).items()
            )
        )
        if optimizer.caveat:
            print(f"{optimizer.name}: {optimizer.caveat}")
        if paper:
            print(f"\nHow to get to {form} from the other tables\n\n{jumps(rule, form)}")


def _print_cells(header: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in header:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=200).print(table)


def _built(builder: Any, name: str, sizes: dict[str, int]) -> Any:
    from .sweep import built

    if not callable(builder):
        raise MutransferError(
            f"{name} is a {type(builder).__name__}, not a function that makes a model"
        )
    return built(builder, sizes)


_VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "plan": plan,
    "check": check,
    "sweep": sweep,
    "transfer": transfer,
    "report": report,
    "rules": rules,
    "limit": limit,
}


def _overview() -> str:
    """What `mutransfer --help` prints: one line a verb."""
    lines = [f"  {name:10}{(verb.__doc__ or '').splitlines()[0]}" for name, verb in _VERBS.items()]
    return _DESCRIPTION + "\n".join(["", "verbs:", *lines])


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return
    if arguments == ["--version"]:
        print(version("mutransfer"))
        return
    name, *rest = arguments
    if name not in _VERBS:
        raise MutransferError(f"unknown verb {name!r}; choose one of {', '.join(_VERBS)}")
    import tyro

    tyro.cli(
        _VERBS[name], prog=f"mutransfer {name}", args=rest, config=(tyro.conf.FlagCreatePairsOff,)
    )


def main() -> None:
    """The command `mutransfer`: exit code 0 when all went well, 1 where a check fails, 2 for bad input, 3 undecided, 130 interrupted."""
    # Before torch is imported: threads that sleep while they wait lose little alone and much less on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        _dispatch(sys.argv[1:])
        sys.stdout.flush()
    except MutransferError as error:
        print(f"mutransfer: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(
            "mutransfer: interrupted; every finished run is kept, and the same command goes on from there",
            file=sys.stderr,
        )
        raise SystemExit(130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
