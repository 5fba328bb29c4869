"""Calls of the document's operations on an application."""

from collections.abc import Callable

import httpx

from app.http.application import Application
from app.main import create_app
from app.settings import Settings
from tests.contract.calls import Call
from tests.contract.documented import Contract

Connect = Callable[[Application], httpx.AsyncClient]

CONTRACT = Contract(create_app(Settings()).openapi())
OPERATIONS = {operation.operation_id: operation for operation in CONTRACT.operations}


async def send(client: httpx.AsyncClient, call: Call) -> httpx.Response:
    """Make a call."""
    operation = OPERATIONS[call.operation_id]
    return await client.request(operation.method, call.path(operation.path), **call.request)
