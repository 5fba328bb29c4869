"""Migration presets: given fields, then the preset's fields, then the defaults."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import orjson

from hacdbs_sim.model import MigrationSpec, PresetMigration
from hacdbs_sim.vmm.presets import PRESETS
from hacdbs_sim.wire import read

M = TypeVar("M", bound=PresetMigration)


def with_preset(migration: M, given: Mapping[str, Any]) -> M:
    """Fill the missing fields of a migration with those of its preset.

    Args:
        migration: The parsed migration.
        given: Its JSON object; a null field counts as missing.
    """
    if migration.preset is None:
        return migration
    fields = PRESETS[migration.preset].migration
    preset = read(MigrationSpec, orjson.dumps(fields))
    missing = {name: getattr(preset, name) for name in fields if given.get(name) is None}
    return replace(migration, **missing)
