"""Reads Markdown with optional YAML front matter; inline marks and raw HTML are dropped. Fetches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.documents.blocks import PageBuilder, one_line
from core.documents.parsed import Limits, OutputBudget, ParsedDocument, as_language
from core.documents.text import decode
from core.errors import DocumentError
from core.types import BlockKind

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)(?:^|\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_MAX_FRONT_MATTER = 65_536
_WIDE = re.compile("[\u2e80-\u9fff\uff00-\uffef]")


def read(path: Path, limits: Limits) -> ParsedDocument:
    """Read a Markdown file.

    Front matter may state ``title``, ``lang``, ``topic`` (the document's external id), ``aliases`` and ``sources`` (the first
    one's ``url``). Without a title there, the title is the first level-one heading, else the file's name.

    Raises:
        DocumentError: the front matter is not a YAML mapping, or the output limit is spent.
    """
    text = decode(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
    meta, body = _front_matter(text)
    builder = PageBuilder(OutputBudget(limits))
    tokens = _parser().parse(body)
    _add_blocks(tokens, builder)
    page = builder.build()
    title = _scalar(meta.get("title"))
    if not title:
        first = (page.text[b.start : b.end] for b in page.blocks if b.kind is BlockKind.HEADING and b.level == 1)
        title = next(first, "") or one_line(path.stem)
    return ParsedDocument(
        title=title,
        lang=as_language(meta.get("lang")),
        url=_first_url(meta.get("sources")),
        aliases=tuple(name for name in map(_scalar, _as_list(meta.get("aliases"))) if name),
        external_id=_scalar(meta.get("topic")),
        pages=(page,),
    )


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, text
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if len(found.group(1)) > _MAX_FRONT_MATTER:
        raise DocumentError(f"front matter is longer than {_MAX_FRONT_MATTER} characters; shorten it")
    try:
        meta = yaml.load(found.group(1), Loader=loader)  # both are safe loaders
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 2}" if mark else ""
        raise DocumentError(f"front matter is not valid YAML{where}; quote values that contain a colon") from error
    if meta is None or not isinstance(meta, dict):
        # A thematic break at the very top opens no front matter: keep the text.
        return ({}, text[found.end() :]) if meta is None else ({}, text)
    return meta, text[found.end() :]


def _scalar(value: Any) -> str:
    return one_line(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _first_url(sources: Any) -> str:
    for source in _as_list(sources)[:1]:
        url = _scalar(source.get("url") if isinstance(source, dict) else source)
        if url.startswith(("https://", "http://")):
            return url
    return ""


def _add_blocks(tokens: Iterable[Token], builder: PageBuilder) -> None:
    lists = 0
    heading = 0
    row: list[str] | None = None
    for token in tokens:
        match token.type:
            case "list_item_open":
                lists += 1
            case "list_item_close":
                lists -= 1
            case "heading_open":
                heading = int(token.tag[1])
            case "heading_close":
                heading = 0
            case "tr_open":
                row = []
            case "tr_close":
                builder.add(BlockKind.TABLE_ROW, " | ".join(row or ()))
                row = None
            case "fence" | "code_block":
                builder.add(BlockKind.TEXT, token.content)
            case "inline":
                text = _inline_text(token.children or ())
                if row is not None:
                    row.append(one_line(text))
                elif heading:
                    builder.add(BlockKind.HEADING, text, level=heading)
                else:
                    builder.add(BlockKind.LIST_ITEM if lists else BlockKind.TEXT, text)


def _inline_text(children: Iterable[Token]) -> str:
    parts: list[str] = []
    broken = False
    for token in children:
        if token.type == "softbreak":
            broken = True
            continue
        if token.type == "hardbreak":
            text = "\n"
        elif token.type == "image":
            text = _inline_text(token.children or ())
        elif token.type in ("text", "text_special", "code_inline"):
            text = token.content
        else:
            continue
        if broken and text:
            # Chinese lines join without a space, Latin words need one.
            before = parts[-1][-1:] if parts else ""
            parts.append("" if _WIDE.match(before) and _WIDE.match(text) else " ")
            broken = False
        parts.append(text)
    return "".join(parts)
