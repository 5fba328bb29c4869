"""Files of traces that are not what they should be: each is refused as `FILE: what`, before it is read."""

import io
import os
import random
import socket
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hacdbs_sim.cli.root import cli
from hacdbs_sim.traces import npz, recording
from hacdbs_sim.traces.npz import MAX_ELEMENTS, MAX_EXPANSION, MAX_FILE_BYTES, RecordingError
from hacdbs_sim.traces.recording import Recording, builtin, recording_of

GOOD: dict[str, Any] = {
    "interval_start": np.array([0, 2, 3]),
    "pages": np.array([0, 1, 0], np.uint32),
    "vpage": np.array([5, 6], np.uint64),
    "page_size": np.int64(4096),
    "interval_ns": np.int64(7),
}


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    """Make the head of an .npy file by hand."""
    text = text + "\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text.encode()


def zipped(compression: int = zipfile.ZIP_DEFLATED, **members: bytes | None) -> bytes:
    """Make a recording, of which some members are others, or absent."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in {**{k: npy(v) for k, v in GOOD.items()}, **members}.items():
            if content is not None:
                archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def with_bits(content: bytes, offset_local: int, offset_central: int, bits: int) -> bytes:
    """Set bits of each member's local and central head."""
    octets = bytearray(content)
    for magic, offset in ((b"PK\3\4", offset_local), (b"PK\1\2", offset_central)):
        at = octets.find(magic)
        while at >= 0:
            octets[at + offset] |= bits
            at = octets.find(magic, at + 4)
    return bytes(octets)


def archive_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"hello")
    return file.getvalue()


def with_shape(shape: str, descr: str = "<u8") -> bytes:
    return header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}") + bytes(16)


