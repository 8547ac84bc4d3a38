"""The place in a document that a citation points at: the quote, marked, in the text around it."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from core.documents.language import detect_language
from core.errors import UsageError
from core.library import Library
from core.types import Citation, Language
from ui.components import html
from ui.components.numbering import page_label
from ui.i18n import text

WIDTH: dict[Language, int] = {"en": 700, "zh": 340}
"""Characters shown in all: a Chinese one takes the room of two."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A quote in its surroundings. ``verified``: the library holds these very characters there."""

    before: str
    quote: str
    after: str
    cut_before: bool
    cut_after: bool
    verified: bool


def excerpt(page: str | None, citation: Citation, *, width: int = WIDTH["en"]) -> Excerpt:
    """Return about ``width`` characters of a page around a citation's quote; the quote alone where it does not stand there."""
    if page is None or page[citation.start : citation.end] != citation.quote:
        return Excerpt(before="", quote=citation.quote, after="", cut_before=False, cut_after=False, verified=False)
    room = max(0, width - len(citation.quote))
    first = max(0, min(citation.start - room // 2, len(page) - width))
    last = min(len(page), max(citation.end, first + width))
    before, after = page[first : citation.start], page[citation.end : last]
    # Cut at a space so that no word is halved; Chinese has none and is cut where it falls.
    if first > 0 and " " in before[:30]:
        before = before[before.index(" ") + 1 :]
    if last < len(page) and " " in after[-30:]:
        after = after[: after.rindex(" ")]
    return Excerpt(before=before, quote=citation.quote, after=after, cut_before=first > 0, cut_after=last < len(page), verified=True)


def find(library: Library, citation: Citation) -> Excerpt:
    """Return the excerpt for a citation; not verified where the document is gone."""
    try:
        page = library.page_text(citation.document_id, citation.page) if library.exists() and library.has(citation.document_id) else None
    except UsageError:
        page = None
    return excerpt(page, citation, width=WIDTH[detect_language(citation.quote)])


def body(found: Excerpt) -> html.Safe:
    """Return an excerpt as HTML with the quote marked."""
    return html.tag(
        "blockquote",
        "… " if found.cut_before else "",
        found.before.lstrip() if not found.cut_before else found.before,
        html.tag("mark", found.quote),
        found.after.rstrip(),
        " …" if found.cut_after else "",
        cls="dk-excerpt",
    )


def show_source(citation: Citation, *, number: int, library: Library, url: str, lang: Language, key: str) -> bool:
    """Show the card of a source; returns whether it was closed."""
    found = find(library, citation)
    page = page_label(citation, lang)
    with st.container(border=True, key=f"dk-source-{key}"):
        with st.container(horizontal=True, vertical_alignment="center", wrap=False):
            html.show(
                html.tag(
                    "header",
                    html.tag("span", str(number), cls="dk-number"),
                    html.tag("span", citation.title, cls="dk-source-title"),
                    html.tag("span", page, cls="dk-quiet") if page else "",
                    cls="dk-source-head",
                )
            )
            closed = st.button(text("source.close", lang), icon=":material/close:", type="tertiary", key=f"{key}.close", help=text("source.close", lang))
        html.show(body(found))
        link = html.tag("a", text("source.original", lang), html.icon("open_in_new"), href=url) if html.safe_url(url) else ""
        state = html.tag(
            "span",
            html.icon("verified" if found.verified else "history"),
            text("source.verified" if found.verified else "source.changed", lang),
            cls="dk-verified" if found.verified else "dk-changed",
        )
        place = html.tag("span", text("source.characters", lang, start=f"{citation.start:,}", end=f"{citation.end:,}"))
        digest = html.tag("span", text("source.hash", lang, prefix=citation.sha256[:12]), title=citation.sha256)
        html.show(html.tag("footer", state, place, digest, link, cls="dk-source-foot"))
    return closed
