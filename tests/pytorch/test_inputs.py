"""Inputs of a forward pass: those given, and guesses."""

from collections import OrderedDict, UserDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.pytorch._inputs import candidates, guess_inputs, tensors
from mutransfer.pytorch._record import record_program

LAYERS = {
    "ids": (nn.Embedding(5, 3), (2, 8)),
    "rows": (nn.Linear(3, 2), (2, 3)),
    "sequences": (nn.Conv1d(3, 2, 5), (2, 3, 64)),
    "images": (nn.Conv2d(3, 2, 5), (2, 3, 32, 32)),
    "volumes": (nn.Conv3d(3, 2, 5), (2, 3, 16, 16, 16)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_guesses_are_accepted_and_do_not_depend_on_the_seed(kind: str) -> None:
    layer, shape = LAYERS[kind]
    model = nn.Sequential(nn.Identity(), layer)
    guesses = []
    for seed in range(2):
        torch.manual_seed(seed)
        guesses.append(guess_inputs(model))
    assert torch.equal(*guesses)
    assert guesses[0].shape == shape
    assert guesses[0].unique().numel() > 4
    model(guesses[0])


def test_guesses_have_the_type_of_the_first_layer() -> None:
    assert guess_inputs(nn.Linear(3, 2, dtype=torch.float64)).dtype == torch.float64


def test_other_first_layers_need_inputs() -> None:
    with pytest.raises(mt.MutransferError, match="example_inputs="):
        record_program(nn.LSTM(3, 3))


class Own(nn.Module):
    """A model with inputs of its own, as those of Hugging Face."""

    def __init__(self, accepts_masks: bool) -> None:
        super().__init__()
        self.weight, self.accepts = nn.Parameter(torch.ones(3)), accepts_masks
        self.calls = 0

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        return {"rows": torch.ones(2, 3), "mask": torch.ones(2)}

    def forward(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None and not self.accepts:
            raise ValueError("no masks")
        return rows * self.weight if mask is None else rows * self.weight * mask[:, None]


@pytest.mark.parametrize(("accepts", "products"), [(True, 2), (False, 1)])
def test_own_inputs_are_tried_with_masks_then_without(accepts: bool, products: int) -> None:
    program = record_program(Own(accepts))
    assert [op.name for op in program.operations].count("mul") == products


def test_inputs_of_another_type_are_adapted() -> None:
    program = record_program(nn.Linear(3, 2).double(), {"input": torch.ones(2, 3)})
    assert [op.name for op in program.operations] == ["t", "addmm"]


def test_inputs_are_copied_onto_the_cpu() -> None:
    given = {"x": torch.ones(2, requires_grad=True), "y": [torch.ones(2, device="meta"), 3]}
    (copied,) = candidates(nn.Linear(2, 2), UserDict(given))
    assert copied["x"] is not given["x"] and copied["x"].requires_grad
    assert copied["y"][0].device.type == "cpu"
    assert copied["y"][1] == 3


def test_positional_and_keyword_inputs_are_told_apart() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, first: Tensor, second: Any) -> Tensor:
            return self.layer(first) - second["x"]

    x = torch.ones(2, 3)
    positional = record_program(Two(), (x, {"x": x}))
    assert record_program(Two(), {"first": x, "second": {"x": x}}) == positional
    assert [value.kind for value in positional.values].count("input") == 2


def test_tensors_are_found_in_every_kind_of_output() -> None:
    x, y, z = torch.ones(1), torch.ones(2), torch.ones(3)
    normal = torch.distributions.Normal(y, y)
    found = tensors([x, OrderedDict(a=(y, None, "text")), normal, {"b": z}])
    assert [tensor.numel() for tensor in found] == [1, 2, 2, 2, 3]
