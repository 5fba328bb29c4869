"""What a VM may be made of: the checks of its configuration and of KVM_ENABLE_CAP."""

from hacdbs_sim.model import MANUAL_PROTECT_AND_INIT_SET, MANUAL_PROTECT_ENABLE, VmConfig
from hacdbs_sim.model.errors import InvalidArgumentError, check_within
from hacdbs_sim.model.units import (
    MAX_CPUS,
    MAX_IPA_BITS,
    MAX_VCPUS,
    MIN_IPA_BITS,
    PAGE_SIZES_BYTES,
    leaf_sizes_bytes,
)


def check_config(config: VmConfig) -> None:
    """Refuse figures that no VM can have (EINVAL)."""
    _check_one_of("page_size", config.page_size, PAGE_SIZES_BYTES)
    check_within(InvalidArgumentError, "ipa_bits", config.ipa_bits, MIN_IPA_BITS, MAX_IPA_BITS)
    check_within(InvalidArgumentError, "vcpus", config.vcpus, 1, MAX_VCPUS)
    check_within(InvalidArgumentError, "cpus", config.cpus, 1, MAX_CPUS)
    check_within(InvalidArgumentError, "seed", config.seed, 0, (1 << 64) - 1)
    check_manual_protect(config.manual_dirty_log_protect2)
    check_chunk_size(config.eager_split_chunk_size, config.page_size)


def check_manual_protect(flags: int) -> None:
    """KVM_ENABLE_CAP: initially-set alone and unknown bits are EINVAL (docs/kernel.md A.4)."""
    _check_one_of(
        "manual_dirty_log_protect2",
        flags,
        (0, MANUAL_PROTECT_ENABLE, MANUAL_PROTECT_AND_INIT_SET),
    )


def check_chunk_size(chunk_size_bytes: int, page_size: int) -> None:
    """KVM_ENABLE_CAP: 0 or a leaf size of the granule, else EINVAL (docs/kernel.md A.6)."""
    _check_one_of("eager_split_chunk_size", chunk_size_bytes, (0, *leaf_sizes_bytes(page_size)))


def _check_one_of(field: str, value: int, allowed: tuple[int, ...]) -> None:
    if value not in allowed:
        listed = ", ".join(map(str, allowed))
        raise InvalidArgumentError.must(field, f"be one of {listed}", value, bound=listed)
