"""Models that one forward pass does not serve train one by one, and the warning says why."""

import operator
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mutransfer import MutransferError
from mutransfer.pytorch._hooks import Times
from mutransfer.training import Member, Program, Recipe, StackingWarning, train, train_one_by_one
from mutransfer.training._held import held
from mutransfer.training._one import copied
from tests.training.networks import Square, assert_same, drawn, planned, vectors

PROGRAMS = [Program(), Program(slots=2), Program(slots=1, compiled=True)]
Change = Callable[[nn.Module], object]


def recipe(**changes: Any) -> Recipe:
    values = {"task": vectors(), "steps": 8, "batch": 16, "optimizer": "sgd", "evaluate": 3}
    return Recipe(**values | changes)


def members(kind: Callable[[], nn.Module], count: int = 3) -> list[Member]:
    return planned(kind, kind, "sgd", [0.1, 0.2, 0.1][:count])


def changing(*changes: Change) -> list[Member]:
    """Return members whose models are changed, one after the other."""
    found = members(Square, len(changes))
    for member, change in zip(found, changes, strict=True):
        change(member.model)
    return found


def nothing(model: nn.Module) -> None:
    """Leave a model as it is."""


class Holding(Square):
    """A network that uses a value, or a function of its features."""

    factor: Any = 1.0
    act: Any = staticmethod(torch.tanh)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.act(self.input(x * float(self.factor))))


def held_in(name: str, value: Any) -> Change:
    def change(model: nn.Module) -> None:
        model.__class__ = Holding
        setattr(model, name, value)

    return change


