from __future__ import annotations

from tests.ui.helpers import answer, citation, claim
from ui.components.answer import data_of
from ui.components.numbering import numbered, numbers_of, support_label

ONE, TWO = citation("First.", start=0), citation("Second.", start=7)


def test_numbering_counts_places_once_in_reading_order() -> None:
    claims = (claim("First.", ONE), claim("Second.", TWO), claim("Again.", ONE))
    assert numbered(claims) == (ONE, TWO)
    assert [numbers_of(one, numbered(claims)) for one in claims] == [[1], [2], [1]]


def test_numbering_tells_quotes_from_supported_sentences() -> None:
    assert support_label(claim("First.", ONE), "en") == "Verbatim"
    assert support_label(claim("The first.", ONE, support=0.874), "en") == "Support 87 %"


def test_answer_data_groups_sources_by_page() -> None:
    other = citation("Third.", page=3, document="e" * 64, title="Roses")
    data = data_of(answer(claim("First.", ONE), claim("Second.", TWO), claim("Third.", other)), lang="en", open_number=2)
    assert [(source["numbers"], source["title"], source["page"]) for source in data["sources"]] == [("1 2", "Tulips", ""), ("3", "Roses", "page 3")]
    assert data["open"] == 2
