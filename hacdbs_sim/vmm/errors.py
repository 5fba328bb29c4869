"""Refusals of a migration, beside those of the simulated KVM."""

from hacdbs_sim.model.errors import KvmError


class InvalidMigrationError(KvmError):
    """A migration that could not run on this VM as it is: a slot that is absent or does not log."""

    code = "invalid_migration"
    title = "The migration makes no sense"


class SlotChangedError(KvmError):
    """A slot changed its size, or its versions ended, while it was being migrated."""

    code = "slot_changed"
    title = "A slot changed while it was migrated"
