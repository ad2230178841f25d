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
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout.strip()


def test_the_package_alone_imports_nothing_heavy() -> None:
    assert fresh(f"import sys, mutransfer; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_all_names_need_no_plotting_and_no_command_line() -> None:
    names = "import sys, mutransfer as mt\nfor name in mt.__all__:\n    getattr(mt, name)\n"
    assert fresh(names + "print(sorted({'matplotlib', 'jinja2', 'sklearn', 'tyro'} & sys.modules.keys()))") == "[]"


def test_the_rules_need_no_torch() -> None:
    assert (
        fresh("import sys, mutransfer as mt\nmt.classify, mt.horizon, mt.parametrization('mup')\nprint('torch' in sys.modules)") == "False"
    )


def test_functions_are_not_hidden_by_the_folders_that_define_them() -> None:
    assert all(isinstance(value, FunctionType) for value in (mt.plan, mt.sweep, mt.transfer))
    kinds = "print(*(type(getattr(mt, name)).__name__ for name in ('plan', 'sweep', 'transfer')))"
    after = "import mutransfer.plan, mutransfer.sweep, mutransfer.transfer"
    assert fresh(f"{after}\nimport mutransfer as mt\n{kinds}") == "function function function"


def test_public_names_resolve_and_are_listed() -> None:
    assert set(mt.__all__) <= set(dir(mt))
    for name in mt.__all__:
        assert getattr(mt, name).__name__ == ("mutransfer.limits" if name == "limits" else name)
    with pytest.raises(AttributeError, match="module 'mutransfer' has no attribute 'Plann'"):
        _ = mt.Plann


def test_the_limits_are_reached_without_another_import() -> None:
    assert "limits" in mt.__all__ and "limits" in dir(mt)
    assert mt.limits is import_module("mutransfer.limits")
    early = "print('mutransfer.limits' in sys.modules, mt.limits.Problem.__name__, mt.limits.__name__)"
    assert fresh(f"import sys, mutransfer as mt\n{early}") == "False Problem mutransfer.limits"


def test_type_checkers_see_the_same_names() -> None:
    """The names that __init__ imports for type checkers are those it resolves at run time."""
    lines = [line.split() for line in (ROOT / "__init__.py").read_text().splitlines() if line.startswith("    from .")]
    assert {line[-1]: line[1].lstrip(".") for line in lines} == {**mt._HOMES, "limits": ""}


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_folder_exports_is_documented(folder: str) -> None:
    module = import_module(f"mutransfer.{folder}")
    exported = {name: value for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)}
    own = {name: value for name, value in exported.items() if isinstance(value, FunctionType | type)}
    assert module.__doc__ and own
    assert [name for name, value in own.items() if not value.__doc__ or value.__doc__.startswith(f"{name}(")] == []
    assert all(value.__module__.startswith(f"mutransfer.{folder}.") for value in own.values())


@pytest.mark.parametrize("folder", FOLDERS)
def test_public_methods_are_documented(folder: str) -> None:
    module = import_module(f"mutransfer.{folder}")
    classes = [value for value in vars(module).values() if inspect.isclass(value)]
    methods = [(each, name) for each in classes for name, value in vars(each).items() if callable(value) and not name.startswith("_")]
    assert [f"{each.__name__}.{name}" for each, name in methods if not inspect.getdoc(getattr(each, name))] == []
