"""What the Python client of openapi-generator is used for: the calls of the other clients."""

import os
from typing import Any

import hacdbs_client as made
from hacdbs_client.exceptions import ApiException

GIB = 1 << 30
SLOT_BYTES = 64 * GIB
FIRST_GFN = 0x40000
LAST_PAGE = SLOT_BYTES // 4096 - 1


def expect(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise SystemExit(f"{what}: {found!r}, not {wanted!r}")


def main() -> None:
    """Make the calls."""
    with made.ApiClient(made.Configuration(host=os.environ["HACDBS_URL"])) as client:
        vms, memslots, logs = (
            made.VmsApi(client),
            made.MemslotsApi(client),
            made.DirtyLogApi(client),
        )
        accesses, events = made.AccessesApi(client), made.EventsApi(client)

        slot = made.SetMemslot(
            slot=0,
            guest_phys_addr=made.GuestPhysAddr("0x40000000"),
            memory_size=made.MemorySize(SLOT_BYTES),
            flags=["LOG_DIRTY_PAGES"],
        )
        vm = vms.create_vm(
            create_vm=made.CreateVm(manual_dirty_log_protect2=1, memslots=[slot])
        ).vm_id
        expect("its size", memslots.get_memslot(vm, 0).memory_size, SLOT_BYTES)

        gfns = made.GuestWriteBodyGfns(
            gfns=[
                made.GfnsInner(FIRST_GFN),
                made.GfnsInner("0x40001"),
                made.GfnsInner(FIRST_GFN + LAST_PAGE),
            ]
        )
        accesses.guest_write(vm, made.GuestWriteBody(gfns))
        ranges = [[0, 2], [LAST_PAGE, 1]]
        expect("the log", logs.get_dirty_log(vm, 0).page_ranges, ranges)

        pages = made.ClearDirtyLogBody(made.ClearDirtyLogBodyPageRanges(page_ranges=ranges))
        expect("what was cleared", logs.clear_dirty_log(vm, 0, pages).dirty_count, 3)
        expect("what is left", logs.peek_dirty_log(vm, 0).page_ranges, [])

        try:
            memslots.set_memslot(
                vm,
                1,
                made.SetMemslotBody(
                    guest_phys_addr=made.GuestPhysAddr("0x40000000"),
                    memory_size=made.MemorySize("2MiB"),
                ),
            )
        except ApiException as refused:
            problem = refused.data
            found = (problem.status, problem.code, problem.errno, problem.ioctl)
            ioctl = "KVM_SET_USER_MEMORY_REGION"
            expect("the refusal", found, (409, "memslot_overlap", "EEXIST", ioctl))
        else:
            raise SystemExit("the overlap was not refused")

        listed = events.list_events(vm_id=vm).events
        expect("the first event", listed[0].type.value, "vm_created")


main()
