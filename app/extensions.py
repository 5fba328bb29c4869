"""What our server offers the application beyond ASGI: one object a request, in `scope["extensions"]`.

uvicorn's own ways cost, on a small answer or a large body, as much as the call itself. Behind another
server, or none, it is absent, and the application does without.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

EXCHANGE: Final = "hacdbs.exchange"

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Body: TypeAlias = bytes | memoryview


class Exchange(Protocol):
    """One request and its answer, as the connection has them (`app/server/exchange.py`).

    Attributes:
        status: That of the answer, once `answer` has sent it; else 0.
        more_headers: What `answer` sends beside the headers that it is given.
    """

    status: int
    more_headers: Headers

    def answer(self, status: int, headers: Headers, body: Body) -> bool:
        """Send an answer that is whole, the length of its body among its headers.

        Returns:
            Whether it did: where the answer is not plain nothing has been done, and ASGI's way is left.
        """
        ...

    def take_body(self) -> bytes | None:
        """Give the body, once, if all of it has come; else None. Nobody may have received any."""
        ...

    async def fill(self, buffer: memoryview) -> int:
        """Receive what is still to come of a body, each part straight to its place.

        Args:
            buffer: As long as all that is to come.

        Returns:
            How many bytes came. ASGI's `receive` tells how it ended.
        """
        ...

    def call_at_stop(self, call: Callable[[], None]) -> None:
        """Have a function called when the server begins to stop.

        An answer without end has to end then; the application is told of the stop only after all answers.
        """
        ...


def exchange_of(scope: Mapping[str, Any]) -> Exchange | None:
    """Find what the server offers for a request."""
    return cast("Exchange | None", scope.get("extensions", {}).get(EXCHANGE))
