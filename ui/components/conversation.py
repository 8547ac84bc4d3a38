"""A conversation: questions, answers of each status, their sources, ratings and exports. Owns which source is open."""

from __future__ import annotations

import streamlit as st

from core.assistant import Assistant
from core.errors import DomainkitError
from core.memory import LOCAL, Memory, as_turns
from core.registry import Domain
from core.types import Answer, Language, Status
from ui import export, state
from ui.components import history, html
from ui.components.answer import show_claims, show_copy
from ui.components.chrome import problem
from ui.components.numbering import numbered
from ui.components.source import show_source
from ui.i18n import text

_SOURCE = "conversation.source"
_PENDING = "conversation.pending"


def put_question(question: str) -> None:
    """Have a question asked in the next run, as a starter or a suggestion does."""
    st.session_state[_PENDING] = question


def take_question() -> str | None:
    """Return the question put by :func:`put_question`, once."""
    found: str | None = st.session_state.pop(_PENDING, None)
    return found


def toggle_source(answer_id: str, number: int) -> None:
    """Open a source of an answer, or close it when it is the open one."""
    wanted = (answer_id, number)
    st.session_state[_SOURCE] = None if st.session_state.get(_SOURCE) == wanted else wanted


def _open_number(answer: Answer) -> int | None:
    found = st.session_state.get(_SOURCE)
    return found[1] if found is not None and found[0] == answer.id else None


def question_bubble(question: str, lang: Language) -> None:
    """Show what was asked."""
    html.show(html.tag("div", html.tag("h3", question, cls="dk-question", aria_label=f"{text('ask.you', lang)}: {question}"), cls="dk-asked"))


def show_exchange(answer: Answer, *, domain: Domain, memory: Memory, lang: Language, last: bool, answers: list[Answer]) -> None:
    """Show a question with its answer; the last one carries the export of the conversation."""
    question_bubble(answer.question, lang)
    if answer.status is Status.ESCALATED:
        html.show(html.card("alarm", symbol="emergency", title=text("ask.escalated", lang), body=answer.text, role="alert"))
    elif answer.status is Status.REFUSED:
        html.show(html.card("calm", symbol="front_hand", title=text("ask.refused", lang), body=answer.text))
    elif answer.status is Status.ABSTAINED:
        _abstained(answer, lang, active=last)
    else:
        _answered(answer, domain, lang)
    _actions(answer, memory=memory, lang=lang, last=last, answers=answers, title=domain.manifest.title.get(lang))


def _answered(answer: Answer, domain: Domain, lang: Language) -> None:
    number = _open_number(answer)
    show_claims(answer, lang=lang, open_number=number, on_cite=toggle_source)
    citations = numbered(answer.claims)
    if number is not None and number <= len(citations):
        citation = citations[number - 1]
        url = state.document_urls(domain).get(citation.document_id, "")
        closed = show_source(citation, number=number, library=state.library(domain), url=url, lang=lang, key=f"source.{answer.id}")
        if closed:
            toggle_source(answer.id, number)
            st.rerun()
    if answer.notice:
        html.show(html.tag("p", answer.notice, cls="dk-disclaimer"))


def _abstained(answer: Answer, lang: Language, *, active: bool) -> None:
    html.show(html.card("calm", symbol="search_off", title=answer.text))
    if not answer.nearest:
        return
    html.show(html.tag("p", text("ask.abstained", lang), cls="dk-small dk-quiet"))
    with st.container(horizontal=True, gap="small", key=f"dk-nearest-{answer.id}"):
        for number, topic in enumerate(answer.nearest):
            st.button(
                html.plain(history.short(topic, limit=60)),
                key=f"nearest.{answer.id}.{number}",
                icon=":material/arrow_forward:",
                disabled=not active,
                on_click=put_question,
                args=(text("ask.topic_question", answer.lang, topic=topic),),
            )


def _rate(memory: Memory, answer_id: str, key: str) -> None:
    value = st.session_state[key]
    if value is not None:
        memory.rate(LOCAL, answer_id=answer_id, helpful=bool(value))


def _actions(answer: Answer, *, memory: Memory, lang: Language, last: bool, answers: list[Answer], title: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key=f"dk-actions-{answer.id}"):
        show_copy(answer, lang=lang)
        key = f"rate.{answer.id}"
        st.feedback("thumbs", key=key, on_change=_rate, args=(memory, answer.id, key))
        with st.popover(text("ask.details", lang), type="tertiary", icon=":material/info:", key=f"details.{answer.id}"):
            html.show(details(answer, lang))
        if last:
            _exports(answers, lang=lang, title=title)


def _exports(answers: list[Answer], *, lang: Language, title: str) -> None:
    name = export.file_stem(answers)
    with st.popover(text("ask.export", lang), type="tertiary", icon=":material/download:", key="dk-export"):
        st.download_button(
            text("ask.export_markdown", lang),
            data=lambda: export.to_markdown(answers, title=title, lang=lang).encode(),
            file_name=f"{name}.md",
            mime="text/markdown",
            type="tertiary",
            icon=":material/description:",
            on_click="ignore",
            key="export.markdown",
        )
        st.download_button(
            text("ask.export_pdf", lang),
            data=lambda: export.to_pdf(answers, title=title, lang=lang),
            file_name=f"{name}.pdf",
            mime="application/pdf",
            type="tertiary",
            icon=":material/picture_as_pdf:",
            on_click="ignore",
            key="export.pdf",
        )


def details(answer: Answer, lang: Language) -> html.Safe:
    """Return how an answer was made, as a list of terms."""
    calibrated = text("details.calibrated" if answer.calibrated else "details.uncalibrated", lang)
    rows = [
        ("details.confidence", f"{answer.confidence:.0%} · {calibrated}"),
        ("details.model", answer.model),
        ("details.profile", answer.profile),
        ("details.adapter", answer.adapter or text("details.none", lang)),
        ("details.generation", str(answer.generation)),
        ("details.time", f"{answer.timings_ms.total:.0f} ms"),
    ]
    return html.tag("dl", *(html.join(html.tag("dt", text(key, lang)), html.tag("dd", value)) for key, value in rows), cls="dk-facts")


def respond(question: str, *, assistant: Assistant, memory: Memory, answers: list[Answer], lang: Language) -> None:
    """Ask, show the text as it comes, store the answer and run the page again; an error is shown and nothing is stored."""
    question_bubble(question, lang)
    slot = st.empty()
    slot.html(html.tag("p", html.icon("search"), text("ask.searching", lang), cls="dk-working", role="status"))
    pieces = ""
    try:
        for piece in assistant.stream(question, history=as_turns(answers)):
            if isinstance(piece, Answer):
                history.remember(memory, piece)
            else:
                pieces += piece
                slot.html(html.tag("div", pieces, cls="dk-streaming"))
    except DomainkitError as error:
        slot.empty()
        problem(error, lang)
        return
    st.session_state[_SOURCE] = None
    st.rerun()
