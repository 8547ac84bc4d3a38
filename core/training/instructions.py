"""Instructions for a language model: questions, the passages that are shown with them, and the answer that quotes and cites. Knows no model.

A prompt is filled as :mod:`core.prompts` fills it when a user asks, so that a model learns to answer as it will be asked.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from core.documents.language import detect_language
from core.documents.loading import read_documents
from core.documents.sentences import sentence_spans
from core.documents.splitting import split
from core.errors import UsageError
from core.eval_items import EvalItem, read_training_questions, training_files
from core.prompts import fill
from core.registry import Domain
from core.settings import Settings
from core.training.pairs import Pair, data_file, read_rows
from core.training.parting import Amounts
from core.types import LANGUAGES, Document, Hit, Language, Passage

PLAIN: dict[Language, str] = {"en": "Question: {question}\nAnswer:", "zh": "问题：{question}\n回答："}
"""Prompts of questions that are asked without passages."""
NOTHING: dict[Language, str] = {"en": "I don't know.", "zh": "我不知道。"}
"""What the prompt templates tell a model to write when the passages do not answer."""
UNLIMITED = 10**9


class InstructionData(Amounts):
    """Where instructions come from: the domain's own training questions, each with the quote that answers it, or rows of a file."""

    own: bool = False
    files: tuple[str, ...] = ()
    """Of the domain's own: which of its files of training questions; all when empty."""
    file: str = ""
    question: str = "question"
    answer: str = "answer"
    context: str = ""
    """Field of the passage that a row's question is asked about; empty for questions without passages."""
    document: str = "id"
    """Field that says what a row belongs to: splits keep it whole."""
    languages: tuple[Language, ...] = LANGUAGES
    passages: int = Field(default=3, ge=1, le=12)
    """Shown with a question that has passages: the one that answers and others that do not, in any order."""

    @model_validator(mode="after")
    def _one_place(self) -> InstructionData:
        if self.own == bool(self.file):
            raise ValueError("name a file, or say `own = true`")
        return self

    @property
    def name(self) -> str:
        """What a report calls it."""
        return "own" if self.own else Path(self.file).name.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """A question and the text that answers it, before passages are drawn."""

    id: str
    question: str
    answer: str
    """Empty where nothing answers."""
    document: str
    lang: Language
    source: Hit | None
    """The passage that answers."""
    passages: int
    """Shown with the question; 0: it is asked without."""

    def pair(self) -> Pair:
        """Return it as splits and the search for leaks read it."""
        return Pair(id=self.id, question=self.question, text=self.answer or f"nothing answers {self.id}", entity=self.document)


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """What a model is shown and what it is to write."""

    id: str
    question: str
    prompt: str
    answer: str
    """With the numbers of the passages it comes from."""
    plain: str
    """Without them; empty where nothing answers."""
    lang: Language
    passages: int
    """Shown in the prompt."""
    numbers: frozenset[int]
    """Of the passages that answer; empty where there are none."""


def own_instructions(domain: Domain, entry: InstructionData, *, settings: Settings) -> tuple[list[Instruction], list[Hit]]:
    """Return a domain's training questions with their passages, and all passages of its corpus.

    Raises:
        ManifestError: a line of a question file is not valid. DocumentError: an article cannot be read.
    """
    hits = [
        hit
        for path in sorted(domain.corpus.rglob("*.md"))
        for document in read_documents(path, scope="corpus", settings=settings, root=domain.corpus)
        if document.lang in entry.languages
        for hit in _hits(document)
    ]
    shelf: dict[tuple[str, Language], list[tuple[str, Hit]]] = defaultdict(list)
    for hit in hits:
        shelf[hit.external_id, hit.passage.lang].append((_joined(hit.passage.text), hit))
    found = []
    for path in training_files(domain.folder, domain.manifest):
        if not entry.files or path.name in entry.files:
            asked = (item for item in read_training_questions(path) if item.lang in entry.languages)
            found += [one for item in asked if (one := _own(item, shelf, name=f"{path.stem}/{item.id}", passages=entry.passages)) is not None]
    return found, hits


def _own(item: EvalItem, shelf: Mapping[tuple[str, Language], Sequence[tuple[str, Hit]]], *, name: str, passages: int) -> Instruction | None:
    """Return a training question as an instruction, None where the corpus no longer holds its quote."""
    if not item.answerable:
        near = item.slice.get("near", item.id)
        return Instruction(id=name, question=item.question, answer="", document=near, lang=item.lang, source=None, passages=passages)
    for source in item.sources:
        quote = _joined(source.quote)
        for text, hit in shelf.get((source.document, item.lang), ()):
            if quote and quote in text:
                return Instruction(
                    id=name, question=item.question, answer=source.quote, document=source.document, lang=item.lang, source=hit, passages=passages
                )  # fmt: skip
    return None


def _joined(text: str) -> str:
    return "".join(text.split())


