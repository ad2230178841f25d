"""The choice of a program among candidates, measured over a few steps."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from statistics import median

import torch

from ._environment import is_large
from ._fallback import StackingWarning
from ._loop import largest_tensor
from ._members import Member
from ._optimizers import UPDATES
from ._program import Program
from ._recipe import Recipe
from ._stacked import train

_STEPS = 4, 200
"""Fewest and most timed steps of a candidate, after a first one."""

_TIMED = 0.3
"""Seconds that the timed steps of a candidate should take."""

_STACKS = (8, 64)
"""Members that candidates train at once, besides one."""

_MOST_ENTRIES = 1 << 27
"""Most entries of all stacked parameters; gradients and state take three times as many again."""

_FILLED = 0.8
"""Share of a GPU's free memory that members may take."""

COMPILING = 30.0
"""Seconds that compiling takes where none was measured: 4 to 70 s cold, 5 to 11 s warm."""

_OF_TENSOR = 3.0
"""Most seconds of compiling for each trained tensor, up to `COMPILING`.

A perceptron of 8 tensors took 4 to 9 s, a transformer of 27 took 24 to 70 s.
"""

WORTH = 2.0
"""Compile where the time that is saved may exceed this many times that of compiling."""

_FASTER, _LITTLE_FASTER = 0.4, 0.8
"""Shares of the time that compiling has been seen to leave, which say if it is worth a try.

The second is for models whose stacks are no quicker than a loop: matrix products take most of the
time of both.
"""

_BETTER = 0.75
"""Share of what compiling left of another program's time that it may leave of this one's."""

_SHORT = 30.0
"""Seconds of training below which a stack and a loop are the only programs that are tried."""

_SHORTEST = 5.0
"""Seconds of training below which a stack alone is tried."""

_MINIMAL = 1.0
"""Seconds of training below which it is not tried on several threads."""

_THREADS_WORTH = 0.9
"""Several threads are taken where they need less than this share of the time of one.

They lose more than they gain where other work comes to the machine.
"""

_THREADS_LEAVE = 0.5
"""Least share of the time of one thread that two have been seen to need."""

_BEHIND = 4.0
"""Programs this many times slower than the quickest stay behind it when they are compiled."""


_ALIKE = 1.25
"""Programs no slower than this many times the quickest are about as quick."""

_STACKED = 2.5
"""Time of compiling a stack, in those of compiling one member."""

_LITTLE = 0.05
"""Share of the training that compiling may take whatever it saves."""

