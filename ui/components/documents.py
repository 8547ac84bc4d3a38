"""The documents of a library: counts, search, the table, reading one, removing with undo."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import streamlit as st

from core.documents.language import detect_language
from core.errors import DomainkitError
from core.library import Library
from core.library_schema import DocumentRow
from core.registry import Domain
from core.types import Hit, Language
from ui import state
from ui.components import html
from ui.components.build import publish, writable_library
from ui.components.chrome import problem
from ui.i18n import text, text_or

HITS = 8
_READING = "documents.reading"
_REMOVED = "documents.removed"
_SEARCHED = "documents.search"
_EXCERPT = 420


def scope_label(scope: str, lang: Language) -> str:
    """Return a collection's name as people read it."""
    return text_or(f"library.scope_{scope}", lang, scope)


def show_counts(library: Library, rows: Sequence[DocumentRow], lang: Language) -> None:
    """Show how much the library holds."""
    documents, passages = library.counts()
    generation = library.generation()
    numbers = [
        ("library.documents", f"{documents:,}"),
        ("library.passages", f"{passages:,}"),
        ("library.collections", str(len({row.scope for row in rows}))),
        ("library.generation", str(generation.number if generation else 0)),
    ]
    cells = (html.tag("div", html.tag("span", value, cls="dk-figure"), html.tag("span", text(key, lang), cls="dk-small dk-quiet")) for key, value in numbers)
    html.show(html.tag("section", *cells, cls="dk-figures"))


def page_numbers(library: Library, document_id: str) -> list[int | None]:
    """Return the numbers of a document's pages that hold text, ``[None]`` where it has no pages."""
    return list(dict.fromkeys(passage.page for passage in library.passages_of(document_id)))


def open_document(document_id: str) -> None:
    """Have a document shown for reading in the next run."""
    st.session_state[_READING] = document_id


def show_reader(library: Library, rows: Sequence[DocumentRow], lang: Language) -> None:
    """Show the text of the document that was asked for, over the page."""
    wanted = st.session_state.pop(_READING, None)
    found = next((row for row in rows if row.id == wanted), None)
    if found is not None:
        st.dialog(html.plain(found.title), width="medium")(_reader)(library, found, lang)


def _reader(library: Library, row: DocumentRow, lang: Language) -> None:
    pages = page_numbers(library, row.id)
    page = pages[0] if pages else None
    if len(pages) > 1:
        page = st.select_slider(text("library.page", lang), pages, format_func=str, key=f"documents.page.{row.id}")
    with st.container(height=460, border=False, key="dk-reading"):
        html.show(html.tag("div", library.page_text(row.id, page), cls="dk-text"))
    if html.safe_url(row.url):
        link = html.tag("a", text("source.original", lang), html.icon("open_in_new"), href=row.url)
        html.show(html.tag("p", link, cls="dk-small dk-links"))


def show_search(domain: Domain, rows: Sequence[DocumentRow], lang: Language) -> None:
    """Show the search box and what it finds."""
    query = st.text_input(
        text("library.search", lang), placeholder=text("library.search_hint", lang), key=_SEARCHED, label_visibility="collapsed", icon=":material/search:",
        max_chars=400,
    )  # fmt: skip
    if not query.strip():
        return
    try:
        found = state.assistant(domain).retriever.search(query, k=HITS, lang=detect_language(query), sentences=False)
    except DomainkitError as error:
        problem(error, lang)
        return
    if not found.hits:
        html.show(html.tag("p", text("library.search_none", lang), cls="dk-small dk-quiet"))
    for number, hit in enumerate(found.hits, start=1):
        _show_hit(number, hit, lang)


def _show_hit(number: int, hit: Hit, lang: Language) -> None:
    passage = hit.passage
    cut = " ".join(passage.text.split())
    page = text("source.page", lang, page=passage.page) if passage.page is not None else ""
    with st.container(key=f"dk-hit-{number}", gap=None):
        html.show(
            html.tag(
                "article",
                html.tag("p", html.tag("strong", passage.heading), html.tag("span", page, cls="dk-quiet") if page else "", cls="dk-hit-head"),
                html.tag("p", cut if len(cut) <= _EXCERPT else cut[: _EXCERPT - 1] + "…", cls="dk-hit-text"),
                cls="dk-hit",
            )
        )
        st.button(
            text("source.read", lang), key=f"documents.hit.{number}", type="tertiary", icon=":material/article:", on_click=open_document,
            args=(passage.document_id,),
        )  # fmt: skip


