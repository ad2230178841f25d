"""House style, as far as a program can check it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mutransfer

ROOT = Path(mutransfer.__file__).parent
REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("src", "tests", "examples", "benchmarks")
PYTHON = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))
SOURCES = sorted(ROOT.rglob("*.py"))
TESTS = [path for path in PYTHON if path.is_relative_to(REPOSITORY / "tests")]
MARKDOWN = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])

LONGEST_LINE, LONGEST_SUMMARY, LONGEST_TEST_NAME = 100, 80, 70
LONGEST_FILE, LONGEST_TEST_FILE, LONGEST_BODY = 400, 500, 40
QUESTION = re.compile(r"(What|Whether|How|Where|As|Which|Those|That|Why|When)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_lines(text: str) -> Iterator[int]:
    """Numbers of the lines that are too long; tables and links cannot be broken."""
    for number, line in enumerate(text.splitlines(), 1):
        unbreakable = line.startswith("|") or re.fullmatch(r"\S*\s*!?\[.*\]\(\S+\)\S*", line)
        if len(line) > LONGEST_LINE and not unbreakable:
            yield number


def summaries(tree: ast.Module) -> Iterator[str]:
    """First lines of docstrings that are too long, or that open as a question does."""
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef | ast.Module):
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            if len(first) > LONGEST_SUMMARY or QUESTION.match(first):
                yield first


def body_lines(function: Function) -> int:
    """Lines of a function's body without its docstring."""
    has_docstring = ast.get_docstring(function) is not None
    statements = function.body[1:] if has_docstring else function.body
    return (function.end_lineno or 0) - statements[0].lineno + 1 if statements else 0


def long_functions(tree: ast.Module) -> Iterator[str]:
    """Names of the functions that are too long."""
    for node in ast.walk(tree):
        if isinstance(node, Function) and body_lines(node) > LONGEST_BODY:
            yield f"{node.name} ({body_lines(node)} lines)"


def relative(path: Path) -> str:
    """A path as messages show it."""
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", [*PYTHON, *MARKDOWN], ids=relative)
def test_lines_are_short(path: Path) -> None:
    assert list(long_lines(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_docstrings_open_with_a_verb_or_a_noun(path: Path) -> None:
    assert list(summaries(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_source_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    assert list(long_functions(ast.parse(text))) == []


@pytest.mark.parametrize("path", TESTS, ids=relative)
def test_test_files_and_names_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    names = [n.name for n in ast.walk(ast.parse(text)) if isinstance(n, Function)]
    assert len(text.splitlines()) <= LONGEST_TEST_FILE
    assert [name for name in names if len(name) > LONGEST_TEST_NAME] == []


def test_the_checks_see_a_breach() -> None:
    long = "x" * 101
    assert list(long_lines(f"short\n{long}\n| {long}\n[a link]({long})\n")) == [2]
    module = ast.parse(f'"""Whether it is so."""\ndef f():\n    """{"y" * 81}"""\n')
    assert list(summaries(module)) == ["Whether it is so.", "y" * 81]
    statements = "\n".join("    x = 1" for _ in range(41))
    assert list(long_functions(ast.parse(f"def f():\n{statements}\n"))) == ["f (41 lines)"]
    assert list(long_functions(ast.parse(f'def f():\n    """Doc."""\n{statements[:-10]}\n'))) == []
