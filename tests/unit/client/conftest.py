from collections.abc import Generator

import pytest

from hacdbs_sim.client import Client, Vm
from hacdbs_sim.model import MemslotFlags, SetMemslot

NPAGES = 1_000
BASE_GFN = 0x40000
MEMSLOT = SetMemslot(
    slot=0,
    guest_phys_addr=BASE_GFN * 4096,
    memory_size=NPAGES * 4096,
    flags=MemslotFlags.LOG_DIRTY_PAGES,
)


@pytest.fixture(scope="module")
def shared_client() -> Generator[Client]:
    with Client.in_process() as client:
        yield client


@pytest.fixture
def client(shared_client: Client) -> Client:
    """A client of a service whose default session is empty."""
    shared_client.session().reset()
    shared_client.history.clear()
    return shared_client


@pytest.fixture
def vm(client: Client) -> Vm:
    """A VM with one slot of 1,000 pages: not a whole number of words."""
    return client.create_vm(vcpus=2, memslots=[MEMSLOT])
