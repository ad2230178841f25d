"""Build the documentation site into site/, offline, and check every link of it.

The pages in docs/ are plain Markdown that a code host shows as it is, with links into the
repository. This program stages them in build/docs: what such links lead to (examples, benchmarks,
sources) becomes a page, too, and every room of the package gets a page of its docstrings. Zensical
then builds the site, and every link, anchor and file of the result is checked.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
STAGED = ROOT / "build" / "docs"
SITE = ROOT / "site"
PACKAGE = ROOT / "src" / "mutransfer"

ELSEWHERE = "repository"
"""Folder of the site for what is not in docs/."""

ROOMS = {
    "mutransfer": "The public face: `import mutransfer as mt`",
    "core": "What every result is made of",
    "rules": "Parametrizations, optimizers, the tables",
    "reading": "Plain data read off a model",
    "plans": "Plans as data",
    "pytorch": "Reading and scaling models of PyTorch",
    "tasks": "Data, and builders of proxies",
    "training": "Programs, optimizers, schedules",
    "engines": "Where jobs run",
    "studies": "Studies, sweeps, the record",
    "certificates": "What to use at a target",
    "checks": "Coordinate checks",
    "limits": "Infinite width and depth",
    "statistics": "Posteriors, laws, intervals",
    "figures": "A drawing for each result",
    "testing": "Assertions for your own tests",
}
"""Pages of the reference, in the order of the layers."""

SHIM = "https://unpkg.com/iframe-worker/shim"
"""Address that Zensical's offline mode loads; the same file is in docs/assets."""

LINK = re.compile(r"(?<!`)(!?\[[^\]]*\]\()([^)\s]+)(\))")
FENCE = re.compile(r"^(```|~~~)", re.MULTILINE)
LANGUAGES = {".py": "python", ".json": "json", ".toml": "toml", ".sh": "sh", ".txt": "text"}


# Staging: a copy of docs/ in which every link stays inside the site.


def stage() -> None:
    """Fill build/docs with every page of the site."""
    shutil.rmtree(STAGED, ignore_errors=True)
    pages = sorted(path for path in (ROOT / "docs").rglob("*") if path.is_file())
    waiting = [*pages, ROOT / "CHANGELOG.md"]
    done: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        if path.suffix == ".md":
            text, wanted = relinked(path)
            write(staged(path), text)
            waiting.extend(wanted)
        elif path.is_dir():
            waiting.extend(listing(path))
        elif path.suffix == ".ipynb":
            write(staged(path), notebook(path))
        elif path.suffix in LANGUAGES and not path.is_relative_to(ROOT / "docs"):
            write(staged(path), source(path))
        else:
            copy(path, staged(path))
    for room, about in ROOMS.items():
        write(STAGED / "reference" / f"{room}.md", reference(room, about))


def relinked(page: Path) -> tuple[str, list[Path]]:
    """Return the text of a page with links inside the site, and the files that it links to."""
    wanted: list[Path] = []

    def replace(match: re.Match[str]) -> str:
        opening, address, closing = match.groups()
        if urlsplit(address).scheme or address.startswith("#"):
            return match.group()
        name, _, anchor = address.partition("#")
        target = (page.parent / unquote(name)).resolve()
        if not target.exists():
            raise SystemExit(f"{page.relative_to(ROOT)}: {address} does not exist")
        if target.is_dir() and (target / "README.md").exists():
            target = target / "README.md"
        wanted.append(target)
        address = os.path.relpath(staged(target), staged(page).parent)
        return f"{opening}{address}{'#' + anchor if anchor else ''}{closing}"

    pieces = []
    is_code = False
    for line in page.read_text(encoding="utf-8").splitlines(keepends=True):
        if FENCE.match(line):
            is_code = not is_code
        pieces.append(line if is_code else LINK.sub(replace, line))
    return "".join(pieces), wanted


def staged(path: Path) -> Path:
    """Return where a file of the repository is staged."""
    if path == ROOT / "CHANGELOG.md":
        return STAGED / "changelog.md"
    if path.is_relative_to(ROOT / "docs"):
        return STAGED / path.relative_to(ROOT / "docs")
    place = STAGED / ELSEWHERE / path.relative_to(ROOT)
    if path.is_dir():
        return place / "index.md"
    if path.suffix in {*LANGUAGES, ".ipynb"}:
        return place.with_name(place.name + ".md")
    return place