_MOST_COMPILING = 0.25
"""Share of the training, as far as known, after which no other program is compiled."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A program with its measured pace.

    Attributes:
        program: The program.
        seconds: Seconds of one step of one member.
        evaluation: Seconds of one evaluation of one member.
        start: Seconds of compiling.
        warned: The warning that it gave, such as that the model cannot be stacked.
    """

    program: Program
    seconds: float
    evaluation: float
    start: float = 0.0
    warned: str = ""

    def total(self, members: int, recipe: Recipe) -> float:
        """Return the seconds of training members, with the start."""
        each = recipe.steps * self.seconds + len(recipe.evaluations()) * self.evaluation
        return self.start + self.program.places(members) * each

    def __str__(self) -> str:
        return f"{self.program} {1e3 * self.seconds:.3g} ms a step of a member"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The program that was chosen, and why.

    Attributes:
        best: The candidate that was chosen.
        others: The other candidates that were measured.
        reason: Why, in a line.
    """

    best: Candidate
    others: tuple[Candidate, ...]
    reason: str

    @property
    def program(self) -> Program:
        """The program that was chosen."""
        return self.best.program


def choose(
    members: Sequence[Member], recipe: Recipe, runs: int, *, thorough: bool = True
) -> Choice:
    """Return the fastest program for members of one shape, measured over a few steps.

    Programs that are compiled are tried where they may save twice the time of compiling, the most
    promising first, until compiling has taken a quarter of the time that training will take.

    Args:
        members: Members to measure with, as many as will train at once.
        recipe: What they share.
        runs: Members of this shape that are to be trained in all.
        thorough: False to measure a stack alone, which is seldom far from the fastest.

    Raises:
        MutransferError: the model fails.
    """
    in_step = any(UPDATES[name].in_step for name in recipe.families())
    few = shortened(members, recipe)
    stack = _fitting_on(few, recipe)
    most = min(stack, _STACKS[-1])
    known = [measured(few, recipe, Program(slots=most))]
    left, pace = known[0].total(runs, recipe), known[0].seconds
    chosen = partial(_chosen, members, runs, recipe)
    if left < _SHORTEST or in_step or not thorough:
        return chosen(known, f"{left:.1f} s of training")
    sizes = {1} - {most}
    if left >= _SHORT:
        known = []
        sizes = {1, most} | {n for n in _STACKS if n < min(stack, len(members))}
    for size in sorted(sizes):
        few = shortened(members, recipe, size, pace)
        known.append(measured(few, recipe, Program(slots=size)))
    known = _said(known, members)
    left = min(each.total(runs, recipe) for each in known)
    share = _share(known, members)
    if left * (1 - share) < WORTH * _compiling(members):
        return chosen(known, f"{left:.0f} s of training, too few to compile for")
    for eager in _promising(known):
        if not _may_pay(eager, known, runs, recipe, share):
            continue
        slots = even(runs, min(eager.program.slots or runs, len(members)))
        few = shortened(members, recipe, slots, eager.seconds * _FASTER)
        found = measured(few, recipe, Program(slots=slots, compiled=True))
        # A step that cannot be compiled is not tried with another number of slots.
        if found.warned:
            break
        known.append(_shrinking(found))
        share = max(share, _BETTER * found.seconds / eager.seconds)
    return chosen(known, f"{left:.0f} s of training without compiling")


def _compiling(members: Sequence[Member]) -> float:
    """Return the seconds that compiling a step may take, before any was compiled."""
    trained = [p for p in members[0].model.parameters() if p.requires_grad]
    return min(COMPILING, _OF_TENSOR * len(trained))


def _share(known: Sequence[Candidate], members: Sequence[Member]) -> float:
    """Return the share of its time that compiling may leave of a program."""
    # Stacks on all threads show nothing beside a loop on one.
    alike = [each for each in known if not _is_large(each.program, members)]
    loops = [each.seconds for each in alike if each.program.slots == 1]
    stacks = [each.seconds for each in alike if each.program.slots != 1]
    no_quicker = loops and stacks and _ALIKE * min(stacks) > min(loops)
    return _LITTLE_FASTER if no_quicker else _FASTER


def _is_large(program: Program, members: Sequence[Member]) -> bool:
    """Return True if a program uses all threads by the size of its tensors."""
    slots = min(program.slots or len(members), len(members))
    return is_large(slots * largest_tensor(members))


def _promising(known: Sequence[Candidate]) -> list[Candidate]:
    """Return the programs that are worth compiling, the quickest first.

    Of those that are about as quick the one of fewest slots comes first, as it compiles soonest.
    """
    quickest = min(each.seconds for each in known)
    near = [each for each in known if each.seconds < _BEHIND * quickest]
    return sorted(
        near,
        key=lambda each: (
            max(each.seconds, _ALIKE * quickest),
            each.program.slots or math.inf,
        ),
    )


def _may_pay(
    eager: Candidate, known: Sequence[Candidate], runs: int, recipe: Recipe, share: float
) -> bool:
    """Return True if a program that may need this share of its time is compiled."""
    starts = {each.program.slots: each.start for each in known if each.program.compiled}
    if not starts:
        return True
    left = min(each.total(runs, recipe) - each.start for each in known)
    if sum(starts.values()) > _MOST_COMPILING * left:
        return False
    cost = max(starts.values())
    if set(starts) == {1}:
        cost *= _STACKED
    saved = left - share * eager.total(runs, recipe)
    return cost < _LITTLE * left or saved > WORTH * cost


def _said(known: Sequence[Candidate], members: Sequence[Member]) -> list[Candidate]:
    """Return the candidates that train as they should; warn where some do not."""
    for text in dict.fromkeys(each.warned for each in known if each.warned):
        warnings.warn(text, StackingWarning, stacklevel=4)
    good = [each for each in known if not each.warned]
    return good or [each for each in known if each.program.slots == 1] or list(known)


def measured(members: Sequence[Member], recipe: Recipe, program: Program) -> Candidate:
    """Return a program with its pace over the few steps of the members' recipes."""
    taken, recipe = members[: program.slots], members[0].trained_by(recipe)
    ticks = [(time.perf_counter(), 0)]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StackingWarning)
        watch = partial(_tick, ticks, recipe.device)
        train(taken, recipe, watch, program=program)
    said = [str(item.message) for item in caught if issubclass(item.category, StackingWarning)]
    gaps = [(end - start) / count for (start, _), (end, count) in pairwise(ticks)]
    first, *plain, last = gaps if len(gaps) > 1 else [0.0, *gaps]
    step = median(plain or [last])
    return Candidate(
        program=program,
        seconds=step,
        # The last step ends with an evaluation if there is validation data.
        evaluation=max(0.0, last - step) if recipe.evaluations() else 0.0,
        start=max(0.0, first - step) * len(taken) if program.compiled else 0.0,
        warned=said[0] if said else "",
    )


