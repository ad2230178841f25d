"""The demo: on real data, a small network's best rate is right for a large one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..certificates import Choice, Refusal, Transfer, transfer
from ..core import OnProgress, Size, about
from ..report import Page, Section, check_extras, write_report
from ..rules import DEFAULT
from ..studies import Study, estimate, log2, missing, sweep
from ..tasks import mlp, resmlp
from ._proof import Proof, proof_seconds, prove

RULES = ("sp", DEFAULT)

EXTEND = 4
"""Rates that are added beyond either end of a grid at whose edge an optimum lies."""

_WIDER, _DEEPER = 4, 2
"""Factors from the largest network of the sweep in depth to the one that is proven."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The findings of the demo.

    Attributes:
        sections: What each sweep shows.
        proofs: Larger networks trained at the rates of the smallest.
        page: The report.
    """

    sections: tuple[Section, ...]
    proofs: tuple[Proof, ...]
    page: Page


def studies(seed: int) -> dict[str, Study]:
    """Return the two sweeps of the demo, by the axis that each varies.

    Args:
        seed: First of three seeds.
    """
    seeds = range(seed, seed + 3)
    return {
        "width": Study(
            mlp,
            width=[32, 64, 128, 256, 512],
            depth=[3],
            lr=log2(-9, -4),
            seeds=seeds,
            rules=RULES,
            optimizer="adam",
        ),
        "depth": Study(
            resmlp,
            width=[32],
            depth=[4, 8, 16, 32, 64],
            lr=log2(-9, -5),
            seeds=seeds,
            rules=RULES,
            optimizer="adam",
        ),
    }


def demo(
    out: str | Path,
    seed: int = 0,
    *,
    sweeps: Mapping[str, Study] | None = None,
    progress: OnProgress | None = None,
    show: Callable[[str | Section], None] = lambda _: None,
) -> Demo:
    """Sweep in width and in depth, prove the rates on a larger network, and report.

    Args:
        out: Folder of records and report; an interrupted demo continues where it stands.
        seed: First of the three seeds.
        sweeps: Other studies by the name of their folder; the last is proven on a larger network.
        progress: Receives the progress of each sweep, as `sweep` reports it.
        show: Receives every finding as soon as it is known: text, and the section of each sweep.

    Raises:
        MutransferError: the folder cannot be written or holds another sweep, or an extra of the
            report is missing.
    """
    check_extras()
    folder, own_studies = Path(out), dict(sweeps or studies(seed))
    *_, last = own_studies.values()
    large = _larger(last)
    show(_announcement(own_studies, folder, large))
    start = time.monotonic()
    sections = []
    for name, study in own_studies.items():
        runs = sweep(study, folder / name, extend=EXTEND, progress=progress)
        sections.append(Section.of(transfer(runs)))
        show(sections[-1])
    proofs = []
    for outcome in sections[-1].transfers.outcomes:
        # A refusal has optima all the same where they were found.
        if isinstance(outcome, Choice) or not outcome.optima:
            continue
        show(_proof_announcement(outcome, large))
        proofs.append(prove(last, outcome, large))
    page = _report(folder, sections, proofs)
    show(f"\n{page.headline}\n")
    for proof in proofs:
        show(f"  {proof}")
    show(
        f"\nFinished in {time.monotonic() - start:.0f} s. The report is {page.path}; "
        "its figures, CSV and JSON are in the same folder."
    )
    return Demo(sections=tuple(sections), proofs=tuple(proofs), page=page)


def _larger(study: Study) -> Size:
    """Return the size of the network that is proven."""
    size = study.sizes()[-1]
    return size.grown(width=_WIDER * size["width"], depth=_DEEPER * size["depth"])


def _announcement(sweeps: Mapping[str, Study], folder: Path, large: Size) -> str:
    left = {name: missing(study, folder / name) for name, study in sweeps.items()}
    *_, last = sweeps.values()
    seconds = sum(estimate(study, left[name]) for name, study in sweeps.items())
    seconds += proof_seconds(last, large)
    count = sum(map(len, left.values()))
    return (
        f"Training {count} networks on handwritten digits; about {seconds:.0f} s on this machine.\n"
    )


def _proof_announcement(outcome: Transfer | Refusal, size: Size) -> str:
    best = outcome.optima[0]
    return (
        f"Training {size} under {outcome.rule} at 2^{best.log2_lr:.2f}, "
        f"the rate found at {best.size} ..."
    )


def _report(folder: Path, sections: list[Section], proofs: list[Proof]) -> Page:
    return write_report(
        folder,
        sections,
        title="Learning-rate transfer on handwritten digits",
        about=about(),
        curves=[proof.curve for proof in proofs],
    )
