"""Whatever is asked, there is a valid answer or one line that says what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.assistant import Assistant
from core.errors import UsageError
from core.types import Answer, Status, Turn

ANY = st.characters(codec=None, exclude_categories=())  # surrogates, controls and unassigned characters included
WORDS = st.sampled_from(
    ["tulips", "When", "poison", "I want to die", "郁金香", "什么时候", "15,000.5", '"', "'", "*", "..", "{question}", "[1]", "\x00", "\ud800", "\udfff", "\u202e", "\u2028", "\n", "\t", "\ufeff",
     "é", "ＦＵＬＬ", "🌷", "<script>", "'; DROP TABLE documents; --", "NEAR(", "it", "and"]
)  # fmt: skip
SHORT = st.one_of(st.text(ANY, max_size=120), st.lists(WORDS, max_size=30).map(" ".join), st.lists(WORDS, max_size=30).map("".join))
QUESTIONS = st.one_of(SHORT, SHORT, SHORT, st.builds(lambda text, length: (text * (length // max(1, len(text)) + 1))[:length], SHORT, st.integers(0, 20_000)))


@pytest.mark.slow
@given(QUESTIONS, st.sampled_from(["", "", "en", "zh", "xx"]), st.booleans())
@examples(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_any_question_gets_a_valid_answer_or_one_usage_error(assistant: Assistant, question: str, lang: str, follows: bool) -> None:
    history = (Turn(question=question.encode("utf-8", "replace").decode()[:200], answer="x", title="Tulips"),) if follows else ()
    try:
        answer = assistant.ask(question, lang=lang, history=history)
    except UsageError as error:
        assert "\n" not in str(error) and len(str(error)) < 200
        assert len(question) > 4_000 or "empty" in str(error)
        return
    text = answer.model_dump_json()
    text.encode("utf-8")
    assert Answer.model_validate_json(text) == answer
    assert (answer.status is Status.ANSWERED) == bool(answer.claims)
    assert 0 <= answer.confidence <= 1
    for claim in answer.claims:
        for citation in claim.citations:
            page = assistant.library.page_text(citation.document_id, citation.page)
            assert citation.quote == page[citation.start : citation.end]
