"""Numbers of a model that are not known on the meta device."""

import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn

import mutransfer as mt


class Scaled(nn.Module):
    """A layer whose output is multiplied by a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.scale


def test_a_reading_with_an_unknown_factor_is_written_and_read(tmp_path: Path) -> None:
    with torch.device("meta"):
        reading = mt.read(Scaled())
    assert [math.isnan(value) for value, _ in reading.trace.factors] == [True]
    text = reading.save(tmp_path / "base.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(reading.to_json(), allow_nan=False))
    again = mt.Reading.from_json(text)
    assert again.to_json() == reading.to_json()
    assert [math.isnan(value) for value, _ in again.trace.factors] == [True]
