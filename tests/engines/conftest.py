"""No test of an engine hangs."""

from collections.abc import Iterator

import pytest

from tests.engines.jobs import limited


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """End a test that takes minutes."""
    with limited(120):
        yield
