"""Fits a domain's question heads on its training questions and writes them beside those, with their hashes. Reads no eval item."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from core.encoder import Encoder
from core.eval_items import training_files
from core.library import Library
from core.library_schema import StoredQuestion
from core.question_head import FILE, HeadFile, Heads, load_heads
from core.registry import Domain
from core.retrieval import titled
from core.training.question_head import Example, Place, fit_head
from core.types import LANGUAGES, Language

LEAST_QUESTIONS = 200
"""A language with fewer answerable training questions gets no head: too few to learn from."""
Progress = Callable[[str, int, int], None]


def sentence_examples(library: Library, lang: Language) -> dict[Place, Example]:
    """Return every sentence of a library's passages in one language, as a question head reads it."""
    rows = library.rows_by_language().get(lang, np.zeros(0, dtype=np.int64)).tolist()
    found: dict[Place, Example] = {}
    for at in range(0, len(rows), 500):
        for row, (item, _, vectors) in library.passages(rows[at : at + 500]).items():
            passage = item.passage
            for number, (span, vector) in enumerate(zip(passage.sentences, vectors, strict=True)):
                text = passage.text[span.start - passage.start : span.end - passage.start]
                found[row, number] = Example(text=titled(item.title, text), vector=vector)
    return found


def fit_on(
    questions: Iterable[StoredQuestion], sentences: Mapping[Place, Example], lang: Language, *, progress: Callable[[int, int], None] | None = None
) -> bytes | None:
    """Fit a head on stored questions and return its file; None when there are too few."""
    groups: dict[Place, list[Example]] = defaultdict(list)
    asked = list(questions)
    for question in asked:
        for row, first, _ in question.passages[:1]:
            groups[row, first].append(Example(text=question.text, vector=question.vector))
    if sum(map(len, groups.values())) < LEAST_QUESTIONS or len(groups) < 2:
        return None
    strangers = [Example(text=q.text, vector=q.vector) for q in asked if not q.passages]
    return fit_head(groups, sentences, lang=lang, unanswerable=strangers, progress=progress)


def fit_heads(domain: Domain, library: Library, encoder: Encoder, *, progress: Progress | None = None) -> bool:
    """Fit and write ``training/heads.json`` and its files where the questions changed since; returns whether anything was written.

    The library must hold the question bank of the present training files (``domainkit reindex``).
    """
    folder = domain.folder / domain.manifest.paths.training
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in training_files(domain.folder, domain.manifest)))
    digest.update(library.corpus_sha256().encode())
    stated = digest.hexdigest()
    if (folder / FILE).is_file() and load_heads(folder, encoder_id=encoder.id):
        held = Heads.model_validate_json((folder / FILE).read_text("utf-8"))
        if {entry.questions_sha256 for entry in held.heads.values()} == {stated}:
            return False
    entries: dict[Language, HeadFile] = {}
    for lang in LANGUAGES:

        def tell(done: int, total: int, lang: Language = lang) -> None:
            if progress is not None:
                progress(f"question head ({lang})", done, total)

        head_bytes = fit_on(library.questions(lang), sentence_examples(library, lang), lang, progress=tell)
        if head_bytes is not None:
            name = f"head-{lang}.safetensors"
            (folder / name).write_bytes(head_bytes)
            entries[lang] = HeadFile(file=name, sha256=hashlib.sha256(head_bytes).hexdigest(), questions_sha256=stated)
    if not entries:
        # Too few questions are left: heads of questions that are gone would still be compared by.
        stale = [*folder.glob("head-*.safetensors"), folder / FILE] if (folder / FILE).is_file() else []
        for path in stale:
            path.unlink()
        return bool(stale)
    (folder / FILE).write_text(Heads(encoder=encoder.id, heads=entries).model_dump_json(indent=1) + "\n", "utf-8")
    return True
