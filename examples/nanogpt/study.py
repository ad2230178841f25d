"""Widths and rates of train.py, which is run as it is.

In this folder, with a text input.txt:

    mutransfer sweep study.py:study --out runs --extend 4
    mutransfer transfer runs --at width=256
    python train.py input.txt --out large --width 256 --steps 150 --lr RATE
"""

import mutransfer as mt

study = mt.Study(
    None,
    width=[32, 64],
    lr=mt.log2(-8, -4),
    steps=150,
    seeds=3,
    train=mt.command(
        "{python} train.py input.txt --out {folder} --width {width} --lr {lr} --steps {steps} "
        "--seed {seed}",
        log="{folder}/log.csv",
        columns={"validation": "val_loss"},
    ),
)
