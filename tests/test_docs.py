"""Pages of the documentation: their code runs, and their links exist."""

import ast
import importlib
import re
import runpy
from pathlib import Path

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

FRAMEWORKS = {"integrations": pytest.mark.filterwarnings("ignore")}
"""Pages that run other people's trainers, which warn of what is theirs."""


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=FRAMEWORKS.get(page.stem, ()), id=page.stem) for page in PROGRAMS],
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


def test_the_example_of_an_own_parametrization_plans_a_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = ROOT / "examples" / "own_parametrization.py"
    mine = runpy.run_path(str(path), run_name="__main__")["mine"]
    assert capsys.readouterr().out.startswith(f"mine: {mine.title}")
