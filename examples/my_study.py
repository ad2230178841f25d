"""A study to copy: its networks, rates and rules.

mutransfer sweep examples/my_study.py:study --out runs/mine --extend 4
"""

import mutransfer as mt
from mutransfer.tasks import resmlp

study = mt.Study(
    resmlp,
    width=[16, 32, 64],
    depth=[2, 4, 8],
    lr=mt.log2(-9, -4),
    rules=("sp", "default"),
    optimizer="adam",
    steps=100,
)