def zip64() -> bytes:
    content = archive_of("pages.npy")
    at = content.rfind(b"PK\5\6")
    return content[:at] + b"PK\6\7" + bytes(16) + content[at:]


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is no .npz file: File is not a zip file"),
    "text": (b"hello", "it is no .npz file"),
    "one array": (npy(np.arange(3)), "it is no .npz file"),
    "cut": (zipped()[:-40], "it is no .npz file"),
    "cut in front": (zipped()[40:], "it is no .npz file"),
    "damaged": (zipped(zipfile.ZIP_STORED).replace(npy(GOOD["vpage"])[-8:], b"\xff" * 8), "Bad CRC-32"),
    "encrypted": (with_bits(zipped(), 6, 8, 1), "interval_start.npy is encrypted"),
    "bzip2": (zipped(zipfile.ZIP_BZIP2), "interval_start.npy must be stored or deflated"),
    "lzma": (zipped(zipfile.ZIP_LZMA), "interval_start.npy must be stored or deflated"),
    "foreign": (archive_of("readme.txt"), "it is no recording: it holds 'readme.txt'"),
    "a path": (archive_of("../pages.npy"), "it is no recording: it holds '../pages.npy'"),
    "no members": (archive_of(), "it lacks interval_start, page_size, pages, vpage"),
    "many members": (archive_of(*map(str, range(1000))), "its zip has too many members"),
    "zip64": (zip64(), "its zip has too many members"),
    "member that is none": (zipped(pages=b"hello"), "it is no .npz file: EOF: reading magic string"),
    "empty member": (zipped(pages=b""), "it is no .npz file"),
    "version 9": (zipped(pages=header("{}", (9, 0))), "version (9, 0) of the .npy format"),
    "head that is none": (zipped(pages=header("{")), "it is no .npz file"),
    "head of parentheses": (zipped(pages=header("(" * 9000)), "it is no .npz file"),
    "head of 60 KiB": (zipped(pages=header("{}" + " " * 60_000)), "it is no .npz file"),
    "4 TiB": (zipped(pages=with_shape("(549755813888,)")), "pages has 549755813888 elements"),
    "shape beyond 64 bits": (zipped(pages=with_shape(f"({1 << 70},)")), f"pages has {1 << 70} elements"),
    "negative shape": (zipped(pages=with_shape("(-2,)")), "pages has 16 bytes, and its shape (-2,) needs -16"),
    "longer shape": (zipped(pages=with_shape("(3,)")), "pages has 16 bytes, and its shape (3,) needs 24"),
    "shorter shape": (zipped(pages=with_shape("(1,)")), "pages has 16 bytes, and its shape (1,) needs 8"),
    "two dimensions": (zipped(pages=npy(np.zeros((2, 2), int))), "pages must be one row of integers"),
    "floats": (zipped(pages=npy(np.array([0.0, 1.0]))), "not float64 of shape (2,)"),
    "NaN": (zipped(page_size=npy(np.nan)), "page_size must be one row of integers, or one integer"),
    "text array": (zipped(pages=npy(np.array(["a"]))), "not <U1 of shape (1,)"),
    "objects": (zipped(pages=with_shape("(1,)", "|O")), "not object of shape (1,)"),
    "truth": (zipped(pages=npy(np.array([True]))), "not bool of shape (1,)"),
    "array for a scalar": (zipped(page_size=npy(np.array([4096]))), "page_size must be one positive integer"),
    "scalar for an array": (zipped(vpage=npy(np.uint64(5))), "vpage must be one row of integers"),
    "no page size": (zipped(page_size=None), "it lacks page_size"),
    "page size 0": (zipped(page_size=npy(0)), "page_size must be one positive integer"),
    "page size 5000": (zipped(page_size=npy(5000)), "page_size must be one of 4096, 16384, 65536, not 5000"),
    "no time": (zipped(interval_ns=npy(0)), "interval_ns must be one positive integer"),
    "negative count": (zipped(instructions_per_interval=npy(-1)), "instructions_per_interval must be one"),
    "start falls": (zipped(interval_start=npy([0, 4, 3])), "interval_start must rise"),
    "unsigned start falls": (zipped(interval_start=npy(np.array([0, 3, 2, 3], np.uint64))), "must rise"),
    "start beyond": (zipped(interval_start=npy([0, 2, 4])), "interval_start must rise from 0"),
    "negative start": (zipped(interval_start=npy([0, -1, 3])), "interval_start must rise"),
    "no interval": (zipped(interval_start=npy([0])), "interval_start must rise"),
    "page twice": (zipped(pages=npy([1, 1, 0])), "the pages of an interval must ascend, each once"),
    "pages fall": (zipped(pages=npy([1, 0, 0])), "the pages of an interval must ascend"),
    "page beyond": (zipped(pages=npy([0, 2, 0])), "pages must be 0..1, as vpage has them"),
    "negative page": (zipped(pages=npy([-1, 1, 0])), "pages must be 0..1"),
    "vpage falls": (zipped(vpage=npy([6, 5])), "vpage must ascend"),
    "vpage twice": (zipped(vpage=npy([5, 5])), "vpage must ascend"),
    "negative vpage": (zipped(vpage=npy([-5, 6])), "vpage must ascend from 0 on"),
    "vpage beyond 64 bits": (
        zipped(vpage=npy(np.array([5, 1 << 52], np.uint64))),
        "vpage must be of addresses of 64 bits",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_recording_is_named_with_what_is_wrong(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    file = tmp_path / "bad.npz"
    file.write_bytes(content)

    with pytest.raises(RecordingError) as refused:
        Recording.load(file)
    shown = CliRunner().invoke(cli, ["trace", "info", str(file)])

    assert message in str(refused.value)
    assert shown.exit_code == 2
    assert shown.stderr == f"{file}: {refused.value}\n"
    assert isinstance(shown.exception, SystemExit)


def test_what_they_are_spoiled_from_is_a_recording() -> None:
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert Recording.load(io.BytesIO(zipped(compression))).intervals == 2


def test_a_file_that_expands_too_far_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz, "_array", pytest.fail)
    quiet = npy(np.zeros(MAX_ELEMENTS + 1, np.int64))
    file = tmp_path / "quiet.npz"

    file.write_bytes(zipped(interval_start=quiet))
    with pytest.raises(RecordingError, match=f"more than {MAX_EXPANSION} times as many"):
        Recording.load(file)
    file.write_bytes(zipped(interval_start=quiet + bytes(1 << 20)))
    with pytest.raises(RecordingError, match=r"interval_start takes .* bytes, and may take"):
        Recording.load(file)


def test_a_file_that_is_too_long_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "long.npz"
    with file.open("wb") as opened:
        opened.truncate(MAX_FILE_BYTES + 1)

    with pytest.raises(RecordingError, match="a recording has at most"):
        Recording.load(file)


def test_more_than_a_file_may_have_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_ELEMENTS", 4)
    two = np.array([1, 2], np.uint64)

    assert recording_of([two, two], page_size=4096).intervals == 2
    with pytest.raises(RecordingError, match="more than 4 page records"):
        recording_of([two, two, two], page_size=4096)


@pytest.mark.parametrize("seed", range(300))
def test_any_damage_is_refused_or_a_recording(seed: int) -> None:
    rng = random.Random(seed)
    octets = bytearray(zipped(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])))
    for _ in range(rng.randint(1, 4)):
        octets[rng.randrange(len(octets))] = rng.randrange(256)
    if rng.random() < 0.3:
        del octets[rng.randrange(len(octets)) :]

    try:
        loaded = Recording.load(io.BytesIO(bytes(octets)))
    except RecordingError:
        return
    assert loaded.intervals >= 1


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda _: None, "No such file or directory"),
    "directory": (Path.mkdir, "is a directory, not a regular file"),
    "FIFO": (os.mkfifo, "is a FIFO, not a regular file"),
    "socket": (make_socket, "No such device or address"),
    "zeros": (lambda path: path.symlink_to("/dev/zero"), "is a character device, not a regular file"),
    "loop": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_FILES)
@pytest.mark.parametrize("command", [("info",), ("import", "-o", "x.npz")], ids=["info", "import"])
def test_what_is_no_regular_file_is_neither_read_nor_waited_for(
    name: str, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = NO_FILES[name]
    make(Path("given"))

    shown = CliRunner().invoke(cli, ["trace", *command, "given"])

    hint = "; the builtin traces are xz, sqlite, cc1" * ((name, command[0]) == ("absent", "info"))
    assert (shown.exit_code, shown.stderr) == (2, f"given: {message}{hint}\n")
    assert not Path("x.npz").exists()


def test_builtin_recordings_are_within_the_bounds() -> None:
    assert builtin("xz").intervals == 435
