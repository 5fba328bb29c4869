"""Migrations: started by a call, run in the background, watched by polling."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, Any, Final

import orjson
from fastapi import Path, Query
from starlette.responses import Response

from hacdbs_sim.model import (
    DEFAULT_SESSION,
    ITERATION_FIELDS,
    Iteration,
    IterationTable,
    MigrationCommand,
    MigrationInfo,
    MigrationList,
    MigrationStatus,
    PresetList,
    QueryMigrate,
    ScheduledChange,
    StartMigration,
    UpdateMigration,
)
from hacdbs_sim.report import migration_html
from hacdbs_sim.vmm.presets import PRESETS
from hacdbs_sim.wire import reader_of

from ...service.fleet import Fleet
from ...service.migrations import Migration
from ..accept import AcceptsCsv
from ..bodies import json_body
from ..deps import EpochDep, FleetDep, PageDep
from ..long_poll import WaitSeconds
from ..paging import SessionQuery, session_key, session_or_all
from ..presets import with_preset
from ..reports import HTML, html_report
from ..responses import CSV_MEDIA_TYPE, JSON_MEDIA_TYPE, NOT_JSON, JsonResponse, show
from ..routing import resource_router

router = resource_router("migrations")

MIGRATION_BYTES: Final = 1 << 18

_MIGRATION: Final = reader_of(StartMigration)
_ROW: Final = attrgetter(*ITERATION_FIELDS)

_ORDER: Final = (
    MigrationStatus.NONE,
    MigrationStatus.SETUP,
    MigrationStatus.ACTIVE,
    MigrationStatus.PRE_SWITCHOVER,
    MigrationStatus.DEVICE,
    MigrationStatus.POSTCOPY_ACTIVE,
)
"""The phases, in order."""

_BROKEN: Final = (MigrationStatus.POSTCOPY_PAUSED, MigrationStatus.POSTCOPY_RECOVER)

_WAIT_PATTERN: Final = (
    r"^(end|setup|active|pre-switchover|device|postcopy-active|postcopy-paused|completed|failed"
    r"|cancelled|iteration-[0-9]{1,4})?$"
)

_WITH_CSV: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {JSON_MEDIA_TYPE: {}, CSV_MEDIA_TYPE: NOT_JSON}}
}
MigrationPath = Annotated[str, Path(description="As in `default-m1`.", examples=["default-m1"])]
WaitFor = Annotated[
    str,
    Query(
        pattern=_WAIT_PATTERN,
        description="Wait for a phase or a later one, for a number of iterations (`iteration-3`), or"
        " for the `end`. A call on an ended migration does not wait.",
    ),
]


def has_reached(migration: Migration, wait_for: str) -> bool:
    """Return whether a migration has come to a phase, or has ended."""
    report = migration.report()
    if report.status.is_final or not wait_for:
        return True
    if wait_for.startswith("iteration-"):
        return len(report.iterations) >= int(wait_for.removeprefix("iteration-"))
    if report.status == wait_for:
        return True
    now = report.status
    if now in _BROKEN:  # later than all before post-copy, and not what post-copy is waited for
        now = MigrationStatus.DEVICE
    if wait_for not in _ORDER or now not in _ORDER:
        return False
    return _ORDER.index(now) >= _ORDER.index(MigrationStatus(wait_for))


def _migration_of(body: bytes) -> StartMigration:
    return with_preset(_MIGRATION(body), orjson.loads(body))


_START: Final = json_body(StartMigration, max_bytes=MIGRATION_BYTES, parse=_migration_of)


def iterations_csv(rows: Sequence[Iteration]) -> str:
    """Write passes as a table: a line of names, then one line each (RFC 4180)."""
    lines = [",".join(ITERATION_FIELDS)]
    lines += [",".join(map(str, _ROW(each))) for each in rows]
    return "".join(line + "\r\n" for line in lines)


@router.post("/v1/migrations", status_code=202, response_model=MigrationInfo)
async def start_migration(
    fleet: FleetDep, epoch: EpochDep, body: Annotated[StartMigration, _START]
) -> Response:
    """Start to migrate a VM, in virtual time and in the background."""
    migration = await fleet.start_migration(body, epoch)
    location = f"/v1/migrations/{migration.migration_id}"
    return await show(migration.info(), 202, location)


@router.get("/v1/migrations", response_model=MigrationList)
async def list_migrations(
    fleet: FleetDep, page: PageDep, session_id: SessionQuery = DEFAULT_SESSION
) -> Response:
    """List the migrations of a session, by number."""
    listed = fleet.migrations.migrations(session_or_all(fleet, session_id))
    return page.response(MigrationList, listed, session_key, Migration.brief)


@router.get("/v1/migrations/{migration_id}", response_model=MigrationInfo)
async def get_migration(
    fleet: FleetDep,
    migration_id: MigrationPath,
    wait_for: WaitFor = "",
    wait_seconds: WaitSeconds = 0,
) -> Response:
    """Return a migration and its report, at once or when it has reached a phase."""
    migration = fleet.migrations.migration(migration_id)
    if wait_seconds and not has_reached(migration, wait_for):
        await migration.run.wait(lambda: has_reached(migration, wait_for), wait_seconds)
    return await show(migration.info())


@router.patch("/v1/migrations/{migration_id}", response_model=MigrationInfo)
async def update_migration(
    fleet: FleetDep,
    migration_id: MigrationPath,
    body: Annotated[UpdateMigration, json_body(UpdateMigration)],
) -> Response:
    """Change settings of a running migration, from its next chunk on."""
    return await _request(fleet, migration_id, ScheduledChange(**body.given))


async def _request(fleet: Fleet, migration_id: str, change: ScheduledChange) -> Response:
    migration = fleet.migrations.migration(migration_id)
    migration.run.request(change)
    return await show(migration.info())


_SUMMARIES: Final = {
    MigrationCommand.SWITCH_OVER: "Switch over at the next chunk, however much remains.",
    MigrationCommand.START_POSTCOPY: "Let the guest run at the destination from the next chunk on.",
    MigrationCommand.CONTINUE: "Go on after pause_before_switchover (QMP's migrate-continue).",
    MigrationCommand.PAUSE: "Pause a post-copy: break its link (QMP's migrate-pause).",
    MigrationCommand.RESUME: "Recover a paused post-copy (QMP's migrate-recover and resume).",
}


def _add_command_route(command: MigrationCommand, summary: str) -> None:
    async def give_command(fleet: FleetDep, migration_id: MigrationPath) -> Response:
        return await _request(fleet, migration_id, ScheduledChange(command=command))

    give_command.__doc__ = summary
    name = f"{command.value}_migration"
    router.add_api_route(
        f"/v1/migrations/{{migration_id}}/{command.value.replace('_', '-')}",
        give_command,
        methods=["POST"],
        operation_id=name,
        response_model=MigrationInfo,
        name=name,
    )


for _command, _summary in _SUMMARIES.items():
    _add_command_route(_command, _summary)


@router.post(
    "/v1/migrations/{migration_id}/cancel",
    response_model=MigrationInfo,
)
async def cancel_migration(fleet: FleetDep, migration_id: MigrationPath) -> Response:
    """Cancel a migration; an ended one is not changed, and post-copy refuses."""
    migration = fleet.migrations.migration(migration_id)
    migration.cancel()
    return await show(migration.info())


@router.get(
    "/v1/migrations/{migration_id}/query-migrate",
    response_model=QueryMigrate,
)
async def query_migrate(fleet: FleetDep, migration_id: MigrationPath) -> Response:
    """Return what QMP's query-migrate would return."""
    return JsonResponse(fleet.migrations.migration(migration_id).info().qmp)


