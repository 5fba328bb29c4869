import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.sim.base import bits
from hacdbs_sim.sim.base.bits import Bits

fields = st.tuples(st.integers(0, 63), st.integers(0, 63)).map(lambda p: Bits(max(p), min(p)))


def test_the_docstring_example_is_true() -> None:
    assert doctest.testmod(bits).failed == 0


@given(fields, st.integers(0, 2**64 - 1))
def test_prep_undoes_get(field: Bits, value: int) -> None:
    assert field.prep(field.get(value)) == value & field.mask


@given(fields, st.lists(st.integers(0, 2**64 - 1), max_size=5))
def test_batch_and_scalar_agree(field: Bits, values: list[int]) -> None:
    array = np.array(values, np.uint64)

    got = field.get_each(array)

    assert got.tolist() == [field.get(value) for value in values]
    assert field.prep_each(got).tolist() == [value & field.mask for value in values]


@pytest.mark.parametrize("value", [-1, 8])
def test_a_value_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match=r"\[3:1\] must be 0\.\.7, not"):
        Bits(3, 1).prep(value)


def test_a_batch_with_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[3:1\] must be 0\.\.7 in each element"):
        Bits(3, 1).prep_each(np.array([7, 8], np.uint64))
