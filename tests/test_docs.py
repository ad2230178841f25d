"""Pages of the documentation: their code runs, and their links lead somewhere."""

import re
from pathlib import Path

import pytest

DOCS = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
LINKS = [
    (page, target) for page in DOCS for target in re.findall(r"\]\(([^)#]+)\)", page.read_text())
]


@pytest.mark.parametrize(
    "page",
    [page for page in DOCS if page.stem in {"rules", "coordinate-check", "limits"}],
    ids=lambda page: page.stem,
)
def test_the_python_of_a_page_runs(page: Path) -> None:
    namespace: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, namespace)


@pytest.mark.parametrize(
    ("page", "target"), LINKS, ids=[f"{page.stem}: {target}" for page, target in LINKS]
)
def test_links_lead_somewhere(page: Path, target: str) -> None:
    assert target.startswith("http") or (page.parent / target).exists()