def change(domain: Domain, document_ids: Sequence[str], *, restore: bool = False) -> list[str]:
    """Remove documents from every search, or bring them back; returns the ids that changed.

    Raises:
        LibraryError: another process is writing.
    """
    library = writable_library(domain)
    with library.writing():
        changed = library.restore(document_ids) if restore else library.remove(document_ids)
        publish(library)
    return changed


def _changed(domain: Domain, document_ids: Sequence[str], lang: Language, *, restore: bool) -> None:
    try:
        changed = change(domain, document_ids, restore=restore)
    except DomainkitError as error:
        problem(error, lang)
        return
    st.session_state[_REMOVED] = [] if restore else changed
    st.rerun()


def show_undo(domain: Domain, library: Library, lang: Language) -> None:
    """Show what was removed last, and the button that brings it back."""
    removed: list[str] = st.session_state.get(_REMOVED, [])
    rows = [row for row in library.documents(removed=True) if row.id in removed]
    if not rows:
        return
    label = text("library.removed", lang, title=rows[0].title) if len(rows) == 1 else text("library.removed_many", lang, n=len(rows))
    with st.container(horizontal=True, vertical_alignment="center", key="dk-removed"):
        html.show(html.tag("p", label, cls="dk-small", role="status"))
        if st.button(text("library.undo", lang), type="tertiary", icon=":material/undo:", key="documents.undo"):
            _changed(domain, [row.id for row in rows], lang, restore=True)


def table(rows: Sequence[DocumentRow], lang: Language) -> dict[str, list[Any]]:
    """Return documents as the columns of a table."""
    return {
        text("library.column_title", lang): [row.title for row in rows],
        text("library.column_lang", lang): [text(f"lang.{row.lang}", lang) for row in rows],
        text("library.column_scope", lang): [scope_label(row.scope, lang) for row in rows],
        text("library.column_passages", lang): [row.passages for row in rows],
        text("library.column_added", lang): [time.strftime("%Y-%m-%d", time.localtime(row.added_at)) for row in rows],
    }


def show_table(domain: Domain, rows: Sequence[DocumentRow], lang: Language) -> None:
    """Show all documents; selected ones can be read or removed."""
    scopes = sorted({row.scope for row in rows})
    chosen = ""
    if len(scopes) > 1:
        chosen = st.segmented_control(
            text("library.filter", lang),
            ["", *scopes],
            default="",
            required=True,
            format_func=lambda scope: html.plain(scope_label(scope, lang)) if scope else text("library.all", lang),
            key="documents.scope",
            label_visibility="collapsed",
        )
    listed = [row for row in rows if not chosen or row.scope == chosen]
    picked: Any = st.dataframe(
        table(listed, lang),
        hide_index=True,
        height=min(460, 38 + 36 * max(1, len(listed))),
        row_height=36,
        selection_mode="multi-row",
        on_select="rerun",
        column_config={text("library.column_title", lang): st.column_config.TextColumn(width="large")},
        # The selection counts rows, so it must not outlive the list it was made in.
        key=f"documents.table.{chosen}.{len(listed)}",
    )
    selected = [listed[row].id for row in picked.selection.rows if row < len(listed)]
    if not selected:
        html.show(html.tag("p", text("library.table_hint", lang), cls="dk-small dk-quiet"))
        return
    with st.container(horizontal=True):
        st.button(
            text("library.read", lang), icon=":material/article:", disabled=len(selected) != 1, key="documents.read", on_click=open_document,
            args=(selected[0],),
        )  # fmt: skip
        if st.button(f"{text('library.remove', lang)} ({len(selected)})", icon=":material/delete:", key="documents.remove"):
            _changed(domain, selected, lang, restore=False)


def show_bin(domain: Domain, library: Library, lang: Language) -> None:
    """Show the documents that were removed and can still be brought back."""
    rows = library.documents(removed=True)
    if not rows:
        return
    with st.expander(text("library.bin", lang, n=len(rows)), icon=":material/delete_history:", type="compact"):
        html.show(html.tag("p", text("library.bin_hint", lang), cls="dk-small dk-quiet"))
        for row in rows[:100]:
            with st.container(horizontal=True, vertical_alignment="center", wrap=False):
                html.show(html.tag("p", row.title, cls="dk-small"))
                if st.button(text("library.restore", lang), type="tertiary", key=f"documents.restore.{row.id}"):
                    _changed(domain, [row.id], lang, restore=True)
