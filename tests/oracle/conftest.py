import pytest

from hacdbs_sim.host_kvm import why_unusable
from tests.oracle.ground import HostFacts
from tests.oracle.sides import host_facts


@pytest.fixture(scope="module")
def facts() -> HostFacts:
    """Facts of real KVM; without it every test that asks for them is skipped, and says why."""
    if (why := why_unusable()) is not None:
        pytest.skip(f"NOT COMPARED WITH REAL KVM: {why}")
    return host_facts()
