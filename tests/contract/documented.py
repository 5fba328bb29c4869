"""Checks against the OpenAPI document: the operation of a request, and whether its response is documented.

Every client of these tests, and the fuzzer, hands its answers in here.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import jsonschema_rs

from app.http.refusals import CODES

METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})


class BrokenPromiseError(AssertionError):
    """A response that the document does not describe."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the document."""

    operation_id: str
    method: str
    path: str
    pattern: re.Pattern[str]
    described: Mapping[str, Any]

    @property
    def takes_body(self) -> bool:
        return "requestBody" in self.described

    @property
    def parameters(self) -> frozenset[str]:
        """The names of its parameters, those of headers in lowercase."""
        return frozenset(
            p["name"].lower() if p["in"] == "header" else p["name"]
            for p in self.described.get("parameters", ())
        )

    def codes(self, status: int) -> frozenset[str]:
        """Return the problem codes that are documented for a status."""
        return frozenset(self.described["responses"].get(str(status), {}).get(CODES, ()))

    def refusals(self) -> list[tuple[int, str]]:
        """List all documented refusals, by status and code."""
        return [
            (int(status), code)
            for status, response in self.described["responses"].items()
            for code in response.get(CODES, ())
        ]

    def successes(self) -> list[int]:
        return [int(status) for status in self.described["responses"] if status.startswith("2")]


def _closed(node: Any) -> Any:
    """Return a part of a document in which objects have only the described fields.

    Clients have to pass over what they do not know, so the document leaves objects open; this service may not
    answer with what is not documented.
    """
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    closed = {name: _closed(each) for name, each in node.items()}
    if isinstance(node.get("properties"), dict) and isinstance(node.get("type"), str):
        closed.setdefault("additionalProperties", False)
    return closed


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(map(re.escape, re.split(r"\{[a-z_]+\}", path))))


@dataclass(slots=True)
class Contract:
    """A document, and the observed (operation, status) pairs."""

    document: Mapping[str, Any]
    seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    _validators: dict[tuple[str, int, str], jsonschema_rs.Draft202012Validator] = field(
        default_factory=dict
    )
    _operations: tuple[Operation, ...] = ()

    @property
    def operations(self) -> tuple[Operation, ...]:
        if not self._operations:
            self._operations = tuple(
                Operation(described["operationId"], method.upper(), path, _pattern(path), described)
                for path, methods in self.document["paths"].items()
                for method, described in methods.items()
                if method in METHODS
            )
        return self._operations

    def operation_at(self, method: str, raw_path: str) -> Operation | None:
        """Return the operation that a request reaches, if any."""
        segments = [unquote(each, errors="replace") for each in raw_path.split("/")]
        path = "/".join(segment.replace("/", "%2F") for segment in segments)
        for operation in self.operations:
            if operation.method == method and operation.pattern.fullmatch(path):
                return operation
        return None

    def judge(
        self,
        method: str,
        raw_path: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        *,
        looks_inside: bool = True,
    ) -> Operation | None:
        """Raise for a response that the document does not describe.

        Args:
            method: Of the request.
            raw_path: Of the request, percent-encoded, without the query.
            status: Of the answer.
            headers: Of the answer, by lowercase name.
            body: Of the answer.
            looks_inside: Whether its JSON is held against the schema, which takes longest.

        Raises:
            BrokenPromiseError: the answer breaks a promise.
        """
        operation = self.operation_at(method, raw_path)
        if operation is None:
            return None
        self.seen[operation.operation_id, status] += 1
        where = f"{operation.operation_id} answered {status}"
        response = operation.described["responses"].get(str(status))
        if response is None:
            raise BrokenPromiseError(f"{where}, which is not documented: {body[:500]!r}")
        media_type = headers.get("content-type", "").partition(";")[0]
        if media_type not in response.get("content", {"": {}}):
            raise BrokenPromiseError(f"{where} as {media_type!r}, which is not documented")
        of_all = self.document["components"]["headers"]
        for name, header in {**response["headers"], **of_all}.items():
            if header.get("required") and name.lower() not in headers:
                raise BrokenPromiseError(f"{where} without {name}")
        if looks_inside and media_type.endswith("json"):
            self._look_inside(operation, status, media_type, body)
        return operation

    def _look_inside(self, operation: Operation, status: int, media_type: str, body: bytes) -> None:
        answer = json.loads(body)
        key = (operation.operation_id, status, media_type)
        if (validator := self._validators.get(key)) is None:
            content = operation.described["responses"][str(status)]["content"]
            validator = self._validators[key] = jsonschema_rs.Draft202012Validator(
                _closed(
                    {**content[media_type]["schema"], "components": self.document["components"]}
                )
            )
        where = f"{operation.operation_id} answered {status}"
        if (broken := next(validator.iter_errors(answer), None)) is not None:
            raise BrokenPromiseError(f"{where}: {broken.message} at {broken.instance_path}")
        if status >= 400 and answer["code"] not in operation.codes(status):
            raise BrokenPromiseError(f"{where} {answer['code']}, which is not documented")
