"""Hypothesis profiles: `dev` is quick, `ci` looks further and is the same every time."""

import os

from hypothesis import HealthCheck, settings

# The first draws of a machine may be large and numpy's first call slow: time is no promise here.
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "dev", max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=_SLOW
)
settings.register_profile(
    "ci",
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=_SLOW,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