def doubled(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return 2 * output


class Summing(nn.Module):
    """A sum whose bias may be missing."""

    def forward(self, x: Tensor) -> Tensor:
        return x + sum(self.parameters(), torch.zeros((), dtype=x.dtype))


def summing(**parameters: nn.Parameter) -> Change:
    def change(model: Any) -> None:
        model.hidden[1] = Summing()
        for name, parameter in parameters.items():
            model.hidden[1].register_parameter(name, parameter)

    return change


def bias(**options: Any) -> nn.Parameter:
    return nn.Parameter(torch.full((8,), 0.1, dtype=torch.float64), **options)


def hooked(model: Any) -> None:
    model.readout.register_forward_hook(doubled)


def activation(kind: Callable[[], nn.Module]) -> Change:
    def change(model: Any) -> None:
        model.hidden[1] = kind()

    return change


def choosing(function: Callable[[Tensor], Tensor]) -> Change:
    """Return a change to a method of a dictionary of its own."""

    def change(model: nn.Module) -> None:
        held_in("choose", {"relu": function}.get)(model)

    return change


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ((held_in("factor", np.int64(1)), held_in("factor", np.int64(3))), "values of factor"),
        ((held_in("factor", np.float32(1)), held_in("factor", np.float32(3))), "values of factor"),
        ((held_in("act", torch.tanh), held_in("act", torch.sin)), "values of act"),
        ((held_in("act", lambda x: x / 2), held_in("act", lambda x: -x)), "values of act"),
        ((choosing(torch.tanh), choosing(torch.sin)), r"values of choose\['relu'\]"),
        ((activation(nn.Tanh), activation(nn.Sigmoid)), r"classes of hidden\.1"),
        ((nothing, hooked), r"values of readout\._forward_hooks"),
        ((hooked, nothing), r"values of readout\._forward_hooks"),
        ((summing(bias=bias()), summing()), r"differ in hidden\.1\.bias"),
        ((summing(), summing(bias=bias())), r"differ in hidden\.1\.bias"),
        (
            (summing(bias=bias()), summing(bias=bias(requires_grad=False))),
            r"differ in hidden\.1\.bias",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_models_that_differ_do_not_share_a_forward_pass(changes: Any, reason: str) -> None:
    found = [
        replace(member, table={n: row for n, _ in member.model.named_parameters()})
        for member in changing(*changes)
        for row in [next(iter(member.table.values()))]
    ]
    with pytest.warns(StackingWarning, match=reason):
        trained = train(found, recipe())
    assert_same(trained, train_one_by_one(found, recipe()))


def locally(scale: float) -> Change:
    """Change a model to a class of its own, with a function of its own."""

    class Local(Holding):
        factor = scale

    def change(model: nn.Module) -> None:
        model.__class__ = Local
        model.act = lambda x: torch.tanh(x) * scale  # type: ignore[assignment]

    return change


def factor_of(model: Any) -> None:
    """Put the factor of a plan on a model's output."""
    model.readout.register_forward_hook(Times(2.0))


def staged(model: Any) -> None:
    """Hold layers a second time, in a container that is not registered."""
    model.stages = [nn.Sequential(model.input, nn.Tanh())]


def picking(model: nn.Module) -> None:
    """Hold a function that is an object without attributes."""
    held_in("act", operator.itemgetter(...))(model)


@pytest.mark.parametrize(
    "change",
    [locally(2.0), hooked, factor_of, staged, picking, choosing(torch.relu)],
    ids=["local", "hooked", "factor", "staged", "picking", "choosing"],
)
def test_what_is_written_the_same_is_shared(change: Change) -> None:
    found = changing(change, change)
    with warnings.catch_warnings():
        warnings.simplefilter("error", StackingWarning)
        trained = train(found, recipe())
    assert_same(trained, train_one_by_one(found, recipe()))


def test_classes_of_one_name_are_compared() -> None:
    found = changing(locally(2.0), locally(3.0))
    with pytest.warns(StackingWarning, match="different classes of the model itself"):
        train(found, recipe())


class Hidden(Square):
    """A network with a layer that is not registered."""

    def __init__(self, trains: bool = True) -> None:
        super().__init__()
        # In double precision as the others are after it is built.
        self.layers = [nn.Linear(5, 4).double().requires_grad_(trains)]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.layers[0](x)


class Twice(Square):
    """A network that holds a parameter twice."""

    def __init__(self) -> None:
        super().__init__()
        self.matrices = [self.readout.weight]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.matrices[0].detach().norm()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Hidden, r"values of layers\[0\]\.weight"),
        (lambda: Hidden(trains=False), r"values of layers\[0\]\.weight"),
        (Twice, r"holds readout\.weight as matrices\[0\], too"),
    ],
    ids=["hidden", "frozen", "twice"],
)
def test_tensors_outside_the_parameters_are_each_members_own(
    kind: Any, reason: str, program: Program
) -> None:
    found = members(kind)
    with pytest.warns(StackingWarning, match=reason):
        trained = train(found, recipe(), program=program)
    assert_same(trained, train_one_by_one(found, recipe()))


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_hidden_tensors_that_require_gradients_are_no_raw_error(program: Program) -> None:
    found = members(Hidden)
    same = [replace(member, model=found[0].model) for member in found]
    with pytest.warns(StackingWarning, match="tensors that are none of its parameters"):
        trained = train(same, recipe(steps=24), program=program)
    assert_same(trained, train_one_by_one(same, recipe(steps=24)))


def stopping(model: Any) -> None:
    model.readout.weight.register_hook(lambda gradient: 0 * gradient)


def reversing(model: Any) -> None:
    def hook(parameter: Tensor) -> None:
        parameter.grad = None if parameter.grad is None else -parameter.grad

    model.readout.weight.register_post_accumulate_grad_hook(hook)


@pytest.mark.parametrize("program", [Program(slots=1), *PROGRAMS], ids=str)
@pytest.mark.parametrize(("change", "sign"), [(stopping, 0.0), (reversing, -1.0)])
def test_hooks_of_gradients_are_not_dropped(change: Any, sign: float, program: Program) -> None:
    found, plain = changing(change, change), members(Square, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackingWarning)
        trained = train(found, recipe(steps=2), program=program)
    for member in plain:
        # A step in the other direction is a step at the negative rate.
        row = member.table["readout.weight"]
        member.table["readout.weight"] = replace(row, lr=sign * row.lr)  # type: ignore[index]
    assert_same(trained, train(plain, recipe(steps=2)), rtol=1e-10)


