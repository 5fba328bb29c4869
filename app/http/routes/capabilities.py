"""The capabilities and limits of this simulated host."""

from typing import Final

from starlette.responses import Response

from hacdbs_sim.model import (
    MAX_ACTIONS,
    MAX_COPIES_PER_VM,
    MAX_FAULTS_PER_VM,
    MAX_IPA_BITS,
    MAX_VCPUS,
    MAX_WORKLOADS_PER_VM,
    PAGE_SIZES_BYTES,
    Capabilities,
    ServiceLimits,
    leaf_sizes_bytes,
)
from hacdbs_sim.model.kinds import MAX_SLOT
from hacdbs_sim.wire.codec import MAX_RANGES

from ...service.limits import MAX_IDEMPOTENCY_KEYS_PER_SCOPE, MAX_SESSIONS
from ..deps import ContextDep
from ..responses import JsonResponse
from ..routing import resource_router

router = resource_router("service")

# KVM_CHECK_EXTENSION on arm64 (docs/kernel.md A.0, A.4 to A.7); dirty rings are not simulated.
_EXTENSIONS: Final = {
    "KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE": 0,
    "KVM_CAP_ARM_VM_IPA_SIZE": MAX_IPA_BITS,
    "KVM_CAP_DIRTY_LOG_RING": 0,
    "KVM_CAP_DIRTY_LOG_RING_ACQ_REL": 0,
    "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2": 3,
    "KVM_CAP_MAX_VCPUS": MAX_VCPUS,
    "KVM_CAP_NR_MEMSLOTS": MAX_SLOT + 1,
    "KVM_CAP_READONLY_MEM": 1,
    "KVM_CAP_USER_MEMORY": 1,
}


@router.get("/v1/capabilities", operation_id="get_capabilities", response_model=Capabilities)
async def get_capabilities(context: ContextDep) -> Response:
    """Return the values of KVM_CHECK_EXTENSION and the limits."""
    limits = context.fleet.limits
    return JsonResponse(
        Capabilities(
            extensions=_EXTENSIONS,
            supported_block_sizes={
                str(page_size): leaf_sizes_bytes(page_size) for page_size in PAGE_SIZES_BYTES
            },
            limits=ServiceLimits(
                max_vms=limits.max_vms,
                max_pages_per_vm=limits.max_pages_per_vm,
                max_state_bytes=limits.max_state_bytes,
                max_body_bytes=context.max_body_bytes,
                max_faults_per_vm=MAX_FAULTS_PER_VM,
                max_workloads_per_vm=MAX_WORKLOADS_PER_VM,
                max_copies_per_vm=MAX_COPIES_PER_VM,
                max_sessions=MAX_SESSIONS,
                max_batch_actions=MAX_ACTIONS,
                max_ranges=MAX_RANGES,
                max_idempotency_bytes=limits.max_idempotency_bytes,
                max_idempotency_keys_per_session=MAX_IDEMPOTENCY_KEYS_PER_SCOPE,
                idempotency_seconds=limits.idempotency_seconds,
            ),
        )
    )
