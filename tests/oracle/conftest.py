import pytest

from tests.oracle.ground import HostFacts
from tests.oracle.sides import host_facts
from tests.support.real_kvm import require_kvm


@pytest.fixture(scope="module")
def facts() -> HostFacts:
    """Facts of real KVM; without it every test that asks for them is skipped, and says why."""
    require_kvm()
    return host_facts()
