"""The only place where the app makes HTML: every text is escaped, tags and attributes come from short lists.

Knows no page. Text of documents, models and people reaches the browser through here or through native elements, never raw.
"""

from __future__ import annotations

import html
import re
from functools import cache
from typing import Any

_TAGS = frozenset(
    {"article", "blockquote", "dd", "div", "dl", "dt", "footer", "h2", "h3", "header", "li", "mark", "ol", "p", "section", "span", "strong", "ul", "a"}
)
_ATTRIBUTES = frozenset({"class", "id", "role", "lang", "title", "href"})
_ICON = re.compile(r"^[a-z0-9_]{1,40}$")
_HTTPS = re.compile(r"^https://[A-Za-z0-9.-]+(?::\d{1,5})?(?:[/?#][^\s<>\"'`\\]*)?$")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>$:&^=\"'@/])")


class Safe(str):
    """HTML that was made by :func:`tag` and friends, so that nesting does not escape it twice."""

    __slots__ = ()


def escape(text: str) -> Safe:
    """Return text as HTML, with every character that could mean something replaced."""
    return text if isinstance(text, Safe) else Safe(html.escape(text, quote=True))


def safe_url(url: str) -> str:
    """Return the address when it is a plain https one, else an empty text."""
    return url if len(url) <= 2_000 and _HTTPS.fullmatch(url) else ""


def tag(name: str, *children: str, **attributes: str) -> Safe:
    """Return an element. Plain children and all attribute values are escaped; ``_`` in names becomes ``-``, ``cls`` is ``class``.

    Raises:
        ValueError: a tag, attribute or address that is not on the lists.
    """
    if name not in _TAGS:
        raise ValueError(f"tag '{name}' is not allowed")
    parts = []
    for key, value in attributes.items():
        attribute = "class" if key == "cls" else key.replace("_", "-")
        if attribute not in _ATTRIBUTES and not attribute.startswith("aria-"):
            raise ValueError(f"attribute '{attribute}' is not allowed")
        if attribute == "href":
            if not safe_url(value):
                raise ValueError("only https addresses may be linked")
            parts.append(' target="_blank" rel="noopener noreferrer nofollow"')
        parts.append(f' {attribute}="{escape(value)}"')
    return Safe(f"<{name}{''.join(parts)}>{''.join(escape(child) for child in children)}</{name}>")


def join(*parts: str) -> Safe:
    """Return parts one after the other, plain ones escaped."""
    return Safe("".join(escape(part) for part in parts))


def icon(name: str) -> Safe:
    """Return a Material Symbols glyph, hidden from screen readers.

    Raises:
        ValueError: not the name of a symbol.
    """
    if not _ICON.fullmatch(name):
        raise ValueError(f"'{name}' is not the name of a symbol")
    return tag("span", name, cls="dk-icon", aria_hidden="true")


def card(kind: str, *, symbol: str, title: str, body: str = "", role: str = "note") -> Safe:
    """Return a card: ``kind`` sets its colours (``calm``, ``alarm``, ``problem``)."""
    text = join(tag("p", title, cls="dk-card-title"), tag("p", body, cls="dk-card-body") if body else "")
    return tag("section", icon(symbol), tag("div", text), cls=f"dk-card dk-card-{kind}", role=role)


def show(*parts: str) -> None:
    """Put HTML made here on the page."""
    import streamlit as st

    st.html(join(*parts))


def plain(text: str) -> str:
    """Return text for a label that Streamlit reads as Markdown: every sign of Markdown loses its meaning, lines become one."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    # Images are off because a fetched address can carry data out; raw HTML is shown as text.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "autolink", "html_inline", "html_block"])
    parser.validateLink = lambda url: bool(safe_url(url))  # type: ignore[method-assign]

    def open_link(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        tokens[index].attrSet("target", "_blank")
        tokens[index].attrSet("rel", "noopener noreferrer nofollow")
        rendered: str = renderer.renderToken(tokens, index, options, env)
        return rendered

    parser.add_render_rule("link_open", open_link)
    return parser


def markdown(text: str) -> Safe:
    """Return Markdown of a domain's files as HTML: no images, no raw HTML, https links only."""
    return Safe(f'<div class="dk-prose">{_parser().render(text)}</div>')


def heading(title: str, domain: str) -> None:
    """Show a page's title with the domain it is about."""
    show(tag("header", tag("h2", title, cls="dk-title"), tag("p", domain, cls="dk-quiet dk-small"), cls="dk-page"))


def section(title: str) -> None:
    """Show the title of a part of a page."""
    show(tag("h3", title, cls="dk-section"))
