"""Tables that fit their terminal: no width of it cuts a number, or folds one into two lines."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

NUMBER: Final = "#"
"""Begins the header of a column of numbers."""

_GAP: Final = 3
"""Columns between two columns of a table: a space, the divider, a space."""

_EDGES: Final = 2


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows under headers, as a table where that fits, else turned by 90 degrees, else one by one.

    Text is wrapped between words; a column of numbers keeps its width.

    Attributes:
        least_columns: How many columns are kept while those behind them are left out because the
            table is too wide; None: all of them.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    least_columns: int | None = None

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield the first form that fits."""
        for form in (*self._narrower(), self._turned()):
            widths = form.widths(options.max_width)
            if widths is not None:
                yield form.table(widths)
                return
        yield from self._one_by_one()

    def widths(self, max_width: int) -> list[int] | None:
        """Return each column's width, or None if the table is wider than this."""
        room = max_width - _EDGES - _GAP * (len(self.headers) - 1)
        columns = [
            (header, [row[number] for row in self.rows])
            for number, header in enumerate(self.headers)
        ]
        widths = [max(map(cell_len, (_name(header), *cells))) for header, cells in columns]
        least = [
            width if header.startswith(NUMBER) else _longest_word([header, *cells])
            for width, (header, cells) in zip(widths, columns, strict=True)
        ]
        if sum(least) > room:
            return None
        while sum(widths) > room:
            shrinkable = [n for n, width in enumerate(widths) if width > least[n]]
            widths[max(shrinkable, key=widths.__getitem__)] -= 1
        return widths

    def table(self, widths: Sequence[int]) -> Table:
        """Return the table with columns of these widths."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for header, width in zip(self.headers, widths, strict=True):
            is_number = header.startswith(NUMBER)
            table.add_column(_name(header), justify="right" if is_number else "left", width=width)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def _narrower(self) -> Iterator["Rows"]:
        least = len(self.headers) if self.least_columns is None else self.least_columns
        for count in range(len(self.headers), least - 1, -1):
            yield replace(
                self, headers=self.headers[:count], rows=tuple(row[:count] for row in self.rows)
            )

    def _turned(self) -> "Rows":
        """Return a table whose columns are these rows."""
        first, *rest = self.headers
        headers = (_name(first), *(NUMBER + row[0] for row in self.rows))
        rows = (
            (_name(header), *(row[number] for row in self.rows))
            for number, header in enumerate(rest, 1)
        )
        return Rows(self.title, headers, tuple(rows))

    def _one_by_one(self) -> Iterator[Table]:
        title = self.title
        for row in self.rows:
            yield facts(title, dict(zip(map(_name, self.headers), row, strict=True)))
            title = " "


def _name(header: str) -> str:
    return header.removeprefix(NUMBER)


def _longest_word(cells: Iterable[str]) -> int:
    return max((cell_len(word) for cell in cells for word in cell.split()), default=0)


def facts(title: str, values: Mapping[str, str]) -> Table:
    """Return a table of names and values."""
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in values.items():
        table.add_row(Text(name, style="dim"), Text(value))
    return table
