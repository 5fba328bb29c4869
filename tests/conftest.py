"""Hypothesis profiles: `dev` is quick, `ci` runs more examples, the same every time, `long` is long.

HYPOTHESIS_PROFILE names the profile; it says how many steps the walks of tests/property take, too.
`scripts/test` chooses `dev`, `scripts/test --all` chooses `ci`, `scripts/test --long` chooses `long`.
"""

import os
import sys
from collections import Counter
from collections.abc import Generator
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]  # for tests/plugin; only here may a conftest name plugins

# The first draws of a machine may be large and numpy's first call slow: time is not tested here.
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
settings.register_profile(
    "long",
    max_examples=2_000,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=_SLOW,
)

PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "dev")
settings.load_profile(PROFILE)

WALK_STEPS: Final = {"dev": 2_000, "ci": 10_000, "long": 2_000_000}[PROFILE]
"""Steps that the seeded walks against the scalar model take in all."""


COUNTED: Final = {
    "walked_steps": "steps of machines walked against the scalar model",
    "verified_pages": "pages verified as the kernel's dirty_log_test does",
}
"""What tests count by record_property, and its label."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report how much was really done, added up over all workers."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        counts.update({name: value for name, value in report.user_properties if name in COUNTED})
    for name, count in counts.items():
        terminalreporter.write_line(f"{count:,} {COUNTED[name]}")


@pytest.fixture
def eager_threads() -> Generator[None]:
    """Let threads take turns far more often than they do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)
