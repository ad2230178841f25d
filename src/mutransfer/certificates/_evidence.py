"""The optima of one rule along one hyperparameter, gathered from the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core import MutransferError, Size, varying
from ..statistics import Posterior
from ..studies import Runs
from ._grids import Grid, grid, without_zero
from ._line import are_separate
from ._optimum import EXTEND, Optimum, octave, optimum, range_text, shift
from ._scales import FEWEST_VALUES, no_place, positions, unit

_LARGEST_RATE = 100.0
"""Rates that all are as large have another unit."""

_NAMED = 3
"""Most sizes that a warning names with their reasons."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The runs of one rule along one hyperparameter.

    Attributes:
        runs: The record.
        rule: The rule.
        over: The hyperparameter.
        scale: Its scale.
    """

    runs: Runs
    rule: str
    over: str
    scale: str

    @property
    def is_foreign(self) -> bool:
        """True for a table from elsewhere, whose runs cannot simply be completed."""
        return "table" in self.runs.header


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Optima of a rule, from the smallest size to the largest.

    Attributes:
        record: The runs.
        grids: The losses of the sizes that have an optimum.
        optima: Their optima.
        posteriors: The posterior of each.
        warnings: What was left out, and intervals that are assumptions.
        failures: The reasons why other sizes have no optimum.
    """

    record: Record
    grids: tuple[Grid, ...]
    optima: tuple[Optimum, ...]
    posteriors: tuple[Posterior, ...]
    warnings: tuple[str, ...]
    failures: Mapping[Size, MutransferError]

    @property
    def sizes(self) -> list[Size]:
        """The sizes that have an optimum."""
        return [best.size for best in self.optima]

    @property
    def octave(self) -> float:
        """The distance on the scale that counts as an octave."""
        return octave(positions(self.grids[-1].values, self.record.scale), self.record.scale)


def gather(record: Record) -> Evidence:
    """Return the optima of the sizes that have one.

    Raises:
        MutransferError: there are none.
    """
    found: list[tuple[Grid, Optimum, Posterior]] = []
    failures: dict[Size, MutransferError] = {}
    zeros: dict[Size, bool] = {}
    end = no_place(record.scale)
    for size in record.runs.sizes(record.rule):
        try:
            cells, is_best = without_zero(
                grid(record.runs, record.rule, size, record.over), record.scale
            )
            if is_best is not None:
                zeros[size] = is_best
            found.append((cells, *_optimum(record, cells)))
        except MutransferError as error:
            better = f"; {record.over} {end} is better than all of them" if zeros.get(size) else ""
            failures[size] = MutransferError(f"{error}{better}")
    if not found:
        raise next(iter(failures.values()))
    grids, optima, posteriors = zip(*found, strict=True)
    notes = [cells.note for cells in grids if cells.note]
    return Evidence(
        record=record,
        grids=grids,
        optima=optima,
        posteriors=posteriors,
        warnings=(
            *record.runs.warnings,
            *_versions(record.runs),
            *_unit(record),
            *_left_out(failures),
            *_shortened(notes),
            *_zero(record, zeros),
            *_flat(record, optima),
            *_edges(optima),
            *_one_seed(record, grids),
        ),
        failures=failures,
    )


def check_enough(evidence: Evidence) -> None:
    """Raise if the optima do not stand for the record.

    Raises:
        MutransferError: a size of one's own sweep has no optimum, too few of a table have one, or
            no size tells one value from another.
    """
    # The sweep can be run again, a table from elsewhere cannot.
    if evidence.failures and not evidence.record.is_foreign:
        raise next(iter(evidence.failures.values()))
    _check_axes(evidence.record, evidence.sizes, evidence.failures)
    _check_shape(evidence.record, evidence.optima)


def _optimum(record: Record, cells: Grid) -> tuple[Optimum, Posterior]:
    if len(cells.values) < FEWEST_VALUES and len(record.runs.hyperparameters) > 1:
        raise MutransferError(
            f"rule {record.rule!r} at {cells.size} was run at {len(cells.values)} values of "
            f"{record.over} with the other hyperparameters held, as points drawn at random are: "
            "an optimum needs at least 3; sweep a grid, or one hyperparameter at a time"
        )
    return optimum(
        record.rule,
        cells.size,
        cells.values,
        cells.losses,
        over=record.over,
        scale=record.scale,
        ran=cells.ran,
        # A sweep adds rates alone.
        extend="" if record.is_foreign or record.over != "lr" else EXTEND,
    )


