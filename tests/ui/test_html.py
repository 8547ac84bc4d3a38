from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ui.components import html

PAYLOADS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "![a](https://evil.example/x.png)", "[a](javascript:alert(1))",
    "<iframe src=https://evil.example>", "</mark><img src=//evil.example>", "![a][b]\n\n[b]: https://evil.example/x.png", "<a href='https://evil.example'>x</a>",
    "&lt;img src=x&gt;", "<style>@import 'https://evil.example'</style>", "<link rel=stylesheet href=//evil.example>", "`<img src=x>`", "<object data=x>",
    "<math><img src=x></math>", "\x00<img src=x>", "<<img src=x>", "<video poster=//evil.example>", "[![a](https://evil.example/x.png)](https://ok.example)",
]  # fmt: skip


class Elements(HTMLParser):
    """Collects the elements and addresses of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def parsed(text: str) -> Elements:
    found = Elements()
    found.feed(text)
    found.close()
    return found


@pytest.mark.parametrize("payload", PAYLOADS)
def test_html_text_never_becomes_an_element(payload: str) -> None:
    found = parsed(html.tag("p", payload, title=payload, cls="a"))
    assert found.tags == ["p"]
    assert {name for name, _ in found.attributes} == {"title", "class"}


@given(st.text(), st.text())
def test_html_any_text_stays_text(body: str, title: str) -> None:
    found = parsed(html.card("calm", symbol="info", title=title, body=body))
    assert set(found.tags) <= {"section", "span", "div", "p"}
    assert all(not name.startswith("on") and name not in {"src", "href", "style"} for name, _ in found.attributes)


def test_html_nested_parts_are_not_escaped_twice() -> None:
    assert html.tag("p", html.tag("strong", "a & b"), " < c") == "<p><strong>a &amp; b</strong> &lt; c</p>"


@pytest.mark.parametrize("name", ["script", "img", "iframe", "style", "p onclick=x"])
def test_html_refuses_other_tags(name: str) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        html.tag(name)


@pytest.mark.parametrize("attribute", ["onclick", "style", "src", "srcdoc"])
def test_html_refuses_other_attributes(attribute: str) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        html.tag("p", **{attribute: "x"})


@pytest.mark.parametrize(
    "url",
    ["http://a.example", "javascript:alert(1)", "//a.example", "https://a.example/ b", 'https://a.example/"x', "https://u:p@a.example", "data:text/html,x", "https:/a",
     "https://a.example/\nx", "HTTPS://a.example", ""],
)  # fmt: skip
def test_html_links_only_plain_https(url: str) -> None:
    assert html.safe_url(url) == ""
    with pytest.raises(ValueError, match="https"):
        html.tag("a", "x", href=url)


def test_html_links_open_apart_and_tell_nothing() -> None:
    link = html.tag("a", "x", href="https://a.example/b?c=d&e=f")
    assert 'rel="noopener noreferrer nofollow"' in link and 'target="_blank"' in link and "c=d&amp;e=f" in link


@pytest.mark.parametrize("payload", PAYLOADS)
def test_html_markdown_of_a_card_fetches_nothing(payload: str) -> None:
    found = parsed(html.markdown(f"# Title\n\n{payload}\n\n| a |\n|---|\n| {payload.splitlines()[0]} |\n"))
    assert not set(found.tags) & {"img", "script", "iframe", "svg", "style", "link", "object", "video", "math"}
    assert all(value is not None and value.startswith("https://") for name, value in found.attributes if name == "href")
    assert not {name for name, _ in found.attributes} & {"src", "onerror", "onload", "poster", "data"}


@given(st.text())
def test_html_markdown_has_only_harmless_elements(text: str) -> None:
    found = parsed(html.markdown(text))
    harmless = {"div", "p", "a", "em", "strong", "code", "pre", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "hr", "br"}
    assert set(found.tags) <= harmless | {"table", "thead", "tbody", "tr", "th", "td"}


@given(st.text(min_size=1))
def test_html_plain_labels_mean_nothing_in_markdown(text: str) -> None:
    tokens = MarkdownIt("commonmark").parseInline(html.plain(text))[0].children or []
    # NUL becomes the replacement character and entities cannot arise, so all that is left is text.
    assert {token.type for token in tokens} <= {"text", "text_special", "softbreak"}


def test_html_plain_labels_read_as_before() -> None:
    tokens = MarkdownIt("commonmark").parseInline(html.plain("A *b* [c](d) :red[e] $f$ 1. & <g>"))[0].children or []
    assert "".join(token.content for token in tokens) == "A *b* [c](d) :red[e] $f$ 1. & <g>"


def test_html_icon_names_are_symbols() -> None:
    with pytest.raises(ValueError, match="symbol"):
        html.icon("<b>")
