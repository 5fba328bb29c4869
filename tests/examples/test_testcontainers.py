"""The testcontainers example fits the image and the settings, waits for a real service, and its client calls it.

There is no Docker engine here: what an engine would be asked for is compared with the Dockerfile, and the service that
the container's address leads to runs in a thread.
"""

import re
from typing import Final

import pytest
from typing_extensions import override

from app.settings import Settings
from examples.testcontainers.hacdbs_container import PORT, HacdbsContainer
from hacdbs_sim.client import Client, NotAllowedError, Service, serve_in_thread
from tests.docs.test_quickstart import blocks
from tests.packaging.conftest import ROOT
from tests.plugin.conftest import Run, loaded, run  # noqa: F401 - fixtures

DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")
NO_ENGINE: Final = {"version": "1.44"}
"""With the version of its API named, docker's client does not ask the engine for it."""


class Started(HacdbsContainer):
    """A container that was started: its port leads to a service."""

    served: Service

    @override
    def get_container_host_ip(self) -> str:
        return "127.0.0.1"

    @override
    def get_exposed_port(self, port: int) -> int:
        assert port == PORT
        return int(self.served.url.rpartition(":")[2])


STARTED_WITHOUT_AN_ENGINE: Final = """
from hacdbs_sim.client import serve_in_thread

_Asked = HacdbsContainer


class HacdbsContainer(_Asked):
    def __init__(self, image):
        super().__init__(image, docker_client_kw={"version": "1.44"})

    def start(self):
        self._serving = serve_in_thread(token=self.token, allowed_hosts=("*",))
        self._port = int(self._serving.__enter__().url.rpartition(":")[2])
        self._wait_strategy.wait_until_ready(self)
        return self

    def stop(self):
        self._serving.__exit__(None, None, None)

    def get_container_host_ip(self):
        return "127.0.0.1"

    def get_exposed_port(self, port):
        return self._port
"""


def waited_for(container: HacdbsContainer) -> None:
    strategy = container._wait_strategy
    assert strategy is not None
    strategy.with_poll_interval(0.01).wait_until_ready(container)


def test_what_the_engine_is_asked_for_is_what_the_image_has() -> None:
    container = HacdbsContainer(docker_client_kw=NO_ENGINE)

    assert container.image == "hacdbs-sim:latest"
    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE) == [str(PORT)]
    assert {str(port) for port in container.ports} == {str(PORT)}
    assert f'CMD ["{container._command}"]' in DOCKERFILE
    assert 'ENTRYPOINT ["hacdbs-sim"]' in DOCKERFILE
    assert container.tmpfs.keys() == set(re.findall(r"^WORKDIR (/tmp)$", DOCKERFILE, re.MULTILINE))


def test_its_environment_is_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    container = HacdbsContainer(settings={"HACDBS_MAX_VMS": "10"}, docker_client_kw=NO_ENGINE)
    for name, value in container.env.items():
        monkeypatch.setenv(name, value)

    settings = Settings.from_environment()

    assert settings.token is not None
    assert settings.token.get_secret_value() == container.token
    assert settings.allowed_hosts == ("*",)
    assert settings.max_vms == 10


def test_each_container_has_a_token_of_its_own() -> None:
    tokens = {HacdbsContainer(docker_client_kw=NO_ENGINE).token for _ in range(3)}

    assert len(tokens) == 3


def test_it_waits_until_the_service_is_ready_and_its_client_has_the_token() -> None:
    container = Started(docker_client_kw=NO_ENGINE)

    with serve_in_thread(token=container.token, allowed_hosts=("*",)) as container.served:
        waited_for(container)
        with container.client() as client:
            assert client.create_vm(vcpus=2).get().vcpus == 2
        with Client(container.url, token="another") as stranger, pytest.raises(NotAllowedError):  # noqa: S106
            stranger.get_capabilities()


def test_a_service_that_never_is_ready_ends_the_wait() -> None:
    container = Started(docker_client_kw=NO_ENGINE)
    with serve_in_thread() as container.served:
        pass
    strategy = container._wait_strategy
    assert strategy is not None
    strategy.with_startup_timeout(0)

    with pytest.raises(TimeoutError, match="/readyz"):
        waited_for(container)


@pytest.mark.slow
def test_the_plugins_fixtures_use_the_container(
    pytester: pytest.Pytester,
    run: Run,  # noqa: F811 - a fixture
) -> None:
    pytester.makeconftest(*blocks("testcontainers", "python", "docs/deployment.md"))
    example = (ROOT / "examples/testcontainers/hacdbs_container.py").read_text(encoding="utf-8")
    pytester.makepyfile(
        hacdbs_container=example + STARTED_WITHOUT_AN_ENGINE,
        test_it="""
            def test_it(hacdbs_vm, hacdbs_server):
                assert hacdbs_server.token
                assert hacdbs_vm().get().vcpus == 1
        """,
    )

    run("-n", "0").assert_outcomes(passed=1)
