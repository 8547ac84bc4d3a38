"""Files and domain corpora → library: parse, split, encode, store in batches, publish an index generation.

Resumable: what a killed run had committed is recognised by content hash and not encoded again. Knows no file format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.documents import iter_files, read_documents
from core.documents.files import source_name
from core.documents.splitting import estimate_tokens, split
from core.encoder import Encoder, PassageText, PassageVectors, sha256_file
from core.errors import DocumentError, LibraryError
from core.eval_items import EvalItem, EvalSource, read_training_questions, training_files
from core.index.faiss import FaissIndex
from core.library import Library
from core.library_schema import StoredQuestion
from core.question_head import QuestionHead, load_heads
from core.questions import DENSE_SHARE, FORMAT, QuestionBank, pack, question_terms
from core.registry import Domain
from core.settings import Settings
from core.types import LANGUAGES, Document, Language, Passage, Span

BATCH_PASSAGES = 192
"""Passages per transaction: enough to sort by length (little padding), few enough to lose little when killed."""

QUESTIONS_PER_BATCH = 128
Progress = Callable[[str, int, int], None]
"""Called with a name, what is done and the total."""


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What an ingest did. ``failed`` holds (name, one line that says why)."""

    added: int = 0
    unchanged: int = 0
    erased: int = 0
    passages: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Finish:
    """A file whose documents are all queued: to be marked complete once they are committed."""

    scope: str
    source: str
    digest: str
    unchanged: tuple[str, ...]


@dataclass(kw_only=True)
class _Batch:
    documents: list[tuple[Document, list[Passage]]] = field(default_factory=list)
    finished: list[_Finish] = field(default_factory=list)
    size: int = 0


def header_of(passage: Passage, aliases: Sequence[str]) -> str:
    """Return the line the encoder reads before a passage: its headings, and other names of the topic."""
    return f"{passage.heading} ({', '.join(aliases[:4])})" if aliases else passage.heading


def encode_passages(encoder: Encoder, items: Sequence[tuple[Passage, Sequence[str]]], *, batch_tokens: int) -> list[PassageVectors]:
    """Encode passages, each with its document's aliases, in batches of similar length.

    Returns:
        One :class:`PassageVectors` per item, in the order given.
    """
    texts = [
        PassageText(
            header=header_of(passage, aliases),
            text=passage.text,
            sentences=tuple(Span(start=s.start - passage.start, end=s.end - passage.start) for s in passage.sentences),
        )
        for passage, aliases in items
    ]
    lengths = [min(256, estimate_tokens(text.header) + estimate_tokens(text.text) + 8) for text in texts]
    order = sorted(range(len(texts)), key=lengths.__getitem__)
    results: list[PassageVectors | None] = [None] * len(texts)
    at = 0
    while at < len(order):
        # Texts are ascending in length, so the last of a batch sets its padding.
        chunk: list[int] = []
        while at < len(order) and (not chunk or lengths[order[at]] * (len(chunk) + 1) <= batch_tokens):
            chunk.append(order[at])
            at += 1
        for n, vectors in zip(chunk, encoder.encode_passages([texts[n] for n in chunk]), strict=True):
            results[n] = vectors
    return [vectors for vectors in results if vectors is not None]


