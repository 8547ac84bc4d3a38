"""BEIR: ``corpus.jsonl`` of the library's documents, ``queries.jsonl`` and ``qrels/test.tsv`` of the items that expect some.

https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from core.errors import UsageError
from core.eval_items import EvalItem
from core.library import Library
from core.registry import Domain


def export(domain: Domain, library: Library, items: Sequence[EvalItem]) -> Mapping[str, str]:
    """Return the files of a BEIR folder; a document's id is its external id, with its language behind where two share one.

    Raises:
        UsageError: no item expects a document that the library holds.
    """
    corpus, named = _corpus(library)
    queries, judged = [], ["query-id\tcorpus-id\tscore"]
    for item in items:
        relevant = list(dict.fromkeys(name for source in item.sources if (name := named.get((source.document, item.lang)) or named.get((source.document, "")))))
        if relevant:
            queries.append(_line({"_id": item.id, "text": item.question, "metadata": {"lang": item.lang, "kind": item.kind}}))
            judged += [f"{item.id}\t{name}\t1" for name in relevant]
    if not queries:
        raise UsageError(f"no item expects a document that the library of '{domain.name}' holds; BEIR is about documents")
    return {"corpus.jsonl": "".join(corpus), "queries.jsonl": "".join(queries), "qrels/test.tsv": "\n".join(judged) + "\n"}


def _corpus(library: Library) -> tuple[list[str], dict[tuple[str, str], str]]:
    """Return the lines of the corpus, and its ids by what items call a document: external id and language, or the id alone."""
    rows = library.documents()
    often: dict[str, int] = {}
    for row in rows:
        often[row.external_id] = often.get(row.external_id, 0) + 1
    lines: list[str] = []
    named: dict[tuple[str, str], str] = {}
    for row in rows:
        name = f"{row.external_id}-{row.lang}" if often[row.external_id] > 1 else row.external_id
        text = "\n\n".join(page.text for page in library.document(row.id).pages)
        lines.append(_line({"_id": name, "title": row.title, "text": text, "metadata": {"lang": row.lang, "url": row.url}}))
        named[row.external_id, row.lang] = name
        named.setdefault((row.external_id, ""), name)
    return lines, named


def _line(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
