"""Four sweeps of a GPT, as in Figure 4 of Tensor Programs V: one at a time around a centre.

    mutransfer sweep examples/four_sweeps.py:study --out runs/four
    mutransfer report runs/four

Learning rate, multiplier of the head, initial scale and schedule, over width and depth.
"""

import mutransfer as mt
from mutransfer.tasks import gpt

study = mt.Study(
    gpt,
    width=[16, 32, 64],
    depth=[2, 4],
    task="pydocs",
    lr=mt.log2(-8, -1),
    readout=mt.log2(-3, 4),
    init=mt.log2(-3, 3),
    schedule=["constant", "linear", "cosine", "wsd"],
    design=mt.OneAtATime({"lr": 2**-5}),
    seeds=1,
    steps=100,
    batch=16,
)
