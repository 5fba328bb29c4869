"""/metrics: a registry per application, base units, labels bounded by the route table."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from typing_extensions import override

from hacdbs_sim.model import MigrationStatus

from ..service.fleet import Fleet
from .build import installed_version

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_BUCKETS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class FleetCollector(Collector):
    """Reads the fleet's sums at each scrape, so that calls pay nothing for being counted."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @override
    def collect(self) -> Iterator[Metric]:
        fleet, totals = self._fleet, self._fleet.totals
        build = GaugeMetricFamily(
            "hacdbs_build_info",
            "The version, and this start of it.",
            labels=["version", "instance"],
        )
        build.add_metric([installed_version(), fleet.instance], 1)
        yield build
        yield GaugeMetricFamily("hacdbs_vms", "Live VMs.", fleet.vm_count)
        yield GaugeMetricFamily("hacdbs_sessions", "Sessions.", len(fleet.sessions()))
        yield GaugeMetricFamily(
            "hacdbs_state_bytes", "Bytes of planes and bitmaps of all VMs.", fleet.budget.used_bytes
        )
        yield GaugeMetricFamily(
            "hacdbs_idempotency_bytes",
            "Bytes of answers kept for retries.",
            fleet.idempotency.held_bytes,
        )
        migrations = GaugeMetricFamily(
            "hacdbs_migrations",
            "Running migrations, and ended ones that are kept.",
            labels=["status"],
        )
        counts = fleet.migrations.count_by_status()
        for status in MigrationStatus:
            migrations.add_metric([status.value], counts[status.value])
        yield migrations
        yield _labelled(
            "hacdbs_cleaned_pages", "Pages cleaned in the dirty log.", "by", totals.cleaned_pages
        )
        yield CounterMetricFamily(
            "hacdbs_requeued_pages", "Pages put back for the software.", totals.requeued_pages
        )
        yield _labelled("hacdbs_hook_calls", "Calls of the hook.", "outcome", totals.hook_calls)
        yield _labelled("hacdbs_fault_hits", "Injected faults that hit.", "type", totals.fault_hits)
        yield _labelled("hacdbs_events", "What happened.", "type", fleet.events.counts)
        yield GaugeMetricFamily(
            "hacdbs_event_readers", "Callers that wait for events.", fleet.events.reader_count
        )


def _labelled(name: str, text: str, label: str, values: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in dict(values).items():
        family.add_metric([str(key)], value)
    return family


class _Plain(Collector):
    """What a registry has, without the time at which each series was created."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    @override
    def collect(self) -> Iterator[Metric]:
        # prometheus_client can leave them out for the whole process only, which may not be ours
        for metric in self._registry.collect():
            kept = [each for each in metric.samples if not each.name.endswith("_created")]
            metric.samples = kept
            yield metric


class Metrics:
    """The registry of one application."""

    def __init__(self, fleet: Fleet) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(FleetCollector(fleet))
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._duration = Histogram(
            "http_request_duration_seconds",
            "Time from request to the end of the answer, without those that wait or have no route.",
            ["method", "route"],
            buckets=_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self._counted: dict[tuple[str, str, int], Counter] = {}
        self._timed: dict[tuple[str, str], Histogram] = {}

    def count(self, method: str, route: str, status: int) -> None:
        """Count one request."""
        labels = (method, route, status)
        # Kept, because finding them by their labels takes 3 us and counting takes 1.5.
        if (requests := self._counted.get(labels)) is None:
            requests = self._requests.labels(method, route, str(status))
            self._counted[labels] = requests
        requests.inc()

    def observe(self, method: str, route: str, seconds: float) -> None:
        """Add the time of one request of a route; not of one that waits for something to happen."""
        labels = (method, route)
        if (duration := self._timed.get(labels)) is None:
            duration = self._duration.labels(method, route)
            self._timed[labels] = duration
        duration.observe(seconds)

    def exposition(self) -> bytes:
        """Write the registry in Prometheus' text format."""
        return generate_latest(_Plain(self._registry))