def _hits(document: Document) -> list[Hit]:
    return [
        Hit(passage=passage, external_id=document.external_id, title=document.title, source=document.source, url=document.url, score=0, dense=0, keyword=0)
        for passage in split(document)
    ]


def file_instructions(entry: InstructionData, data: Path) -> tuple[list[Instruction], list[Hit]]:
    """Return the rows of a file as instructions, and all their passages.

    Args:
        entry: names file and fields.
        data: folder that the file lies in.

    Raises:
        UsageError: the file is missing, cannot be read, has no such field, or holds nothing.
    """
    path = data_file(data, entry.file)
    found, hits = [], []
    wanted = [entry.question, entry.answer, *([entry.context] if entry.context else [])]
    for number, row in enumerate(read_rows(path), start=1):
        lacking = [field for field in wanted if field not in row]
        if lacking:
            raise UsageError(f"{path.name}:{number}: has no field '{lacking[0]}'; it has {', '.join(map(str, list(row)[:12]))}")
        question, answer, *context = (str(row[field] or "").strip() for field in wanted)
        lang = detect_language(question)
        if not question or not answer or lang not in entry.languages or context == [""]:
            continue
        document = str(row.get(entry.document) or number)
        source = _row_hit(context[0], document=document, number=number, lang=lang) if context else None
        hits += [source] if source else []
        found.append(
            Instruction(
                id=f"{entry.name}:{number}", question=question, answer=answer, document=document, lang=lang, source=source,
                passages=entry.passages if source else 0,
            )
        )  # fmt: skip
    if not found:
        raise UsageError(f"{path.name}: holds no question with an answer")
    return found, hits


def _row_hit(text: str, *, document: str, number: int, lang: Language) -> Hit:
    """Return a row's context, whole, as a passage."""
    passage = Passage(
        id=f"{document}:{number}", document_id=document, page=None, start=0, end=len(text), text=text, heading=document, lang=lang,
        sentences=tuple(sentence_spans(text)),
    )  # fmt: skip
    return Hit(passage=passage, external_id=document, title=document, source="", url="", score=0, dense=0, keyword=0)


class Pool:
    """Passages that may stand beside the one that answers."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._near: dict[tuple[str, Language], list[Hit]] = defaultdict(list)
        self._all: dict[Language, list[Hit]] = defaultdict(list)
        for hit in hits:
            self._near[hit.external_id, hit.passage.lang].append(hit)
            self._all[hit.passage.lang].append(hit)

    def draw(self, one: Instruction, chance: random.Random) -> list[Hit]:
        """Return up to as many passages as are shown that do not hold the answer, of the same document and of others in turn."""
        answer, count = _joined(one.answer), one.passages
        near, every = self._near.get((one.document, one.lang), []), self._all.get(one.lang, [])
        far = chance.sample(every, min(4 * count, len(every)))
        parts = (chance.sample(near, len(near)), [hit for hit in far if hit.external_id != one.document])
        near, far = ([hit for hit in part if not (answer and answer in _joined(hit.passage.text))] for part in parts)
        return [hit for n in range(count) for hit in (*near[n : n + 1], *far[n : n + 1])][:count]


def cited(answer: str, number: int, lang: Language) -> str:
    """Return an answer with the number of its passage behind each sentence, as the prompt templates ask for."""
    sentences = [" ".join(answer[span.start : span.end].split()) for span in sentence_spans(answer)]
    return "".join(f"{sentence}[{number}]" for sentence in sentences) if lang == "zh" else " ".join(f"{sentence} [{number}]" for sentence in sentences)


def prompted(one: Instruction, pool: Pool, *, templates: Mapping[Language, str], fits: Callable[[Prompted], bool], seed: int) -> Prompted | None:
    """Return an instruction with passages drawn and its prompt filled; fewer passages where they do not fit, None where even the least does not.

    Args:
        one: the instruction.
        pool: what may stand beside the passage that answers.
        templates: of prompts with passages.
        fits: whether a model can read a prompt with its answer.
        seed: with the instruction's id it says which passages are drawn and in which order.
    """
    if not one.passages:
        prompt = PLAIN[one.lang].format(question=" ".join(one.question.split()))
        found = Prompted(id=one.id, question=one.question, prompt=prompt, answer=one.answer, plain=one.answer, lang=one.lang, passages=0, numbers=frozenset())
        return found if fits(found) else None
    chance = random.Random(f"{seed}:{one.id}")
    drawn = [*([one.source] if one.source else []), *pool.draw(one, chance)][: one.passages]
    while drawn:
        order = chance.sample(drawn, len(drawn))
        number = order.index(one.source) + 1 if one.source else 0
        found = Prompted(
            id=one.id, question=one.question, lang=one.lang, prompt=fill(templates[one.lang], question=one.question, hits=order, budget=UNLIMITED),
            answer=cited(one.answer, number, one.lang) if one.source else NOTHING[one.lang], plain=one.answer,
            passages=len(order), numbers=frozenset({number} if one.source else ()),
        )  # fmt: skip
        if fits(found):
            return found
        drawn.pop()
    return None
