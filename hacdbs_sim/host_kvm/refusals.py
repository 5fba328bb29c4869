"""What the host's kernel refuses, as the refusals that a simulated VM has for the same errno."""

from collections.abc import Generator
from contextlib import contextmanager
from errno import errorcode
from typing import Any, Final

from hacdbs_sim.model.base import BackendName, Operation
from hacdbs_sim.model.errors import (
    BeyondIpaSpaceError,
    CopyToUserError,
    Errno,
    HostKernelError,
    InvalidArgumentError,
    KvmError,
    MemslotChangedError,
    MemslotOverlapError,
    NoDirtyLogError,
    NoSuchMemslotError,
    NotSupportedByBackendError,
    WindowOutsideMemslotError,
)

SET_MEMSLOT: Final = "KVM_SET_USER_MEMORY_REGION"
GET_LOG: Final = "KVM_GET_DIRTY_LOG"
CLEAR_LOG: Final = "KVM_CLEAR_DIRTY_LOG"
ENABLE_CAP: Final = "KVM_ENABLE_CAP"

_BY_ERRNO: Final[dict[tuple[str, str], type[KvmError]]] = {
    (SET_MEMSLOT, Errno.EEXIST): MemslotOverlapError,
    (SET_MEMSLOT, Errno.EFAULT): BeyondIpaSpaceError,
    (GET_LOG, Errno.ENOENT): NoDirtyLogError,
    (GET_LOG, Errno.EFAULT): CopyToUserError,
    (CLEAR_LOG, Errno.ENOENT): NoDirtyLogError,
}

NoCause = InvalidArgumentError
Einval = (
    type[InvalidArgumentError]
    | type[MemslotChangedError]
    | type[NoSuchMemslotError]
    | type[WindowOutsideMemslotError]
)


@contextmanager
def asking_kernel(ioctl: str, field: str, value: int, einval: Einval = NoCause) -> Generator[None]:
    """Turn the errno of an ioctl into a refusal of the model that names a field and its value.

    `einval` is what EINVAL stands for here: one errno has many causes, and the kernel names none.
    """
    try:
        yield
    except OSError as error:
        name = errorcode.get(error.errno or 0, "no errno")
        refusal = einval if name == Errno.EINVAL else _BY_ERRNO.get((ioctl, name), HostKernelError)
        why = f"the host's kernel refuses {ioctl} with {name}"
        if refusal is HostKernelError:
            raise HostKernelError(f"{why}: {error}") from error
        raise refusal(why, field=field, value=value) from error


@contextmanager
def running_guest() -> Generator[None]:
    """Turn what stops the guest into a refusal of the model: HostKernelError."""
    try:
        yield
    except OSError as error:
        raise HostKernelError(f"the host's kernel does not run the guest: {error}") from error


def not_supported(operation: Operation[Any]) -> NotSupportedByBackendError:
    """Return the refusal of an operation that this backend does not have."""
    return NotSupportedByBackendError(
        f"the backend {BackendName.HOST_KVM} does not support {operation.op}"
    )


def unknown_argument(field: str, value: int, why: str) -> NotSupportedByBackendError:
    """Return the refusal of an argument that has no meaning on this backend."""
    return NotSupportedByBackendError(
        f"{field} is not supported by the backend {BackendName.HOST_KVM}: {why}",
        field=field,
        value=value,
    )
