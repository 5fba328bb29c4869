"""Operations that stand for an ioctl, by operation id: what the model's actions declare."""

from collections.abc import Mapping
from typing import Final

from hacdbs_sim.model import ACTIONS

IOCTLS: Final[Mapping[str, str]] = {
    action.op: action.ioctl for action in ACTIONS if action.ioctl is not None
}
