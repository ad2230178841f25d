"""The README: its code runs, and its links lead somewhere."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_python_in_the_readme_runs() -> None:
    namespace: dict[str, object] = {}
    for block in BLOCKS:
        if "transformers" in block and importlib.util.find_spec("transformers") is None:
            continue
        exec(block, namespace)
    assert "study" in namespace


def test_the_readme_shows_the_example_as_it_is() -> None:
    example = (ROOT / "examples" / "my_study.py").read_text()
    assert BLOCKS[-1].split("\n\n", 1)[1].strip() in example


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", README))
def test_links_of_the_readme_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()
