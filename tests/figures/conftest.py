"""Records of studies, and figures as text."""

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from mutransfer.figures import save
from tests.records import depths as depths
from tests.records import several as several
from tests.records import unbracketed as unbracketed
from tests.records import widths as widths


@pytest.fixture
def svg(tmp_path: Path) -> Callable[[Figure], str]:
    """Returns a figure as the text of its SVG file."""

    def text(figure: Figure) -> str:
        _, path = save(figure, tmp_path / "figure")
        return path.read_text()

    return text
