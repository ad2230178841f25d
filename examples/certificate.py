"""A certificate to read: a sweep of small networks, its target, and the two pictures.

These are the numbers and pictures of docs/certificates.md:

    python examples/certificate.py --out docs

The script trains 290 networks on handwritten digits, prints the certificates for a network four
times wider than the largest of them, and draws the losses and the law across widths.
"""

import argparse
import dataclasses
from pathlib import Path

import mutransfer as mt
from mutransfer.figures import law_figure, save
from mutransfer.tasks import mlp

study = mt.Study(
    mlp,
    width=[32, 64, 128, 256],
    depth=[3],
    lr=mt.log2(-9, -3),
    rules=("sp", "default"),
    optimizer="adam",
    steps=100,
    seeds=5,
)
TARGET = {"width": 1024}

# The truth: the target, trained afterwards on a grid of its own.
afterwards = dataclasses.replace(
    study, base={"width": 32, "depth": 3}, rules=("default",), seeds=3, width=[1024]
)


def main() -> None:
    """Sweep, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the pictures")
    parser.add_argument("--record", type=Path, default=Path("runs/certificate"))
    arguments = parser.parse_args()
    found = mt.transfer(mt.sweep(study, arguments.record, extend=4), at=TARGET)
    print(found)
    save(found.figure(), arguments.out / "certificate-losses")
    save(law_figure(found), arguments.out / "certificate-law")


if __name__ == "__main__":
    main()