@router.get(
    "/v1/migrations/{migration_id}/iterations",
    response_model=IterationTable,
    responses=_WITH_CSV,
)
async def get_iterations(
    fleet: FleetDep, migration_id: MigrationPath, *, as_csv: AcceptsCsv
) -> Response:
    """Return the passes that have ended; `Accept: text/csv` requests a table."""
    migration = fleet.migrations.migration(migration_id)
    report = migration.report()
    if as_csv:
        return Response(iterations_csv(report.iterations), media_type=CSV_MEDIA_TYPE)
    table = IterationTable(
        migration_id=migration_id, status=report.status, iterations=report.iterations
    )
    return await show(table)


@router.get("/v1/migrations/{migration_id}/report.html", response_class=Response, responses=HTML)
async def report_migration(fleet: FleetDep, migration_id: MigrationPath) -> Response:
    """Return a migration's report as one HTML file to keep: charts, tables, how to repeat it."""
    return await html_report(
        migration_html, fleet.migrations.migration(migration_id).info(), migration_id
    )


@router.get("/v1/migration-presets", response_model=PresetList)
async def list_migration_presets(page: PageDep) -> Response:
    """List the migration presets, each with a VM to create for it."""
    listed, token = page.of(sorted(PRESETS.items()), key=lambda item: item[0].encode())
    presets = tuple(preset for _, preset in listed)
    return JsonResponse(PresetList(presets=presets, next_page_token=token))
