"""The programme of Tensor Programs V, Figures 4 and 19, in small: one study of 4,200 runs.

    mutransfer sweep examples/transfer_programme.py:study --out runs/programme --estimate
    mutransfer sweep examples/transfer_programme.py:study --out runs/programme --device cuda
    mutransfer report runs/programme

Learning rate, readout multiplier, initial scale and schedule, one at a time around a centre, at
sizes that differ from a usual one in width, depth, batch size, context or training time. `small` is
the same in 396 runs, of two minutes on one core. The paper's networks are larger: width 128 to
4096, batches of 20, a context of 256 and 10,000 steps.
"""

from mutransfer.experiments.transfer_programme import SETTINGS, programme

study = programme(SETTINGS["full"])
small = programme(SETTINGS["small"])
