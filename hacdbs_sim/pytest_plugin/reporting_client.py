"""The client that reads what a report shows."""

from typing import Final

from hacdbs_sim.client import Client, Service

TIMEOUT_SECONDS: Final = 5.0
"""A service that does not respond must not hold the test run."""


def reporting_client(service: Service) -> Client:
    """Return a client whose requests do not appear among those of the test."""
    return service.client(timeout=TIMEOUT_SECONDS, retries=0)
