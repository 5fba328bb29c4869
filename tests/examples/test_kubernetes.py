"""The manifests of examples/kubernetes fit the image, the settings and the routes, and the service serves by them."""

import re
from typing import Any, Final

import httpx
import pytest
import yaml

from app.settings import Settings, UnknownSettingError
from hacdbs_sim.client import serve_in_thread
from tests.packaging.conftest import ROOT

DOCUMENTS: Final[list[dict[str, Any]]] = list(
    yaml.safe_load_all((ROOT / "examples/kubernetes/hacdbs-sim.yaml").read_text(encoding="utf-8"))
)
DEPLOYMENT, SERVICE = DOCUMENTS
POD: Final[dict[str, Any]] = DEPLOYMENT["spec"]["template"]["spec"]
CONTAINERS: Final[list[dict[str, Any]]] = POD["containers"]
(CONTAINER,) = CONTAINERS
PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")
PLAIN: Final[dict[str, str]] = {
    each["name"]: each["value"] for each in CONTAINER["env"] if "value" in each
}
COMPOSED: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
    "services"
]["hacdbs-sim"]
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")
POD_ADDRESS: Final = "10.244.3.17:8000"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The container's environment, without a secret."""
    for name, value in PLAIN.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_documents_are_a_deployment_of_one_and_its_service() -> None:
    assert (DEPLOYMENT["apiVersion"], DEPLOYMENT["kind"]) == ("apps/v1", "Deployment")
    assert (SERVICE["apiVersion"], SERVICE["kind"]) == ("v1", "Service")
    spec = DEPLOYMENT["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    labels = spec["template"]["metadata"]["labels"]
    assert labels == spec["selector"]["matchLabels"] == SERVICE["spec"]["selector"]


def test_the_ports_are_those_of_the_image() -> None:
    (port,) = CONTAINER["ports"]
    (served,) = SERVICE["spec"]["ports"]

    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE) == [str(port["containerPort"])]
    assert port["containerPort"] == Settings.model_fields["port"].default == served["port"]
    assert served["targetPort"] == port["name"]
    assert {CONTAINER[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}


def test_the_pod_is_confined_as_the_image_permits() -> None:
    (user,) = re.findall(r"^USER (\d+):", DOCKERFILE, re.MULTILINE)
    (directory,) = re.findall(r"^WORKDIR (/tmp)$", DOCKERFILE, re.MULTILINE)
    of_pod, of_container = POD["securityContext"], CONTAINER["securityContext"]

    assert of_pod["runAsNonRoot"]
    assert of_pod["runAsUser"] == int(user)
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert of_container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [each["mountPath"] for each in CONTAINER["volumeMounts"]] == [directory]
    assert not POD["automountServiceAccountToken"]


def test_the_limits_are_those_of_the_compose_file() -> None:
    bounds = {name: value for name, value in PLAIN.items() if "_MAX_" in name}

    assert bounds == {
        name: value for name, value in COMPOSED["environment"].items() if "_MAX_" in name
    }
    assert CONTAINER["resources"]["limits"] == {"cpu": str(COMPOSED["cpus"]), "memory": "1Gi"}
    assert COMPOSED["mem_limit"] == "1g"
    assert (
        sum(
            int(value)
            for name, value in bounds.items()
            if "BODY" not in name and "BATCH" not in name
        )
        < 900 << 20
    )


@pytest.mark.usefixtures("environment")
def test_each_variable_is_a_setting() -> None:
    settings = Settings.from_environment()

    names = {each["name"] for each in CONTAINER["env"]}
    assert names <= {f"HACDBS_{name.upper()}" for name in Settings.model_fields}
    assert SERVICE["metadata"]["name"] in settings.allowed_hosts
    assert settings.max_state_bytes == int(PLAIN["HACDBS_MAX_STATE_BYTES"])


def test_variables_that_kubernetes_sets_for_the_service_are_kept_out(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv(
        SERVICE["metadata"]["name"].upper().replace("-", "_") + "_PORT", "tcp://10.96.0.7:8000"
    )

    with pytest.raises(UnknownSettingError, match="HACDBS_SIM_PORT"):
        Settings.from_environment()
    assert POD["enableServiceLinks"] is False


@pytest.mark.usefixtures("environment")
def test_probes_by_the_pods_address_and_calls_by_the_services_name_are_served() -> None:
    hosts = Settings.from_environment().allowed_hosts  # `serve_in_thread` has its own

    with (
        serve_in_thread(allowed_hosts=hosts) as service,
        httpx.Client(base_url=service.url, trust_env=False) as http,
    ):
        for path in (*(CONTAINER[probe]["httpGet"]["path"] for probe in PROBES), "/metrics"):
            assert http.get(path, headers={"Host": POD_ADDRESS}).status_code == 200
        by_name = http.get("/v1/vms", headers={"Host": f"{SERVICE['metadata']['name']}:8000"})
        by_address = http.get("/v1/vms", headers={"Host": POD_ADDRESS})

    assert by_name.status_code == 200
    assert (by_address.status_code, by_address.json()["code"]) == (400, "host_not_allowed")


def test_a_stop_ends_within_the_pods_grace() -> None:
    grace = COMPOSED["stop_grace_period"].removesuffix("s")

    assert POD["terminationGracePeriodSeconds"] == int(grace)
