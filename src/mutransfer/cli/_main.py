"""The command `mutransfer`: finds the verb, and turns errors into exit codes."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from ..core import MutransferError, MutransferWarning
from ._check import check
from ._demo import demo
from ._experiment import experiment
from ._flags import as_flags
from ._limit import limit
from ._plan import plan
from ._report import report
from ._rules import rules
from ._show import make_printable
from ._status import status
from ._sweep import FailedRuns, sweep
from ._transfer import transfer

VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "plan": plan,
    "check": check,
    "sweep": sweep,
    "status": status,
    "transfer": transfer,
    "report": report,
    "rules": rules,
    "limit": limit,
    "experiment": experiment,
}

_DESCRIPTION = """usage: mutransfer VERB ...

Tune small, train large: hyperparameter transfer across width and depth.

Start with `mutransfer demo`. What to run is a Python object that you name as FILE.py:NAME or
MODULE:NAME. Every verb explains itself, with examples: `mutransfer sweep --help`.
"""


def main() -> None:
    """Run the command line and exit.

    Exit code 0 when all went well, 1 where a check or a run fails, 2 for bad input, 3 undecided,
    130 interrupted.
    """
    # Before torch is imported: passive waiting costs little when idle and helps on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    make_printable(sys.stdout, sys.stderr)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", MutransferWarning)
            warnings.showwarning = _warned
            _dispatch(sys.argv[1:])
        sys.stdout.flush()
    except MutransferError as error:
        print(f"mutransfer: {as_flags(str(error))}", file=sys.stderr)
        raise SystemExit(1 if isinstance(error, FailedRuns) else 2) from None
    except KeyboardInterrupt:
        print(
            "mutransfer: interrupted; every finished run is kept, "
            "and the same command goes on from there",
            file=sys.stderr,
        )
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader has gone, as `head` does. Python flushes stdout once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warned(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Print a warning of ours as a sentence, others as Python does."""
    if issubclass(category, MutransferWarning):
        print(f"mutransfer: {as_flags(str(message))}", file=sys.stderr)
        return
    print(warnings.formatwarning(message, category, where[0], where[1]), file=sys.stderr, end="")


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return
    if arguments == ["--version"]:
        print(version("mutransfer"))
        return
    name, *rest = arguments
    if name not in VERBS:
        raise MutransferError(f"unknown verb {name!r}; choose one of {', '.join(VERBS)}")
    import tyro

    config = (tyro.conf.FlagCreatePairsOff,)
    tyro.cli(VERBS[name], prog=f"mutransfer {name}", args=rest, config=config)


def _overview() -> str:
    """Return the text of `mutransfer --help`: one line a verb."""
    lines = [f"  {name:12}{(verb.__doc__ or '').splitlines()[0]}" for name, verb in VERBS.items()]
    return _DESCRIPTION + "\n".join(["", "verbs:", *lines])