def _tick(ticks: list[tuple[float, int]], device: str | None, count: int) -> None:
    if device is not None and torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    ticks.append((time.perf_counter(), count))


def shortened(
    members: Sequence[Member], recipe: Recipe, slots: int | None = None, pace: float = math.inf
) -> list[Member]:
    """Return the members with recipes of a few steps, which `measured` times.

    Args:
        members: The members.
        recipe: What they share.
        slots: Members that are to train at once.
        pace: Seconds of a step of one of them, as far as known.
    """
    fewest, most = _STEPS
    timed = _TIMED / (pace * (slots or len(members)))
    steps = min(1 + max(fewest, min(most, int(timed))), recipe.steps)

    def short(own: Recipe) -> Recipe:
        return replace(own, steps=steps, schedule="constant", warmup=0, evaluate=None)

    return [replace(member, recipe=short(member.trained_by(recipe))) for member in members]


def _shrinking(candidate: Candidate) -> Candidate:
    """Return a candidate that is compiled again where half of its slots are empty."""
    slots = candidate.program.slots or 1
    if slots < 2:
        return candidate
    saved = candidate.seconds * slots / 2
    shrink = math.ceil(WORTH * candidate.start / saved)
    return replace(candidate, program=replace(candidate.program, shrink=max(1, shrink)))


def _chosen(
    members: Sequence[Member], runs: int, recipe: Recipe, candidates: list[Candidate], why: str
) -> Choice:
    """Return the quickest candidate, on several threads where that is worth it."""

    def left(each: Candidate) -> float:
        # What was compiled to be measured is kept: compiling is paid, whatever is chosen.
        return each.total(runs, recipe) - each.start

    best = min(candidates, key=left)
    near = [each for each in candidates if _THREADS_LEAVE * left(each) < left(best)]
    tried = (_on_all_threads(members, runs, recipe, each) for each in near)
    shared = [each for each in tried if each is not None]
    quickest = min(shared, key=left, default=best)
    if left(quickest) < _THREADS_WORTH * left(best):
        best = quickest
    candidates = [*candidates, *shared]
    others = tuple(each for each in candidates if each is not best)
    return Choice(best=best, others=others, reason=why)


def _on_all_threads(
    members: Sequence[Member], runs: int, recipe: Recipe, one: Candidate
) -> Candidate | None:
    """Return a program on all threads; None where that is not to be tried."""
    threads = torch.get_num_threads()
    on_cpu = recipe.device is None or torch.device(recipe.device).type == "cpu"
    is_shared = threads == 1 or _is_large(one.program, members)
    if is_shared or not on_cpu or one.program.compiled or one.total(runs, recipe) < _MINIMAL:
        return None
    few = shortened(members, recipe, one.program.slots, one.seconds)
    return measured(few, recipe, replace(one.program, threads=threads))


def fitting(entries: int) -> int:
    """Return how many models of so many entries are trained at once, at most."""
    return max(1, _MOST_ENTRIES // max(1, entries))


def _fitting_on(members: Sequence[Member], recipe: Recipe) -> int:
    """Return how many members fit in the memory of a recipe's device."""
    most = fitting(sum(parameter.numel() for parameter in members[0].model.parameters()))
    if recipe.device is None or torch.device(recipe.device).type != "cuda":
        return most
    # Activations take most of it: a member is trained alone to see how much.
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    measured(members, recipe, Program(slots=1))
    used = max(1, torch.cuda.max_memory_allocated() - before)
    free, _ = torch.cuda.mem_get_info()
    return max(1, int(_FILLED * free / used))


def even(runs: int, most: int) -> int:
    """Return the size of equal pieces of at most this size.

    >>> even(36, 32), even(36, 8), even(5, 32)
    (18, 8, 5)
    """
    return math.ceil(runs / math.ceil(runs / most))
