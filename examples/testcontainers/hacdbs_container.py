"""The service in a container of a test run's own, by testcontainers: copy this file into your tests.

    with HacdbsContainer("hacdbs-sim:latest") as container, container.client() as client:
        vm = client.create_vm(vcpus=2)

It needs `pip install testcontainers`, a Docker engine, and hacdbs-sim for the client.
"""

import secrets
from typing import Any, Final

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

from hacdbs_sim.client import Client, Service

PORT: Final = 8000
START_SECONDS: Final = 60


class HacdbsContainer(DockerContainer):
    """A service in a container, with a token that it alone has; entered, it is ready.

    Args:
        image: The image, as `docker build --tag hacdbs-sim .` in a checkout makes it.
        settings: More settings of the service, as `HACDBS_MAX_VMS="10"`.
        arguments: Those of `DockerContainer`, such as `network`.
    """

    def __init__(
        self,
        image: str = "hacdbs-sim:latest",
        settings: dict[str, str] | None = None,
        **arguments: Any,  # noqa: ANN401 - each has its type
    ) -> None:
        super().__init__(image, **arguments)
        self.token = secrets.token_urlsafe()
        self.with_exposed_ports(PORT)
        self.with_command("serve")
        # The engine's host may have any name; a page of another site does not know the token
        self.with_envs(HACDBS_ALLOWED_HOSTS="*", HACDBS_TOKEN=self.token, **(settings or {}))
        self.with_kwargs(read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges:true"])
        self.with_tmpfs_mount("/tmp", "16m")  # noqa: S108 - the container's own
        self.waiting_for(HttpWaitStrategy(PORT, "/readyz").with_startup_timeout(START_SECONDS))

    @property
    def url(self) -> str:
        """Where the service is served: HACDBS_URL of what calls it."""
        return f"http://{self.get_container_host_ip()}:{self.get_exposed_port(PORT)}"

    @property
    def service(self) -> Service:
        """The service, as the pytest plugin's fixture `hacdbs_server` has it."""
        return Service(self.url, self.token)

    def client(self) -> Client:
        """Return a client of the service; close it."""
        return self.service.client()
