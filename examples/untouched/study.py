"""Widths and rates of a script that stays as it is, read from its CSV or from what it prints.

In this folder:

    mutransfer sweep study.py:from_csv --out runs/csv
    mutransfer sweep study.py:from_json --out runs/json
"""

import mutransfer as mt

GRID = {"width": [16, 32], "lr": mt.log2(-5, 1), "steps": 100, "seeds": 2}
LINE = "{python} train.py --lr {lr} --width {width} --seed {seed} --steps {steps}"

from_csv = mt.Study(
    None,
    **GRID,
    train=mt.command(LINE + " --out {folder}", log="{folder}/log.csv", columns={"loss": "nll"}),
)
from_json = mt.Study(None, **GRID, train=mt.command(LINE))
