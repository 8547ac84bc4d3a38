"""The Library page: what the domain's library holds, search in it, documents added and removed."""

from __future__ import annotations

from ui import state
from ui.app import show
from ui.components import build, documents, html, uploads
from ui.i18n import text


def render() -> None:
    """Show the page."""
    view = state.view()
    lang, domain = view.lang, view.domain
    if domain is None:
        html.show(html.card("calm", symbol="folder_off", title=text("frame.no_domains", lang)))
        return
    html.heading(text("library.title", lang), domain.manifest.title.get(lang))
    library = state.library(domain)
    if not build.ready(domain, view.settings):
        build.missing_library(domain, view.settings, lang)
        return
    rows = library.documents()
    documents.show_counts(library, rows, lang)
    documents.show_search(domain, rows, lang)
    documents.show_reader(library, rows, lang)
    html.section(text("library.upload", lang))
    uploads.show_uploads(domain, view.settings, lang)
    html.section(text("library.table", lang))
    documents.show_undo(domain, library, lang)
    documents.show_table(domain, rows, lang)
    documents.show_bin(domain, library, lang)


if __name__ == "__main__":
    show(render)
