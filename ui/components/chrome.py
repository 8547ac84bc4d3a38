"""The frame around every page: style, domain switch, language switch, note about broken domains. Decides the view."""

from __future__ import annotations

import streamlit as st

from core.errors import DomainkitError
from core.manifest import Localized
from core.registry import Registry
from core.settings import get_settings
from core.types import LANGUAGES, Language
from ui import state, theme
from ui.components import html
from ui.i18n import language_of, text

NAMES: dict[Language, str] = {"en": "English", "zh": "中文"}
DOMAIN = "domain"
LANGUAGE = "lang"


def current_language() -> Language:
    """Return the interface's language: what was chosen, else what the address says, else the browser's."""
    if st.session_state.get(LANGUAGE) not in LANGUAGES:
        named = st.query_params.get(LANGUAGE)
        st.session_state[LANGUAGE] = named if named in LANGUAGES else language_of(st.context.locale)
    chosen: Language = st.session_state[LANGUAGE]
    return chosen


def _domain_label(title: Localized, icon: str, lang: Language) -> str:
    return f"{html.plain(icon)} {html.plain(title.get(lang))}".strip()


def domain_switch(registry: Registry, lang: Language) -> str | None:
    """Show the domains side by side; returns the chosen one's name, None where there is none."""
    names = list(registry.domains)
    if not names:
        return None
    if st.session_state.get(DOMAIN) not in names:
        named = st.query_params.get(DOMAIN)
        st.session_state[DOMAIN] = named if named in names else names[0]
    manifests = {name: domain.manifest for name, domain in registry.domains.items()}
    chosen: str | None = st.segmented_control(
        text("frame.domain", lang),
        names,
        required=True,
        format_func=lambda name: _domain_label(manifests[name].title, manifests[name].appearance.icon, lang),
        key=DOMAIN,
        label_visibility="collapsed",
        wrap=False,
    )
    return chosen or names[0]


def language_switch(lang: Language) -> None:
    """Show the languages of the interface; the choice holds from the next run on."""
    st.segmented_control(
        text("frame.language", lang),
        list(LANGUAGES),
        required=True,
        format_func=lambda value: NAMES[value],
        key=LANGUAGE,
        label_visibility="collapsed",
    )


def broken_note(registry: Registry, lang: Language) -> None:
    """Say which domains cannot be used and why; the others work."""
    if not registry.broken:
        return
    count = len(registry.broken)
    title = text("frame.broken", lang) if count == 1 else text("frame.broken_many", lang, n=count)
    with st.expander(title, icon=":material/error:", type="compact"):
        for item in registry.broken:
            html.show(html.tag("p", html.tag("strong", item.name), ": ", item.reason, cls="dk-small"))


def frame() -> state.View:
    """Draw what every page shares and return the view that the page is to show."""
    lang = current_language()
    registry = state.registry()
    name = domain_switch(registry, lang)
    side = st.sidebar.container(key="dk-side")
    with st.sidebar.container(key="dk-language"):
        broken_note(registry, lang)
        language_switch(lang)
    domain = registry.domains[name] if name else None
    st.html(theme.style(domain.manifest.appearance.color if domain else theme.NEUTRAL, upload=text("library.choose", lang)))
    found = state.View(lang=lang, domain=domain, settings=get_settings(), side=side)
    st.session_state[state.VIEW] = found
    # The address names the view, so that a reload or a bookmark returns to it.
    st.query_params[LANGUAGE] = lang
    if name is not None:
        st.query_params[DOMAIN] = name
    return found


def problem(error: DomainkitError, lang: Language) -> None:
    """Show an error as a calm card: one line that says what to do."""
    html.show(html.card("problem", symbol="error", title=text("error.title", lang), body=str(error), role="alert"))
