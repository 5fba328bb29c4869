"""Quantiles of what was measured."""

from collections.abc import Sequence


def quantile(seconds: Sequence[float], share: float) -> float:
    """Return the value that so large a share stays below."""
    return sorted(seconds)[min(int(len(seconds) * share), len(seconds) - 1)]
