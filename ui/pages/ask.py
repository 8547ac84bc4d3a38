"""The Ask page: what the domain is, starter questions, the conversation, and the box to write in."""

from __future__ import annotations

import streamlit as st

from core.errors import DomainkitError
from core.registry import Domain
from core.types import Language
from ui import state
from ui.app import show
from ui.components import answer, build, chrome, conversation, history, html
from ui.i18n import text


def welcome(domain: Domain, lang: Language, *, starters: bool) -> None:
    """Show what the domain is for and questions to begin with."""
    manifest = domain.manifest
    html.show(
        html.tag(
            "header",
            html.tag("div", manifest.appearance.icon, cls="dk-tile", aria_hidden="true"),
            html.tag("h2", manifest.title.get(lang), cls="dk-title"),
            html.tag("p", manifest.description.get(lang), cls="dk-lead"),
            cls="dk-hero",
        )
    )
    questions = manifest.starters.get(lang)[:6]
    if not starters or not questions:
        return
    html.show(html.tag("p", text("ask.starters", lang), cls="dk-small dk-quiet"))
    with st.container(key="dk-starters"):
        for number, question in enumerate(questions):
            st.button(
                html.plain(question),
                key=f"starter.{number}",
                icon=":material/north_east:",
                icon_position="right",
                width="stretch",
                on_click=conversation.put_question,
                args=(question,),
            )


def render() -> None:
    """Show the page."""
    view = state.view()
    lang, domain = view.lang, view.domain
    if domain is None:
        html.show(html.card("calm", symbol="folder_off", title=text("frame.no_domains", lang)))
        return
    memory = state.memory()
    answers = history.load(memory, domain.name)
    with view.side:
        history.show_history(memory, domain=domain.name, lang=lang)
    if not build.ready(domain, view.settings):
        welcome(domain, lang, starters=False)
        build.missing_library(domain, view.settings, lang)
        return
    try:
        assistant = state.assistant(domain)
    except DomainkitError as error:
        chrome.problem(error, lang)
        return
    asked = st.chat_input(
        text("ask.placeholder", lang, title=domain.manifest.title.get(lang)),
        key=f"ask.{domain.name}",
        max_chars=view.settings.max_question_chars,
    )
    answer.focus_question(f"{domain.name}:{history.open_id(domain.name) or ''}:{lang}")
    question = asked or conversation.take_question()
    if not answers and not question:
        welcome(domain, lang, starters=True)
    for number, given in enumerate(answers, start=1):
        last = number == len(answers) and not question
        conversation.show_exchange(given, domain=domain, memory=memory, lang=lang, last=last, answers=answers)
    if question:
        conversation.respond(question, assistant=assistant, memory=memory, answers=answers, lang=lang)


if __name__ == "__main__":
    show(render)
