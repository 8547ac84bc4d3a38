from __future__ import annotations

from pathlib import Path

import pytest
from document_samples import ENGLISH, HAN, ReadOne, blocks_of, make_epub, replace_part

from core.errors import DocumentError
from core.types import BlockKind

PAGE = f"""<!DOCTYPE html>
<html lang="en-GB"><head><title> Blood
 pressure </title><link rel="canonical" href="https://example.org/bp"><style>p {{ color: red }}</style></head>
<body><nav>Home | About</nav><header>Site</header><article>
<h1>Blood <em>pressure</em></h1><p>{ENGLISH} <!-- hidden --> See <a href="https://example.org">more</a>.</p>
Loose text<br>on two lines.
<ul><li>Rest <b>first</b>.</li><li>Measure<ul><li>twice</li></ul></li></ul>
<table><tr><th>Stage</th><th>Systolic</th></tr><tr><td>1</td><td>130–139</td></tr></table>
<pre>a = 1
  b = 2</pre><p hidden>secret</p>
<h2>诊断</h2><div>{HAN}</div></article>
<aside>Adverts</aside><form><p>Search</p></form><footer>Copyright</footer><script>alert(1)</script></body></html>"""


def write(tmp_path: Path, data: bytes, name: str = "bp.html") -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def test_html_reads_the_article_and_drops_the_furniture(tmp_path: Path, read_one: ReadOne) -> None:
    document = read_one(write(tmp_path, PAGE.encode()))
    assert blocks_of(document) == [
        (BlockKind.HEADING, "Blood pressure"),
        (BlockKind.TEXT, f"{ENGLISH} See more."),
        (BlockKind.TEXT, "Loose text on two lines."),
        (BlockKind.LIST_ITEM, "Rest first."),
        (BlockKind.LIST_ITEM, "Measure"),
        (BlockKind.LIST_ITEM, "twice"),
        (BlockKind.TABLE_ROW, "Stage | Systolic"),
        (BlockKind.TABLE_ROW, "1 | 130–139"),
        (BlockKind.TEXT, "a = 1\n  b = 2"),
        (BlockKind.HEADING, "诊断"),
        (BlockKind.TEXT, HAN),
    ]
    assert (document.title, document.lang, document.url) == ("Blood pressure", "en", "https://example.org/bp")


@pytest.mark.parametrize("charset", ["gb2312", "gbk", "utf-8", "big5", "gb18030"])
def test_html_honours_its_declared_encoding(tmp_path: Path, read_one: ReadOne, charset: str) -> None:
    text = "數值" if charset == "big5" else HAN
    page = f'<html><head><meta charset="{charset}"><title>{text}</title></head><body><p>{text}</p></body></html>'
    document = read_one(write(tmp_path, page.encode("gb18030" if charset.startswith("gb") else charset)))
    assert (document.title, document.pages[0].text, document.lang) == (text, text, "zh")


def test_html_nested_a_hundred_thousand_deep_is_read_or_refused(tmp_path: Path, read_one: ReadOne) -> None:
    data = b"<div>" * 100_000 + b"<p>deep</p>"
    try:
        document = read_one(write(tmp_path, data))
    except DocumentError as error:
        assert str(error).startswith("bp.html: ")
    else:
        assert document.pages[0].text == "deep"


def test_html_without_text_is_empty(tmp_path: Path, read_one: ReadOne) -> None:
    with pytest.raises(DocumentError, match=r"bp\.html: holds no text"):
        read_one(write(tmp_path, b"<html><body><script>x</script></body></html>"))


def test_epub_reads_chapters_in_spine_order(tmp_path: Path, read_one: ReadOne) -> None:
    chapters = [f"<h1>One</h1><p>{ENGLISH}</p>", f"<h1>二</h1><p>{HAN}</p><ul><li>Item</li></ul>"]
    document = read_one(make_epub(tmp_path / "book.epub", chapters, title="Health &amp; you", lang="en-US"))
    assert blocks_of(document) == [
        (BlockKind.HEADING, "One"),
        (BlockKind.TEXT, ENGLISH),
        (BlockKind.HEADING, "二"),
        (BlockKind.TEXT, HAN),
        (BlockKind.LIST_ITEM, "Item"),
    ]
    assert (document.title, document.lang, [page.number for page in document.pages]) == ("Health & you", "en", [None])


def test_epub_with_a_missing_chapter_is_refused(tmp_path: Path, read_one: ReadOne) -> None:
    path = make_epub(tmp_path / "book.epub", ["<p>x</p>"])
    item = b'<item id="a" href="gone.xhtml" media-type="text/html"/>'
    package = b"<package><manifest>" + item + b'</manifest><spine><itemref idref="a"/></spine></package>'
    with pytest.raises(DocumentError, match=r"book\.epub: its chapter 'OPS/gone\.xhtml' is missing"):
        read_one(replace_part(path, "OPS/book.opf", package))


def test_epub_with_a_document_type_in_its_package_is_refused(tmp_path: Path, read_one: ReadOne) -> None:
    path = make_epub(tmp_path / "book.epub", ["<p>x</p>"])
    with pytest.raises(DocumentError, match=r"book\.epub: its part 'OPS/book\.opf' is damaged or hostile"):
        read_one(replace_part(path, "OPS/book.opf", b'<!DOCTYPE package SYSTEM "http://127.0.0.1:9/x.dtd"><package/>'))
