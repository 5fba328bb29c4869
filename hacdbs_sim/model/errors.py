"""What a caller of the simulated KVM can be refused with.

Every refusal that userspace would see is a `KvmError`. A leaf is named for its cause and carries the
kernel's errno where the operation stands for an ioctl (docs/errors.md lists them; docs/kernel.md A has
the order of the checks). A broken invariant is an `AssertionError` instead: a bug, never caught.
"""

import re
from enum import StrEnum
from typing import ClassVar, Self

from typing_extensions import override


class Errno(StrEnum):
    """The errno values that this simulator can answer, by the kernel's names."""

    EPERM = "EPERM"
    ENOENT = "ENOENT"
    ENXIO = "ENXIO"
    EAGAIN = "EAGAIN"
    ENOMEM = "ENOMEM"
    EFAULT = "EFAULT"
    EBUSY = "EBUSY"
    EEXIST = "EEXIST"
    EINVAL = "EINVAL"


def snake_case(name: str) -> str:
    """Return the name of a class as the wire spells it."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class KvmError(Exception):
    """A refusal that leaves the machine as it was (but for the two cases in docs/kernel.md S.2).

    Args:
        detail: One sentence of the form "first_page must be a multiple of 64, not 33".
        field: The public name of the argument at fault, where one argument is.
        bound: The limit that it broke.
        value: What was given.
    """

    code: ClassVar[str]
    """The class' name in snake case, less `_error`; a class may override it."""

    errno: ClassVar[Errno | None] = None
    status: ClassVar[int] = 409
    """404 where `code` begins with `no_`, else 409; a class may override it."""

    title: ClassVar[str] = "Refused"
    """`code` as words; a class may override it."""

    @override
    def __init_subclass__(cls, *, is_abstract: bool = False) -> None:
        if is_abstract:
            return
        if "code" not in cls.__dict__:
            cls.code = snake_case(cls.__name__.removesuffix("Error"))
        if "status" not in cls.__dict__:
            cls.status = 404 if cls.code.startswith("no_") else 409
        if "title" not in cls.__dict__:
            cls.title = cls.code.replace("_", " ").capitalize()

    def __init__(
        self,
        detail: str,
        *,
        field: str | None = None,
        bound: int | str | None = None,
        value: int | str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.bound = bound
        self.value = value

    @classmethod
    def must(
        cls, field: str, rule: str, value: int | str, *, bound: int | str | None = None
    ) -> Self:
        """Return the refusal of an argument: "`field` must `rule`, not `value`"."""
        return cls(f"{field} must {rule}, not {value}", field=field, bound=bound, value=value)

    @classmethod
    def absent(cls, field: str, value: int, *, count: int, what: str) -> Self:
        """Return the refusal of a number that none of a VM's things has, numbered from 0."""
        has, numbers = (f"1 {what}", "0") if count == 1 else (f"{count} {what}s", f"0..{count - 1}")
        detail = f"the VM has {has}, so {field} must be {numbers} (got {value})"
        return cls(detail, field=field, bound=count - 1, value=value)


def check_within(refusal: type[KvmError], field: str, value: int, low: int, high: int) -> None:
    """Refuse a figure outside of its bounds, both included."""
    if not low <= value <= high:
        raise refusal.must(field, f"be {low}..{high}", value, bound=f"{low}..{high}")


class InvalidArgumentError(KvmError):
    """An argument that the ioctl refuses by itself: alignment, range, unknown flag (EINVAL)."""

    errno = Errno.EINVAL


class MemslotChangedError(KvmError):
    """A present slot keeps its size, address in userspace, backing and READONLY flag (EINVAL)."""

    title = "The memslot cannot change so"
    errno = Errno.EINVAL


class MemslotOverlapError(KvmError):
    """The slot would cover guest frames of another one (EEXIST)."""

    title = "The memslots overlap"
    errno = Errno.EEXIST


class BeyondIpaSpaceError(KvmError):
    """The slot would end beyond the VM's intermediate physical address space (EFAULT)."""

    title = "Beyond the IPA space"
    errno = Errno.EFAULT


class NoSuchMemslotError(KvmError):
    """Delete of a slot that is absent (EINVAL, docs/kernel.md A.1 check 9), or a query of one."""

    errno = Errno.EINVAL


class NoDirtyLogError(KvmError):
    """The slot is absent or does not log dirty pages (ENOENT)."""

    errno = Errno.ENOENT


class WindowOutsideMemslotError(KvmError):
    """The window of a clear leaves the slot, or ends unaligned before its end (EINVAL)."""

    title = "The window leaves the memslot"
    errno = Errno.EINVAL


class CopyToUserError(KvmError):
    """The copy of the dirty bitmap to userspace failed (EFAULT, an injected fault)."""

    code = "copy_to_user_failed"
    title = "Copy to userspace failed"
    errno = Errno.EFAULT


class MemslotsPresentError(KvmError):
    """The eager-split chunk size cannot change once a slot exists (EINVAL, docs/kernel.md A.6)."""

    title = "Memslots are present"
    errno = Errno.EINVAL


class LastCpuError(KvmError):
    """The last online CPU cannot be unplugged (EBUSY)."""

    code = "last_online_cpu"
    title = "The last online CPU"
    errno = Errno.EBUSY


class NoSuchCpuError(KvmError):
    """The host has no CPU of that number."""

    title = "No such CPU"


class NoSuchVcpuError(KvmError):
    """The VM has no vCPU of that number."""

    title = "No such vCPU"


class NoSuchFaultError(KvmError):
    """No fault of that id is armed on the VM."""


class NoSuchWorkloadError(KvmError):
    """No workload of that id is on the VM."""


class InvalidWorkloadError(KvmError):
    """A workload that makes no sense in the slot that it names."""

    title = "The workload makes no sense"


class TooManyWritesError(KvmError):
    """A run of the guest would make more writes than one call makes."""


class GfnBeyondIpaSpaceError(KvmError):
    """An access named a guest frame beyond the VM's intermediate physical address space."""

    title = "A gfn beyond the IPA space"


class NotSupportedByBackendError(KvmError):
    """The VM's backend cannot do this; `capabilities` of the VM lists what it can."""

    title = "Not supported by the backend"


class BackendUnavailableError(KvmError):
    """The service cannot make a VM with this backend: it is switched off, or the machine lacks it."""

    title = "The backend is not available"


class HostKernelError(KvmError):
    """The host's kernel refused an ioctl with an errno that no simulated VM returns."""

    code = "host_kernel_error"
    title = "Refused by the host's kernel"


class SenselessFaultError(KvmError):
    """A fault that could never fire on this machine, or names a place that its type has not."""

    title = "The fault makes no sense"
