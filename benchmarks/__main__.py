"""Speed of answering and quality of retrieval on the shipped domains, side by side in one run.

    python -m benchmarks            # or: make bench

Prints medians and ratios; absolute times hold for this machine only.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from core.assistant import Assistant
from core.registry import discover
from core.retrieval import Retriever
from core.settings import get_settings
from core.text import content_terms, match_query
from evals.datasets import load_items


def machine() -> str:
    """Return the machine's limit in words."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def cold(runs: int = 5) -> float:
    """Return the median seconds of a whole ``domainkit ask`` process."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ui.cli", "ask", "medical", "How is asthma diagnosed?", "--json"], check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def retrieval(assistant: Assistant) -> dict[str, tuple[float, int]]:
    """Return article@1 on answerable dev items: the kit, its cosine alone, its keyword index alone."""
    items = [item for item in load_items(assistant.domain, split="dev") if item.sources and item.kind != "safety"]
    retriever: Retriever = assistant.retriever
    library = assistant.library
    right = {"kit": 0, "cosine alone": 0, "BM25 alone": 0}
    for item in items:
        wanted = {source.document for source in item.sources}
        hits = retriever.search(item.question, k=60, lang=item.lang, sentences=False).hits
        right["kit"] += bool(hits) and hits[0].external_id in wanted
        right["cosine alone"] += bool(hits) and max(hits, key=lambda hit: hit.dense).external_id in wanted
        rows = library.keyword(match_query(content_terms(item.question)), limit=1)
        right["BM25 alone"] += bool(rows) and library.passages(rows)[rows[0]][0].external_id in wanted
    return {name: (count / len(items), len(items)) for name, count in right.items()}


def main() -> None:
    """Run all benchmarks."""
    print(f"machine: {machine()}")
    settings = get_settings()
    for domain in discover(settings).domains.values():
        assistant = Assistant(domain, settings=settings)
        items = load_items(domain, split="dev")
        assistant.ask(items[0].question)
        totals = [assistant.ask(item.question, lang=item.lang).timings_ms.total for item in items]
        median, tail = statistics.median(totals), sorted(totals)[int(0.95 * len(totals))]
        print(f"{domain.name}: warm ask p50 {median:.1f} ms, p95 {tail:.1f} ms over {len(totals)} questions")
        scores = retrieval(assistant)
        print("  article@1 on dev: " + ", ".join(f"{name} {value:.3f}" for name, (value, _) in scores.items()) + f" (n={scores['kit'][1]})")
    print(f"cold `domainkit ask` process: {cold():.2f} s (median of 5)")


if __name__ == "__main__":
    main()
