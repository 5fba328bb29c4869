"""Reports over HTTP: their headers, and refusals of what is not there."""

import httpx
import pytest

from hacdbs_sim.report import POLICY
from tests.contract.conftest import MEMSLOT

pytestmark = pytest.mark.anyio


async def test_a_report_is_a_page_that_may_load_nothing(client: httpx.AsyncClient, vm: str) -> None:
    await client.post("/v1/migrations", json={"vm_id": vm.rpartition("/")[2]})

    answer = await client.get("/v1/migrations/default-m1/report.html")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == f"{POLICY}; frame-ancestors 'none'"
    assert "unsafe" not in POLICY
    assert answer.headers["content-disposition"] == 'inline; filename="default-m1.html"'
    assert answer.text.startswith("<!doctype html>")


async def test_a_comparison_and_a_scenario_have_one_too(client: httpx.AsyncClient) -> None:
    slot = {"slot": 0, **MEMSLOT}
    await client.post("/v1/comparisons", json={"vm": {"memslots": [slot]}})
    await client.put("/v1/sessions/default/scenario", json={"scenario": "s", "vms": [{"key": "a"}]})

    comparison = await client.get("/v1/comparisons/default-c1/report.html")
    scenario = await client.get("/v1/sessions/default/scenario/report.html")

    # A scenario that is applied resets the session, and its comparisons are gone
    assert comparison.json()["code"] == "no_such_comparison"
    assert scenario.headers["content-disposition"] == 'inline; filename="default-s.html"'
    await client.post("/v1/comparisons", json={"vm": {"memslots": [slot]}})
    comparison = await client.get("/v1/comparisons/default-c1/report.html")
    assert "Comparison default-c1" in comparison.text


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/migrations/default-m9/report.html", "no_such_migration"),
        ("/v1/comparisons/default-c9/report.html", "no_such_comparison"),
        ("/v1/sessions/default/scenario/report.html", "no_such_scenario"),
        ("/v1/sessions/none/scenario/report.html", "no_such_session"),
    ],
)
async def test_what_is_not_there_has_no_report(
    client: httpx.AsyncClient, path: str, code: str
) -> None:
    answer = await client.get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_origin_is_part_of_the_migration(client: httpx.AsyncClient, vm: str) -> None:
    vm_id = vm.rpartition("/")[2]
    begun = await client.post("/v1/migrations", json={"vm_id": vm_id, "max_iterations": 3})

    origin = begun.json()["origin"]

    assert origin["migration"]["max_iterations"] == 3
    assert origin["vm"]["memslots"][0]["memory_size"] == 4 << 20
    assert (origin["was_used"], origin["omitted_parts"]) == (False, 0)


async def test_a_long_scenario_has_a_report_without_its_document(client: httpx.AsyncClient) -> None:
    gfns = list(range(0x40000, 0x40000 + 1_000))
    step = {"vm": "a", "action": {"op": "guest_write", "gfns": gfns}}
    document = {"scenario": "long", "description": "what it shows", "steps": [step] * 40}
    slot = {"slot": 0, **MEMSLOT}
    await client.put(
        "/v1/sessions/default/scenario",
        json={**document, "vms": [{"key": "a", "memslots": [slot]}]},
    )

    text = (await client.get("/v1/sessions/default/scenario/report.html")).text

    assert "what it shows" in text
    assert text.count("<strong>guest_write</strong> on a: passed, status 200") == 40
    assert "The bodies of the calls are too long to be shown." in text
    assert len(text) < 1 << 16
