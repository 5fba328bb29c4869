import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.sim.arm64 import hdbss
from hacdbs_sim.sim.arm64.hdbss import HdbssEntry

entries = st.builds(
    HdbssEntry, st.booleans(), st.integers(-4, 3), st.integers(0, 2**44 - 1).map(lambda p: p << 12)
)


@given(entries)
def test_decode_undoes_encode(entry: HdbssEntry) -> None:
    assert HdbssEntry.decode(entry.encode()) == entry


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_the_batch_codec_decodes_as_the_scalar_one(raws: list[int]) -> None:
    valid, ttwl, ipa = hdbss.decode_entries(np.array(raws, np.uint64))

    scalar = [HdbssEntry.decode(raw) for raw in raws]
    assert [each.dtype.name for each in (valid, ttwl, ipa)] == ["bool", "int8", "uint64"]
    assert valid.tolist() == [entry.valid for entry in scalar]
    assert ttwl.tolist() == [entry.ttwl for entry in scalar]
    assert ipa.tolist() == [entry.ipa for entry in scalar]


@given(st.lists(st.integers(0, 2**44 - 1), max_size=20), st.integers(-4, 3))
def test_the_batch_codec_encodes_as_the_scalar_one(pages: list[int], ttwl: int) -> None:
    got = hdbss.encode_entries(np.array(pages, np.uint64) << np.uint64(12), ttwl)

    expected = [HdbssEntry(valid=True, ttwl=ttwl, ipa=page << 12).encode() for page in pages]
    assert got.tolist() == expected


def test_an_entry_has_the_bits_of_the_manual() -> None:
    entry = HdbssEntry(valid=True, ttwl=3, ipa=0x4000_1000)

    assert entry.encode() == 0x4000_1000 | 0b0110 | 1


def test_each_field_reaches_from_its_lowest_bit_to_its_highest() -> None:
    """[55:12] IPA, [3:1] TTWL, [0] Valid; all else is RES0 and ignored."""
    assert HdbssEntry(valid=False, ttwl=0, ipa=1 << 55).encode() == 1 << 55
    assert HdbssEntry(valid=False, ttwl=0, ipa=1 << 12).encode() == 1 << 12
    assert HdbssEntry(valid=False, ttwl=-1, ipa=0).encode() == 0b1110
    assert HdbssEntry.decode(2**64 - 1) == HdbssEntry(valid=True, ttwl=-1, ipa=2**56 - 2**12)
    res0 = 0xFF00_0000_0000_0FF0
    assert HdbssEntry.decode(res0) == HdbssEntry(valid=False, ttwl=0, ipa=0)


def test_the_stop_entry_has_the_reserved_level() -> None:
    assert hdbss.STOP_ENTRY.encode() == 0b1001


@pytest.mark.parametrize("ipa", [1, 1 << 11, 1 << 56, -4096])
def test_an_ipa_that_has_no_entry_is_refused(ipa: int) -> None:
    with pytest.raises(ValueError, match="ipa must be a multiple of 4096 below"):
        HdbssEntry(valid=True, ttwl=3, ipa=ipa).encode()


def test_a_batch_with_an_ipa_that_has_no_entry_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^ipa must be a multiple of 4096 below 2\*\*56 in each element$"
    ):
        hdbss.encode_entries(np.array([4096, 8], np.uint64), 3)


@pytest.mark.parametrize("ttwl", [-5, 4])
def test_a_level_of_more_than_three_bits_is_refused(ttwl: int) -> None:
    with pytest.raises(ValueError, match=r"ttwl must be -4\.\.3"):
        HdbssEntry(valid=True, ttwl=ttwl, ipa=0).encode()
