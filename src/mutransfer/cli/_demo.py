"""`mutransfer demo`."""

from __future__ import annotations

from pathlib import Path

from ._live import LiveSweep
from ._show import Terminal


def demo(out: Path = Path("mutransfer-demo"), seed: int = 0) -> None:
    """Show on real data that a small network's best rate is right for a large one.

    Sweeps an MLP in width and a residual MLP in depth, under standard parametrization and under the
    default rule. Then trains a larger network at the rate found on the smallest one. Interrupted,
    the same command continues.

    Try: mutransfer demo

    Try: mutransfer demo --out runs/demo --seed 100

    Args:
        out: Folder for the report, its figures, and every number.
        seed: First of the three seeds.
    """
    from ..experiments import demo as run
    from ..report import Section, transfer_table

    console = Terminal()
    live = LiveSweep(console, "demo")

    def show(finding: str | Section) -> None:
        if isinstance(finding, str):
            console.print(finding, soft_wrap=True)
            return
        # A section ends its sweep, and the display of the sweep with it.
        live.clear()
        console.print(transfer_table(finding))
        for refusal in finding.refusals:
            console.print(f"  {refusal}", soft_wrap=True)

    with live:
        run(out, seed, progress=live, show=show)
