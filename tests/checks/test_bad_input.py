"""Wrong input is refused in a sentence that names it; a size that fails is left out with a note."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.tasks import gpt, mlp
from tests.models import Net

WIDTHS = [16, 32, 64]
small = partial(mlp, depth=2)


def check(build: Callable[..., nn.Module] = small, **settings: Any) -> mt.CoordinateCheck:
    return mt.coordinate_check(
        build, **{"width": WIDTHS, "seeds": 1, "steps": 2, "control": False} | settings
    )


def only(*widths: int) -> Callable[..., nn.Module]:
    """Builds these widths and no other."""

    def build(width: int) -> nn.Module:
        if width not in widths:
            raise KeyError(f"no preset {width}")
        return small(width)

    return build


def followed(width: int, after: Callable[[Tensor], Any]) -> nn.Module:
    """A perceptron whose output goes through a function."""
    return Net(lambda model, x: after(model.inner(x)), inner=small(width))


def values(result: mt.CoordinateCheck) -> dict[Any, float]:
    return {row[:-1]: row.value for row in result.rows}


def fails_in_forward(y: Tensor) -> Tensor:
    if not y.is_meta:
        raise KeyError("a lost key")
    return y


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no axis": ({"width": None}, r"give widths, depths or both"),
    "batch without a seed": (
        {"batch": lambda: torch.randn(4, 64)},
        r"batch is a function of other arguments .*: it gets a seed and a step",
    ),
    "one width": ({"width": [16]}, r"width is \[16\]: give at least two different sizes"),
    "one depth": ({"depth": [4]}, r"depth is \[4\]: give at least two different sizes"),
    "close widths": ({"width": [16, 32]}, r"width goes from 16 to 32, less than 4 times"),
    "close depths": (
        {"width": None, "depth": [4, 6, 8]},
        r"depth goes from 4 to 8, less than 4 times",
    ),
    "depth from one layer": (
        {"width": None, "depth": [1, 2, 4]},
        r"depth starts at 1: .* take 2 or more",
    ),
    "unsorted": ({"width": [64, 16]}, r"width is \[64, 16\]: .* ascending"),
    "repeated": ({"width": [16, 16, 64]}, r"width is \[16, 16, 64\]: .* different"),
    "a width that cannot be": ({"width": [-16, 16]}, r"width is \[-16, 16\]: give a list of sizes"),
    "no steps": ({"steps": 0}, r"steps is 0"),
    "no seeds": ({"seeds": 0}, r"seeds is 0"),
    "a rate below 0": ({"lr": -1e-3}, r"lr is -0\.001: give the learning rate"),
    "a rate in words": ({"lr": "0.1"}, r"lr is '0\.1': give the learning rate"),
    "a rate that is not a number": ({"lr": float("nan")}, r"lr is nan"),
    "a builder without its width": (
        {"build": lambda width: small(16)},
        r"model of width \d+ has the same shapes as that of width 16: does the builder use",
    ),
    "a truth for a size": ({"width": [True, 4, 16]}, r"width is \[True, 4, 16\]"),
    "few steps of RAdam": (
        {"optimizer": "radam", "steps": 4},
        r"steps is 4, and RAdam's first 5 are of momentum alone.*: give at least 8",
    ),
    "unknown rule": ({"rule": "mupp"}, r"unknown rule 'mupp'"),
    "unknown task": ({"task": "digitz"}, r"unknown task 'digitz'.* digits"),
    "unknown optimizer": ({"optimizer": "adamm"}, r"unknown optimizer 'adamm'"),
    "no optimizer of torch": (
        {"optimizer": "lion"},
        r"torch has no optimizer for lion: give train=",
    ),
    "a convention of Muon that torch has not": (
        {"build": partial(gpt, depth=1), "optimizer": "muon+adamw"},
        r"torch has no optimizer for muon: .*muon-original, .*muon-match-rms.*, or give train=",
    ),
    "an eps for an optimizer without one": (
        {"optimizer": "sgd", "eps": 1e-8},
        r"sgd has no eps",
    ),
    "the name that progress had": ({"report": print}, r"has no argument 'report'"),
    "one batch, fresh": (
        {"fresh": True, "batch": torch.zeros(4, 64)},
        r"fresh=True needs a batch that is a function",
    ),
    "another batch": ({"batch": torch.zeros(4, 63)}, r"forward pass of MLP failed in input .*4x63"),
    "a loss without gradient": (
        {"loss": lambda output, batch: output.detach().sum()},
        r"training at width 16 .*require grad",
    ),
    "a loss that is not a number": (
        {"loss": lambda output, batch: output.sum() * torch.nan},
        r"loss at width 16, depth 1 is nan before",
    ),
    "a loss that is infinite": (
        {"loss": lambda output, batch: output.sum() + torch.inf},
        r"loss at width 16, depth 1 is inf before",
    ),
    "no tensors": (
        {"build": partial(followed, after=str)},
        r"output is a str without a tensor: give loss=",
    ),
    "no base": (
        {"build": only(32, 64)},
        r"only\.<locals>\.build.* failed when called with width=16: "
        r"KeyError: 'no preset 16' \(.*test_bad_input.py, line \d+\)",
    ),
    "builds with another name": (
        {"build": lambda size: small(size)},
        r"failed when called with width=16: .*'width'",
    ),
    "two losses": (
        {"loss": lambda output, batch: torch.stack([output.sum()] * 2)},
        r"^the loss has shape \(2,\): it has to be a tensor with one entry",
    ),
    "a width that is zero": ({"width": [0, 16]}, r"width is \[0, 16\]"),
    "a number for widths": ({"width": 16}, r"width is 16"),
    "half a step": ({"steps": 1.5}, r"steps is 1\.5"),
    "a number as task": ({"task": 3}, r"task is an int: give a mutransfer\.Task"),
    "no model": ({"build": lambda width: None}, r"made None, not a torch\.nn\.Module"),
    "a loss that is a number": (
        {"loss": lambda output, batch: 1.0},
        r"the loss is a float: it has to be a tensor with one entry",
    ),
    "an unknown option": ({"role": {}}, r"coordinate_check has no argument 'role'"),
    "a forward pass that fails": (
        {"build": partial(followed, after=fails_in_forward)},
        r"training at width 16 .*a lost key",
    ),
    "tokens that the model does not know": (
        {"build": partial(gpt, depth=1, vocabulary=8), "batch": torch.full((2, 4), 9)},
        r"training at width 16 .*index out of range",
    ),
}


@pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(mt.MutransferError, match=message) as error:
        check(**settings)
    assert "\n" not in str(error.value)


def test_sizes_of_numpy_are_sizes() -> None:
    numbers = np.array(WIDTHS)
    given = check(width=[*numbers], seeds=numbers[0] // numbers[0], steps=np.int64(2))
    assert given.rows == check().rows
    assert json.dumps(given.to_json()) == json.dumps(check().to_json())


def test_several_losses_are_refused_in_one_line() -> None:
    with pytest.raises(mt.MutransferError, match="has to be a tensor with one entry") as error:
        check(loss=lambda output, batch: output)
    assert "\n" not in str(error.value)


def test_random_sequences_fit_a_short_context() -> None:
    assert check(partial(gpt, depth=1, context=16), steps=1).rows


@pytest.mark.parametrize("missing", [32, 64])
def test_a_size_that_cannot_be_built_is_left_out_with_a_note(missing: int) -> None:
    widths = [8, *WIDTHS]
    kept = tuple(width for width in widths if width != missing)
    result = check(only(*kept), width=widths)
    assert result.axes == {"width": kept}
    assert {row.width for row in result.rows} == set(kept)
    assert [
        note
        for note in result.notes
        if re.search(rf"width {missing}\b.* left out: .*no preset {missing}", note)
    ]
    assert str(result).count(f"no preset {missing}") == 1
    whole = values(check(width=widths))
    assert values(result) == {key: value for key, value in whole.items() if key[1] != missing}


def test_a_size_that_cannot_be_trained_is_left_out_with_a_note() -> None:
    def build(width: int) -> nn.Module:
        model = small(width)
        if width == 64:
            model.register_forward_hook(lambda module, inputs, output: output * torch.nan)
        return model

    result = check(build, width=[8, *WIDTHS])
    assert result.axes == {"width": (8, 16, 32)}
    assert [
        note
        for note in result.notes
        if "width 64 was left out" in note and "is nan before the first step" in note
    ]


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("kept", [(16,), (16, 32)])
def test_with_one_size_or_close_sizes_left_a_check_is_undecided(
    kept: tuple[int, ...], control: bool
) -> None:
    result = check(only(*kept), control=control, seeds=3, steps=4)
    assert result.verdict == "undecided" and result.axes == {"width": kept}
    assert [note for note in result.notes if "width 64 was left out" in note]
    assert [note for note in result.notes if "too few sizes could be measured in width" in note]


@pytest.mark.parametrize("control", [False, True])
def test_training_that_diverges_fails_with_the_step(control: bool) -> None:
    def loss(output: Tensor, batch: Tensor) -> Tensor:
        return output.square().mean()

    result = check(seeds=3, steps=4, optimizer="sgd", lr=1e9, loss=loss, control=control)
    assert not all(torch.isfinite(torch.tensor(row.value)) for row in result.rows)
    assert result.verdict == "fail"
    assert re.match(
        r"training diverges at width 16, depth 1: the loss is (nan|inf) after \d steps",
        str(result.findings[0]),
    )
    texts = [*map(str, result.findings), *result.notes]
    assert not [text for text in texts if "take a larger learning rate" in text]
    # Its tensors are no numbers, which is not the same as not to move.
    assert not [text for text in texts if "does not train" in text]


def test_an_unknown_slope_is_refused_with_the_known_names() -> None:
    with pytest.raises(mt.MutransferError, match=r"no own of 'hiden' in width .*'hidden\.\*'"):
        check().slope("hiden", "own")


def test_another_rule_under_the_name_of_the_control_is_refused() -> None:
    """Its rows would be taken for those of the negative control."""
    other = replace(mt.parametrization("mup"), name="sp")
    with pytest.raises(mt.MutransferError, match="the rule is named 'sp', as the negative control"):
        mt.coordinate_check(mlp, width=[16, 64], rule=other)
