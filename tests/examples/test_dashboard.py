"""The Grafana dashboard and the Prometheus jobs ask for what a service that works really has in /metrics."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from hacdbs_sim.client import serve_in_thread
from tests.docs.test_quickstart import blocks
from tests.packaging.conftest import ROOT

DASHBOARD: Final[dict[str, Any]] = json.loads(
    (ROOT / "examples/grafana/hacdbs-sim.json").read_text(encoding="utf-8")
)
PANELS: Final[list[dict[str, Any]]] = DASHBOARD["panels"]
VARIABLES: Final[list[dict[str, Any]]] = DASHBOARD["templating"]["list"]
EXPRESSIONS: Final = sorted(
    {target["expr"] for panel in PANELS for target in panel["targets"]}
    | {each["definition"] for each in VARIABLES if each["type"] == "query"}
)
COLUMNS: Final = 24
OF_THE_SCRAPE: Final = {"job", "instance"}
"""Labels that Prometheus adds to each series."""
WORDS: Final = {"by", "or", "le", *OF_THE_SCRAPE}
SELECTOR: Final = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
MATCHER: Final = re.compile(r'(\w+)(=~|=)"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Query:
    """What a PromQL expression names: selectors of series, and the labels that it groups by."""

    selectors: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]
    groups: frozenset[str]

    @classmethod
    def of(cls, expression: str) -> "Query":
        named = SELECTOR.findall(expression)
        rest = SELECTOR.sub("", expression)
        groups = [
            group for each in re.findall(r"\bby \(([^)]*)\)", rest) for group in each.split(",")
        ]
        # A metric without labels: a word that is not a function, a duration or a group
        rest = re.sub(r"\bby \([^)]*\)|\[[^]]*\]", "", rest)
        bare = set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", rest)) - WORDS
        selectors = [(name, tuple(MATCHER.findall(text))) for name, text in named]
        selectors += [(name, ()) for name in bare]
        return cls(tuple(selectors), frozenset(group.strip() for group in groups))


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Every series of a service that has done what the dashboard shows."""
    with serve_in_thread() as service, service.client() as client:
        vm = client.create_vm(
            memslots=[
                {
                    "slot": 0,
                    "guest_phys_addr": 0x4000_0000,
                    "memory_size": "4MiB",
                    "flags": ["LOG_DIRTY_PAGES"],
                }
            ]
        )
        vm.guest_write(range(0x40000, 0x40100))
        with vm.fault("ipaf", times=1):
            vm.slot(0).get_dirty_log()
        text = client.get_metrics()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def series_of(samples: list[Sample], name: str) -> list[Sample]:
    return [sample for sample in samples if sample.name == name]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_query_names_series_and_labels_that_there_are(
    samples: list[Sample], expression: str
) -> None:
    query = Query.of(expression)

    assert query.selectors
    for name, matchers in query.selectors:
        found = series_of(samples, name)
        assert found, f"/metrics has no {name}"
        labels = {*OF_THE_SCRAPE}.union(*(sample.labels for sample in found))
        assert query.groups <= labels
        for label, operator, value in matchers:
            assert label in labels, f"{name} has no label {label}"
            if operator == "=":
                assert value in {sample.labels.get(label) for sample in found}


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("sum(hacdbs_vm)", "has no hacdbs_vm"),
        ('sum(hacdbs_vms{session="x"})', "has no label session"),
        ("sum by (vm) (rate(hacdbs_events_total[5m]))", "vm"),
        ('rate(hacdbs_cleaned_pages_total{by="magic"}[$__rate_interval])', "magic"),
    ],
)
def test_a_query_of_what_there_is_not_is_noticed(
    samples: list[Sample], expression: str, complaint: str
) -> None:
    with pytest.raises(AssertionError, match=complaint):
        test_each_query_names_series_and_labels_that_there_are(samples, expression)


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    assert DASHBOARD["title"] == "hacdbs-sim"
    assert re.fullmatch(r"[\w-]{1,40}", DASHBOARD["uid"])
    assert DASHBOARD["schemaVersion"] >= 36
    assert "id" not in DASHBOARD  # a number of one Grafana's database
    assert [
        (each["name"], each["query"]) for each in VARIABLES if each["type"] == "datasource"
    ] == [("datasource", "prometheus")]
    names = {each["name"] for each in VARIABLES} | {"__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)", "".join(EXPRESSIONS))) <= names
    for panel in PANELS:
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(set(references)) == len(references)
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def cells(panel: dict[str, Any]) -> Iterator[tuple[int, int]]:
    place = panel["gridPos"]
    return itertools.product(
        range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    )


def test_panels_fill_the_grid_without_overlap() -> None:
    taken = [cell for panel in PANELS for cell in cells(panel)]

    assert len(set(taken)) == len(taken)
    assert {column for column, _ in taken} == set(range(COLUMNS))
    assert len(taken) == COLUMNS * (1 + max(row for _, row in taken))


def test_the_jobs_scrape_what_the_service_serves() -> None:
    jobs = yaml.safe_load((ROOT / "examples/prometheus/prometheus.yml").read_text())[
        "scrape_configs"
    ]

    with serve_in_thread() as service, service.client() as client:
        served = client.get_index()
    assert {job["metrics_path"] for job in jobs} == {"/metrics"}
    assert len({job["job_name"] for job in jobs}) == len(jobs)
    assert "/metrics" in str(served)
    (shown,) = blocks("Prometheus", "yaml", "docs/deployment.md")
    assert yaml.safe_load(shown)["scrape_configs"] == jobs[:1]
