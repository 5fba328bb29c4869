"""The fixtures for coroutines, under the plugins that run them."""

import pytest

from tests.plugin.conftest import Run
from tests.unit.client.test_docs import EXAMPLES

pytestmark = pytest.mark.slow

SAMPLE = """
    import asyncio
    import pytest

    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    @pytest.mark.{plugin}
    async def test_vms_are_in_the_tests_session(hacdbs_async_vm, hacdbs_async_session, hacdbs_vm):
        vm, other = await asyncio.gather(hacdbs_async_vm(name="one"), hacdbs_async_vm(cpus=2))
        assert (await other.get()).cpus == 2
        assert hacdbs_vm().vm_id == f"{{hacdbs_async_session.session_id}}-3"
        await vm.guest_write(range(0x40000, 0x40000 + 9))
        assert (await vm.slot(0).get_dirty_log()).dirty_count == 9

    @pytest.mark.{plugin}
    async def test_the_next_loop_has_a_client_that_works(hacdbs_async_client):
        assert (await hacdbs_async_client.get_livez()).status == "ok"
        assert (await hacdbs_async_client.get_livez()).status == "ok"

    def test_a_plain_test_may_run_a_loop_of_its_own(hacdbs_async_vm):
        async def create():
            return (await hacdbs_async_vm()).vm_id

        assert asyncio.run(create()).endswith("-1")

    @pytest.mark.hacdbs(cpus=7)
    @pytest.mark.{plugin}
    async def test_marks_are_heeded(hacdbs_async_vm):
        assert (await hacdbs_async_vm()).info.cpus == 7
"""


@pytest.mark.parametrize("plugin", ["anyio", "asyncio"])
def test_coroutines_have_clients_sessions_and_vms(
    pytester: pytest.Pytester, run: Run, plugin: str
) -> None:
    options = []
    if plugin == "asyncio":
        options = ["-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function"]
    pytester.makepyfile(SAMPLE.format(plugin=plugin))

    run("-W", "error", *options).assert_outcomes(passed=4)


def test_the_example_of_the_document_passes(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(EXAMPLES[2])
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
        """
    )

    run().assert_outcomes(passed=2)


def test_a_failure_shows_the_requests_of_coroutines(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_fails(hacdbs_async_vm):
            vm = await hacdbs_async_vm(name="culprit")
            await vm.slot(9).get_dirty_log()
        """
    )

    result = run()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- hacdbs-sim VMs -*",
            "t-test-fails-*-1 'culprit' *",
            "*- hacdbs-sim calls -*",
            "404 POST /v1/vms/*/memslots/9/dirty-log/get",
        ]
    )


def test_a_coroutine_that_nothing_runs_is_a_clear_error(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        test_bare="""
        async def test_bare(hacdbs_async_vm):
            await hacdbs_async_vm()
        """
    )

    result = run()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        "test_bare.py::test_bare: nothing runs this coroutine: mark it with @pytest.mark.anyio, *"
    )
