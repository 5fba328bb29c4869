"""Figures as text: bytes, times, counts, and the value of any field in the unit of its name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from hacdbs_sim.model import flag_names

Figure: TypeAlias = Callable[[float], str]
"""How a value is written."""

NOTHING: Final = "-"
"""What stands for null."""

_BYTE_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_SECOND: Final = 1e9
_TIMES: Final = ((1e6, "ms"), (1e3, "µs"))
MAX_LISTED: Final = 16
"""How many items of a list a cell shows."""


def count(value: float) -> str:
    """Write a number with thousands separated."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def octets(value: float) -> str:
    """Write bytes in the greatest binary unit in which they are at least 1."""
    step = 0
    while value >= 1024 and step < len(_BYTE_UNITS) - 1:
        value /= 1024
        step += 1
    return f"{_short(value)} {_BYTE_UNITS[step]}"


def nanoseconds(value: float) -> str:
    """Write a time in the greatest unit in which it is at least 1."""
    if value >= _SECOND:
        return f"{value / _SECOND:,.3f} s"
    for size, unit in _TIMES:
        if value >= size:
            return f"{_short(value / size)} {unit}"
    return f"{_short(value)} ns"


def _short(value: float) -> str:
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.2f}" if value < 100 else f"{value:,.1f}"


def text(value: object, name: str = "") -> str:
    """Write the value of a field; its name implies the unit."""
    if value is None or value in ("", ()):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(value, name)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {text(each, str(key))}" for key, each in value.items()) or NOTHING
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = ", ".join(text(each, name) for each in value[:MAX_LISTED])
        more = max(len(value) - MAX_LISTED, 0)
        return (f"{shown} and {more:,} more" if more else shown) or NOTHING
    return str(value)


def _number(value: float, name: str) -> str:
    for end, written in _BY_END:
        if f"_{name}".endswith(end):
            return written(value)
    return count(value)


_BY_END: Final[tuple[tuple[str, Figure], ...]] = (
    ("_bytes_per_second", lambda value: f"{octets(value)}/s"),
    ("_per_second", lambda value: f"{count(value)}/s"),
    ("_ns", nanoseconds),
    ("_percent", lambda value: f"{count(value)} %"),
    ("_size", octets),
    ("_bytes", octets),
    ("_backing", octets),
    ("_flags", lambda value: ", ".join(flag_names(int(value))) or NOTHING),
    ("_addr", lambda value: hex(int(value))),
    ("_seed", lambda value: str(int(value))),
)
"""How numbers are written, by the end of their field's name."""
