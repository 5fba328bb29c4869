"""Pairs of functions for what differs between the two clients besides `await`.

`scripts/client` replaces the first name of each pair by the second. The transports in process are
another pair, in in_process.py.
"""

import asyncio
import time

import httpx

async_sleep = asyncio.sleep
sync_sleep = time.sleep


async def async_start(http: httpx.AsyncClient) -> None:
    """Start the transport: in process, the application."""
    await http.__aenter__()


def sync_start(http: httpx.Client) -> None:
    """Do nothing: in process, the thread of the application has started already."""
