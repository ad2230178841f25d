"""Build the chart library of the report: src/mutransfer/report/assets/.

Needs Node.js with npm. `python scripts/charts/bundle.py` installs the versions of package-lock.json
in a temporary folder, bundles what entry.js names, and writes next to the page's own script:

- charts.min.js, the bundle;
- charts.txt, versions and hashes;
- charts-licences.txt, the licence of every package in it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ASSETS = HERE.parents[1] / "src" / "mutransfer" / "report" / "assets"


def main() -> None:
    """Bundle the libraries, and write their versions and licences beside the bundle."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in HERE.glob("*.js*"):
            shutil.copy(file, folder)
        run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        run(
            folder,
            *("node_modules/.bin/esbuild", "entry.js", "--bundle", "--minify", "--format=iife"),
            *("--global-name=charts", "--alias:vega=./vega.js", "--charset=utf8"),
            *("--legal-comments=none", "--outfile=charts.min.js", "--metafile=meta.json"),
        )
        packages = bundled(folder)
        bundle = (folder / "charts.min.js").read_bytes()
    ASSETS.mkdir(exist_ok=True)
    (ASSETS / "charts.min.js").write_bytes(bundle)
    (ASSETS / "charts.txt").write_text(versions(bundle, packages), encoding="utf-8")
    (ASSETS / "charts-licences.txt").write_text(licences(packages), encoding="utf-8")


def run(folder: Path, *command: str) -> None:
    """Run a command in a folder."""
    subprocess.run(command, cwd=folder, check=True)


def bundled(folder: Path) -> dict[str, tuple[str, str, str]]:
    """Return version, licence and its text of every package in the bundle."""
    output = json.loads((folder / "meta.json").read_text())["outputs"]["charts.min.js"]
    paths = {path for path, part in output["inputs"].items() if part["bytesInOutput"]}
    roots = {Path(*Path(path).parts[:2]) for path in paths if path.startswith("node_modules/")}
    packages = {}
    for root in sorted(roots):
        about = json.loads((folder / root / "package.json").read_text())
        texts = sorted((folder / root).glob("LICEN[CS]E*"))
        text = texts[0].read_text(encoding="utf-8").strip() if texts else ""
        packages[about["name"]] = about["version"], about["license"], text
    return packages


def versions(bundle: bytes, packages: dict[str, tuple[str, str, str]]) -> str:
    """Return size, hash and packages of a bundle as text."""
    lines = [
        "charts.min.js, made by scripts/charts/bundle.py",
        f"{len(bundle)} bytes, sha256 {hashlib.sha256(bundle).hexdigest()}",
        "",
        *(f"{name} {version} ({licence})" for name, (version, licence, _) in packages.items()),
    ]
    return "\n".join(lines) + "\n"


def licences(packages: dict[str, tuple[str, str, str]]) -> str:
    """Return each licence once, below the names of its packages."""
    names: dict[str, list[str]] = {}
    for name, (_, licence, text) in packages.items():
        names.setdefault(text or licence, []).append(name)
    parts = [f"{', '.join(each)}\n\n{text}" for text, each in names.items()]
    return f"\n\n{'-' * 80}\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
