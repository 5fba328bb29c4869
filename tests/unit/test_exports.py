"""`hacdbs_sim` gives the names that most users need, and imports them when they are asked for."""

from importlib.metadata import version

import pytest

import hacdbs_sim
from hacdbs_sim import client


def test_each_name_is_the_clients() -> None:
    for name in set(hacdbs_sim.__all__) - {"__version__"}:
        assert getattr(hacdbs_sim, name) is getattr(client, name)
        assert name in dir(client)


def test_the_version_is_that_of_the_package() -> None:
    assert hacdbs_sim.__version__ == version("hacdbs-sim")


def test_another_name_is_refused_as_any_module_would() -> None:
    with pytest.raises(AttributeError, match="module 'hacdbs_sim' has no attribute 'Server'"):
        _ = hacdbs_sim.Server  # type: ignore[attr-defined]


def test_the_names_are_listed() -> None:
    assert set(hacdbs_sim.__all__) <= set(dir(hacdbs_sim))
