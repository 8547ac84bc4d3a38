"""BEIR: queries, a corpus, and which documents are relevant to which query.

Thakur et al., "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models", NeurIPS 2021;
https://github.com/beir-cellar/beir (``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv``).
"""

from __future__ import annotations

from collections import defaultdict

from core.errors import UsageError
from evals.readers.building import Builder, Converted, source
from evals.readers.source import Sample, Source, field

LOOKS = "a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv"
QRELS = ("test.tsv", "dev.tsv", "train.tsv")
"""Judgements in the order in which they are looked for."""


def fits(sample: Sample) -> bool:
    """Whether it is a folder with these files."""
    return "queries.jsonl" in sample.names and "corpus.jsonl" in sample.names


def read(found: Source) -> Converted:
    """Read a set: a query that has relevant documents is an item, each of those a source; the whole corpus is the documents."""
    builder = Builder("beir")
    corpus = set()
    for where, row in found.beside("corpus.jsonl").rows():
        name = str(field(row, where, "_id", "id"))
        corpus.add(builder.document(str(field(row, where, "text")), id=name, title=str(row.get("title") or "")))
    place = next((found.path / "qrels" / name for name in QRELS if (found.path / "qrels" / name).is_file()), None)
    if place is None:
        raise UsageError(f"'{found.path.name}' has no qrels/{QRELS[0]}, which says what is relevant to a query")
    relevant: dict[str, list[str]] = defaultdict(list)
    for where, row in Source(place).rows():
        score = str(field(row, where, "score"))
        if not score.strip().lstrip("-").isdigit():
            raise UsageError(f"{where}: score '{score[:20]}' is not a whole number")
        if int(score) > 0:
            relevant[str(field(row, where, "query-id"))].append(str(field(row, where, "corpus-id")))
    for where, row in found.beside("queries.jsonl").rows():
        name = str(field(row, where, "_id", "id"))
        held = [document for document in relevant.get(name, ()) if document in corpus]
        if held:
            builder.item(where, id=name, question=str(field(row, where, "text")), kind="retrieval", sources=tuple(source(document) for document in held))
        else:
            builder.leave("without a relevant document in the corpus")
    return builder.converted()
