"""Importing is cheap and lazy, and the public names are what they seem."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

import mutransfer as mt

ROOT = Path(mt.__file__).parent
FOLDERS = sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").exists())
HEAVY = ("torch", "numpy", "sklearn", "matplotlib", "jinja2", "rich", "tyro")


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return answer.stdout.strip()


def loaded(code: str, *modules: str) -> str:
    """Those of some modules that a new interpreter has after this code, as it prints them."""
    return fresh(
        f"import sys, mutransfer as mt\n{code}\nprint(sorted({set(modules)} & set(sys.modules)))"
    )


def test_the_package_alone_imports_nothing_heavy() -> None:
    assert loaded("", *HEAVY) == "[]"


def test_all_names_need_no_plotting_and_no_command_line() -> None:
    names = "for name in mt.__all__:\n    getattr(mt, name)"
    assert loaded(names, "matplotlib", "jinja2", "sklearn", "tyro") == "[]"


def test_engines_are_imported_by_those_who_use_them() -> None:
    modules = ("torch", "numpy", "cloudpickle", "loky", "ray", "submitit")
    assert loaded("import mutransfer.engines as e; e.executor_of('here')", *modules) == "[]"


def test_plain_data_needs_neither_torch_nor_numpy() -> None:
    names = "mt.classify, mt.horizon, mt.parametrization('mup'), mt.Reading, mt.Size\n"
    assert loaded(f"{names}import mutransfer.plans", "torch", "numpy") == "[]"


def test_no_folder_bears_the_name_of_a_function() -> None:
    folders = {path.stem for path in ROOT.iterdir() if not path.name.startswith("_")}
    functions = {name for name in mt.__all__ if isinstance(getattr(mt, name), FunctionType)}
    assert folders & functions == set() and {"plan", "sweep", "transfer"} <= functions


def test_a_private_module_can_be_imported_by_its_name() -> None:
    assert fresh("import mutransfer.studies._study as s; print(s.Study.__name__)") == "Study"


def test_the_listed_names_are_the_public_ones() -> None:
    assert dir(mt) == sorted(mt.__all__) and "sys" not in dir(mt)
    for name in mt.__all__:
        assert getattr(mt, name).__name__ == ("mutransfer.limits" if name == "limits" else name)
    with pytest.raises(AttributeError, match="module 'mutransfer' has no attribute 'Plann'"):
        _ = mt.Plann


def test_the_limits_are_reached_without_another_import() -> None:
    assert mt.limits is import_module("mutransfer.limits")
    early = "print('mutransfer.limits' in sys.modules, mt.limits.Problem.__name__)"
    assert fresh(f"import sys, mutransfer as mt\n{early}") == "False Problem"


def test_type_checkers_see_the_same_names() -> None:
    """The names that __init__ imports for type checkers are those it resolves at run time."""
    text = (ROOT / "__init__.py").read_text()
    lines = [line.split() for line in text.splitlines() if line.startswith("    from .")]
    assert {line[-1]: line[1].lstrip(".") for line in lines} == {**mt._HOMES, "limits": ""}


def public(folder: str) -> dict[str, object]:
    """The public names of a folder, without its modules."""
    names = vars(import_module(f"mutransfer.{folder}")).items()
    return {n: v for n, v in names if not n.startswith("_") and not inspect.ismodule(v)}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_public_names_of_a_folder_are_documented(folder: str) -> None:
    own = {n: v for n, v in public(folder).items() if isinstance(v, FunctionType | type)}
    assert import_module(f"mutransfer.{folder}").__doc__ and own
    undocumented = [n for n, v in own.items() if not v.__doc__ or v.__doc__.startswith(f"{n}(")]
    assert undocumented == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_public_methods_are_documented(folder: str) -> None:
    classes = [value for value in public(folder).values() if inspect.isclass(value)]
    methods = [
        (cls, name)
        for cls in classes
        for name, value in vars(cls).items()
        if callable(value) and not name.startswith("_")
    ]
    undocumented = [
        f"{cls.__name__}.{name}" for cls, name in methods if not inspect.getdoc(getattr(cls, name))
    ]
    assert undocumented == []
