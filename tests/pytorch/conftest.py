import pytest
import torch


@pytest.fixture(autouse=True)
def seed() -> None:
    """Start every test's draws at one seed."""
    torch.manual_seed(0)
