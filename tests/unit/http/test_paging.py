from hypothesis import given
from hypothesis import strategies as st

from app.http.paging import Page, number_key


@given(st.sets(st.integers(0, 500)), st.integers(1, 20))
def test_pages_together_are_the_list(numbers: set[int], limit: int) -> None:
    items = sorted(numbers)
    seen: list[int] = []
    token = ""
    while True:
        page, token = Page(limit, bytes.fromhex(token)).of(items, number_key)
        assert len(page) <= limit
        seen += page
        if not token:
            break

    assert seen == items


def test_a_token_stays_good_when_its_item_is_gone() -> None:
    _, token = Page(2, b"").of([1, 2, 3, 4], number_key)

    page, _ = Page(2, bytes.fromhex(token)).of([1, 3, 4], number_key)

    assert page == [3, 4]


def test_any_token_is_a_position() -> None:
    page, token = Page(5, b"\xff" * 128).of([1, 2], number_key)

    assert (page, token) == ([], "")
