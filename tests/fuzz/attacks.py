"""What a client may send that no client should: each attack, and the answers that are right.

An attack is bytes on a connection of its own. Where it says nothing of an answer, the server may
wait, close or refuse; what it must never do is answer 5xx, complain, or let others wait.
"""

import random
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tests.support.wire import Connection, NoAnswerError

HOST: Final = b"Host: 127.0.0.1\r\n"
JSON: Final = b"Content-Type: application/json\r\n"
POST: Final = b"POST /v1/vms HTTP/1.1\r\n" + HOST + JSON
CHUNKED: Final = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET: Final = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER that makes a close a reset."""


@dataclass(frozen=True, slots=True)
class Attack:
    """Bytes, piece by piece, and what is right to answer."""

    name: str
    pieces: tuple[bytes, ...]
    answers: tuple[int, ...] = ()
    """Statuses in order, the connection being closed or left after them; none: leave at once."""
    pause_seconds: float = 0.0
    resets: bool = False
    """Leave by a reset, answers unread."""


def _framing() -> Iterable[Attack]:
    """Bodies that do not have the length they say, or say two."""
    chunk = b"5\r\n{    \r\n"
    yield Attack("chunk size that is not a number", (CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",), (400,))
    yield Attack("chunk size beyond 64 bits", (CHUNKED + b"F" * 17 + b"\r\n{}",), (400,))
    yield Attack("negative chunk size", (CHUNKED + b"-1\r\n{}\r\n0\r\n\r\n",), (400,))
    yield Attack("chunk longer than it says", (CHUNKED + b"2\r\n{}}}\r\n0\r\n\r\n",), (400,))
    yield Attack("chunk extension without end", (CHUNKED + b"2;" + b"x" * (1 << 20),), ())
    yield Attack("chunks, then nothing", (CHUNKED + chunk,))
    yield Attack("half a chunk, then a reset", (CHUNKED + b"ff\r\n{",), resets=True)
    yield Attack("chunks of one byte", (CHUNKED, *([b"1\r\n \r\n"] * 64), b"0\r\n\r\n"), (400,))
    yield Attack("half a body", (POST + b"Content-Length: 100\r\n\r\n{",))
    yield Attack("half a body, then a reset", (POST + b"Content-Length: 9\r\n\r\n{",), resets=True)
    for length in (b"+2", b"-2", b"2 2", b"0x2", b"2,2", b"two", b"9" * 30):
        head = POST + b"Content-Length: " + length + b"\r\n\r\n{}"
        yield Attack(f"content length {length.decode()}", (head,), (400,))
    two = b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}}"
    yield Attack("two content lengths", (POST + two,), (400,))
    both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    yield Attack("content length and chunks", (POST + both + GET,), (400,))
    both = b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    yield Attack("chunks and content length", (POST + both + GET,), (400,))
    for coding in (
        *(b"xchunked", b"chunked, identity", b"identity", b"chunked, chunked"),
        *(b"gzip, chunked", b"gzip", b"", b"chunked\r\nTransfer-Encoding: chunked"),
    ):
        head = POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n"
        yield Attack(f"transfer coding {coding.decode()}", (head + GET,), (400,))
    old = CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"2\r\n{}\r\n0\r\n\r\n"
    yield Attack("chunks in HTTP/1.0", (old + GET,), (400,))
    spaced = b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"
    yield Attack("space before the colon", (POST + spaced,), (400,))
    lines = b"POST /v1/vms HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 0\n\n"
    yield Attack("lines without a carriage return", (lines,))
    yield Attack("folded header", (b"GET /livez HTTP/1.1\r\nHost:\r\n 127.0.0.1\r\n\r\n",))


def _heads() -> Iterable[Attack]:
    """Heads that are too long, or no heads."""
    many = b"".join(b"X-%d: v\r\n" % number for number in range(10_000))
    start = b"GET /livez HTTP/1.1\r\n" + HOST
    yield Attack("10,000 headers", (start + many + b"\r\n",), (431,))
    yield Attack("1,000 headers", (start + many[:9_000].rpartition(b"\n")[0] + b"\n\r\n",), (200,))
    yield Attack("header of 1 MiB", (start + b"X: " + b"v" * (1 << 20) + b"\r\n\r\n",), (431,))
    yield Attack("header without end", (start + b"X: ", *([b"v" * 8_192] * 16)), (431,))
    yield Attack("name of 1 MiB", (start + b"X" * (1 << 20) + b": v\r\n\r\n",), (431,))
    long = b"/" + b"x" * (1 << 20)
    yield Attack("path of 1 MiB", (b"GET " + long + b" HTTP/1.1\r\n" + HOST + b"\r\n",), (431,))
    query = b"GET /livez?" + b"&".join([b"a=1"] * 10_000) + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    yield Attack("10,000 parameters", (query,), (422,))
    for method in (b"get", b"BREW", b"G ET", b"\0GET", b"GE\xc3\x89", b"", b"G" * 1_000):
        line = method + b" /livez HTTP/1.1\r\n" + HOST + b"\r\n"
        yield Attack(f"method {method[:8]!r}", (line,), (400,))
    for method in (b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND"):
        line = method + b" /livez HTTP/1.1\r\n" + HOST + b"\r\n"
        yield Attack(f"method {method.decode()}", (line,), (405,))
    for version in (b"HTTP/2.0", b"HTTP/9.9", b"HTTP/1", b"HTTP/x", b"http/1.1", b"ICY/1.1", b""):
        line = b"GET /livez " + version + b"\r\n" + HOST + b"\r\n"
        yield Attack(f"version {version.decode()!r}", (line,))
    yield Attack("HTTP/0.9", (b"GET /livez\r\n",))
    yield Attack("HTTP/1.0", (b"GET /livez HTTP/1.0\r\n" + HOST + b"\r\n",), (200,))
    yield Attack("no host", (b"GET /livez HTTP/1.1\r\n\r\n",), (400,))
    for name, value in (
        *(("Host", "127.0.0.1"), ("Content-Type", "application/json"), ("If-Match", '"1"')),
        *(("Authorization", "Bearer x"), ("Idempotency-Key", "k"), ("Content-Length", "0")),
    ):
        line = f"{name}: {value}\r\n".encode()
        rest = b"" if name == "Host" else HOST
        twice = b"POST /v1/sessions/default/reset HTTP/1.1\r\n" + rest + line * 2 + b"\r\n"
        yield Attack(f"two of {name}", (twice + GET,), (400,))
    for host in (b"[::1]evil.com", b"127.0.0.1:x", b"127.0.0.1 x", b"x@127.0.0.1", b"127.0.0.1/"):
        line = b"GET /livez HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        yield Attack(f"host {host.decode()}", (line,), (400,))
    yield Attack("HTTP/2 preface", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9,), (400,))
    yield Attack(
        "TLS hello", (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),), (400,)
    )
    yield Attack("zeros", (bytes(4_096),), (400,))
    yield Attack("empty lines", (b"\r\n" * 1_000 + GET,), (200,))
    yield Attack("half a head", (b"GET /livez HTTP/1.1\r\nHo",))
    yield Attack("nothing at all", ())
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    yield Attack("web socket", (b"GET /v1/vms HTTP/1.1\r\n" + HOST + upgrade + key,), (200,))
    h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    offer = b"GET /livez HTTP/1.1\r\n" + HOST + h2c + b"\r\n"
    yield Attack("HTTP/2 offered", (offer + GET,), (200, 200))
    yield Attack("HTTP/2 offered with a body", (_posted(b"{}", h2c) + GET,), (201, 200))


def _targets() -> Iterable[Attack]:
    """Targets that name nothing, or name it oddly."""
    for target, status in (
        (b"http://127.0.0.1/livez", 200),
        (b"HTTP://127.0.0.1/livez", 200),
        (b"http://elsewhere.example/livez", 400),
        (b"http://127.0.0.1.elsewhere.example/livez", 400),
        (b"http://x@127.0.0.1/livez", 400),
        (b"http://127.0.0.1:81/livez", 400),
        (b"ftp://127.0.0.1/livez", 400),
        (b"/v1%2fvms", 404),
        (b"/v1/vms/%", 404),
        (b"/v1/vms/%zz", 404),
        (b"/v1/vms/%00", 404),
        (b"/v1/vms/%ff%fe", 404),
        (b"/v1/vms/%ed%a0%80", 404),
        (b"/v1/vms/..%2f..%2fetc", 404),
        (b"/../../etc/passwd", 404),
        (b"//livez", 404),
        (b"/livez/", 404),
        (b"/v1/vms?limit=%ff", 422),
        (b"/v1/vms?limit=%", 422),
        (b"/v1/vms?&&&=&", 422),
        (b"/v1/vms?limit=1;limit=2", 422),
    ):
        line = b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"
        yield Attack(f"target {target.decode()}", (line,), (status,))
    for target in (b"*", b"livez", b"127.0.0.1:80", b"http://", b"/\0", b"/\xff", b"/ /", b"\\x"):
        line = b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"
        yield Attack(f"target {target!r}", (line,))
    yield Attack("connect", (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + HOST + b"\r\n",))


def _posted(body: bytes, more: bytes = b"") -> bytes:
    return POST + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _bodies() -> Iterable[Attack]:
    """Bodies that are well framed and no JSON, or JSON to choke on."""
    for name, body, status in (
        ("depth of 100,000", b'{"memslots":' + b"[" * 100_000, 400),
        ("objects of depth 100,000", b'{"a":' * 100_000, 400),
        ("no UTF-8", b'{"name": "\xff\xfe"}', 400),
        ("lone surrogate", rb'{"name": "\ud800"}', 400),
        ("NUL", b'{"name": "\0"}', 400),
        ("NaN", b'{"seed": NaN}', 400),
        ("number beyond doubles", b'{"seed": 1e999}', 422),
        ("number of 4,000 digits", b'{"seed": ' + b"9" * 4_000 + b"}", 422),
        ("number of 5,000 digits", b'{"seed": ' + b"9" * 5_000 + b"}", 400),
        ("the same field twice", b'{"vcpus": 1, "vcpus": 1}', 422),
        ("the same field twice, written otherwise", rb'{"vcpus": 1, "vcpu\u0073": 1}', 422),
        ("the same field twice in a part", b'{"features": {"dbm": true, "dbm": true}}', 422),
        (
            "100,000 unknown keys",
            b"{" + b",".join(b'"%d":0' % n for n in range(100_000)) + b"}",
            422,
        ),
        ("byte order mark", b"\xef\xbb\xbf{}", 400),
        ("two documents", b"{}{}", 400),
    ):
        yield Attack(f"body: {name}", (_posted(body),), (status,))
    yield Attack("body said to be gzip", (_posted(b"{}", b"Content-Encoding: gzip\r\n"),))
    get = b"GET /livez HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nabcd"
    yield Attack("a body with GET", (get + GET,), (200, 200))
    again = POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    yield Attack("expects 100-continue", (again, b"{}"), (201,), 0.05)
    yield Attack("expects a miracle", (_posted(b"{}", b"Expect: a miracle\r\n"),), (201,))
    early = b"POST /nowhere HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 100000\r\n\r\n"
    yield Attack(
        "continues to send after a refusal", (early, *([b"x" * 10_000] * 10), GET), (404, 200)
    )


def _pipelines() -> Iterable[Attack]:
    """Requests one behind the other."""
    yield Attack("50 requests at once", (GET * 50,), (200,) * 50)
    yield Attack("50 requests, none read", (GET * 50,), resets=True)
    reset = b"POST /v1/sessions/default/reset HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n"
    yield Attack("malformed HTTP behind a request", (reset + b"\0\0\0\r\n\r\n",), (204,))
    yield Attack("a bad body behind a request", (GET + CHUNKED + b"zz\r\n",), (200,))
    yield Attack("a head too long behind a request", (GET + b"GET /" + b"x" * (1 << 17),), (200,))


def _leavers() -> Iterable[Attack]:
    """Clients that leave before their time."""
    yield Attack("a reset after the head", (POST + b"Content-Length: 2\r\n\r\n",), resets=True)
    yield Attack("a reset after a request", (_posted(b"{}"),), resets=True)
    yield Attack("a reset after connecting", (), resets=True)
    openapi = b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"
    yield Attack("a reset in a large answer", (openapi * 20,), (200,), resets=True)
    yield Attack("drips a head", tuple(GET[n : n + 2] for n in range(0, len(GET), 2)), (200,), 0.01)
    body = _posted(b"{" + b" " * 40 + b"}")
    yield Attack(
        "drips a body", tuple(body[n : n + 4] for n in range(0, len(body), 4)), (201,), 0.01
    )


ATTACKS: Final = (
    *_framing(),
    *_heads(),
    *_targets(),
    *_bodies(),
    *_pipelines(),
    *_leavers(),
)


def mutated(rng: random.Random, octets: bytes) -> Attack:
    """Damage a request at one to three places."""
    damaged = bytearray(octets)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(damaged) + 1)
        match rng.randrange(5):
            case 0:
                damaged[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                damaged[at:at] = rng.choice(
                    (b"\0", b"\r\n", b"\n", b" ", b"%", b"\xff", b":", b"\t")
                )
            case 2:
                del damaged[at : at + rng.randint(1, 20)]
            case 3:
                damaged[at:at] = damaged[at : at + rng.randint(1, 40)]
            case _:
                del damaged[at:]
    pieces = tuple(damaged[:cut] for cut in (len(damaged),)) if damaged else ()
    return Attack("mutated", tuple(map(bytes, pieces)), resets=rng.random() < 0.2)


def perform(attack: Attack, port: int, *, listens_seconds: float = 0.0) -> list[int]:
    """Perform an attack; return the statuses that were answered.

    Args:
        attack: What to send.
        port: Where to.
        listens_seconds: How long to wait for an answer that the attack does not list.
    """
    statuses: list[int] = []
    with Connection(port) as connection:
        try:
            for piece in attack.pieces:
                connection.send(piece)
                time.sleep(attack.pause_seconds)
        except (ConnectionError, TimeoutError):
            pass  # the server has had enough; what it said is read below
        connection.connect()
        if attack.resets:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return []
        method = "HEAD" if attack.pieces[:1] and attack.pieces[0].startswith(b"HEAD") else "GET"
        statuses += [connection.read(method).status for _ in attack.answers]
        if not attack.answers and listens_seconds:
            connection.socket.settimeout(listens_seconds)
            with suppress(NoAnswerError, ConnectionError, TimeoutError):
                statuses.append(connection.read().status)
    return statuses
