"""Models of several types: complex, quantised and half precision beside what is trained."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.tasks import inputs_like
from mutransfer.training import Program, Recipe, StackingWarning, train, train_one_by_one
from mutransfer.training._optimizers import OWN
from tests.training.networks import Square, assert_same, by_hand, unplanned, vectors

RATES = [0.1, 0.05, 0.2]
RECIPE = Recipe(task=vectors(metrics={}), steps=8, batch=16, optimizer="sgd")


class Spectral(nn.Module):
    """A network of a complex filter, which comes first, and a real gain of the same shape."""

    def __init__(self, dtype: torch.dtype = torch.complex128) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(8, dtype=dtype))
        self.input, self.readout = nn.Linear(5, 14), nn.Linear(14, 4)
        self.gain = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        # The gain is an argument of an operation that takes real numbers only.
        x = torch.fft.rfft(self.input(x)) * self.filter * torch.relu(self.gain)
        return self.readout(torch.fft.irfft(x, n=14))  # type: ignore[no-any-return]


class Frozen(nn.Module):
    """A network whose first parameter is frozen, of another type than the others."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.stored = nn.Parameter(torch.full((5,), 2.0).to(dtype), requires_grad=False)
        self.inner = Square().double()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * self.stored.to(x.dtype))  # type: ignore[no-any-return]

    def double(self) -> "Frozen":
        """Leave the types as they are."""
        return self


@pytest.mark.parametrize("program", [Program(), Program(slots=1)], ids=str)
@pytest.mark.parametrize(
    "build",
    [Spectral, lambda: Frozen(torch.int8), lambda: Frozen(torch.bfloat16)],
    ids=["complex", "int8", "bfloat16"],
)
def test_inputs_have_the_type_of_what_is_trained(
    build: Callable[[], nn.Module], program: Program
) -> None:
    members = unplanned(build, RATES)
    losses, validation = by_hand(members, RECIPE)
    found = train(members, RECIPE, program=program)
    torch.testing.assert_close(found.losses, losses, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.validation, validation, rtol=1e-12, atol=0)
    mt.tasks.check_fit(members[0].model, RECIPE.task)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad", "rmsprop", "adamax", "lion"])
def test_parts_of_complex_numbers_are_numbers_of_their_own(optimizer: str) -> None:
    """Squared as complex numbers, gradients would give another mean than torch's."""
    how = replace(RECIPE, optimizer=optimizer, clip=0.5)
    members = unplanned(Spectral, [0.02, 0.01], optimizer)
    assert_same(train(members, how), train_one_by_one(members, how), rtol=1e-9)


def test_lion_trains_real_and_imaginary_parts_as_numbers() -> None:
    start = torch.randn(6, dtype=torch.complex128)
    whole = nn.Parameter(start.clone())
    parts = nn.Parameter(torch.view_as_real(start).clone())
    target = torch.randn(6, dtype=torch.complex128)
    optimizers = [OWN["lion"]([each], lr=0.01, weight_decay=0.1) for each in (whole, parts)]
    for _ in range(20):
        for optimizer in optimizers:
            optimizer.zero_grad()
        (torch.conj(whole) - target).abs().square().sum().backward()
        (torch.view_as_complex(parts).conj() - target).abs().square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(torch.view_as_real(whole.detach()), parts.detach())


def test_the_type_of_inputs() -> None:
    def like(*kinds: tuple[torch.dtype, bool]) -> torch.dtype:
        model = nn.Module()
        for number, (dtype, trained) in enumerate(kinds):
            tensor = nn.Parameter(torch.ones(1, dtype=dtype), requires_grad=trained)
            model.register_parameter(str(number), tensor)
        return inputs_like(model).dtype

    half, double, integer = torch.bfloat16, torch.float64, torch.int8
    assert like((double, True), (half, True)) == double
    assert like((half, False), (torch.complex64, True), (double, True)) == double
    assert like((half, False), (torch.complex128, True)) == double
    assert like((integer, False), (half, False)) == half
    assert like((integer, False)) == like() == torch.get_default_dtype()


def test_a_precision_leaves_complex_numbers() -> None:
    members = unplanned(lambda: Spectral(torch.complex64), RATES)
    how = Recipe(task=vectors(), steps=8, batch=16, optimizer="sgd", precision="float32")
    found = train_one_by_one(members, how)
    assert_same(train(members, how), found, rtol=1e-4)
    torch.testing.assert_close(found.losses, by_hand(members, RECIPE)[0], rtol=1e-4, atol=0)


def test_half_precision_beside_single_is_not_trained_in_single() -> None:
    class Mixed(Square):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(super().forward(x).bfloat16()).double()  # type: ignore[no-any-return]

        def double(self) -> "Mixed":
            super().double()
            self.norm.bfloat16()
            return self

    members = unplanned(Mixed, RATES)
    with pytest.warns(StackingWarning, match=r"its parameters are torch\.bfloat16"):
        found = train(members, RECIPE)
    assert torch.equal(found.losses, train_one_by_one(members, RECIPE).losses)
