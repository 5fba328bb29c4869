"""Parameters of calls: memslots, faults, workloads and features, as typed dicts."""

from collections.abc import Sequence
from typing import Required, TypeAlias

from typing_extensions import TypedDict

Address: TypeAlias = int | str
"""An address: an integer, or text like "0x40000000"."""

Size: TypeAlias = int | str
"""Bytes: an integer, or text like "2GiB"."""


class MemslotSpec(TypedDict, total=False):
    """A memslot of a VM to be made."""

    slot: Required[int]
    guest_phys_addr: Required[Address]
    memory_size: Required[Size]
    userspace_addr: Address
    flags: Sequence[str]
    backing: Size


class WhenSpec(TypedDict, total=False):
    """Which calls a fault is for, and where in them."""

    op: str
    slot: int
    cpu: int
    batch: int
    index: int
    gfn: int


class FaultSpec(TypedDict, total=False):
    """A fault to be armed."""

    type: Required[str]
    enabled: bool
    probability: float
    after: int
    every: int
    times: int | None
    when: WhenSpec


class BurstSpec(TypedDict):
    """When a workload writes, and when it rests."""

    on_ns: int
    off_ns: int


class WorkloadSpec(TypedDict, total=False):
    """A workload of a VM to be made; the fields of its kind beside those that all have."""

    kind: Required[str]
    slot: Required[int]
    writes_per_second: int
    first_page: int
    num_pages: int
    seed: int
    burst: BurstSpec | None
    writer: str
    vcpu: int
    hot_fraction: float
    hot_share: float
    exponent: float
    set_pages: int
    move_every_writes: int
    step_pages: int
    trace: str
    pages: Sequence[Sequence[int]]
    interval_ns: int
    loop: bool
    copies: int
    scale: bool


class FeaturesSpec(TypedDict, total=False):
    """What the simulated hardware and kernel have."""

    dbm: bool
    hacdbs: bool
