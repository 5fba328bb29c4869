"""The context that routes find on the application."""

from starlette.requests import Request

from app.http.deps import context_of
from app.main import create_app
from app.settings import Settings


def test_a_request_finds_the_context_of_its_own_application() -> None:
    one, other = create_app(Settings(max_body_bytes=1 << 20)), create_app(Settings())

    found = context_of(Request({"type": "http", "app": one}))

    assert found is one.context
    assert found is not other.context
    assert found.max_body_bytes == 1 << 20
    assert not found.is_stopping
