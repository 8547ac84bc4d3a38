"""Rows of tables become questions about what a company reported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import UsageError
from core.training.table_rows import RowRule, row_pairs

RULE = RowRule(
    name="filing", file="pages.jsonl", document="doc", text="text", pattern="{company}_{year}_{form}", question="What was {company}'s {label} in {year}?",
    title="{company} {year} {form}",
)  # fmt: skip
INCOME = "Statement of income\nNet sales $ 32,765 $ 31,657\nCost of sales 16,682 16,055\nEBITDA margin 21.5% 20.1%\nDecember 31 14 15"
CASH = "Cash flows\nCapital expenditures (1,577) (1,373)\nCost of sales 16,682 16,055\nShare repurchases 4,870 2,068"


def pages(*texts: str, doc: str = "ACME_2018_10K") -> list[dict[str, object]]:
    return [{"doc": doc, "text": text} for text in texts]


def test_row_is_asked_of_its_company_and_year_under_the_filings_title() -> None:
    pairs = {pair.question: pair for pair in row_pairs(RULE, pages(INCOME))}
    assert set(pairs) == {"What was Acme's net sales in 2018?", "What was Acme's cost of sales in 2018?", "What was Acme's EBITDA margin in 2018?"}
    pair = pairs["What was Acme's net sales in 2018?"]
    assert (pair.text.split("\n")[0], pair.entity) == ("Acme 2018 10K", "filing:Acme")
    assert "Net sales $ 32,765" in pair.text


def test_row_on_several_parts_has_each_of_them_right_and_one_on_too_many_is_not_asked() -> None:
    asked = [pair.question for pair in row_pairs(RULE, pages(INCOME, CASH))]
    assert asked.count("What was Acme's cost of sales in 2018?") == 2
    assert not any("cost of sales" in pair.question for pair in row_pairs(RULE.model_copy(update={"most_texts": 1}), pages(INCOME, CASH)))


def test_pages_without_enough_rows_and_documents_of_another_name_are_left_out() -> None:
    assert row_pairs(RULE, pages("Net sales 1,000 2,000\nJust words.")) == []
    assert row_pairs(RULE, pages(INCOME, doc="ACME_10K")) == []


def test_long_page_is_cut_between_rows() -> None:
    rule = RULE.model_copy(update={"chars": 200, "per_document": 100})
    pairs = row_pairs(rule, pages("\n".join(f"Segment {chr(65 + n)} operating income 1,{n:03} 2,{n:03}" for n in range(20))))
    assert len({pair.text for pair in pairs}) > 3
    assert all(line.count(",") == 2 for pair in pairs for line in pair.text.split("\n")[1:])


def test_missing_field_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="has no field 'doc' or 'text'; it has name, body"):
        row_pairs(RULE, [{"name": "x", "body": "y"}])
    with pytest.raises(ValidationError, match="once each"):
        RowRule.model_validate(RULE.model_dump() | {"pattern": "{company}_{year}"})


@given(st.lists(st.sampled_from([INCOME, CASH, "Words only."]), max_size=5), st.integers(1, 5), st.integers(0, 3))
@examples(max_examples=50, deadline=None)
def test_at_most_so_many_rows_are_asked_of_a_document_and_always_the_same(texts: list[str], most: int, seed: int) -> None:
    rule = RULE.model_copy(update={"per_document": most})
    pairs = row_pairs(rule, pages(*texts), seed=seed)
    assert len({pair.question for pair in pairs}) <= most
    assert pairs == row_pairs(rule, pages(*texts), seed=seed)