class Ingest:
    """Brings documents into one library.

    Args:
        library: where they go.
        encoder: the base encoder for passages (int8 is fast and, measured, as good).
        settings: limits and batch sizes.
        progress: told how far the work is.
    """

    def __init__(self, library: Library, encoder: Encoder, *, settings: Settings, progress: Progress | None = None) -> None:
        self._library = library
        self._encoder = encoder
        self._settings = settings
        self._progress = progress or (lambda name, done, total: None)
        self._batch = _Batch()
        self._added = 0
        self._passages = 0
        self._unchanged = 0
        self._erased = 0
        self._at = ("", 0, 0)
        self._found: dict[tuple[str, Language, str], list[tuple[int, int, int]]] = {}

    def add_paths(self, paths: Sequence[Path], *, scope: str, prune: bool = False) -> IngestReport:
        """Ingest files and folders, then publish an index generation.

        A file that cannot be read is reported and the rest goes on. A file whose bytes were ingested whole before costs one hash.

        Args:
            paths: files or folders.
            scope: the collection that the documents belong to.
            prune: erase documents of the scope whose file is not among ``paths`` any more (for corpora).

        Raises:
            LibraryError: another process is writing, or the disk is full. UsageError: a path does not exist.
        """
        failed: list[tuple[str, str]] = []
        skipped: list[tuple[str, str]] = []
        with self._library.writing():
            files: list[tuple[Path, Path, str]] = []
            named: dict[str, Path] = {}
            for root in paths:
                for path in iter_files([root], on_skip=lambda path, why: skipped.append((path.name, why))):
                    source, place = source_name(path, root=root), path.resolve()
                    if named.setdefault(source, place) == place:
                        files.append((path, root, source))
                    else:
                        # Stored under one name, the second would silently replace the first.
                        failed.append((source, f"{source}: another file of this name is added in the same run; add the folder above both, or rename one"))
            for number, (path, root, source) in enumerate(files):
                self._at = (source, number, len(files))
                self._progress(*self._at)
                try:
                    self._add_file(path, root=root, source=source, scope=scope)
                except DocumentError as error:
                    failed.append((source, str(error)))
            self._flush()
            if prune:
                self._erased += len(self._library.forget_files(scope=scope, keep=[source for _, _, source in files]))
            self._progress("index", len(files), len(files))
            self._library.publish(lambda ids, vectors: FaissIndex.build(ids, vectors).to_bytes())
        return IngestReport(
            added=self._added,
            unchanged=self._unchanged,
            erased=self._erased,
            passages=self._passages,
            failed=tuple(failed),
            skipped=tuple(skipped),
        )

    def set_questions(self, files: Sequence[Path], *, query_encoder: Encoder, heads: Mapping[Language, QuestionHead] | None = None) -> int:
        """Bring the question bank up to date with a domain's question files; returns how many questions it holds.

        A question whose quotes are not in the library (its article was changed or removed) is left out.

        Args:
            files: the domain's training questions.
            query_encoder: encodes them as it will encode what is asked.
            heads: the domain's question heads.

        Raises:
            ManifestError: a line is not a valid item.
        """
        digest = _bank_sha256(files, self._library, query_encoder, heads or {})
        if self._library.questions_sha256() == digest and self._bank_opens():
            return self._library.question_count()
        found: list[tuple[str, EvalItem, tuple[tuple[int, int, int], ...]]] = []
        for path in files:
            for item in read_training_questions(path):
                places = {place for source in item.sources for place in self._places(source, item.lang)}
                if places or not item.answerable:
                    found.append((path.name, item, tuple(sorted(places))))
        # A language whose questions are compared by their words alone needs no encoding of them.
        vectors = self._held_vectors(found, query_encoder)
        missing = (n for n, (_, item, _) in enumerate(found) if DENSE_SHARE[item.lang] and n not in vectors)
        order = sorted(missing, key=lambda n: len(found[n][1].question))
        for at in range(0, len(order), QUESTIONS_PER_BATCH):
            self._progress("questions", at, len(order))
            part = order[at : at + QUESTIONS_PER_BATCH]
            vectors.update(zip(part, query_encoder.encode([found[n][1].question for n in part]), strict=True))
        nothing = np.zeros(0, dtype=np.float32)
        stored = [
            StoredQuestion(
                origin=origin, lang=item.lang, text=item.question, words=tuple(question_terms(item.question, item.lang)), passages=places,
                vector=vectors.get(n, nothing),
            )
            for n, (origin, item, places) in enumerate(found)
        ]  # fmt: skip
        banks = {lang: pack([question for question in stored if question.lang == lang], head=(heads or {}).get(lang)) for lang in LANGUAGES}
        with self._library.writing():
            self._library.set_questions(stored, sha256=digest, banks=banks)
            self._library.publish(lambda ids, vectors: FaissIndex.build(ids, vectors).to_bytes())
        return len(stored)

    def _bank_opens(self) -> bool:
        """Whether what is packed can be read: what was damaged is packed anew, as the reader's error advises."""
        try:
            for lang in LANGUAGES:
                QuestionBank(self._library.question_bank(lang), lang)
        except LibraryError:
            return False
        return True

    def _held_vectors(self, found: Sequence[tuple[str, EvalItem, object]], encoder: Encoder) -> dict[int, NDArray[np.float32]]:
        """Return the encodings that the present bank has of the same questions, by their number."""
        if self._library.encoder() != encoder.id:
            return {}
        held = {(lang, question.text): question.vector for lang in LANGUAGES if DENSE_SHARE[lang] for question in self._library.questions(lang)}
        keys = [(item.lang, item.question) for _, item, _ in found]
        return {n: held[key] for n, key in enumerate(keys) if key in held}

    def _places(self, source: EvalSource, lang: Language) -> list[tuple[int, int, int]]:
        """Look a quote up once, however many questions it answers."""
        key = (source.document, lang, source.quote)
        if key not in self._found:
            self._found[key] = self._library.places_of(external_id=source.document, lang=lang, quote=source.quote)
        return self._found[key]

    def _add_file(self, path: Path, *, root: Path, source: str, scope: str) -> None:
        try:
            digest = sha256_file(path)
        except OSError as error:
            raise DocumentError(f"{source}: cannot be opened ({error.strerror}); check the path and its permissions") from error
        if self._library.file_sha256(scope=scope, source=source) == digest:
            self._unchanged += 1
            return
        unchanged: list[str] = []
        for document in read_documents(path, scope=scope, settings=self._settings, root=root):
            if self._library.has(document.id):
                unchanged.append(document.id)
                self._unchanged += 1
            else:
                self._queue(document)
        self._batch.finished.append(_Finish(scope=scope, source=source, digest=digest, unchanged=tuple(unchanged)))

    def _queue(self, document: Document) -> None:
        passages = list(split(document))
        self._batch.documents.append((document, passages))
        self._batch.size += len(passages)
        if self._batch.size >= BATCH_PASSAGES:
            self._flush()

    def _flush(self) -> None:
        batch, self._batch = self._batch, _Batch()
        if batch.documents:
            items = [(passage, document.aliases) for document, passages in batch.documents for passage in passages]
            vectors = iter(encode_passages(self._encoder, items, batch_tokens=self._settings.batch_tokens))
            self._library.add([(document, passages, [next(vectors) for _ in passages]) for document, passages in batch.documents])
            self._added += len(batch.documents)
            self._passages += len(items)
            source, number, total = self._at
            # One file may hold thousands of documents: their number moves while the bar stands.
            self._progress(f"{source} ({self._added + self._unchanged:,})", number, total)
        for done in batch.finished:
            if done.unchanged:
                self._library.refresh_file_hash(done.unchanged, done.digest)
            self._erased += self._library.finish_file(scope=done.scope, source=done.source, sha256=done.digest)


