import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.sim.arm64 import sysregs
from hacdbs_sim.sim.arm64.sysregs import ErrReason, Hacdbsbr, Hacdbscons


@given(st.integers(0, 9), st.booleans(), st.integers(0, 2**35 - 1))
def test_hacdbsbr_decode_undoes_encode(sz: int, en: bool, base: int) -> None:
    register = Hacdbsbr(baddr=base << 21, en=en, sz=sz)

    assert Hacdbsbr.decode(register.encode()) == register


@given(st.sampled_from(ErrReason), st.integers(0, 2**19 - 1))
def test_hacdbscons_decode_undoes_encode(reason: ErrReason, index: int) -> None:
    register = Hacdbscons(reason, index)

    assert Hacdbscons.decode(register.encode()) == register


def test_fields_are_where_the_manual_has_them() -> None:
    assert Hacdbsbr(baddr=0x8000_0000, en=True, sz=2).encode() == 0x8000_0000 | 1 << 11 | 2
    assert Hacdbscons(ErrReason.IPAHACF, 7).encode() == 3 << 62 | 7


def test_each_field_reaches_from_its_lowest_bit_to_its_highest() -> None:
    """[55:12] BADDR, [11] EN, [3:0] SZ; [63:62] ERR_REASON, [18:0] INDEX."""
    assert (sysregs.EN.mask, sysregs.ERR_REASON.mask) == (1 << 11, 3 << 62)
    assert Hacdbsbr(baddr=1 << 12).encode() == 1 << 12
    assert Hacdbsbr(baddr=1 << 55).encode() == 1 << 55
    assert Hacdbsbr.decode(2**64 - 1) == Hacdbsbr(baddr=2**56 - 2**12, en=True, sz=15)
    assert Hacdbscons(index=2**19 - 1).encode() == 2**19 - 1
    assert Hacdbscons.decode(2**64 - 1) == Hacdbscons(ErrReason.IPAHACF, 2**19 - 1)


@pytest.mark.parametrize(("sz", "entries"), [(0, 512), (2, 2048), (4, 8192), (9, 262144)])
def test_sz_is_the_length_of_the_array(sz: int, entries: int) -> None:
    assert Hacdbsbr(sz=sz).entries == entries


@pytest.mark.parametrize("sz", [-1, 10, 15])
def test_a_reserved_size_is_refused(sz: int) -> None:
    with pytest.raises(ValueError, match=r"sz must be 0\.\.9"):
        Hacdbsbr(sz=sz).encode()


@pytest.mark.parametrize(("baddr", "sz"), [(0x1000, 1), (0x800, 0), (1 << 56, 0)])
def test_a_base_not_aligned_to_the_array_is_refused(baddr: int, sz: int) -> None:
    with pytest.raises(ValueError, match="baddr must be a multiple"):
        Hacdbsbr(baddr=baddr, sz=sz).encode()


def test_an_index_past_the_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[18:0\]"):
        Hacdbscons(index=1 << 19).encode()
