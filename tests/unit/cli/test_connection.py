"""An answer that is whole leaves in one write."""

import asyncio
from collections.abc import Iterable

from typing_extensions import override

from app.api import dispatch
from app.cli.connection import ONE_WRITE, OneWrite


class RecordingTransport(asyncio.Transport):
    """Keeps what is written, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    @override
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.writes.append(b"".join(list_of_data))


def test_the_head_is_written_with_the_body() -> None:
    transport = RecordingTransport()
    answer = OneWrite(transport)

    answer.write(b"head ")
    answer.write(b"body")

    assert transport.writes == [b"head body"]


def test_an_empty_body_lets_the_head_go() -> None:
    transport = RecordingTransport()
    answer = OneWrite(transport)

    answer.write(b"head")
    answer.write(b"")

    assert transport.writes == [b"head"]


def test_what_follows_is_written_as_it_comes() -> None:
    transport = RecordingTransport()
    answer = OneWrite(transport)

    for part in (b"head ", b"first ", b"", b"second"):
        answer.write(part)

    assert b"".join(transport.writes) == b"head first second"


def test_the_application_asks_for_what_the_server_offers() -> None:
    # They are siblings, of which none may import the other, so each has the name.
    assert dispatch.ONE_WRITE == ONE_WRITE
