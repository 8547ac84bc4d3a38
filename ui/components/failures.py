"""The items of an eval run that were not right, one at a time, beside the passage that should have been found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from core.library import Library
from core.types import Language
from ui.components import html
from ui.i18n import text, text_or

if TYPE_CHECKING:
    from evals.items import ItemResult
    from evals.runs import Run


@dataclass(frozen=True, kw_only=True)
class ExpectedPassage:
    """What an item expects: document and quote, and the passage of the library that holds it, empty where none does."""

    document: str
    quote: str
    title: str = ""
    passage: str = ""


def failures(run: Run) -> list[ItemResult]:
    """Return the items of a run that were not right, in the run's order."""
    return [item for item in run.items if not item.right]


def expected_passages(library: Library, item: ItemResult) -> list[ExpectedPassage]:
    """Return for each expected source the passage of the library that holds its quote."""
    found = []
    for line in item.expected:
        document, _, quote = line.partition(": ")
        lang: Language = "zh" if item.lang == "zh" else "en"
        places = library.places_of(external_id=document, lang=lang, quote=quote) if quote and library.exists() else []
        stored = library.passages([places[0][0]])[places[0][0]][0] if places else None
        found.append(
            ExpectedPassage(document=document, quote=quote, title=stored.title if stored else "", passage=stored.passage.text if stored else "")
        )  # fmt: skip
    return found


def marked(passage: str, quote: str) -> html.Safe:
    """Return a passage as HTML with the quote marked, wherever white space may differ."""
    words = quote.split()
    pattern = r"\s*".join(re.escape(character) for character in "".join(words))
    at = re.search(pattern, passage) if words else None
    if at is None:
        return html.tag("blockquote", passage, cls="dk-excerpt")
    return html.tag("blockquote", passage[: at.start()], html.tag("mark", at[0]), passage[at.end() :], cls="dk-excerpt")


def _step(key: str, by: int, count: int) -> None:
    st.session_state[key] = (st.session_state.get(key, 0) + by) % count


def _cited(values: Sequence[str], lang: Language) -> html.Safe:
    if not values:
        return html.tag("p", text("evaluate.nothing", lang), cls="dk-quiet dk-small")
    rows = (value.partition(": ") for value in values)
    return html.join(*(html.tag("p", quote, " ", html.tag("span", document, cls="dk-quiet"), cls="dk-side-quote") for document, _, quote in rows))


def _expected(library: Library, item: ItemResult, lang: Language) -> html.Safe:
    parts: list[str] = []
    for one in expected_passages(library, item):
        parts.append(html.tag("p", one.title or one.document, cls="dk-side-source"))
        parts.append(marked(one.passage, one.quote) if one.passage else html.tag("p", one.quote, cls="dk-side-quote"))
        if one.quote and not one.passage:
            parts.append(html.tag("p", text("evaluate.passage_gone", lang), cls="dk-quiet dk-small"))
    return html.join(*parts) if parts else html.tag("p", text("evaluate.nothing", lang), cls="dk-quiet dk-small")


def _place(item: ItemResult, lang: Language) -> str:
    """Return where among the passages found the expected one stood, empty where the run did not say."""
    rank = item.marks.get("mrr_at_10")
    if rank is None:
        return ""
    return text("evaluate.passage_rank", lang, n=round(1 / rank)) if rank else text("evaluate.passage_missed", lang)


def turner(key: str, count: int, lang: Language) -> int:
    """Show buttons to the one before and the next and return which of ``count`` is shown."""
    at = min(int(st.session_state.get(key, 0)), count - 1)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(text("evaluate.previous", lang), icon=":material/chevron_left:", key=f"{key}.previous", on_click=_step, args=(key, -1, count))
        st.button(text("evaluate.next", lang), icon=":material/chevron_right:", icon_position="right", key=f"{key}.next", on_click=_step, args=(key, 1, count))
        html.show(html.tag("p", text("evaluate.position", lang, n=at + 1, total=count), cls="dk-small dk-quiet"))
    return at


def show_failures(run: Run, library: Library, lang: Language) -> None:
    """Show one failure with what it cited beside the passage it should have found, and buttons to the others."""
    items = failures(run)
    html.show(html.tag("p", text("evaluate.failures", lang, n=len(items), total=len(run.items)), cls="dk-small dk-quiet"))
    if not items:
        html.show(html.tag("p", html.icon("check_circle"), " ", text("evaluate.no_failures", lang), cls="dk-small dk-good"))
        return
    item = items[turner("failures", len(items), lang)]
    given = text_or(f"status.{item.status}", lang, item.status)
    with st.container(border=True, key="dk-failure"):
        html.show(
            html.tag("p", html.tag("span", item.id, cls="dk-chip"), " ", html.tag("span", item.reason, cls="dk-quiet"), cls="dk-small"),
            html.tag("p", item.question, cls="dk-failure-question"),
            html.tag("p", text("evaluate.given", lang, status=given, confidence=f"{item.confidence:.0%}"), cls="dk-small dk-quiet"),
            html.tag("p", item.answer, cls="dk-failure-answer"),
        )
        cited, expected = st.columns(2, gap="medium")
        with cited:
            html.show(html.tag("p", text("evaluate.cited", lang), cls="dk-side-title"), _cited(item.cited, lang))
        with expected:
            place = _place(item, lang)
            title = html.tag("p", text("evaluate.passage", lang), f" ({place})" if place else "", cls="dk-side-title")
            html.show(title, _expected(library, item, lang))
