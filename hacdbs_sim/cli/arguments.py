"""Arguments of the command line: numbers, sizes, pages and memslots."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import typer

from hacdbs_sim.cli import completion

_NUMBER: Final = r"(?:0[xX][0-9a-fA-F]+|[0-9]+)"
_PAGES: Final = re.compile(rf"({_NUMBER})(?:([-+])({_NUMBER}))?\Z", re.ASCII)
_AMOUNT: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([A-Za-z]*)\Z", re.ASCII)
_SIZES: Final = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_FLAGS: Final = {"log": "LOG_DIRTY_PAGES", "readonly": "READONLY"}
_TIMES: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


class PageRange(NamedTuple):
    """Adjacent pages."""

    first: int
    num_pages: int


def number(text: str) -> int:
    """Read an integer, in decimal or with 0x."""
    if re.fullmatch(_NUMBER, text, re.ASCII) is None:
        raise typer.BadParameter(f"must be an integer such as 262144 or 0x40000, not {text!r}")
    return int(text, 16 if text[:2].lower() == "0x" else 10)


def pages(text: str) -> PageRange:
    """Read pages: one, FIRST-LAST, or FIRST+COUNT."""
    found = _PAGES.match(text)
    if found is None:
        raise typer.BadParameter(
            f"must be a page, FIRST-LAST or FIRST+COUNT, such as 0x40000+512, not {text!r}"
        )
    first = number(found[1])
    if found[2] is None:
        return PageRange(first, 1)
    count = number(found[3]) - (0 if found[2] == "+" else first - 1)
    if count < 1:
        raise typer.BadParameter(f"must name at least one page, and {text!r} names {count}")
    return PageRange(first, count)


def size(text: str) -> int | str:
    """Read a size: bytes, or text like "2GiB" that the service reads."""
    return int(text) if text.isascii() and text.isdigit() else text


def _amount(text: str, units: Mapping[str, int], what: str) -> int:
    found = _AMOUNT.match(text)
    if found is None or found[2] not in units:
        raise typer.BadParameter(f"must be {what}, not {text!r}")
    return int(float(found[1]) * units[found[2]])


def bandwidth(text: str) -> int:
    """Read bytes per second, with or without a unit."""
    return _amount(text, _SIZES, "bytes per second such as 1250000000 or 1GiB")


def duration(text: str) -> int:
    """Read a virtual time with its unit; return nanoseconds."""
    return _amount(text, _TIMES, "a time such as 300ms, 10s or 500us")


def memslot(text: str) -> dict[str, Any]:
    """Read a memslot: NUMBER:BASE:SIZE, optionally with :log,readonly,backing=SIZE."""
    parts = text.split(":")
    if len(parts) not in {3, 4}:
        raise typer.BadParameter(
            f"must be NUMBER:BASE:SIZE[:log,readonly,backing=SIZE], not {text!r}"
        )
    fields: dict[str, Any] = {
        "slot": number(parts[0]),
        "guest_phys_addr": parts[1] if parts[1][:2].lower() == "0x" else number(parts[1]),
        "memory_size": size(parts[2]),
        "flags": [],
    }
    for option in parts[3].split(",") if len(parts) == 4 else ():
        name, _, value = option.partition("=")
        if name == "backing":
            fields["backing"] = size(value)
        elif name in _FLAGS and not value:
            fields["flags"].append(_FLAGS[name])
        else:
            raise typer.BadParameter(
                f"a memslot's options are log, readonly and backing=SIZE, not {option!r}"
            )
    return fields


VmId = Annotated[
    str,
    typer.Argument(metavar="VM", help="Such as default-1.", autocompletion=completion.vm_ids),
]
SessionName = Annotated[
    str,
    typer.Argument(
        metavar="SESSION", help="Such as default.", autocompletion=completion.session_ids
    ),
]
MigrationId = Annotated[
    str,
    typer.Argument(
        metavar="MIGRATION", help="Such as default-m1.", autocompletion=completion.migration_ids
    ),
]
SlotNumber = Annotated[
    int,
    typer.Argument(
        metavar="SLOT", parser=number, help="The memslot.", autocompletion=completion.slots
    ),
]
CpuNumber = Annotated[
    int,
    typer.Argument(
        metavar="CPU", parser=number, help="The host CPU.", autocompletion=completion.cpus
    ),
]
InSession = Annotated[
    str,
    typer.Option("--session", help="The session; `-`: all.", autocompletion=completion.session_ids),
]
Pages = Annotated[
    list[PageRange],
    typer.Argument(
        metavar="PAGES...", parser=pages, help="Pages: N, FIRST-LAST or FIRST+COUNT, 0x allowed."
    ),
]


def optional_number(text: str, completer: completion.Completer | None = None) -> Any:  # noqa: ANN401 - as typer.Option returns
    """Return an option that takes a number, decimal or with 0x."""
    return typer.Option(parser=number, help=text, autocompletion=completer)


OnCpu = Annotated[
    int | None, optional_number("The host CPU that the call runs on.", completion.cpus)
]
