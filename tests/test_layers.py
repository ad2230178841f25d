"""Rooms: imports from above alone, no circle of files, nothing private across rooms."""

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mutransfer

ROOT = Path(mutransfer.__file__).parent
ROOMS = (
    *("core", "statistics", "rules", "reading", "analysis", "plans", "pytorch", "tasks"),
    *(
        "training",
        "engines",
        "studies",
        "certificates",
        "checks",
        "limits",
        "figures",
        "report",
        "experiments",
    ),
    *("testing", "cli"),
)
STANDARD_LIBRARY_ONLY = ("core", "rules", "reading", "analysis", "plans")
ROOF = ("__init__", "__main__")
"""The package's own files lie above every room."""

Modules = Mapping[str, str]
"""Sources by the module's name in the package: "plans._make", "plans" for its `__init__`."""


def sources() -> dict[str, str]:
    """Every module of the package."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name or "__init__"] = path.read_text(encoding="utf-8")
    return found


def imports(module: str, modules: Modules) -> Iterator[str]:
    """Full names that a module imports, wherever in its text, relative ones resolved."""
    package = module.split(".") if is_package(module, modules) else module.split(".")[:-1]
    if module in ROOF:
        package = []
    for node in ast.walk(ast.parse(modules[module])):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            steps = package[: len(package) - node.level + 1]
            parts = ["mutransfer", *steps] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_package(module: str, modules: Modules) -> bool:
    """Whether a module is the `__init__` of a room."""
    inside = any(other.startswith(f"{module}.") for other in modules)
    return inside or ROOT.joinpath(*module.split("."), "__init__.py").is_file()


def room(module: str) -> str:
    """The room of a module."""
    return module.split(".")[0]


def own(name: str) -> str | None:
    """The part of an imported name inside the package, None for other packages."""
    return name.removeprefix("mutransfer.") if name.startswith("mutransfer.") else None


def upward(modules: Modules) -> list[str]:
    """Imports from a room that does not lie above."""
    found = []
    for module in modules:
        for name in imports(module, modules) if module not in ROOF else ():
            inner = own(name)
            if inner is None or room(inner) == room(module):
                continue
            known = room(inner) in ROOMS
            if not known or ROOMS.index(room(inner)) > ROOMS.index(room(module)):
                found.append(f"{module}: {name}")
    return found


def private(modules: Modules) -> list[str]:
    """Imports of private modules or names of another room."""
    return [
        f"{module}: {name}"
        for module in modules
        for name in imports(module, modules)
        if (inner := own(name)) is not None
        and room(inner) != room(module)
        and any(part.startswith("_") for part in inner.split("."))
    ]


def foreign(modules: Modules) -> list[str]:
    """Imports of other packages into rooms that know none."""
    found = []
    for module in modules:
        if room(module) not in STANDARD_LIBRARY_ONLY:
            continue
        allowed = {*sys.stdlib_module_names, "mutransfer"}
        # Types of a figure are named for type checkers alone.
        allowed |= {"matplotlib"} if module == "core._result" else set()
        tops = {name.split(".")[0] for name in imports(module, modules)}
        found += [f"{module}: {top}" for top in sorted(tops - allowed)]
    return found


def circle(modules: Modules) -> list[str]:
    """A circle of files, empty if there is none."""
    graph: dict[str, set[str]] = {}
    for module in modules:
        targets = (own(name) for name in imports(module, modules))
        files = {file_of(target, modules) for target in targets if target is not None}
        graph[module] = files - {module, None}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def file_of(name: str, modules: Modules) -> str | None:
    """The module that an imported name is in: the longest prefix that is one."""
    parts = name.split(".")
    prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in modules), None)


def named(modules: Modules) -> list[str]:
    """Modules that import by a name made at run time, which no other check can see."""
    return sorted(module for module, text in modules.items() if "import_module" in text)


def test_every_module_is_in_a_known_room() -> None:
    assert {room(module) for module in sources()} - set(ROOF) == set(ROOMS)


def test_rooms_import_from_those_above_alone() -> None:
    assert upward(sources()) == []


def test_nothing_private_is_imported_across_rooms() -> None:
    assert private(sources()) == []


def test_there_is_no_circle_of_files() -> None:
    assert circle(sources()) == []


def test_plain_data_needs_no_framework() -> None:
    assert foreign(sources()) == []


def test_imports_by_name_are_few_and_known() -> None:
    """The lazy package, drawings, experiments, and objects named by the user."""
    known = ["__init__", "cli._load", "core._result", "experiments._catalogue"]
    assert named(sources()) == known


@pytest.mark.parametrize(
    ("module", "text", "breach"),
    [
        ("plans._make", "from ..rules import Role", None),
        ("plans._make", "from ..tasks import Task", upward),
        ("plans._make", "from .. import Study", upward),
        ("studies._study", "def f():\n    from mutransfer.report import save", upward),
        ("studies._study", "if TYPE_CHECKING:\n    import mutransfer.certificates", upward),
        ("report._page", "from ..certificates._optimum import optimum", private),
        ("report._page", "from ..certificates import _optimum", private),
        ("report._page", "from ..certificates import optimum", None),
        ("plans._make", "import json, torch.nn", foreign),
        ("rules._tables", "def f():\n    from numpy import array", foreign),
        ("core._size", "from ._result import Result", None),
    ],
)
def test_the_checks_see_a_breach(module: str, text: str, breach: object) -> None:
    modules = {module: text, room(module): "", "certificates._optimum": "", "certificates": ""}
    found = [check for check in (upward, private, foreign) if check(modules)]
    assert found == ([] if breach is None else [breach])


def test_the_checks_see_a_circle() -> None:
    lazy = "def f():\n    from ._b import g"
    modules = {
        "plans": "",
        "plans._a": lazy,
        "plans._b": "if TYPE_CHECKING:\n    from ._a import f",
    }
    assert set(circle(modules)) == {"plans._a", "plans._b"}
    assert circle({**modules, "plans._b": ""}) == []
    assert circle({"plans": "from ._a import f", "plans._a": "from . import f"}) != []
