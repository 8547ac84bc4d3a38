"""The Adapters page: a domain's adapter with its gain, matrix, proof and card, and the training of another."""

from __future__ import annotations

import importlib.util

from ui import state
from ui.app import show
from ui.components import build, html
from ui.components.adapter import show_adapter
from ui.i18n import text


def render() -> None:
    """Show the page."""
    view = state.view()
    lang, domain = view.lang, view.domain
    if domain is None:
        html.show(html.card("calm", symbol="folder_off", title=text("frame.no_domains", lang)))
        return
    html.heading(text("adapters.title", lang), domain.manifest.title.get(lang))
    html.show(html.tag("p", text("adapters.intro", lang), cls="dk-lead"))
    if importlib.util.find_spec("evals.proof") is None:
        html.show(html.card("calm", symbol="extension_off", title=text("evaluate.missing", lang)))
        return
    if not build.ready(domain, view.settings):
        build.missing_library(domain, view.settings, lang)
        return
    from ui.components.training import show_training

    show_adapter(domain, view.settings, lang)
    show_training(domain, view.settings, lang)


if __name__ == "__main__":
    show(render)
