"""What a migration needs of the machine that it is to run on."""

from collections.abc import Collection, Sequence

from hacdbs_sim import model
from hacdbs_sim.model.errors import check_within
from hacdbs_sim.vmm.errors import InvalidMigrationError


def check_spec(
    spec: model.MigrationSpec, backend: model.Backend, borrowed: Collection[int] = ()
) -> tuple[model.MemslotInfo, ...]:
    """Refuse a spec that this machine cannot run; return the slots to migrate, by number.

    Args:
        spec: What is to be run.
        backend: The machine.
        borrowed: Slots whose log another reader of the VMM has begun: it names no change before.

    Raises:
        InvalidMigrationError: Names the field, its bound and its value.
    """
    check_converge(spec.auto_converge)
    is_manual = backend.query(model.GetConfig()).protects_manually
    if spec.clear_order is model.ClearOrder.AFTER_COPY and not is_manual:
        raise InvalidMigrationError(
            "clear_order can be after_copy only where manual_dirty_log_protect2 is 1 or 3:"
            " else the get itself clears",
            field="clear_order",
            bound=model.ClearOrder.BEFORE_COPY.value,
            value=spec.clear_order.value,
        )
    _check_postcopy(spec)
    _check_link(spec.link)
    _check_schedule(spec.schedule)
    views = {view.slot: view for view in backend.query(model.ListMemslots())}
    if spec.slots is None:
        chosen = [view for view in views.values() if spec.enable_logging or view.is_logging]
    else:
        chosen = [_slot(views, slot, spec) for slot in sorted(set(spec.slots))]
    if not chosen:
        what = "memslot" if spec.enable_logging else "memslot that logs"
        raise InvalidMigrationError(
            f"the VM has no {what}, so there is nothing to migrate", field="slots", bound=1
        )
    if not spec.full_first_pass:
        _check_base(chosen, borrowed)
    return tuple(chosen)


def check_converge(converge: model.AutoConverge | None) -> None:
    """Refuse throttling that would begin above its maximum.

    Raises:
        InvalidMigrationError: Names the field, its bound and its value.
    """
    if converge is not None:
        check_within(
            InvalidMigrationError, "auto_converge.initial", converge.initial, 1, converge.max
        )


def _check_base(chosen: Sequence[model.MemslotInfo], borrowed: Collection[int]) -> None:
    """Refuse an incremental migration of a slot whose log does not say what has changed."""
    for view in chosen:
        if not view.is_logging or view.slot in borrowed:
            raise InvalidMigrationError(
                f"full_first_pass can be false only where all slots log, {view.slot} does not:"
                " nothing says what it wrote since the base",
                field="full_first_pass",
                bound=True,
                value=False,
            )


def _check_postcopy(spec: model.MigrationSpec) -> None:
    if spec.timeout_strategy is model.TimeoutStrategy.POSTCOPY and spec.postcopy is None:
        raise InvalidMigrationError(
            "timeout_strategy can be postcopy only where postcopy is given",
            field="timeout_strategy",
            bound="cancel, switch_over",
            value=spec.timeout_strategy.value,
        )


def _check_link(link: model.LinkSpec | None) -> None:
    for index, event in enumerate(link.events if link else ()):
        needs = {
            model.LinkEventType.DOWN: "duration_ns",
            model.LinkEventType.RATE: "bytes_per_second",
        }.get(event.type)
        if needs is not None and getattr(event, needs) is None:
            raise InvalidMigrationError(
                f"an event of type {event.type.value} must have {needs}",
                field=f"link.events.{index}.{needs}",
                bound="a number",
                value=None,
            )


def _check_schedule(schedule: Sequence[model.Scheduled]) -> None:
    for index, item in enumerate(schedule):
        if item.action is None and item.set is None:
            raise InvalidMigrationError(
                "an item of the schedule must have an action or a set",
                field=f"schedule.{index}",
                bound="action, set",
                value=None,
            )
        point = item.point
        is_get = point.point is model.Point.AFTER_LAST_GET
        if is_get and point.phase is not model.Phase.DEVICE:
            raise InvalidMigrationError(
                "point can be after_last_get only in the phase device",
                field=f"schedule.{index}.at.point",
                bound="begin, end",
                value=point.point.value,
            )


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
