"""Exceptions of a user's code as a sentence: type, message and place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from mutransfer.core import fault
from mutransfer.pytorch import build_model
from mutransfer.tasks import mlp


def missing(width: int) -> Any:
    return {}["hidden"]


def uneven(width: int) -> None:
    assert width % 48 == 0


def heads(width: int) -> nn.Module:
    return nn.MultiheadAttention(width, 5)


def talkative(width: int) -> None:
    raise ValueError("too\nmuch " * 200)


def raised(build: Callable[..., Any], *arguments: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        build(*arguments)
    return caught.value


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (missing, "KeyError: 'hidden'"),
        (uneven, "AssertionError: assert width % 48 == 0"),
        # The line is the user's own, not one of the package that it calls.
        (heads, "AssertionError: embed_dim must be divisible by num_heads"),
    ],
)
def test_a_fault_has_type_message_and_place(build: Callable[..., Any], text: str) -> None:
    found = raised(build, 64)
    if build is uneven:
        # pytest writes messages into the assertions of tests.
        found.args = ()
    line = build.__code__.co_firstlineno + 1
    place = f"({Path(__file__).relative_to(Path.cwd())}, line {line})"
    assert fault(found) == f"{text} {place}"


def test_a_fault_outside_the_users_code_has_no_place() -> None:
    failed = raised(build_model, lambda size: None, {"width": 8})
    assert str(failed).endswith("got an unexpected keyword argument 'width'")
    assert "TypeError: " in str(failed)
    inside = raised(mlp, "wide")
    inside.__traceback__ = inside.__traceback__ and inside.__traceback__.tb_next
    assert "line" not in fault(inside)


def test_a_long_message_is_one_line() -> None:
    text = fault(raised(talkative, 8))
    assert text.startswith("ValueError: too much too") and len(text) < 500 and "\n" not in text
