"""One harness drives QEMU and the simulator: its transcripts are equal but for figures."""

import asyncio
from itertools import pairwise

import pytest

from tests.qmp.harness import CONVERSATIONS, Transcript, converse
from tests.qmp.real import NoQemuError, find_qemu, real
from tests.qmp.simulated import simulated
from tests.qmp.transcripts import FIXTURES, normal, passes, read

every_conversation = pytest.mark.parametrize("name", CONVERSATIONS)


async def converse_simulated(name: str) -> Transcript:
    async with simulated() as launch:
        return await converse(name, launch)


def check_passes(transcript: Transcript) -> None:
    """The passes of each migration are counted from 1, and none is left out."""
    for numbers in passes(transcript["src events"]) if "src events" in transcript else []:
        assert numbers[:1] in ([], [1])
        assert all(after == before + 1 for before, after in pairwise(numbers))


def check_times(transcript: Transcript) -> None:
    """The events of a side are in the order of their times."""
    for who in filter(lambda each: each.endswith("events"), transcript):
        stamps = [each["timestamp"] for each in transcript[who]]
        times = [(each["seconds"], each["microseconds"]) for each in stamps]
        assert times == sorted(times)


@every_conversation
def test_the_simulator_says_what_qemu_said(name: str) -> None:
    transcript = asyncio.run(converse_simulated(name))
    assert normal(transcript) == normal(read(name))
    check_passes(transcript)
    check_times(transcript)


@pytest.mark.slow
@every_conversation
def test_qemu_says_what_was_recorded(name: str) -> None:
    try:
        qemu = find_qemu()
    except NoQemuError as why:
        pytest.skip(f"NOT COMPARED WITH QEMU: {why}")
    with real(qemu) as launch:
        transcript = asyncio.run(converse(name, launch))
    if "userfault" in str(transcript):
        pytest.skip(
            "NOT COMPARED WITH QEMU: post-copy needs userfaultfd, which is not permitted here"
        )
    recorded = read(name)
    assert normal(transcript) == normal(recorded)
    check_passes(transcript)
    check_passes(recorded)


def test_every_recording_is_of_a_conversation() -> None:
    assert {each.stem for each in FIXTURES.glob("*.json")} == set(CONVERSATIONS)
