"""What happens on the service."""

from hacdbs_sim.client.answers import Events
from hacdbs_sim.client.call import Call, get


def list_events(
    *,
    after: int | None = None,
    type: str | None = None,  # noqa: A002 - the field's name
    session_id: str | None = None,
    vm_id: str | None = None,
    limit: int | None = None,
    wait_seconds: int | None = None,
) -> Call[Events]:
    """Give the events behind one, oldest first; without `after` all that are kept.

    Args:
        after: The id of the last event known.
        type: Types, comma separated; others are left out.
        session_id: Leave out what happened in other sessions.
        vm_id: Leave out what happened on other VMs.
        limit: The most events to give.
        wait_seconds: How long to wait where there is none, up to 60.
    """
    return get(
        "list_events",
        "/v1/events",
        Events,
        after=after,
        type=type,
        session_id=session_id,
        vm_id=vm_id,
        limit=limit,
        wait_seconds=wait_seconds,
    )
