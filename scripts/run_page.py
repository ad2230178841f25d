"""Run the Python of a page of the documentation, and print what it prints.

python scripts/run_page.py docs/sums.md
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Run every block of the pages that are named, each page in an empty folder."""
    for page in [Path(name).resolve() for name in sys.argv[1:]]:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        names: dict[str, object] = {}
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for number, block in enumerate(blocks, 1):
                print(f"--- {page.name}, block {number} of {len(blocks)}")
                exec(block, names)
            os.chdir("/")


if __name__ == "__main__":
    main()
