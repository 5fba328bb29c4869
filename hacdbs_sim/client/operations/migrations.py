"""Migrations and comparisons."""

from collections.abc import Mapping, Sequence
from typing import Any

from hacdbs_sim.client.answers import Page
from hacdbs_sim.client.call import Call, get, given, listing, path, post, reading, text
from hacdbs_sim.client.operations.vms import DEFAULT_SESSION
from hacdbs_sim.client.reports import (
    ComparisonBrief,
    ComparisonInfo,
    Iterations,
    MigrationBrief,
    MigrationInfo,
    Preset,
    QueryMigrate,
)


def start_migration(
    vm_id: str,
    *,
    preset: str | None = None,
    bandwidth_bytes_per_second: int | None = None,
    downtime_limit_ns: int | None = None,
    max_iterations: int | None = None,
    timeout_ns: int | None = None,
    timeout_strategy: str | None = None,
    auto_converge: Mapping[str, int] | None = None,
    slots: Sequence[int] | None = None,
    enable_logging: bool | None = None,
    clear_chunk_pages: int | None = None,
    clear_order: str | None = None,
    verify: bool | None = None,
    full_first_pass: bool | None = None,
    schedule: Sequence[Mapping[str, Any]] | None = None,
    pace_ms: int | None = None,
    key: str | None = None,
) -> Call[MigrationInfo]:
    """Begin to migrate the VM, in virtual time; docs/migrations.md tells what the fields do."""
    body = given(
        vm_id=vm_id,
        preset=preset,
        bandwidth_bytes_per_second=bandwidth_bytes_per_second,
        downtime_limit_ns=downtime_limit_ns,
        max_iterations=max_iterations,
        timeout_ns=timeout_ns,
        timeout_strategy=timeout_strategy,
        auto_converge=None if auto_converge is None else dict(auto_converge),
        slots=None if slots is None else list(slots),
        enable_logging=enable_logging,
        clear_chunk_pages=clear_chunk_pages,
        clear_order=clear_order,
        verify=verify,
        full_first_pass=full_first_pass,
        schedule=None if schedule is None else [dict(each) for each in schedule],
        pace_ms=pace_ms,
    )
    return post("start_migration", "/v1/migrations", reading(MigrationInfo), body, key)


def list_migrations(
    session_id: str = DEFAULT_SESSION, *, limit: int | None = None
) -> Call[Page[MigrationBrief]]:
    """List the migrations of a session, `-` for all; `limit` is how many one request asks for."""
    return listing(
        "list_migrations",
        "/v1/migrations",
        MigrationBrief,
        "migrations",
        session_id=session_id,
        limit=limit,
    )


def get_migration(
    migration_id: str, *, wait_for: str | None = None, wait_seconds: int | None = None
) -> Call[MigrationInfo]:
    """Show the migration and its report, at once or once it has come so far."""
    where = path("v1", "migrations", migration_id)
    return get("get_migration", where, MigrationInfo, wait_for=wait_for, wait_seconds=wait_seconds)


def cancel_migration(migration_id: str, *, key: str | None = None) -> Call[MigrationInfo]:
    """Ask the migration to end, in any phase."""
    where = path("v1", "migrations", migration_id, "cancel")
    return post("cancel_migration", where, reading(MigrationInfo), key=key)


def query_migrate(migration_id: str) -> Call[QueryMigrate]:
    """Show what QMP's query-migrate would return."""
    where = path("v1", "migrations", migration_id, "query-migrate")
    return get("query_migrate", where, QueryMigrate)


def get_iterations(migration_id: str) -> Call[Iterations]:
    """Show the passes that have ended."""
    where = path("v1", "migrations", migration_id, "iterations")
    return get("get_iterations", where, Iterations)


def get_iterations_csv(migration_id: str) -> Call[str]:
    """Give the passes that have ended as a table of comma-separated values."""
    where = path("v1", "migrations", migration_id, "iterations")
    return Call("get_iterations", "GET", where, text, headers={"Accept": "text/csv"})


def list_migration_presets(*, limit: int | None = None) -> Call[Page[Preset]]:
    """List migrations that end in a known way, each with a VM to make for it."""
    return listing(
        "list_migration_presets", "/v1/migration-presets", Preset, "presets", limit=limit
    )


def start_comparison(
    vm: Mapping[str, Any],
    migration: Mapping[str, Any] | None = None,
    *,
    variants: Sequence[Mapping[str, Any]] | None = None,
    pace_ms: int | None = None,
    key: str | None = None,
) -> Call[ComparisonInfo]:
    """Run one migration of one VM in variants, by default hacdbs, software and faults.

    Args:
        vm: The body of a VM to make; it is none of the session's own.
        migration: The fields of a migration, without the VM's id.
        variants: A name for each, and what it has other than the VM.
        pace_ms: Real milliseconds to wait after each iteration, to watch it.
        key: The call's Idempotency-Key.
    """
    body = given(
        vm=dict(vm),
        migration=None if migration is None else dict(migration),
        variants=None if variants is None else [dict(each) for each in variants],
        pace_ms=pace_ms,
    )
    return post("start_comparison", "/v1/comparisons", reading(ComparisonInfo), body, key)


def list_comparisons(
    session_id: str = DEFAULT_SESSION, *, limit: int | None = None
) -> Call[Page[ComparisonBrief]]:
    """List the comparisons of a session, `-` for all; `limit` is how many one request asks for."""
    return listing(
        "list_comparisons",
        "/v1/comparisons",
        ComparisonBrief,
        "comparisons",
        session_id=session_id,
        limit=limit,
    )


def get_comparison(
    comparison_id: str, *, wait_for: str | None = None, wait_seconds: int | None = None
) -> Call[ComparisonInfo]:
    """Show the comparison and its reports, at once or once all variants have ended."""
    where = path("v1", "comparisons", comparison_id)
    return get(
        "get_comparison", where, ComparisonInfo, wait_for=wait_for, wait_seconds=wait_seconds
    )


def cancel_comparison(comparison_id: str, *, key: str | None = None) -> Call[ComparisonInfo]:
    """Ask what has not ended to end."""
    where = path("v1", "comparisons", comparison_id, "cancel")
    return post("cancel_comparison", where, reading(ComparisonInfo), key=key)
