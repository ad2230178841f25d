"""Pages of the documentation: their code runs, and their links exist."""

import ast
import importlib
import json
import re
import runpy
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
LINKS = [
    (page, target)
    for page in DOCS
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
]
PROGRAMS = {
    page: blocks
    for page in DOCS
    if (blocks := re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
}
GIVEN = {"instructive-example": {"U": 1.0, "V": 2.0, "lr_u": 1.0, "lr_v": 1.0, "theta": 1.0}}
"""Names that a page introduces in its text."""

ELSEWHERE = [
    pytest.param(block, id=f"{page.stem} {number}")
    for page in DOCS
    for number, block in enumerate(
        re.findall(r"```py\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )
]
"""Programs that need a cluster, which pages mark as `py`."""

WARN = dict.fromkeys(["hugging-face", "integrations"], pytest.mark.filterwarnings("ignore"))
WARN["search"] = WARN["speed"] = pytest.mark.filterwarnings("ignore:intervals are wider")
"""Pages that run other people's trainers, which warn of what is theirs, or a short search."""


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=WARN.get(page.stem, ()), id=page.stem) for page in PROGRAMS],
)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any("transformers" in block for block in PROGRAMS[page]):
        pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = dict(GIVEN.get(page.stem, {}))
    for block in PROGRAMS[page]:
        exec(block, namespace)


@pytest.mark.parametrize("block", ELSEWHERE)
def test_the_python_for_a_cluster_names_what_exists(block: str) -> None:
    tree = ast.parse(block)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mutransfer"):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize(
    ("page", "target"), LINKS, ids=[f"{page.stem}: {target}" for page, target in LINKS]
)
def test_links_exist(page: Path, target: str) -> None:
    assert target.startswith("http") or (page.parent / target).exists()


HEADING = re.compile(r"^#+ (.*)$|<a id=\"(.*?)\">", re.MULTILINE)
ANCHORED = [
    (page, target)
    for page in DOCS
    for target in re.findall(r"\]\(([^)]*#[^)]+)\)", page.read_text(encoding="utf-8"))
    if not target.startswith("http")
]


def anchors(page: Path) -> set[str]:
    """Anchors of a page, as code hosts and the site make them of headings."""
    found = HEADING.findall(page.read_text(encoding="utf-8"))
    slugs = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading, _ in found)
    return {*slugs, *(name for _, name in found)}


@pytest.mark.parametrize(
    ("page", "target"), ANCHORED, ids=[f"{page.stem}: {target}" for page, target in ANCHORED]
)
def test_anchors_exist(page: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    assert anchor in anchors(page.parent / name if name else page)


def site_builder(monkeypatch: pytest.MonkeyPatch, staged: Path) -> SimpleNamespace:
    """The program that builds the site, with another folder for what it stages."""
    program = runpy.run_path(str(ROOT / "scripts" / "build_docs.py"))
    monkeypatch.setitem(program["stage"].__globals__, "STAGED", staged)
    return SimpleNamespace(**program)


def test_every_page_is_staged_and_in_the_navigation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = site_builder(monkeypatch, tmp_path / "docs")
    builder.stage()
    settings = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    navigation = tomllib.loads(settings)["project"]["nav"]
    named = set(re.findall(r"'([\w./-]+\.md)'", str(navigation)))
    assert {name for name in named if not (tmp_path / "docs" / name).exists()} == set()
    reference = {f"reference/{room}.md" for room in builder.ROOMS}
    others = {"changelog.md", "repository/examples/tutorial.ipynb.md"}
    assert named == {page.name for page in DOCS} | reference | others


def test_the_site_is_searched_for_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = site_builder(monkeypatch, tmp_path)
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">1</a><a href="b.html#gone">2</a><a href="c.html">3</a>'
        '<img src="https://elsewhere/x.png"><a href="https://arxiv.org">4</a>'
    )
    (tmp_path / "b.html").write_text('<h2 id="here"></h2><script src="no.js"></script>')
    assert sorted(builder.faults(tmp_path)) == [
        "a.html: b.html#gone has no such anchor",
        "a.html: c.html leads nowhere",
        "a.html: loads https://elsewhere/x.png",
        "b.html: loads no.js",
    ]


def test_a_notebook_becomes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = [
        {"data": {"text/html": ["<b>plan</b>\n", "\n", "<i>x</i>"], "text/plain": ["plan"]}},
        {"data": {"image/png": "AAAA\n"}},
        {"text": ["hello\n"]},
        {"data": {}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n"]},
        {"cell_type": "code", "source": ["plan"], "outputs": outputs},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}))
    page = site_builder(monkeypatch, tmp_path).notebook(tmp_path / "a.ipynb")
    html = '<div class="notebook-output">\n<b>plan</b>\n<i>x</i>\n</div>'
    picture = '<img alt="output" src="data:image/png;base64,AAAA">'
    text = "````text\nhello\n````"
    assert page.split("\n\n") == ["# Title", "```python\nplan\n```", html, picture, text + "\n"]


def test_the_page_of_the_command_line_names_every_verb() -> None:
    from mutransfer.cli._main import VERBS

    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)`", page, re.MULTILINE) == list(VERBS)


def test_the_example_of_an_own_parametrization_plans_a_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = ROOT / "examples" / "own_parametrization.py"
    mine = runpy.run_path(str(path), run_name="__main__")["mine"]
    assert capsys.readouterr().out.startswith(f"mine: {mine.title}")
