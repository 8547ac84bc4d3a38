"""How a page about a domain begins: its heading, or what is missing. Knows no page."""

from __future__ import annotations

import importlib.util

from core.registry import Domain
from ui import state
from ui.components import build, html
from ui.i18n import text


def begin(title: str, *, intro: str = "", needs: str = "") -> Domain | None:
    """Show a page's heading and return the domain that it is about; None where there is none or it cannot be asked yet, which is then said.

    Args:
        title: key of the page's title.
        intro: key of the line below it.
        needs: module that the page cannot do without.
    """
    view = state.view()
    lang, domain = view.lang, view.domain
    if domain is None:
        html.show(html.card("calm", symbol="folder_off", title=text("frame.no_domains", lang)))
        return None
    html.heading(text(title, lang), domain.manifest.title.get(lang))
    if intro:
        html.show(html.tag("p", text(intro, lang), cls="dk-lead"))
    if needs and importlib.util.find_spec(needs) is None:
        html.show(html.card("calm", symbol="extension_off", title=text("evaluate.missing", lang)))
        return None
    if not build.ready(domain, view.settings):
        build.missing_library(domain, view.settings, lang)
        return None
    return domain
