"""Migrations: how they are to be run."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, cast

from pydantic import FailFast, Field
from typing_extensions import TypedDict

from hacdbs_sim.vmm import AutoConverge, ClearOrder, MigrationSpec, Scheduled, TimeoutStrategy
from hacdbs_sim.vmm import spec as bounds
from hacdbs_sim.vmm.presets import PRESETS, Preset

from ...service.migrations import MAX_PACE_MS
from .actions import action_of
from .base import Request, answer, example
from .batch import BatchAction
from .fields import MAX_SLOT, Slot, Whole

MAX_VM_ID_CHARS: Final = 96

PresetName = Literal["converges", "never_converges"]
Percent = Annotated[int, Whole(1, 99)]
Nanoseconds = Annotated[int, Whole(1, bounds.MAX_DURATION_NS)]

_DEFAULT: Final = MigrationSpec()
_CONVERGE: Final = AutoConverge()


class AutoConvergeIn(Request):
    """Throttling of the vCPUs, in percent of their time, as QEMU's auto-converge."""

    initial: Percent = _CONVERGE.initial
    increment: Percent = _CONVERGE.increment
    max: Percent = _CONVERGE.max
    trigger_threshold: Annotated[int, Whole(1, 100)] = Field(
        default=_CONVERGE.trigger_threshold,
        description="Percentage of the bytes sent that may be dirtied meanwhile.",
    )

    def to_domain(self) -> AutoConverge:
        """Give the VMM's value."""
        return AutoConverge(self.initial, self.increment, self.max, self.trigger_threshold)


class ScheduledIn(Request):
    """An action, as a batch takes it, performed before the get of an iteration."""

    iteration: Annotated[int, Whole(0, bounds.MAX_ITERATIONS)]
    action: BatchAction

    def to_domain(self) -> Scheduled:
        """Give the VMM's value."""
        told = self.action.model_dump(mode="json", exclude_unset=True)
        return Scheduled(self.iteration, self.action.op, action_of(self.action), told)


class MigrationFields(Request):
    """How a migration is run; what a preset sets too is what is given here."""

    max_bytes: ClassVar = 1 << 18
    max_colons: ClassVar = 1 << 14

    preset: PresetName | None = None
    bandwidth_bytes_per_second: Annotated[
        int, Whole(bounds.MIN_BANDWIDTH, bounds.MAX_BANDWIDTH)
    ] = _DEFAULT.bandwidth_bytes_per_second
    downtime_limit_ns: Annotated[int, Whole(0, bounds.MAX_DURATION_NS)] = Field(
        default=_DEFAULT.downtime_limit_ns,
        description="Switch over once the rest can be sent in this time.",
    )
    max_iterations: Annotated[int, Whole(1, bounds.MAX_ITERATIONS)] = Field(
        default=_DEFAULT.max_iterations, description="The most passes while the guest runs."
    )
    timeout_ns: Nanoseconds | None = Field(
        default=None, description="The most virtual time before the switch-over."
    )
    timeout_strategy: TimeoutStrategy = Field(
        default=_DEFAULT.timeout_strategy,
        description="What happens once the time or the iterations are used up.",
    )
    auto_converge: AutoConvergeIn | None = None
    slots: Annotated[list[Slot], Field(min_length=1, max_length=MAX_SLOT + 1)] | None = Field(
        default=None, description="Which to migrate; null: all."
    )
    enable_logging: bool = Field(
        default=True, description="Slots that do not log begin to at setup, and end afterwards."
    )
    clear_chunk_pages: Annotated[int, Whole(64, bounds.MAX_CLEAR_CHUNK_PAGES, multiple_of=64)] = (
        Field(
            default=_DEFAULT.clear_chunk_pages,
            description="Pages of one clear, and of what is copied with it.",
        )
    )
    clear_order: ClearOrder = Field(
        default=_DEFAULT.clear_order,
        description="after_copy loses what the guest writes between the copy and the clear.",
    )
    verify: bool = Field(
        default=True, description="Follow page versions, and list what the destination has not."
    )
    full_first_pass: bool = Field(
        default=True, description="The first pass sends all pages, not only the dirty ones."
    )
    schedule: Annotated[list[ScheduledIn], FailFast(), Field(max_length=bounds.MAX_SCHEDULED)] = (
        Field(default=[])
    )

    def to_spec(self) -> MigrationSpec:
        """Give the VMM's value: what is given, then the preset's, then the defaults."""
        chosen = self._with_preset()
        converge = chosen.auto_converge
        return MigrationSpec(
            bandwidth_bytes_per_second=chosen.bandwidth_bytes_per_second,
            downtime_limit_ns=chosen.downtime_limit_ns,
            max_iterations=chosen.max_iterations,
            timeout_ns=chosen.timeout_ns,
            timeout_strategy=chosen.timeout_strategy,
            auto_converge=None if converge is None else converge.to_domain(),
            slots=None if chosen.slots is None else tuple(chosen.slots),
            enable_logging=chosen.enable_logging,
            clear_chunk_pages=chosen.clear_chunk_pages,
            clear_order=chosen.clear_order,
            verify=chosen.verify,
            full_first_pass=chosen.full_first_pass,
            schedule=tuple(each.to_domain() for each in chosen.schedule),
        )

    def _with_preset(self) -> "MigrationFields":
        if self.preset is None:
            return self
        preset = MigrationFields.model_validate(dict(PRESETS[self.preset].migration), strict=False)
        given = {name: getattr(self, name) for name in MigrationFields.model_fields}
        return preset.model_copy(
            update={name: given[name] for name in self.model_fields_set & given.keys()}
        )


