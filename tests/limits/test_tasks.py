"""A few examples of a task, as a problem with one output."""

import numpy as np
import pytest
import torch

from mutransfer import MutransferError, Task
from mutransfer.limits import Problem, two_classes
from mutransfer.tasks import digits


@pytest.mark.parametrize("examples", [2, 4, 20])
def test_examples_are_centred_and_of_unit_scale(examples: int) -> None:
    inputs, targets = two_classes("digits", examples)
    assert (
        inputs.shape == (examples, 64)
        and targets.shape == (examples,)
        and inputs.dtype == np.float64
    )
    np.testing.assert_allclose(inputs.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose((inputs**2).sum(1), 64)
    np.testing.assert_array_equal(targets, [1, -1] * (examples // 2))
    np.testing.assert_allclose(
        np.diag(Problem(inputs=inputs, targets=targets, lr=0.1, steps=1).gram), 1
    )


@pytest.mark.parametrize("classes", [(0, 1), (7, 3)])
def test_they_are_the_first_of_each_class_in_turn(classes: tuple[int, int]) -> None:
    inputs, _ = two_classes(digits(), 6, classes)
    for number, label in enumerate(classes):
        raw = digits().inputs[digits().targets == label][:3].double().numpy()
        for image, original in zip(inputs[number::2], raw, strict=True):
            assert np.corrcoef(image, original)[0, 1] == pytest.approx(1)


def test_a_task_of_ones_own_may_have_images() -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(6, 3, 4, 4, generator=draw)
    task = Task(
        name="images", inputs=images, targets=torch.tensor([5, 5, 2, 2, 5, 2]), loss=digits().loss
    )
    inputs, targets = two_classes(task, 4, (2, 5))
    expected = images.flatten(1)[[2, 0, 3, 1]].double().numpy()
    expected -= expected.mean(1, keepdims=True)
    np.testing.assert_allclose(inputs, expected / expected.std(1, keepdims=True), atol=1e-12)
    np.testing.assert_array_equal(targets, [1, -1, 1, -1])


def test_the_task_itself_is_left_as_it_is() -> None:
    before = digits().inputs.clone()
    inputs, _ = two_classes("digits", 4)
    inputs[:] = 0
    assert torch.equal(digits().inputs, before)


REGRESSION = Task(
    name="regression", inputs=torch.randn(4, 2), targets=torch.randn(4), loss=digits().loss
)


@pytest.mark.parametrize(
    ("task", "examples", "classes", "message"),
    [
        pytest.param(
            "pydocs",
            4,
            (0, 1),
            "pydocs.* has no vectors of numbers with classes; use digits",
            id="text",
        ),
        pytest.param(
            REGRESSION,
            4,
            (0, 1),
            "task regression has no vectors of numbers with classes",
            id="numbers as targets",
        ),
        pytest.param(
            "imagenet", 4, (0, 1), "unknown task 'imagenet'; choose one of digits", id="unknown"
        ),
        pytest.param(
            "digits",
            3,
            (0, 1),
            "examples is 3: give an even number, half of it for each class",
            id="odd",
        ),
        pytest.param("digits", 0, (0, 1), "examples is 0: give an even number", id="none"),
        pytest.param("digits", -2, (0, 1), "examples is -2: give an even number", id="negative"),
        pytest.param(
            "digits",
            1000,
            (0, 1),
            "task digits has fewer than 500 examples of class 0 or 1",
            id="too many",
        ),
        pytest.param(
            "digits",
            4,
            (0, 10),
            "task digits has fewer than 2 examples of class 0 or 10",
            id="no such class",
        ),
    ],
)
def test_wrong_tasks_counts_and_classes_are_refused(
    task: str | Task, examples: int, classes: tuple[int, int], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        two_classes(task, examples, classes)
