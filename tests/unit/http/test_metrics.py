"""/metrics: the sums of the fleet, and requests by route."""

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.http.build import installed_version
from app.http.metrics import Metrics
from app.service.fleet import Fleet
from app.service.limits import Limits
from hacdbs_sim.model import EventType

pytestmark = pytest.mark.anyio


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


async def test_a_scrape_reads_the_fleet_as_it_is_then() -> None:
    fleet = Fleet(Limits())
    metrics = Metrics(fleet)
    before = samples(metrics)

    fleet.create_session("one-more")
    fleet.events.emit(EventType.CPU_CHANGED, session_id="one-more")
    after = samples(metrics)

    assert (before["hacdbs_sessions", ()], after["hacdbs_sessions", ()]) == (1, 2)
    changed = ("hacdbs_events_total", (("type", "cpu_changed"),))
    assert (before[changed], after[changed]) == (0, 1)
    assert after["hacdbs_vms", ()] == 0


async def test_requests_are_counted_by_method_route_and_status() -> None:
    metrics = Metrics(Fleet(Limits()))

    for status in (200, 200, 404):
        metrics.count("GET", "/v1/vms/{vm_id}", status)
        metrics.observe("GET", "/v1/vms/{vm_id}", 0.003)

    seen = samples(metrics)
    route = (("method", "GET"), ("route", "/v1/vms/{vm_id}"))
    assert seen["http_requests_total", (*route, ("status", "200"))] == 2
    assert seen["http_requests_total", (*route, ("status", "404"))] == 1
    assert seen["http_request_duration_seconds_count", route] == 3
    assert seen["http_request_duration_seconds_bucket", (("le", "0.0025"), *route)] == 0
    assert seen["http_request_duration_seconds_bucket", (("le", "0.005"), *route)] == 3


async def test_each_application_has_a_registry_of_its_own() -> None:
    one, other = Metrics(Fleet(Limits())), Metrics(Fleet(Limits()))

    one.observe("GET", "/livez", 0.001)

    assert b'route="/livez"' in one.exposition()
    assert b'route="/livez"' not in other.exposition()


async def test_a_scrape_says_what_runs_and_what_it_takes() -> None:
    fleet = Fleet(Limits())

    seen = samples(Metrics(fleet))

    (build,) = [dict(labels) for name, labels in seen if name == "hacdbs_build_info"]
    assert build == {"version": installed_version(), "instance": fleet.instance}
    assert seen["process_resident_memory_bytes", ()] > 1 << 20
    assert seen["process_cpu_seconds_total", ()] > 0
    assert seen["process_open_fds", ()] > 0
    assert 0 < seen["process_start_time_seconds", ()] <= time.time()


async def test_no_series_is_the_time_when_another_was_created() -> None:
    metrics = Metrics(Fleet(Limits()))
    metrics.count("GET", "/livez", 200)
    metrics.observe("GET", "/livez", 0.001)

    names = {name for name, _ in samples(metrics)}

    assert {"http_requests_total", "http_request_duration_seconds_sum"} <= names
    assert not [name for name in names if name.endswith("_created")]
