"""The conversations of a domain in the sidebar: new, open, delete, undo. Owns which conversation is open."""

from __future__ import annotations

import time

import streamlit as st

from core.errors import UsageError
from core.memory import LOCAL, Conversation, Memory
from core.types import Answer, Language
from ui.components import html
from ui.i18n import text

PARAMETER = "c"
_DELETED = "history.deleted"
_LONGEST = 46


def _key(domain: str) -> str:
    return f"history.open.{domain}"


def open_id(domain: str) -> str | None:
    """Return the conversation that is open in a domain; after a reload of the browser the one its address names."""
    key = _key(domain)
    if key not in st.session_state:
        st.session_state[key] = st.query_params.get(PARAMETER)
    found: str | None = st.session_state[key]
    return found


def set_open(domain: str, conversation: str | None) -> None:
    """Open a conversation, or none: a new one begins with the next question."""
    st.session_state[_key(domain)] = conversation
    if conversation is None:
        st.query_params.pop(PARAMETER, None)
    else:
        st.query_params[PARAMETER] = conversation


def load(memory: Memory, domain: str) -> list[Answer]:
    """Return the answers of the open conversation; none when it is new, gone, or of another domain."""
    found = open_id(domain)
    if found is None:
        return []
    try:
        answers = memory.answers(LOCAL, found)
    except UsageError:
        answers = []
    if not answers or answers[0].domain != domain:
        set_open(domain, None)
        return []
    st.query_params[PARAMETER] = found
    return answers


def remember(memory: Memory, answer: Answer) -> None:
    """Append an answer to the open conversation, beginning one where there is none."""
    found = open_id(answer.domain)
    if found is None:
        found = memory.start(LOCAL, domain=answer.domain, title=" ".join(answer.question.split())).id
        set_open(answer.domain, found)
    memory.append(LOCAL, found, answer)


def _delete(memory: Memory, domain: str, conversation: str) -> None:
    memory.delete(LOCAL, conversation)
    st.session_state[_DELETED] = conversation
    if open_id(domain) == conversation:
        set_open(domain, None)


def _undo(memory: Memory, domain: str) -> None:
    conversation = st.session_state.pop(_DELETED)
    memory.restore(LOCAL, conversation)
    set_open(domain, conversation)


def short(title: str, *, limit: int = _LONGEST) -> str:
    """Return a title cut to a line of the sidebar."""
    return title if len(title) <= limit else title[: limit - 1].rstrip() + "…"


def show_history(memory: Memory, *, domain: str, lang: Language) -> None:
    """Show the list; a click takes effect before the page runs again."""
    st.button(text("history.new", lang), icon=":material/add:", width="stretch", key="history.new", on_click=set_open, args=(domain, None))
    html.show(html.tag("p", text("history.title", lang), cls="dk-side-title"))
    if _DELETED in st.session_state:
        with st.container(horizontal=True, vertical_alignment="center", key="dk-undo"):
            html.show(html.tag("span", text("history.deleted", lang), cls="dk-small"))
            st.button(text("history.undo", lang), type="tertiary", key="history.undo", on_click=_undo, args=(memory, domain))
    conversations = memory.conversations(LOCAL, domain=domain)
    if not conversations:
        html.show(html.tag("p", text("history.empty", lang), cls="dk-small dk-quiet"))
    with st.container(key="dk-history", gap=None):
        for conversation in conversations:
            _row(memory, conversation, domain=domain, lang=lang, current=conversation.id == open_id(domain))


def _row(memory: Memory, conversation: Conversation, *, domain: str, lang: Language, current: bool) -> None:
    kind = "dk-current" if current else "dk-past"
    with st.container(horizontal=True, vertical_alignment="center", wrap=False, gap=None, key=f"{kind}-{conversation.id}"):
        st.button(
            html.plain(short(conversation.title)),
            type="tertiary",
            width="stretch",
            key=f"history.open.button.{conversation.id}",
            help=time.strftime("%Y-%m-%d %H:%M", time.localtime(conversation.created_at)),
            on_click=set_open,
            args=(domain, conversation.id),
        )
        st.button(
            text("history.delete", lang),
            icon=":material/delete:",
            type="tertiary",
            key=f"history.delete.{conversation.id}",
            help=text("history.delete", lang),
            on_click=_delete,
            args=(memory, domain, conversation.id),
        )
