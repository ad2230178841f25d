"""Tasks by name, with options, and what is said of names that load nothing."""

from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError
from mutransfer.tasks import LOADERS, digits, pydocs, task


def test_a_text_is_found_by_kind_and_by_path(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("abc" * 40)
    assert task(f"text:{path}") == task(str(path))
    assert task(f"text:{path}", context=8, validation=0.5).validation[0].shape == (7, 8)


def test_options_reach_the_function_that_loads() -> None:
    assert task("digits", validation=0.1) is digits(validation=0.1)
    assert task("pydocs", context=16) is pydocs(16)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digits", {"context": 3}, "task digits takes no option 'context'; it takes validation"),
        ("text:x", {"path": 3}, "task text:x takes no option 'path'; it takes context, validation"),
        ("text:", {}, "task 'text:' names no data; write text:FILE"),
        ("cifar10:", {}, "task 'cifar10:' names no data; write cifar10:FILE.parquet"),
        ("hf:", {}, "task 'hf:' names no data; write hf:NAME"),
        (
            "mnist:x",
            {},
            "unknown task 'mnist:x'; choose one of digits, pydocs, text:FILE, cifar10:",
        ),
        ("images:no", {}, "there is no file or folder no: give a parquet file with columns img"),
        ("text:no", {}, "cannot read the text file no: No such file"),
    ],
)
def test_names_and_options_that_load_nothing_are_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        task(name, **options)


def test_every_kind_of_name_is_listed() -> None:
    with pytest.raises(MutransferError) as caught:
        task("unknown")
    assert all(f" {kind}:" in str(caught.value) for kind in LOADERS)
