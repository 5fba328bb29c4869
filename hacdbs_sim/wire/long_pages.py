"""Long sets of pages, and intervals of a trace, within a long text in JSON: they become arrays at once."""

from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from pydantic import GetPydanticSchema, TypeAdapter

from hacdbs_sim.model import kinds
from hacdbs_sim.model.pages import IntervalForm, Intervals
from hacdbs_sim.wire.cutting import Span, is_empty_array, malformed
from hacdbs_sim.wire.long_text import LongText, Where, adapter_for
from hacdbs_sim.wire.page_forms import page_field_schema, pages_from
from hacdbs_sim.wire.pages_json import bitmap_in, numbers_of


class LongPages(LongText):
    """A long text that has sets of pages in it."""

    def intervals(self, form: IntervalForm, span: Span, where: Where) -> Intervals:
        """Read the long intervals of a trace."""
        adapter = adapter_for(Annotated[Intervals, form])
        self._check_array(adapter, span, where)
        lengths: list[Any] = []
        pages: list[Any] = []
        count = 0
        for group in self._groups(span):
            if group.is_long:
                interval = self._interval(form, group, (*where, count))
                lengths.append(np.array([len(interval)]))
                pages.append(interval)
            else:
                elements = self._elements(group)
                read: Intervals = self._at_once(adapter, elements, group, where, count)
                lengths.append(np.diff(read.starts))
                pages.append(read.pages)
            count += len(lengths[-1])
            if count > form.max_intervals:
                self._refuse_length(form.max_intervals, span, where)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
        return Intervals(starts, np.concatenate(pages))

    def _interval(self, form: IntervalForm, span: Span, where: Where) -> Any:  # noqa: ANN401
        """Read the pages of one long interval."""
        adapter = adapter_for(list[Annotated[int, kinds.whole(0, form.max_page)]])
        self._check_array(adapter, span, where)
        arrays: list[Any] = []
        count = 0
        for group in self._groups(span):
            read = self._at_once(adapter, self._elements(group), group, where, count)
            arrays.append(np.array(read, np.uint32))
            count += len(arrays[-1])
        return np.concatenate([np.zeros(0, np.uint32), *arrays])

    def pages(self, name: str, span: Span, where: Where) -> Any:  # noqa: ANN401
        """Read a long set of pages, in the form that has this name."""
        adapter = _page_adapter(name)
        begin, end = span.begin + 1, span.end - 1
        if name == "bitmap":
            if self._has_parts(span):
                self._refuse(adapter, span, where)
            is_quoted = self._body[span.begin : begin] == self._body[end : span.end] == b'"'
            bitmap = bitmap_in(self._body, begin, end, where) if is_quoted else None
            text = self._text(span)
            return bitmap or pages_from(name, self._at_once(adapter, text, span, where))
        self._check_array(adapter, span, where)
        if self._body[end : span.end] != b"]":
            raise malformed("expected `]`", end)
        if is_empty_array(self._body, span):
            return pages_from(name, self._at_once(adapter, b"[]", span, where))
        found = numbers_of(self._body, begin, end, name, where)
        return self._pages_of_parts(adapter, name, span, where) if found is None else found

    def _pages_of_parts(
        self, adapter: TypeAdapter[Any], name: str, span: Span, where: Where
    ) -> Any:  # noqa: ANN401
        """Read pages whose texts or inner lists have commas: at the latest these are refused."""
        read: list[Any] = []
        count = 0
        for group in self._groups(span):
            text = self._elements(group)
            # An array takes far less memory than a list
            read.append(np.array(self._at_once(adapter, text, group, where, count), np.uint64))
            count += len(read[-1])
        return pages_from(name, np.concatenate(read))


@lru_cache(8)
def _page_adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[Any, GetPydanticSchema(lambda *_: page_field_schema(name))])
