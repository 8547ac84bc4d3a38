"""An answer's sentences with their numbered citations, and the button that copies them. Knows nothing of pages or stores.

The browser half (static/answer.js) sets text only as text, so documents and models cannot bring markup.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from core.types import Answer, Language
from ui.components.numbering import numbered, numbers_of, page_label, support_label
from ui.i18n import text
from ui.theme import STATIC


def _asset(name: str) -> str:
    return (STATIC / name).read_text("utf-8")


_answer = st.components.v2.component("domainkit.answer", html='<div class="answer" role="group"></div>', css=_asset("answer.css"), js=_asset("answer.js"))
_copy = st.components.v2.component(
    "domainkit.copy",
    html='<button type="button"><span class="icon" aria-hidden="true">content_copy</span><span class="label" role="status"></span></button>',
    css=_asset("copy.css"),
    js=_asset("copy.js"),
)
_focus = st.components.v2.component("domainkit.focus", html="<span></span>", js=_asset("focus.js"))


def data_of(answer: Answer, *, lang: Language, open_number: int | None) -> dict[str, Any]:
    """Return what the browser half is given: plain values only."""
    citations = numbered(answer.claims)
    sources: dict[tuple[str, int | None], list[int]] = {}
    for number, citation in enumerate(citations, start=1):
        sources.setdefault((citation.document_id, citation.page), []).append(number)
    return {
        "id": answer.id,
        "ui": lang,
        "lang": answer.lang,
        "open": open_number,
        "claims": [{"text": claim.text, "numbers": numbers_of(claim, citations), "support": support_label(claim, lang)} for claim in answer.claims],
        "names": ["", *(text("ask.open_source", lang, n=n, title=citation.title) for n, citation in enumerate(citations, start=1))],
        "sources": [
            {
                "number": found[0],
                "numbers": " ".join(str(n) for n in found),
                "title": citations[found[0] - 1].title,
                "page": page_label(citations[found[0] - 1], lang),
            }
            for found in sources.values()
        ],
    }


def show_claims(answer: Answer, *, lang: Language, open_number: int | None, on_cite: Callable[[str, int], None]) -> None:
    """Show an answer's sentences; ``on_cite(answer_id, number)`` is called before the page runs again."""
    key = f"answer.{answer.id}"

    def clicked() -> None:
        number = st.session_state[key].cite
        if number is not None and 1 <= int(number) <= len(numbered(answer.claims)):
            on_cite(answer.id, int(number))

    _answer(key=key, data=data_of(answer, lang=lang, open_number=open_number), on_cite_change=clicked)


def show_copy(answer: Answer, *, lang: Language) -> None:
    """Show the button that copies the answer as plain text."""
    _copy(
        key=f"copy.{answer.id}",
        data={"text": answer.text, "copy": text("ask.copy", lang), "copied": text("ask.copied", lang)},
        width="content",
    )


def focus_question(conversation: str) -> None:
    """Put the cursor into the question box, once per conversation opened."""
    with st.container(key="dk-focus"):
        _focus(key="focus", data={"at": conversation})
