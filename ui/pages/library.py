"""The Library page: what the domain's library holds, search in it, documents added and removed."""

from __future__ import annotations

from ui import state
from ui.app import show
from ui.components import documents, html, uploads
from ui.components.page import begin
from ui.i18n import text


def render() -> None:
    """Show the page."""
    domain = begin("library.title")
    if domain is None:
        return
    view = state.view()
    lang, library = view.lang, state.library(domain)
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
