"""What a migration needs of the machine that it is to run on."""

from hacdbs_sim import model
from hacdbs_sim.model.errors import check_within
from hacdbs_sim.vmm.errors import InvalidMigrationError


def check_spec(spec: model.MigrationSpec, backend: model.Backend) -> tuple[model.MemslotInfo, ...]:
    """Refuse a spec that this machine cannot run; return the slots to migrate, by number.

    Raises:
        InvalidMigrationError: Names the field, its bound and its value.
    """
    if (converge := spec.auto_converge) is not None:
        check_within(
            InvalidMigrationError, "auto_converge.initial", converge.initial, 1, converge.max
        )
    is_manual = backend.query(model.GetConfig()).protects_manually
    if spec.clear_order is model.ClearOrder.AFTER_COPY and not is_manual:
        raise InvalidMigrationError(
            "clear_order can be after_copy only where manual_dirty_log_protect2 is 1 or 3:"
            " else the get itself clears",
            field="clear_order",
            bound=model.ClearOrder.BEFORE_COPY.value,
            value=spec.clear_order.value,
        )
    views = {view.slot: view for view in backend.query(model.ListMemslots())}
    if spec.slots is None:
        chosen = [view for view in views.values() if spec.enable_logging or view.is_logging]
    else:
        chosen = [_slot(views, slot, spec) for slot in sorted(set(spec.slots))]
    if not chosen:
        what = "memslot" if spec.enable_logging else "memslot that logs"
        raise InvalidMigrationError(
            f"slots must name what is to be migrated: the VM has no {what}",
            field="slots",
            bound=1,
            value=0,
        )
    return tuple(chosen)


def _slot(
    views: dict[int, model.MemslotInfo], slot: int, spec: model.MigrationSpec
) -> model.MemslotInfo:
    view = views.get(slot)
    if view is None:
        raise InvalidMigrationError(
            f"slots must be memslots of the VM, {slot} is none",
            field="slots",
            bound=", ".join(map(str, views)) or "none",
            value=slot,
        )
    if not (spec.enable_logging or view.is_logging):
        raise InvalidMigrationError(
            f"slots must log where enable_logging is false, {slot} does not",
            field="slots",
            bound=", ".join(str(each.slot) for each in views.values() if each.is_logging) or "none",
            value=slot,
        )
    return view
