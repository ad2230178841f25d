"""Provenance of a result: versions, device, command and date."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


def about() -> dict[str, Any]:
    """Return versions, device, command and date, to be kept with a result."""
    # The ground floor imports no framework; a result that torch helped to make has it loaded.
    torch = sys.modules.get("torch")
    count = torch.get_num_threads() if torch else 0
    threads = f", {count} thread{'s' * (count != 1)}" if torch else ""
    return {
        "mutransfer": version("mutransfer"),
        **({"torch": torch.__version__} if torch else {}),
        "python": platform.python_version(),
        "device": f"{platform.processor() or platform.machine()}{threads}",
        "command": " ".join([_program(Path(sys.argv[0])), *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _program(path: Path) -> str:
    """Return what a shell calls a program as; a package's own file has another name."""
    return f"python -m {path.parent.name}" if path.name == "__main__.py" else path.name