def _check_axes(
    record: Record, sizes: Sequence[Size], failures: Mapping[Size, MutransferError]
) -> None:
    """Raise if the sizes that are left show fewer axes than all of them."""
    if not failures:
        return
    all_sizes = record.runs.sizes(record.rule)
    everywhere = varying(all_sizes)
    if are_separate(all_sizes, everywhere) and not (
        varying(sizes) == everywhere and are_separate(sizes, everywhere)
    ):
        raise MutransferError(
            f"rule {record.rule!r}: too few sizes have an optimum to see {' and '.join(everywhere)}"
            f" apart: {'; '.join(_left_out(failures))}"
        )


def _check_shape(record: Record, optima: Sequence[Optimum]) -> None:
    """Raise if no size tells one value from another."""
    if all(best.status == "flat" for best in optima):
        raise MutransferError(
            f"rule {record.rule!r}: the loss does not depend on {record.over} beyond the seeds' "
            f"noise at any size, so that every value from {range_text(optima[-1])} is as good; "
            "add values farther out, steps or seeds if a best one is wanted"
        )


def _versions(runs: Runs) -> list[str]:
    """Return a warning where the runs were made by programs of several versions."""
    known = [
        " and ".join(f"{name} {number}" for name, number in each.items())
        for each in runs.header.get("versions", ())
    ]
    if len(known) < 2:
        return []
    return [f"the runs were made with different versions, {'; '.join(known)}: they may not compare"]


def _unit(record: Record) -> list[str]:
    """Return a warning where rates are so large that they have another unit."""
    rates = [row["lr"] for row in record.runs.rows if isinstance(row.get("lr"), int | float)]
    if record.over != "lr" or not rates or min(rates) < _LARGEST_RATE:
        return []
    return [
        f"every rate is at least {min(rates):g}, which no optimizer takes: is the column in "
        "another unit, or a logarithm (log10:COLUMN)?"
    ]


def _zero(record: Record, zeros: Mapping[Size, bool]) -> list[str]:
    """Return a warning where the end of a logarithmic scale was run, such as 0."""
    if not zeros:
        return []
    value = f"{record.over} {no_place(record.scale)}"
    best = [str(size) for size, is_best in zeros.items() if is_best]
    if not best:
        return [f"{value} has no place on a logarithmic scale and is best at no size"]
    more = f" and {len(best) - _NAMED} more" if len(best) > _NAMED else ""
    return [
        f"{value} is better than every other value at {'; '.join(best[:_NAMED])}{more}: "
        "what is certified is the best of the others"
    ]


def _flat(record: Record, optima: Sequence[Optimum]) -> list[str]:
    flat = [best for best in optima if best.status == "flat"]
    notes = [
        f"{best.size} is flat: {record.over} from {range_text(best)} is as good" for best in flat
    ]
    return _shortened(notes)


def _edges(optima: Sequence[Optimum]) -> list[str]:
    """Return a warning of each size whose optimum may lie beyond its values."""
    return _shortened(
        [
            f"{best.size}: the optimum may lie beyond the values that were run; add values"
            for best in optima
            if best.status == "edge"
        ]
    )


def _left_out(failures: Mapping[Size, MutransferError]) -> list[str]:
    """Return a sentence on the sizes without an optimum."""
    if not failures:
        return []
    # The message of a size begins with rule and size, which the sentence says already.
    reasons = [str(error).partition(": ")[2] or str(error) for error in failures.values()]
    named = [f"{size} ({why})" for size, why in list(zip(failures, reasons, strict=True))[:_NAMED]]
    more = f" and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
    count = "one size is" if len(failures) == 1 else f"{len(failures)} sizes are"
    return [f"{count} left out, without an optimum: {', '.join(named)}{more}"]


def _shortened(notes: Sequence[str]) -> list[str]:
    """Return the first notes, and how many more there are."""
    more = len(notes) - _NAMED
    return [*notes[:_NAMED], *([f"and {more} more of this kind"] if more > 0 else [])]


def _one_seed(record: Record, grids: Sequence[Grid]) -> list[str]:
    """Return a warning where one seed shows nothing of its own shift."""
    alone = [cells for cells in grids if len(cells.seeds) == 1]
    if not alone:
        return []
    where = "" if len(alone) == len(grids) else f" at {len(alone)} of {len(grids)} sizes"
    step = octave(positions(grids[-1].values, record.scale), record.scale)
    sd = shift(record.scale) * step
    return [
        f"one seed{where} cannot show how far the optimum moves from seed to seed: intervals "
        f"assume a standard deviation of {sd:.2g} {unit(record.scale, record.over)}; run 3 seeds "
        "or more"
    ]
