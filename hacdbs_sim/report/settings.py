"""How a run was set up, in tables."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from typing import Any

from hacdbs_sim import model
from hacdbs_sim.report import figures
from hacdbs_sim.report.parts import Table, cell, fields_table, given, table
from hacdbs_sim.wire import action_to_plain, to_plain


def spec_table(spec: model.MigrationSpec) -> Table:
    """Return the settings of a migration; those that are not the defaults are marked."""
    return _settings("Migration", spec, skipped={"schedule"})


def schedule_table(spec: model.MigrationSpec) -> tuple[Table, ...]:
    """Return the schedule of a migration as it was given."""
    if not spec.schedule:
        return ()
    rows: list[tuple[str, str, str]] = []
    for index, each in enumerate(spec.schedule):
        what = {} if each.action is None else action_to_plain(each.action)
        what |= {} if each.set is None else to_plain(each.set)
        rows.append((str(index), given(to_plain(each.point)), given(what)))
    return (table("Schedule as given", ("#item", "when", "what"), rows),)


def vm_tables(vm: model.VmSpec) -> tuple[Table, ...]:
    """Return the settings of a VM, and its parts."""
    made = [_settings("VM", vm, skipped={"memslots", "faults", "workloads", "costs"})]
    defaults = to_plain(model.CostModel())
    costs = {name: each for name, each in to_plain(vm.costs).items() if each != defaults[name]}
    if costs:
        made.append(fields_table("Costs that are not the defaults, in picoseconds", costs))
    if vm.memslots:
        headers = ("#slot", "guest address", "#size", "flags", "backing")
        rows = [
            [
                figures.text(getattr(each, name), name)
                for name in ("slot", "guest_phys_addr", "memory_size", "flags", "backing")
            ]
            for each in vm.memslots
        ]
        made.append(table("Memslots", headers, rows))
    if vm.workloads:
        made.append(_tagged("Workloads", "kind", vm.workloads))
    if vm.faults:
        made.append(_tagged("Faults", "type", vm.faults))
    return tuple(made)


def _tagged(caption: str, tag: str, items: Sequence[model.Model]) -> Table:
    rows: list[tuple[str, str]] = []
    for each in items:
        plain = to_plain(each)
        name = str(plain.pop(tag))
        rows.append((name, given(plain)))
    return table(caption, (tag, "settings"), rows)


def _settings(caption: str, value: model.Model, skipped: set[str]) -> Table:
    plain = to_plain(value)
    rows: list[tuple[str, str, str]] = []
    marked: list[int] = []
    for name, own, default in with_defaults(value):
        if name in skipped:
            continue
        if own != default:
            marked.append(len(rows))
        shown = own if isinstance(own, int) else plain[name]
        usual = figures.NOTHING if default is MISSING else cell(default, name)
        rows.append((name, cell(shown, name), usual))
    return table(caption, ("setting", "value", "default"), rows, marked=marked)


def with_defaults(value: model.Model) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the value and the default of each field; MISSING: it has no default."""
    for each in fields(value):  # type: ignore[arg-type]  # each class of the model is a dataclass
        default = each.default if each.default_factory is MISSING else each.default_factory()
        yield each.name, getattr(value, each.name), default
