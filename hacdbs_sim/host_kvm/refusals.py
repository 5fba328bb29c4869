"""What the host's kernel refuses, as the refusals that a simulated VM has for the same errno."""

from collections.abc import Generator
from contextlib import contextmanager
from errno import errorcode
from typing import Any, Final

from hacdbs_sim.model import errors
from hacdbs_sim.model.base import BackendName, Operation

SET_MEMSLOT: Final = "KVM_SET_USER_MEMORY_REGION"
GET_LOG: Final = "KVM_GET_DIRTY_LOG"
CLEAR_LOG: Final = "KVM_CLEAR_DIRTY_LOG"
ENABLE_CAP: Final = "KVM_ENABLE_CAP"

_BY_ERRNO: Final[dict[tuple[str, str], type[errors.KvmError]]] = {
    (SET_MEMSLOT, errors.Errno.EEXIST): errors.MemslotOverlapError,
    (SET_MEMSLOT, errors.Errno.EFAULT): errors.BeyondIpaSpaceError,
    (GET_LOG, errors.Errno.ENOENT): errors.NoDirtyLogError,
    (GET_LOG, errors.Errno.EFAULT): errors.CopyToUserError,
    (CLEAR_LOG, errors.Errno.ENOENT): errors.NoDirtyLogError,
}

NoCause = errors.InvalidArgumentError
Einval = (
    type[errors.InvalidArgumentError]
    | type[errors.MemslotChangedError]
    | type[errors.NoSuchMemslotError]
    | type[errors.WindowOutsideMemslotError]
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
        refusal = (
            einval
            if name == errors.Errno.EINVAL
            else _BY_ERRNO.get((ioctl, name), errors.HostKernelError)
        )
        why = f"the host's kernel refuses {ioctl} with {name}"
        if refusal is errors.HostKernelError:
            raise errors.HostKernelError(f"{why}: {error}") from error
        raise refusal(why, field=field, value=value) from error


@contextmanager
def running_guest() -> Generator[None]:
    """Turn what stops the guest into a refusal of the model: HostKernelError."""
    try:
        yield
    except OSError as error:
        raise errors.HostKernelError(
            f"the host's kernel does not run the guest: {error}"
        ) from error


def not_supported(operation: Operation[Any]) -> errors.NotSupportedByBackendError:
    """Return the refusal of an operation that this backend does not have."""
    return errors.NotSupportedByBackendError(
        f"the backend {BackendName.HOST_KVM} does not support {operation.op}"
    )


def unknown_argument(field: str, value: int, why: str) -> errors.NotSupportedByBackendError:
    """Return the refusal of an argument that has no meaning on this backend."""
    return errors.NotSupportedByBackendError(
        f"{field} is not supported by the backend {BackendName.HOST_KVM}: {why}",
        field=field,
        value=value,
    )
