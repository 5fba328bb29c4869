"""What the simulator does where QEMU's transcripts do not reach: refusals of its own, broken links, pace."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from hacdbs_sim.client import AsyncClient, AsyncVm
from hacdbs_sim.model import MAX_WORKLOADS_PER_VM
from hacdbs_sim.model.units import MIB
from hacdbs_sim.model.workloads import HotSetInfo
from hacdbs_sim.qmp import LinkOptions
from hacdbs_sim.qmp.settings import CAPABILITIES, SIMULATED
from tests.qmp.harness import FAST, SLOW, Lab, Side
from tests.qmp.simulated import MEMORY, launching

AT_ONCE: Final = LinkOptions(pace=0)


def in_lab(
    conversation: Callable[[Lab, AsyncClient], Awaitable[None]],
    *,
    link: LinkOptions | None = None,
    memslots: tuple[tuple[int, int], ...] = ((0, MEMORY),),
    prepare: Callable[[AsyncVm], Awaitable[object]] | None = None,
) -> None:
    async def run() -> None:
        with TemporaryDirectory(prefix="qmp-") as directory:
            async with AsyncClient.in_process() as client, AsyncExitStack() as stack:
                launch = launching(client, link, list(memslots), prepare)
                await conversation(Lab(launch, Path(directory), stack, {}), client)

    asyncio.run(run())


async def answers(monitor: Path, octets: bytes, count: int) -> list[Any]:
    """Send octets on a connection; return the greeting and as many answers, without events."""
    reader, writer = await asyncio.open_unix_connection(monitor)
    writer.write(octets)
    found: list[Any] = []
    while len(found) < count + 1:
        line = json.loads(await reader.readline())
        if "event" not in line:
            found.append(line)
    writer.close()
    return found


def statuses(side: Side) -> list[str]:
    return [each["data"]["status"] for each in side.events if each["event"] == "MIGRATION"]


@pytest.mark.parametrize("name", sorted({*CAPABILITIES} - SIMULATED))
def test_a_capability_that_is_not_simulated_is_refused(name: str) -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source = await lab.start("src")
        before = await source.query("query-migrate-capabilities")
        both = [{"capability": "events", "state": True}, {"capability": name, "state": True}]
        refused = await source.call("migrate-set-capabilities", capabilities=both)
        off = [{"capability": name, "state": False}]

        assert refused["class"] == "GenericError"
        assert name in refused["desc"]
        assert await source.query("query-migrate-capabilities") == before
        assert await source.call("migrate-set-capabilities", capabilities=off) == {}

    in_lab(conversation)


@pytest.mark.parametrize(
    ("setting", "named"), [({"mode": "cpr-reboot"}, "cpr-reboot"), ({"tls-creds": "t0"}, "TLS")]
)
def test_what_is_not_simulated_is_refused_by_migrate(setting: dict[str, Any], named: str) -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source = await lab.start("src")
        assert await source.call("migrate-set-parameters", **setting) == {}
        refused = await source.call("migrate", uri=lab.uri())

        assert named in refused["desc"]
        assert await source.query("query-migrate") == {}

    in_lab(conversation)


@pytest.mark.parametrize("protocol", ["exec", "fd", "file", "rdma", "vsock"])
def test_a_protocol_that_is_not_simulated_is_refused(protocol: str) -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source = await lab.start("src")
        refused = await source.call("migrate", uri=f"{protocol}:something")

        assert refused["desc"] == f"migration protocol {protocol} is not simulated: use unix or tcp"

    in_lab(conversation)


def test_without_pace_a_migration_is_over_at_once_with_the_same_events() -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source, target = await lab.pair()
        await target.call("migrate-incoming", uri="tcp:127.0.0.1:0")
        port = (await target.query("query-migrate"))["socket-address"][0]["port"]
        await source.call("migrate-set-parameters", **SLOW)
        await source.call("migrate", uri=f"tcp:127.0.0.1:{port}")
        found = await source.until("completed")
        await target.until("completed")

        assert found["total-time"] > 5_000  # 32 MiB at 3 MB a second
        assert statuses(source) == ["setup", "active", "device", "completed"]
        assert statuses(target) == ["setup", "active", "completed"]

    in_lab(conversation, link=AT_ONCE)


def test_a_guest_that_has_arrived_can_be_migrated_on() -> None:
    async def prepare(vm: AsyncVm) -> None:
        await vm.add_workload("uniform", slot=0, writes_per_second=1_000)

    async def conversation(lab: Lab, client: AsyncClient) -> None:
        source, target = await lab.pair()
        third = await lab.start("dst2")
        for one, other, at in ((source, target, "first"), (target, third, "second")):
            await one.call("migrate-set-parameters", **FAST)
            await other.call("migrate-incoming", uri=lab.uri(at))
            await one.call("migrate", uri=lab.uri(at))
            await one.until("completed")
            await other.until("completed")
        counted = {vm.vm_id: len(vm.workloads) async for vm in client.list_vms()}

        assert (await third.query("query-status"))["status"] == "running"
        assert counted == {"default-1": 0, "default-2": 0, "default-3": 1}

    in_lab(conversation, link=AT_ONCE, prepare=prepare)


def test_a_stopped_guest_writes_nothing_and_goes_on_where_it_arrives() -> None:
    async def prepare(vm: AsyncVm) -> None:
        await vm.add_workload("hot_set", slot=0, writes_per_second=1_000, hot_share=0.5)
        await vm.add_workload("replay", slot=0, trace="xz", interval_ns=10_000_000)

    async def conversation(lab: Lab, client: AsyncClient) -> None:
        source, target = await lab.pair()
        before = [each async for each in client.vm("default-1").list_workloads()]
        await source.call("stop")
        await target.call("migrate-incoming", uri=lab.uri())
        await source.call("migrate", uri=lab.uri())
        await source.until("completed")
        await target.until("completed")
        report = await client.migration("default-m1").get()
        await target.call("cont")
        after = [each async for each in client.vm("default-2").list_workloads()]

        assert report.totals.guest_writes == 0
        assert [each.kind for each in after] == [each.kind for each in before]
        assert isinstance(after[0], HotSetInfo)
        assert after[0].hot_share == 0.5

    in_lab(conversation, link=AT_ONCE, prepare=prepare)


def test_a_workload_that_could_not_be_added_again_refuses_a_stop() -> None:
    async def prepare(vm: AsyncVm) -> None:
        await vm.add_workload("intervals", slot=0, pages=[[1, 2]], interval_ns=10_000_000)

    async def conversation(lab: Lab, client: AsyncClient) -> None:
        source = await lab.start("src")
        refused = await source.call("stop")

        assert "intervals" in refused["desc"]
        assert (await source.query("query-status"))["running"]
        assert len((await client.vm("default-1").get()).workloads) == 1

    in_lab(conversation, prepare=prepare)


def test_a_stop_takes_all_workloads_off_and_cont_adds_them_again() -> None:
    async def prepare(vm: AsyncVm) -> None:
        one = {"op": "add_workload", "kind": "uniform", "slot": 0, "writes_per_second": 10}
        await vm.run_batch([one] * MAX_WORKLOADS_PER_VM)

    async def conversation(lab: Lab, client: AsyncClient) -> None:
        source = await lab.start("src")
        await source.call("stop")
        stopped = len((await client.vm("default-1").get()).workloads)
        await source.call("cont")

        assert stopped == 0
        assert len((await client.vm("default-1").get()).workloads) == MAX_WORKLOADS_PER_VM

    in_lab(conversation, prepare=prepare)


def test_a_destination_whose_guest_cannot_be_stopped_fails() -> None:
    async def prepare(vm: AsyncVm) -> None:
        await vm.add_workload("intervals", slot=0, pages=[[1, 2]], interval_ns=10_000_000)

    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source, target = await lab.pair()
        await target.call("stop")
        await target.call("migrate-incoming", uri=lab.uri(), exit_on_error=False)
        await source.call("migrate", uri=lab.uri())
        failed = await target.until("failed")

        assert "intervals" in failed["error-desc"]

    in_lab(conversation, link=AT_ONCE, prepare=prepare)


def test_the_sides_of_a_vm_of_thousands_of_memslots_meet() -> None:
    more = [(slot, 4_096) for slot in range(1, 4_001)]

    async def prepare(vm: AsyncVm) -> None:
        region = {"op": "set_memslot", "memory_size": 4_096}
        at = 1 << 32
        actions = [{**region, "slot": n, "guest_phys_addr": at + n * 8_192} for n, _ in more]
        await vm.run_batch(actions)

    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source, target = await lab.pair()
        await target.call("migrate-incoming", uri=lab.uri())
        await source.call("migrate", uri=lab.uri())
        await source.until("completed")
        await target.until("completed")

    in_lab(conversation, link=AT_ONCE, memslots=((0, MEMORY), *more), prepare=prepare)


def test_a_sample_of_no_pages_is_refused() -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source = await lab.start("src")
        refused = await source.call("calc-dirty-rate", calc_time=1, sample_pages=0)

        assert refused["desc"] == "sample-pages is out of range[128, 16384]."

    in_lab(conversation)


def test_a_destination_with_other_memory_refuses_the_source() -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source, target = await lab.pair()
        await target.call("migrate-incoming", uri=lab.uri(), exit_on_error=False)
        await source.call("migrate", uri=lab.uri())
        failed = await source.until("failed")

        assert f"[(0, {2 * MEMORY})], not [(0, {MEMORY})]" in failed["error-desc"]
        assert (await target.until("failed"))["error-desc"].endswith("Invalid argument")
        assert (await source.query("query-status"))["running"]

    in_lab(conversation, memslots=((0, 2 * MEMORY),))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"QEVM",
        b"[]\n",
        b'{"hacdbs-sim-migration":1}\n',
        b'{"hacdbs-sim-migration":2}\n',
        b"\xff\n",
    ],
)
def test_a_stranger_at_the_migration_socket_fails_the_incoming_side(octets: bytes) -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        target = await lab.start("dst")
        await target.set_capabilities()
        await target.call("migrate-incoming", uri=lab.uri())
        _reader, writer = await asyncio.open_unix_connection(lab.uri().removeprefix("unix:"))
        writer.write(octets)
        writer.write_eof()
        await target.until_exit()
        writer.close()

        assert statuses(target) == ["setup", "active", "failed"]
        assert target.calls[-1] == {"exit": 1}

    in_lab(conversation)


def test_a_destination_that_never_answers_can_be_cancelled() -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source = await lab.start("src")
        await source.set_capabilities()
        path = lab.uri().removeprefix("unix:")
        accepted = asyncio.Event()

        async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_unix_server(be_silent, path)
        await source.call("migrate", uri=lab.uri())
        await accepted.wait()
        assert await source.query("query-migrate") == {"status": "setup"}
        await source.call("migrate_cancel")
        await source.until("cancelled")
        server.close()

        assert statuses(source) == ["setup", "cancelling", "cancelled"]

    in_lab(conversation)


def test_a_source_that_quits_fails_the_destination() -> None:
    async def conversation(lab: Lab, client: AsyncClient) -> None:
        source, target = await lab.pair()
        await target.call("migrate-incoming", uri=lab.uri())
        await source.call("migrate-set-parameters", **SLOW)
        await source.call("migrate", uri=lab.uri())
        await source.until("active")
        await source.call("quit")
        await source.until_exit()
        await target.until_exit()

        assert target.calls[-1] == {"exit": 1}
        assert (await client.migration("default-m1").wait()).status == "cancelled"

    in_lab(conversation)


def test_recovery_at_a_wrong_address_leaves_the_postcopy_paused() -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source, target = await lab.pair("postcopy-ram")
        await target.call("migrate-incoming", uri=lab.uri())
        await source.call("migrate-set-parameters", max_postcopy_bandwidth=3_000_000, **SLOW)
        await source.call("migrate", uri=lab.uri())
        await source.until("active")
        await source.call("migrate-start-postcopy")
        await target.until("postcopy-active")
        await target.call("migrate-pause")
        await source.until("postcopy-paused")
        await source.call("migrate", uri=lab.uri("absent"), resume=True)
        await source.until_event("MIGRATION", status="postcopy-recover-setup")
        found = await source.until("postcopy-paused")
        await target.call("migrate-recover", uri=lab.uri("recover"))
        await source.call("migrate-set-parameters", max_postcopy_bandwidth=0)
        await source.call("migrate", uri=lab.uri("recover"), resume=True)
        await source.until("completed")
        await target.until("completed")

        assert "No such file" in found["error-desc"]

    in_lab(conversation)


def test_commands_over_rest_show_in_qmp() -> None:
    async def conversation(lab: Lab, client: AsyncClient) -> None:
        source, target = await lab.pair()
        await target.call("migrate-incoming", uri=lab.uri(), exit_on_error=False)
        await source.call("migrate-set-parameters", **SLOW)
        await source.call("migrate", uri=lab.uri())
        await source.until("active")
        await client.migration("default-m1").cancel()
        found = await source.until("failed")

        assert found["error-desc"] == "the service ended the migration: cancel"
        assert statuses(source)[-1] == "failed"
        assert (await source.query("query-status"))["running"]

    in_lab(conversation)


def test_parameters_apply_to_a_migration_that_runs() -> None:
    async def conversation(lab: Lab, client: AsyncClient) -> None:
        source, target = await lab.pair("auto-converge", "postcopy-ram")
        await target.call("migrate-incoming", uri=lab.uri(), exit_on_error=False)
        await source.call("migrate-set-parameters", **SLOW)
        await source.call("migrate", uri=lab.uri())
        await source.until("active")
        changed = {"cpu-throttle-initial": 30, "downtime-limit": 2, "max-bandwidth": 1}
        await source.call("migrate-set-parameters", max_postcopy_bandwidth=5_000_000, **changed)
        migration = client.migration("default-m1")
        async with asyncio.timeout(30):
            while (spec := (await migration.get()).spec).downtime_limit_ns != 2_000_000:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        assert spec.bandwidth_bytes_per_second == 1_000_000  # as little as the service takes
        assert spec.auto_converge is not None
        assert spec.auto_converge.initial == 30
        assert spec.postcopy is not None
        assert spec.postcopy.bandwidth_bytes_per_second == 5_000_000

    in_lab(conversation)


def test_clients_are_served_one_after_the_other() -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source = await lab.start("src")
        second = asyncio.create_task(
            answers(source.monitor, b'{"execute":"qmp_capabilities"}{"execute":"query-name"}', 2)
        )
        assert await source.query("query-status") == {"running": True, "status": "running"}
        assert not second.done()
        await source.disconnect()
        greeting, *rest = await second

        assert greeting["QMP"]["capabilities"] == ["oob"]
        assert rest == [{"return": {}}, {"return": {}}]

    in_lab(conversation)


def test_a_client_that_goes_in_the_middle_leaves_nothing_undone() -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source = await lab.start("src")
        await source.disconnect()
        reader, writer = await asyncio.open_unix_connection(source.monitor)
        await reader.readline()
        writer.write(b'{"execute":"qmp_capabilities"}{"execute":"stop"}{"execute":"query-st')
        writer.close()
        _, _, found = await answers(
            source.monitor, b'{"execute":"qmp_capabilities"}{"execute":"query-status"}', 2
        )

        assert found["return"] == {"running": False, "status": "paused"}

    in_lab(conversation)


def test_out_of_band_commands_do_not_wait() -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source = await lab.start("src")
        await source.disconnect()
        octets = b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}'
        reader, writer = await asyncio.open_unix_connection(source.monitor)
        await reader.readline()
        writer.write(octets)
        await reader.readline()
        many = b"".join(b'{"execute":"query-migrate-parameters","id":%d}' % n for n in range(5))
        writer.write(many + b'{"exec-oob":"migrate-pause","id":"oob"}')
        ids = [json.loads(await reader.readline())["id"] for _ in range(6)]
        writer.close()

        assert sorted(map(str, ids)) == ["0", "1", "2", "3", "4", "oob"]
        assert [each for each in ids if each != "oob"] == [0, 1, 2, 3, 4]
        assert ids.index("oob") < 5

    in_lab(conversation)


def test_every_command_is_listed() -> None:
    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source = await lab.start("src")
        names = [each["name"] for each in await source.query("query-commands")]

        assert len(names) == len(set(names)) == 26
        for name in names:
            refused = await source.call(name, no_such_argument=1)
            assert refused["class"] == ("CommandNotFound" if "qmp_" in name else "GenericError")
            assert "desc" in refused

    in_lab(conversation)


def test_memory_and_rate_of_a_guest_that_writes() -> None:
    async def prepare(vm: AsyncVm) -> None:
        await vm.add_workload("uniform", slot=0, writes_per_second=20_000)

    async def conversation(lab: Lab, _: AsyncClient) -> None:
        source = await lab.start("src")
        await source.call("calc-dirty-rate", calc_time=1, mode="dirty-bitmap")
        async with asyncio.timeout(30):
            while (found := await source.query("query-dirty-rate"))["status"] != "measured":  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        assert 40 < found["dirty-rate"] < 78  # 20,000 pages of 32,768, some of them twice
        assert (await source.query("query-memory-size-summary"))["base-memory"] == 128 * MIB

    in_lab(conversation, link=AT_ONCE, prepare=prepare)