def listing(folder: Path) -> list[Path]:
    """Stage a page with the files of a folder, and return these."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    place = staged(folder)
    lines = [f"- [{path.name}]({os.path.relpath(staged(path), place.parent)})" for path in files]
    write(place, f"# {folder.relative_to(ROOT)}\n\n" + "\n".join(lines) + "\n")
    return files


def source(path: Path) -> str:
    """Return a page that shows a file."""
    text = path.read_text(encoding="utf-8").rstrip()
    language = LANGUAGES.get(path.suffix, "text")
    return f"# {path.relative_to(ROOT)}\n\n````{language}\n{text}\n````\n"


def notebook(path: Path) -> str:
    """Return a page that shows a notebook with the outputs that are stored in it."""
    pieces = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"]).rstrip()
        if cell["cell_type"] == "markdown":
            pieces.append(text)
        elif cell["cell_type"] == "code":
            pieces.append(f"```python\n{text}\n```")
            pieces.extend(output for each in cell["outputs"] if (output := shown(each)))
    return "\n\n".join(pieces) + "\n"


def shown(output: dict[str, Any]) -> str:
    """Return an output of a notebook as Markdown: its HTML, else its picture, else its text."""
    data = output.get("data", {})
    if "text/html" in data:
        lines = "".join(data["text/html"]).splitlines()
        # Markdown ends a block of HTML at an empty line.
        inside = "\n".join(line for line in lines if line.strip())
        return f'<div class="notebook-output">\n{inside}\n</div>'
    if "image/svg+xml" in data:
        return "".join(data["image/svg+xml"])
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        return f'<img alt="output" src="data:image/png;base64,{picture}">'
    text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
    return f"````text\n{text}\n````" if text else ""


def write(path: Path, text: str) -> None:
    """Write a staged page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def copy(path: Path, to: Path) -> None:
    """Copy a file that is no page."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)


# Reference: a page for each room, with all of its public names.


def reference(room: str, about: str) -> str:
    """Return the page of a room: what docstrings say of each public name."""
    if room == "mutransfer":
        return public_face(about)
    lines = [f"# mutransfer.{room}", "", f"{about}.", ""]
    for name in public(room):
        lines += [f"::: mutransfer.{room}.{name}", ""]
    return "\n".join(lines)


def public_face(about: str) -> str:
    """Return the page of the package: a line for each name, which leads to its room's page."""
    lines = ["# mutransfer", "", f"{about}.", "", "| name | is |", "| ---- | -- |"]
    for name, room in literal(PACKAGE / "__init__.py", "_HOMES").items():
        summary = summaries(room).get(name, "")
        lines.append(f"| [`mt.{name}`][mutransfer.{room}.{name}] | {summary} |")
    return "\n".join([*lines, "| [`mt.limits`](limits.md) | Infinite width and depth. |", ""])


def public(room: str) -> Iterator[str]:
    """Yield every public name of a room."""
    if (PACKAGE / f"{room}.py").exists():
        for node in parsed(PACKAGE / f"{room}.py").body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                yield node.name
        return
    for node in ast.walk(parsed(PACKAGE / room / "__init__.py")):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from (alias.name for alias in node.names if alias.asname == alias.name)


@cache
def summaries(room: str) -> dict[str, str]:
    """Return the first line of the docstring of each name that a room defines."""
    return {
        node.name: (ast.get_docstring(node) or "").partition("\n")[0]
        for path in sorted((PACKAGE / room).glob("*.py"))
        for node in parsed(path).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def parsed(path: Path) -> ast.Module:
    """Return the tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def literal(path: Path, name: str) -> dict[str, str]:
    """Return a dict that a module assigns to a name, without importing it."""
    for node in parsed(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise SystemExit(f"{path}: {name} is not assigned")


# Checking: what a reader's browser would look for is there, and nothing is asked of the network.


class Page(HTMLParser):
    """Anchors of a page, its links, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag's anchor, link or file."""
        values = dict(attrs)
        self.anchors.update(value for key in ("id", "name") if (value := values.get(key)))
        if tag == "a" and (address := values.get("href")):
            self.links.append(address)
        if tag == "link" and values.get("rel") not in {"canonical", "prev", "next"}:
            self.loaded.append(values.get("href") or "")
        if tag in {"script", "img", "source", "iframe"} and (address := values.get("src")):
            self.loaded.append(address)


def faults(site: Path) -> Iterator[str]:
    """Yield every link of a site that leads nowhere, and every file of somewhere else."""
    pages = {
        path: Page(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
        if path.name != "404.html"
    }
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in page.loaded:
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            if parts.netloc or not (path.parent / unquote(parts.path)).exists():
                yield f"{name}: loads {address}"
        for address in page.links:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            if not target.exists():
                yield f"{name}: {address} leads nowhere"
            elif parts.fragment and target in pages and parts.fragment not in pages[target].anchors:
                yield f"{name}: {address} has no such anchor"
    for path in site.rglob("*.css"):
        for address in re.findall(r"url\(['\"]?(https?:[^)'\"]+)", path.read_text("utf-8")):
            yield f"{path.relative_to(site)}: loads {address}"


def localise(site: Path) -> None:
    """Load the shim for pages opened from a disk from the site, and not from unpkg."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        here = os.path.relpath(site / "assets" / "iframe-worker" / "shim.js", path.parent)
        path.write_text(text.replace(SHIM, here), encoding="utf-8")


def main() -> None:
    """Stage, build and check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stage", action="store_true", help="write build/docs and stop")
    if parser.parse_args().stage:
        return stage()
    begin = time.perf_counter()
    stage()
    zensical = Path(sys.executable).with_name("zensical")
    done = subprocess.run([zensical, "build", "--clean", "--strict"], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    localise(SITE)
    found = sorted(set(faults(SITE)))
    if found:
        raise SystemExit("\n".join([*found, f"{len(found)} faults of the site"]))
    size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file())
    pages = sum(1 for _ in SITE.rglob("*.html"))
    print(f"site/: {pages} pages, {size / 1e6:.1f} MB, {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
