"""Questions whose answer is a span of a text, for training a reader: reading them, parting them by document, making them from plain text.

Knows no model. Made questions are clozes (Lewis, Denoyer and Riedel, "Unsupervised Question Answering by Cloze Translation", 2019): a phrase of a
sentence is what is asked for.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.text import content_terms, normalize
from core.training.pairs import Pair, read_rows
from core.types import Language

_SENTENCE = re.compile(r"(?<![^\s])[A-Z][^.!?\n]{50,240}[.!?](?=\s|$)")
_FIGURE = r"\d[\d,.]*\d(?:\s?%| percent| million| billion| years?| days?| hours?| mg)?|\d+(?:\s?%| percent| million| billion| years?| days?| hours?)"
_NAME = r"[A-Z][a-z]+(?:(?: of| the|-)? ?[A-Z][a-z]+){0,3}"
_WORDS = r"[a-z]{4,}(?: [a-z]{4,}){0,2}"
_PHRASE = re.compile(rf"\b(?:{_FIGURE}|{_NAME}|{_WORDS})\b")
_KINDS = ((re.compile(r"^\d{4}$"), "what year"), (re.compile(r"%|percent"), "what percentage"), (re.compile(r"^\d"), "how many"))


@dataclass(frozen=True, kw_only=True)
class SpanExample:
    """A question about a text, and the spans that answer it: none where the text does not answer."""

    id: str
    group: str
    """The document it comes from; a split keeps it whole."""
    question: str
    context: str
    answers: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()
    """Character offsets of the answers in the context; -1 where an answer does not occur in it word for word."""
    lang: Language = "en"


def read_spans(path: Path, *, splits: Sequence[str] = ()) -> list[SpanExample]:
    """Read ``.jsonl`` or ``.jsonl.gz`` rows of ``id, title, question, context, answers, answer_starts, lang`` (``split`` optional).

    Args:
        path: the file.
        splits: keep rows whose ``split`` is one of these; all when empty.

    Raises:
        UsageError: the file is missing or damaged, or a row lacks a field.
    """
    found = []
    for number, row in enumerate(read_rows(path), start=1):
        if splits and str(row.get("split")) not in splits:
            continue
        found.append(_example(path.name, number, row))
    if not found:
        raise UsageError(f"{path.name}: holds no question{' of split ' + ', '.join(splits) if splits else ''}")
    return found


def _example(name: str, number: int, row: Mapping[str, Any]) -> SpanExample:
    missing = [field for field in ("question", "context", "answers", "answer_starts") if field not in row]
    if missing:
        raise UsageError(f"{name}:{number}: has no field {', '.join(missing)}; a reader's rows hold id, title, question, context, answers and answer_starts")
    context, answers, starts = str(row["context"]), [str(one) for one in row["answers"]], [int(one) for one in row["answer_starts"]]
    if len(answers) != len(starts):
        raise UsageError(f"{name}:{number}: has {len(answers)} answers and {len(starts)} answer_starts; give each answer its place, -1 where it has none")
    starts = [_placed(context, answer, start) for answer, start in zip(answers, starts, strict=True)]
    return SpanExample(
        id=str(row.get("id") or number), group=f"{row.get('title') or context}", question=" ".join(str(row["question"]).split()), context=context,
        answers=tuple(answers), starts=tuple(starts), lang="zh" if str(row.get("lang", "en")).startswith("zh") else "en",
    )  # fmt: skip


def _placed(context: str, answer: str, start: int) -> int:
    """Return where an answer stands: published sets have some that are off, where the nearest occurrence is meant, and some that occur nowhere."""
    if start >= 0 and context[start : start + len(answer)] == answer:
        return start
    places = [match.start() for match in re.finditer(re.escape(answer), context)] if answer else []
    return min(places, key=lambda place: abs(place - start), default=-1)


def split_pair(example: SpanExample) -> Pair:
    """Return an example as a split reads it: documents are kept whole, and so is what has the same text; equal questions may be asked of two documents."""
    return Pair(id=example.id, question=f"{example.id} {example.question}", text=example.context, entity=example.group)


def cloze_questions(texts: Iterable[tuple[str, str]], *, per_text: int, seed: int) -> Iterator[SpanExample]:
    """Yield questions made from texts: a name, a figure or a year of a sentence is asked for by the rest of the sentence.

    Args:
        texts: (document, text).
        per_text: at most so many of a text.
        seed: which ones.
    """
    for number, (document, text) in enumerate(texts):
        context = text[:1_600]
        chance = random.Random(f"{seed}:{number}:{document}")
        found: list[SpanExample] = []
        for sentence in _SENTENCE.finditer(context):
            phrases = [match for match in _PHRASE.finditer(sentence[0]) if match.start() > 0 and _telling(match[0])]
            if not phrases or sum(sign.isalpha() or sign == " " for sign in sentence[0]) < 0.85 * len(sentence[0]):
                continue
            phrase = chance.choice(phrases)
            start = sentence.start() + phrase.start()
            found.append(
                SpanExample(
                    id=f"cloze:{number}:{start}", group=document, question=_asked(sentence[0], phrase), context=context, answers=(phrase[0],), starts=(start,)
                )
            )
        yield from chance.sample(found, min(per_text, len(found)))


def _telling(phrase: str) -> bool:
    """Whether every word of a phrase says something, so that one could ask for it."""
    words = phrase.split()
    return len(content_terms(phrase)) >= len(words) - phrase.count(" of ") - phrase.count(" the ")


def _asked(sentence: str, phrase: re.Match[str]) -> str:
    word = next((words for shape, words in _KINDS if shape.search(phrase[0])), "what")
    before, after = " ".join(sentence[: phrase.start()].split()), " ".join(sentence[phrase.end() :].rstrip(".!? ").split())
    return f"{word} {after} {before}?" if len(after) > len(before) else f"{before} {word} {after}?".replace("  ", " ")


def unanswerable(examples: Sequence[SpanExample], *, share: float, seed: int) -> list[SpanExample]:
    """Return questions set before another text of the same language that holds none of their answers: at most ``share`` as many as the examples.

    The other text comes from the same document where it has several, which makes it a near miss.
    """
    chance = random.Random(seed)
    groups: dict[str, list[str]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example.context)
    alone: dict[Language, list[str]] = {}
    for example in examples:
        alone.setdefault(example.lang, []).append(example.context)
    made = []
    for example in chance.sample(list(examples), int(share * len(examples))):
        near = [context for context in dict.fromkeys(groups[example.group]) if context != example.context]
        context = chance.choice(near or alone[example.lang])
        if not any(normalize(answer) in normalize(context) for answer in example.answers):
            made.append(replace(example, id=f"{example.id}:none", context=context, answers=(), starts=()))
    return made