def _bank_sha256(files: Sequence[Path], library: Library, encoder: Encoder, heads: Mapping[Language, QuestionHead]) -> str:
    """Return a hash of all that a question bank is made from."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files))
    digest.update(f"{FORMAT}\0{library.passages_sha256()}\0{encoder.id}\0{','.join(head.sha256 for head in heads.values())}".encode())
    return digest.hexdigest()


def encode_anew(library: Library, encoder: Encoder, *, settings: Settings, progress: Progress | None = None) -> bool:
    """Replace the vectors of a library that another encoder built, all at once or not at all; returns whether there was anything to do.

    Raises:
        LibraryError: another process is writing, or the disk is full.
    """
    if not library.exists() or library.encoder() in {"", encoder.id}:
        return False

    def found() -> Iterator[tuple[int, PassageVectors]]:
        total, after, done = library.counts()[1], 0, 0
        while rows := library.to_encode(after=after, limit=BATCH_PASSAGES):
            if progress is not None:
                progress("encoding anew", done, max(total, done))
            vectors = encode_passages(encoder, [(passage, aliases) for _, passage, aliases in rows], batch_tokens=settings.batch_tokens)
            yield from zip((row for row, _, _ in rows), vectors, strict=True)
            after, done = rows[-1][0], done + len(rows)

    with library.writing():
        library.set_vectors(found())
    return True


def is_up_to_date(domain: Domain, library: Library, encoder: Encoder) -> bool:
    """Whether :func:`bring_up_to_date` would find nothing to do. Costs a hash of each file of the domain."""
    if not library.exists() or library.generation() is None or library.encoder() not in {"", encoder.id}:
        return False
    stored = {row.source for row in library.documents(scope="corpus")}
    corpus = [domain.corpus] if domain.corpus.is_dir() else []
    files = {source_name(path, root=root): path for root in corpus for path in iter_files([root], on_skip=lambda path, why: None)}
    same = stored <= set(files) and all(library.file_sha256(scope="corpus", source=source) == sha256_file(path) for source, path in files.items())
    heads = load_heads(domain.folder / domain.manifest.paths.training, encoder_id=encoder.id)
    return same and library.questions_sha256() == _bank_sha256(training_files(domain.folder, domain.manifest), library, encoder, heads)


def bring_up_to_date(domain: Domain, library: Library, encoder: Encoder, *, settings: Settings, progress: Progress | None = None) -> IngestReport:
    """Make a library hold what its domain's folder holds: corpus, question bank, a fresh index; removed documents are erased.

    A library that another encoder built is encoded anew first.

    Raises:
        LibraryError: another process is writing, or the disk is full. ManifestError: a file of the domain is not valid.
    """
    encode_anew(library, encoder, settings=settings, progress=progress)
    ingest = Ingest(library, encoder, settings=settings, progress=progress)
    report = ingest.add_paths([domain.corpus] if domain.corpus.is_dir() else [], scope="corpus", prune=True)
    with library.writing():
        library.purge()
        library.publish(lambda rows, vectors: FaissIndex.build(rows, vectors).to_bytes())
    heads = load_heads(domain.folder / domain.manifest.paths.training, encoder_id=encoder.id)
    ingest.set_questions(training_files(domain.folder, domain.manifest), query_encoder=encoder, heads=heads)
    return report
