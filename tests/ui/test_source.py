from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.ui.helpers import citation
from ui.components.source import body, excerpt


@given(st.text(alphabet="abc d\n", min_size=1, max_size=3000), st.data())
def test_source_excerpt_is_the_page_itself_around_the_quote(page: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(page) - 1))
    end = data.draw(st.integers(start + 1, min(len(page), start + 400)))
    found = excerpt(page, citation(page[start:end], start=start))
    assert found.verified
    assert found.before + found.quote + found.after in page
    assert page[start:end] == found.quote
    assert page[:start].endswith(found.before) and page[end:].startswith(found.after)
    assert len(found.before + found.quote + found.after) <= 700


def test_source_excerpt_fills_its_width_at_both_ends() -> None:
    page = "x" * 2000
    for start in (0, 1000, 1990):
        found = excerpt(page, citation("x" * 10, start=start))
        assert len(found.before + found.quote + found.after) == 700


def test_source_excerpt_shows_a_changed_document_unverified() -> None:
    assert not excerpt("other text", citation("quote", start=0)).verified
    assert not excerpt(None, citation("quote", start=0)).verified


def test_source_body_escapes_the_document() -> None:
    page = "<img src=x> before QUOTE <script> after"
    html = body(excerpt(page, citation("QUOTE", start=page.index("QUOTE"))))
    assert "<img" not in html and "<script" not in html and "<mark>QUOTE</mark>" in html
