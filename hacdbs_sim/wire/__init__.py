"""How the model is written: JSON and octets, derived from its dataclasses (docs/architecture.md)."""

from hacdbs_sim.model.kinds import fill_hook
from hacdbs_sim.wire.errors import (
    InvalidRequestError,
    MalformedBodyError,
    error_at,
    parameter_errors,
)
from hacdbs_sim.wire.hook import core_schema_of
from hacdbs_sim.wire.openapi import REF_TEMPLATE, json_schemas
from hacdbs_sim.wire.problems import Site, document
from hacdbs_sim.wire.reader import Reader, body_class, read, reader_of
from hacdbs_sim.wire.writer import action_to_plain, to_plain, write

fill_hook(core_schema_of)

__all__ = [
    "REF_TEMPLATE",
    "InvalidRequestError",
    "MalformedBodyError",
    "Reader",
    "Site",
    "action_to_plain",
    "body_class",
    "document",
    "error_at",
    "json_schemas",
    "parameter_errors",
    "read",
    "reader_of",
    "to_plain",
    "write",
]
