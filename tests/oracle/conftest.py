from collections.abc import Iterator

import pytest

from tests.oracle.kvm import why_unusable
from tests.oracle.sides import RealHost


@pytest.fixture(scope="module")
def host() -> Iterator[RealHost]:
    """Real KVM; without it every test that needs it is skipped, with the reason."""
    if (why := why_unusable()) is not None:
        pytest.skip(f"NOT COMPARED WITH REAL KVM: {why}")
    opened = RealHost()
    yield opened
    opened.close()
