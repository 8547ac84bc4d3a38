"""What a domain's adapter gains in the whole retrieval, on the questions that its recipe held out, over a library of the held-out texts.

    python -m benchmarks.adapters DOMAIN --data FOLDER --into EMPTY_FOLDER

Prints Recall@1 and @5 of the dense half, of dense and keywords fused, and of the kit (the fused best eight ranked by the probability that they answer, as
for an answer), without the adapter and with it, and the exact McNemar test. The library holds nothing else: no question bank, no articles.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from pathlib import Path

import numpy as np

from core.encoder import Encoder, compiled_folder
from core.ingest import Ingest
from core.library import Library
from core.query_adapter import ensure_query_encoder, find_adapter
from core.registry import discover
from core.retrieval import Retriever
from core.settings import ROOT, get_settings
from core.training.context import RunContext, every_item
from core.training.pairs import Pair
from core.training.plan import RetrievalPlan, assemble, read_plan
from core.training.retrieval import rank_figures, right_rows, training_set
from evals.statistics import mcnemar


def held_out(name: str, data: Path) -> tuple[list[Pair], int, int]:
    """Return the pairs that a domain's recipe held out, how many are asked, and its seed."""
    settings = get_settings()
    registry = discover(settings)
    domain = registry.get(name)
    plan = read_plan((domain.folder / domain.manifest.paths.adapter / "recipe.toml").read_text("utf-8"), RetrievalPlan)
    encoder = Encoder(compiled_folder(settings))
    context = RunContext(
        domain=domain,
        folder=data,
        sources=ROOT / "data" / "sources",
        data=data,
        settings=settings,
        items=every_item(registry.domains.values()),
        command="",
        progress=lambda *told: None,
    )
    found = assemble(plan, context, library=Library(settings.home / "libraries" / name, encoder_id=encoder.id))
    return list(found.test), plan.test_questions, plan.training.seed


def main() -> None:
    """Build the library, ask, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("domain")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    options = parser.parse_args()
    settings = get_settings()
    pairs, questions, seed = held_out(options.domain, options.data)
    encoder = Encoder(compiled_folder(settings))
    tuned = ensure_query_encoder(find_adapter(discover(settings).get(options.domain), settings), settings)
    texts = list(dict.fromkeys(pair.text for pair in pairs))
    options.into.mkdir(parents=True, exist_ok=True)
    records = options.into / "texts.jsonl"
    records.write_text("".join(json.dumps({"id": str(n), "text": text, "lang": "en"}, ensure_ascii=False) + "\n" for n, text in enumerate(texts)), "utf-8")
    library = Library(options.into / "library", encoder_id=encoder.id)
    Ingest(library, encoder, settings=settings).add_paths([records], scope="texts")
    right = right_rows(training_set(pairs, lambda some: np.zeros((len(some), 1), dtype=np.float32)))
    chosen = sorted(random.Random(seed).sample(range(len(pairs)), min(questions, len(pairs))))
    rows, vectors = library.vectors()
    names = {row: stored.external_id for at in range(0, len(rows), 500) for row, (stored, _, _) in library.passages(rows[at : at + 500].tolist()).items()}
    ranks: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
    for label, query in (("without", None), ("with", tuned)):
        retriever = Retriever(library, encoder, tuned=query)
        dense, fused, kit = [], [], []
        for n in chosen:
            wanted = {str(row) for row in right[n]}
            vector = (query or encoder).encode([pairs[n].question])[0]
            best = np.argsort(-(vectors @ vector), kind="stable")[:200]
            dense.append(_rank(list(dict.fromkeys(names[row] for row in rows[best].tolist())), wanted))
            for found, sentences in ((fused, False), (kit, True)):
                hits = retriever.search(pairs[n].question, k=60, lang="en", sentences=sentences).hits
                found.append(_rank(list(dict.fromkeys(hit.external_id for hit in hits)), wanted))
        ranks |= {f"{part} {label}": np.array(found) for part, found in (("dense", dense), ("fused", fused), ("kit", kit))}
    sys.stdout.write(f"{options.domain}: {len(texts)} texts, {len(rows)} passages, {len(chosen)} questions, {os.cpu_count()} cores\n")
    for part in ("dense", "fused", "kit"):
        old, new = (rank_figures(ranks[f"{part} {label}"]) for label in ("without", "with"))
        before, after = ([float(rank == 1) for rank in ranks[f"{part} {label}"]] for label in ("without", "with"))
        sys.stdout.write(
            f"  {part:<6} Recall@1 {old['recall_at_1']:.3f} → {new['recall_at_1']:.3f} (p = {mcnemar(before, after):.2g}), "
            f"Recall@5 {old['recall_at_5']:.3f} → {new['recall_at_5']:.3f}\n"
        )


def _rank(found: list[str], wanted: set[str]) -> int:
    return next((place for place, name in enumerate(found, start=1) if name in wanted), 1_000)


if __name__ == "__main__":
    main()