PaceMs = Annotated[
    Annotated[int, Whole(0, MAX_PACE_MS)],
    Field(description="Real milliseconds to wait after each iteration and phase, to watch it."),
]


class MigrationIn(MigrationFields):
    """A migration to begin."""

    model_config = example(vm_id="default-1", preset="converges")

    vm_id: Annotated[str, Field(max_length=MAX_VM_ID_CHARS)]
    pace_ms: PaceMs = 0


@answer
class AutoConvergeOut(TypedDict):
    """Throttling of the vCPUs, in percent of their time."""

    initial: int
    increment: int
    max: int
    trigger_threshold: int


@answer
class ScheduledSpecOut(TypedDict):
    """An action of the schedule, as it was asked for."""

    iteration: int
    action: dict[str, Any]


@answer
class MigrationSpecOut(TypedDict):
    """How a migration is run: every field, with what was left out filled in."""

    bandwidth_bytes_per_second: int
    downtime_limit_ns: int
    max_iterations: int
    timeout_ns: int | None
    timeout_strategy: Literal["cancel", "switch_over"]
    auto_converge: AutoConvergeOut | None
    slots: list[int]
    enable_logging: bool
    clear_chunk_pages: int
    clear_order: Literal["before_copy", "after_copy"]
    verify: bool
    full_first_pass: bool
    schedule: list[ScheduledSpecOut]


def spec_out(spec: MigrationSpec) -> MigrationSpecOut:
    """Project how a migration is run."""
    converge = spec.auto_converge
    return {
        "bandwidth_bytes_per_second": spec.bandwidth_bytes_per_second,
        "downtime_limit_ns": spec.downtime_limit_ns,
        "max_iterations": spec.max_iterations,
        "timeout_ns": spec.timeout_ns,
        "timeout_strategy": spec.timeout_strategy.value,
        "auto_converge": None
        if converge is None
        else {
            "initial": converge.initial,
            "increment": converge.increment,
            "max": converge.max,
            "trigger_threshold": converge.trigger_threshold,
        },
        "slots": list(spec.slots or ()),
        "enable_logging": spec.enable_logging,
        "clear_chunk_pages": spec.clear_chunk_pages,
        "clear_order": spec.clear_order.value,
        "verify": spec.verify,
        "full_first_pass": spec.full_first_pass,
        "schedule": [
            {"iteration": each.iteration, "action": dict(each.told)} for each in spec.schedule
        ],
    }


@answer
class PresetOut(TypedDict):
    """A migration that ends in a known way on the VM that goes with it."""

    preset: PresetName
    description: str
    migration: dict[str, Any]
    vm: dict[str, Any]


@answer
class PresetListOut(TypedDict):
    """Presets, by name."""

    presets: list[PresetOut]
    next_page_token: str


def preset_out(preset: Preset) -> PresetOut:
    """Project a preset."""
    return {
        "preset": cast("PresetName", preset.name),
        "description": preset.description,
        "migration": _plain(preset.migration),
        "vm": _plain(preset.vm),
    }


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return dict(fields)