def test_a_stack_says_that_it_has_no_hooks_of_gradients() -> None:
    with pytest.warns(StackingWarning, match=r"readout\.weight has hooks of its gradient"):
        train(changing(stopping, stopping), recipe())


def closing(model: Any) -> None:
    model.hidden[0].register_forward_hook(lambda _, inputs, output: output + model.input.bias)


def patched(model: Any) -> None:
    forward = model.forward
    model.forward = lambda x: 2 * forward(x)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("program", [Program(slots=1), *PROGRAMS], ids=str)
@pytest.mark.parametrize("change", [closing, patched])
def test_functions_that_use_the_original_are_refused(change: Any, program: Program) -> None:
    found = changing(change, change)
    with pytest.raises(MutransferError, match=r"of the model that it was made with.*as a method"):
        train(found, recipe(), program=program)
    assert all(p.grad is None for member in found for p in member.model.parameters())


class Showing(Square):
    """A network whose hook keeps features in a list of the network that it was made with."""

    def __init__(self) -> None:
        super().__init__()
        self.features: list[Tensor] = []
        self.input.register_forward_hook(lambda _, inputs, output: self.features.append(output))

    def forward(self, x: Tensor) -> Tensor:
        self.features.clear()
        return super().forward(x) + self.features[0].mean()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("program", [Program(slots=1), *PROGRAMS], ids=str)
def test_a_failure_names_functions_that_use_the_original(program: Program) -> None:
    message = (
        r"IndexError: list index out of range \(.*test_sharing\.py, line \d+\); a copy of the "
        r"model trains, and its function input\._forward_hooks\[0\] still uses the model "
    )
    with pytest.raises(MutransferError, match=message):
        train(members(Showing, 3), recipe(), program=program)


def test_a_function_that_reads_the_original_is_not_stacked() -> None:
    """No gradient shows it."""

    def reading(model: Any) -> None:
        model.hidden[0].register_forward_hook(lambda _, inputs, output: output * model.training)

    with pytest.warns(StackingWarning, match="uses the model that it was made with"):
        train(changing(reading, reading), recipe())


def test_gradients_of_the_original_stay_as_they_were() -> None:
    found = members(Square, 1)
    weight = next(found[0].model.parameters())
    weight.grad = torch.ones_like(weight)
    train_one_by_one(found, recipe())
    assert torch.equal(weight.grad, torch.ones_like(weight))


class Computing(Square):
    """A network with a weight that torch computes of others before each pass."""

    def __init__(self, how: str) -> None:
        super().__init__()
        if how == "prune":
            nn.utils.prune.random_unstructured(self.readout, "weight", 0.5)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                nn.utils.weight_norm(self.readout)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
@pytest.mark.parametrize("how", ["prune", "weight_norm"])
def test_weights_that_torch_computes_are_not_held(how: str, program: Program) -> None:
    first = Computing(how).double()
    assert "readout.weight" not in held(first) and copied(first) is not first
    rows = members(Square, 1)[0].table
    found = []
    for seed in (0, 1, 2):
        model = drawn(lambda: Computing(how), seed)
        table = {n: rows["readout.bias"] for n, _ in model.named_parameters()}
        found.append(Member(model=model, table=table, seed=seed))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StackingWarning)
        trained = train(found, recipe(), program=program)
    assert not [each for each in caught if "one by one" in str(each.message)]
    assert_same(trained, train_one_by_one(found, recipe()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "compiled", [torch.jit.script, lambda layer: torch.jit.trace(layer, torch.randn(2, 5))]
)
def test_scripted_layers_hold_no_weights_of_their_own(compiled: Any) -> None:
    """Their functions belong to the module that was compiled."""
    model = nn.Sequential(compiled(nn.Linear(5, 4)))
    assert not [name for name, value in held(model).items() if isinstance(value, Tensor)]


def test_recurrent_layers_hold_no_weights_of_their_own() -> None:
    assert not [n for n, value in held(nn.LSTM(5, 4)).items() if isinstance(value, Tensor)]
