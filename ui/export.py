"""A conversation as a Markdown or PDF file, citations as numbered notes with page, offsets and hash. Knows no Streamlit."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

from core.types import Answer, Citation, Language, Status
from ui.components.numbering import numbered, numbers_of, page_label
from ui.i18n import text

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-!|~<>$&])")
_CHINESE = re.compile(r"([\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\u3000-\u303f\u2018-\u201d\u2014\u2026]+)")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
LATIN_FONT, CHINESE_FONT = "Helvetica", "STSong-Light"


def file_stem(answers: Sequence[Answer]) -> str:
    """Return a file name without suffix: the domain and the id of the first answer."""
    return f"{answers[0].domain}-{answers[0].id[:8]}" if answers else "conversation"


def note(citation: Citation, number: int, lang: Language) -> str:
    """Return a citation as one line: title, page, characters, hash."""
    page = page_label(citation, lang)
    parts = [citation.title, *([page] if page else []), text("source.characters", lang, start=citation.start, end=citation.end)]
    return f"{number}. {', '.join(parts)}, {text('source.hash', lang, prefix=citation.sha256[:16])}"


def _marked(answer: Answer) -> list[tuple[str, list[int]]]:
    """Return the answer's sentences with their numbers; the whole text where it has no claims."""
    if answer.status is not Status.ANSWERED:
        return [(answer.text, [])]
    citations = numbered(answer.claims)
    return [(claim.text, numbers_of(claim, citations)) for claim in answer.claims]


def _plain(value: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(value.split()))


def to_markdown(answers: Sequence[Answer], *, title: str, lang: Language) -> str:
    """Return the conversation as Markdown: text only, every sign of Markdown in it escaped, no links."""
    lines = [f"# {_plain(title)}", ""]
    for answer in answers:
        lines += [f"## {_plain(answer.question)}", ""]
        space = "" if answer.lang == "zh" else " "
        lines += [space.join(_plain(said) + "".join(f" \\[{n}\\]" for n in numbers) for said, numbers in _marked(answer)), ""]
        if answer.claims:
            lines += [f"**{text('ask.sources', lang)}**", ""]
            for number, citation in enumerate(numbered(answer.claims), start=1):
                entry = note(citation, number, lang)
                lines += [f"{number}. {_plain(entry.split('. ', 1)[1])}", f"   > {_plain(citation.quote)}"]
            lines.append("")
        if answer.notice and answer.notice != answer.text:
            lines += [f"*{_plain(answer.notice)}*", ""]
    return "\n".join(lines).rstrip() + "\n"


def rich(value: str) -> str:
    """Return text as reportlab's paragraph markup: escaped, Chinese runs in a font that has them."""
    cleaned = _UNPRINTABLE.sub(" ", value)
    runs = [run for run in _CHINESE.split(cleaned) if run]
    return "".join(f'<font name="{CHINESE_FONT}">{escape(run)}</font>' if _CHINESE.fullmatch(run) else escape(run) for run in runs)


def to_pdf(answers: Sequence[Answer], *, title: str, lang: Language) -> bytes:
    """Return the conversation as a PDF on A4."""
    from reportlab.lib.colors import HexColor
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer

    pdfmetrics.registerFont(UnicodeCIDFont(CHINESE_FONT))
    grey = HexColor("#5b6570")

    def paragraph_style(name: str, size: float, *, color: HexColor | None = None, before: float = 0, indent: float = 0) -> ParagraphStyle:
        return ParagraphStyle(
            name, fontName=LATIN_FONT, fontSize=size, leading=size * 1.5, textColor=color or HexColor("#1c2128"), spaceBefore=before, leftIndent=indent,
            wordWrap="CJK",
        )  # fmt: skip

    def latin(made: ParagraphStyle) -> ParagraphStyle:
        return ParagraphStyle(made.name + "-latin", parent=made, wordWrap="LTR")

    heading, question = paragraph_style("title", 18), paragraph_style("question", 12.5, before=14)
    body, quote, small = paragraph_style("body", 10.5, before=4), paragraph_style("quote", 9, color=grey, indent=12), paragraph_style("note", 9, before=4)

    def paragraph(markup: str, made: ParagraphStyle, sample: str) -> Flowable:
        return Paragraph(markup, made if _CHINESE.search(sample) else latin(made))

    story: list[Flowable] = [paragraph(rich(title), heading, title), Spacer(1, 4 * mm)]
    for answer in answers:
        story.append(paragraph(f"<b>{rich(answer.question)}</b>", question, answer.question))
        space = "" if answer.lang == "zh" else " "
        said = space.join(rich(sentence) + "".join(f" <super>[{n}]</super>" for n in numbers) for sentence, numbers in _marked(answer))
        story.append(paragraph(said, body, answer.text))
        for number, citation in enumerate(numbered(answer.claims), start=1):
            line = note(citation, number, lang)
            story += [paragraph(rich(line), small, line), paragraph(rich(" ".join(citation.quote.split())), quote, citation.quote)]
        if answer.notice and answer.notice != answer.text:
            story.append(paragraph(rich(answer.notice), small, answer.notice))
    buffer = io.BytesIO()
    document = SimpleDocTemplate(buffer, pagesize=A4, leftMargin=22 * mm, rightMargin=22 * mm, topMargin=20 * mm, bottomMargin=20 * mm, title=title)
    document.build(story)
    return buffer.getvalue()
