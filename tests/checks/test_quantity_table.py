"""The table of quantities: all that is measured is in it, and nothing else."""

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.checks import QUANTITIES, Quantity, Spot, When
from mutransfer.tasks import gpt


class _Gate(nn.Module):
    """A bare gain."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(32))

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.gain


JUDGED = [quantity for quantity in QUANTITIES.values() if quantity.judged != When.NEVER]


def named(quantity: Quantity) -> str:
    return f"{quantity.kind} {quantity.name}"


def test_the_table_holds_just_what_is_measured() -> None:
    """Four layers, as a diversity exponent needs; two steps; a decay, which only then is one."""

    def build(depth: int) -> nn.Module:
        """A GPT with a bare gain on its logits."""
        return nn.Sequential(gpt(32, depth, vocabulary=32), _Gate())

    check = mt.coordinate_check(
        build,
        depth=[4, 16],
        seeds=1,
        steps=2,
        weight_decay=0.1,
        control=False,
    )
    assert {(row.kind, row.quantity) for row in check.rows} == set(QUANTITIES)
    assert {(slope.kind, slope.quantity) for slope in check.slopes} <= set(QUANTITIES)


@pytest.mark.parametrize("quantity", JUDGED, ids=named)
def test_a_judged_quantity_can_be_explained(quantity: Quantity) -> None:
    assert quantity.words and quantity.expected.keys() == {"width", "depth"}
    assert quantity.cause is not None
    assert all(quantity.cause(axis, excess) for axis in quantity.expected for excess in (-1, 1))
    for by_spot in quantity.expected.values():
        assert by_spot.keys() <= set(Spot)
        assert all(
            0 < each.shrinks.at(alpha) < 1 for each in by_spot.values() for alpha in (1, 0.5)
        )


@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=named)
def test_a_quantity_refers_to_others_of_its_kind(quantity: Quantity) -> None:
    others = [quantity.plans] if quantity.plans else []
    others += [quantity.shift.quantity] if quantity.shift else []
    for name in others:
        assert (quantity.kind, name) in QUANTITIES
    if quantity.judged == When.NEVER:
        assert not quantity.expected and not quantity.cause and not quantity.column


def test_branches_that_end_in_zero_have_no_diversity_exponent() -> None:
    """All layers are equal at first, which used to end the check with a logarithm of zero."""

    def build(depth: int) -> nn.Module:
        model = gpt(32, depth, vocabulary=32)
        with torch.no_grad():
            for name, tensor in model.named_parameters():
                if name.endswith(("out.weight", "down.weight")):
                    tensor.zero_()
        return model

    check = mt.coordinate_check(build, depth=[4, 16], seeds=1, steps=1, control=False)
    steps = {row.step for row in check.rows if row.quantity == "diversity exponent"}
    assert steps == {1}
