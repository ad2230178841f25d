"""The README: its code runs, and its links exist."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
(STUDY,) = (block for block in BLOCKS if "mt.Study(\n    resmlp" in block)


def small(study):
    """Return the study with fewer runs, whose optima still lie inside the grid."""
    return dataclasses.replace(study, rules=("default",), steps=60)


def test_the_python_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in BLOCKS:
        if "transformers" in block and importlib.util.find_spec("transformers") is None:
            continue
        exec(block, namespace)
        if block is STUDY:
            namespace["study"] = small(namespace["study"])
    assert namespace["found"].ok
    assert (tmp_path / "runs" / "mine" / "study.json").exists()


def test_the_readme_shows_the_example_as_it_is() -> None:
    example = (ROOT / "examples" / "my_study.py").read_text(encoding="utf-8")
    assert STUDY.split("\n\n", 1)[1].strip() in example


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)", README))
def test_links_of_the_readme_exist(target: str) -> None:
    assert (ROOT / target).exists()
