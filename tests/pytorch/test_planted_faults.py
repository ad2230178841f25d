"""The audit finds every planted fault, with both numbers, and not its twin."""

from typing import Any

import pytest
import torch

import mutransfer as mt
from tests.pytorch.planted_faults import FAULTS


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("make", "fault", "twin", "message"), FAULTS.values(), ids=FAULTS)
def test_planted_faults_and_their_clean_twins(
    make: Any, fault: Any, twin: Any, message: str
) -> None:
    faulty, clean = make(), make()
    assert faulty.audit().ok and faulty.audit().findings == ()
    fault(faulty)
    twin(clean)
    audit = faulty.audit()
    assert not audit.ok
    with pytest.raises(mt.MutransferError, match=message) as error:
        audit.raise_if_wrong()
    sentence = str(error.value)
    assert "\n" not in sentence and all(finding in sentence for finding in audit.findings)
    assert clean.audit().ok, str(clean.audit())
    clean.audit().raise_if_wrong()


def test_one_fault_is_one_finding() -> None:
    """A fault of one kind does not look like others, but where one break is two."""
    several = {
        "replaced",
        "another copy's",
        "torch's own groups",
        "not the model's",
        "tensors shared",
        "tensors with one memory",
        "missing with several optimizers",
        "in two optimizers",
        "state of another width",
        "lr_factor edited",
    }
    for name, (make, fault, _, _) in FAULTS.items():
        t = make()
        fault(t)
        if name not in several:
            assert len(t.audit().findings) == 1, (name, str(t.audit()))
