"""Widths and rates of a script that torchrun starts in two processes.

In this folder:

    mutransfer sweep study.py:study --out runs
"""

import mutransfer as mt

study = mt.Study(
    None,
    width=[16, 32],
    lr=mt.log2(-9, -5),
    steps=50,
    seeds=2,
    train=mt.command(
        "{python} -m torch.distributed.run --standalone --nproc-per-node 2 train_fsdp.py "
        "--lr {lr} --width {width} --steps {steps} --seed {seed}"
    ),
)
