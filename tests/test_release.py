"""The check of a release: its environments, and a function for every extra."""

import ast
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def check() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "release_check.py"))


def test_every_extra_is_tried() -> None:
    tree = ast.parse((ROOT / "scripts" / "try_extra.py").read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {*PROJECT["optional-dependencies"]} - {"all"} <= functions


def test_all_is_every_other_extra() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    names = everything.removeprefix("mutransfer[").removesuffix("]").split(",")
    assert {*names} == {*extras} - {"all"}


def test_the_lowest_versions_are_those_of_the_ranges(check: dict[str, Any]) -> None:
    pins = check["lowest"](PROJECT)
    assert pins["torch"] == "2.6" and pins["numpy"] == "1.26" and pins["pillow"] == "10"
    assert "mutransfer" not in pins
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(each for extra in extras for each in extra)]
    named = {each.partition(">=")[0] for each in wanted if not each.startswith("mutransfer")}
    assert named == {*pins}


def test_the_fast_tests_exist(check: dict[str, Any]) -> None:
    assert all((ROOT / "tests" / name).exists() for name in check["TESTS"])


def test_what_a_machine_lacks_is_not_tried(check: dict[str, Any]) -> None:
    with pytest.raises(check["Untried"], match="no such Python"):
        check["interpreter"]("2.99")
