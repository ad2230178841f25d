"""A parametrization of your own: muP, branches times depth^-3/4, and a slow embedding.

    python examples/own_parametrization.py

It is a rule like any other: `rule=mine` in `mt.plan` and `mt.coordinate_check`, and
`rules=["sp", mine]` in `mt.Study`.
"""

import mutransfer as mt
from mutransfer.rules import Law, Role, laws, powers
from mutransfer.tasks import gpt

slow_embedding = Law(
    gradient=powers(fan_out=-1),  # RMS entry of its gradient
    change=powers(fan_out="-1/4"),  # wanted change of its output in a step
)
mine = mt.Parametrization(
    name="mine",
    title="muP, branches times depth^-3/4, slow embedding",
    source="this file",
    laws={**laws(readout=1), Role.EMBEDDING: slow_embedding},
    alpha="3/4",
)

if __name__ == "__main__":
    print(mt.plan(gpt(width=256, depth=8), gpt(width=64, depth=2), rule=mine, optimizer="lion"))
