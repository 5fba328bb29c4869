"""Real KVM: a test that needs it is skipped where it is not, and says what it did not prove."""

from typing import Final

import pytest

from hacdbs_sim.host_kvm import why_unusable

WHY: Final = why_unusable()
REASON: Final = f"NOT PROVED ON REAL KVM: {WHY}"

needs_kvm = pytest.mark.skipif(WHY is not None, reason=REASON)


def require_kvm() -> None:
    """Skip the test that calls this, or uses the fixture that does, without real KVM."""
    if WHY is not None:
        pytest.skip(REASON)
