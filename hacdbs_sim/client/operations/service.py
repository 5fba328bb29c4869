"""The service about itself, and sessions."""

from hacdbs_sim.client import answers
from hacdbs_sim.client.answers import Page
from hacdbs_sim.client.call import (
    Call,
    change,
    get,
    given,
    listing,
    nothing,
    path,
    post,
    reading,
    text,
)


def get_index() -> Call[answers.Index]:
    """List where to start."""
    return get("get_index", "/", answers.Index)


def get_livez() -> Call[answers.Health]:
    """Tell that the process serves."""
    return get("get_livez", "/livez", answers.Health)


def get_readyz() -> Call[answers.Health]:
    """Tell whether the service takes work; one that is stopping refuses this."""
    return get("get_readyz", "/readyz", answers.Health)


def get_version() -> Call[answers.Version]:
    """Tell which build serves."""
    return get("get_version", "/version", answers.Version)


def get_metrics() -> Call[str]:
    """Give the metrics in Prometheus' text format."""
    return Call("get_metrics", "GET", "/metrics", text)


def get_capabilities() -> Call[answers.Capabilities]:
    """Tell what KVM_CHECK_EXTENSION would say, and the limits."""
    return get("get_capabilities", "/v1/capabilities", answers.Capabilities)


def list_fault_types() -> Call[list[answers.FaultType]]:
    """Describe the types of fault."""

    class _Types(answers.Answer):
        fault_types: list[answers.FaultType]

    read = reading(_Types)
    return Call(
        "list_fault_types", "GET", "/v1/fault-types", lambda answer: read(answer).fault_types
    )


def get_problem(code: str) -> Call[answers.ProblemMeaning]:
    """Tell what a problem's code means."""
    return get("get_problem", path("problems", code), answers.ProblemMeaning)


def create_session(
    session_id: str | None = None, *, key: str | None = None
) -> Call[answers.SessionInfo]:
    """Make a session; without an id it gets the next free one of s1, s2, ..."""
    body = given(session_id=session_id)
    return post("create_session", "/v1/sessions", reading(answers.SessionInfo), body, key)


def list_sessions(*, limit: int | None = None) -> Call[Page[answers.SessionInfo]]:
    """List the sessions, by id; `limit` is how many one request asks for."""
    return listing("list_sessions", "/v1/sessions", answers.SessionInfo, "sessions", limit=limit)


def get_session(session_id: str) -> Call[answers.SessionInfo]:
    """Show the session."""
    return get("get_session", path("v1", "sessions", session_id), answers.SessionInfo)


def delete_session(session_id: str) -> Call[None]:
    """Delete the session with its VMs."""
    return change("delete_session", "DELETE", path("v1", "sessions", session_id), nothing)


def reset_session(session_id: str, *, key: str | None = None) -> Call[None]:
    """Delete the session's VMs and number the next ones from 1 again."""
    where = path("v1", "sessions", session_id, "reset")
    return post("reset_session", where, nothing, key=key)
