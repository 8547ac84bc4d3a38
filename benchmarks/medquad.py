"""A stranger's library at size: MedQuAD's 16,407 answers added through the command line, killed on the way, then searched.

    python -m benchmarks.medquad PATH/medquad.jsonl.gz --into EMPTY_FOLDER [--questions 1000] [--kills 2]

Prints how long adding took and Recall@1 and @5 of the kit's ``search --batch``, of the cosine alone and of BM25 alone over the same
passages. MedQuAD (https://github.com/abachaa/MedQuAD, CC BY 4.0) holds different answers to one question text: any of them counts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.encoder import Encoder, compiled_folder
from core.library import Library
from core.settings import get_settings
from core.text import content_terms, match_query

NAME = "medquad"
Ranking = list[str]
"""External ids of documents, best first."""


def command(*arguments: str) -> list[str]:
    """Return a ``domainkit`` command."""
    return [sys.executable, "-m", "ui.cli", *arguments]


def run(*arguments: str) -> str:
    """Run a command and return what it prints; its errors go through."""
    return subprocess.run(command(*arguments), check=True, stdout=subprocess.PIPE, text=True).stdout


def add_killed(path: Path, *, kills: int, after: float) -> float:
    """Add the file; the first ``kills`` runs are killed after some seconds. Returns the seconds of all runs."""
    begun = time.perf_counter()
    for _ in range(kills):
        process = subprocess.Popen(command("add", NAME, str(path)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        sys.stdout.write(f"killed; {json.loads(run('status', NAME, '--json'))['documents']} documents so far\n")
    sys.stdout.write(run("add", NAME, str(path)).strip().splitlines()[-1] + "\n")
    return time.perf_counter() - begun


def recall(rankings: Sequence[Ranking], wanted: Sequence[set[str]], k: int) -> float:
    """Return the share of questions with a right answer among the first ``k``."""
    return sum(bool(set(ranking[:k]) & right) for ranking, right in zip(rankings, wanted, strict=True)) / len(wanted)


def by_document(rows: Sequence[int], names: dict[int, str], k: int = 5) -> Ranking:
    """Return the first ``k`` distinct documents of ranked passages."""
    return list(dict.fromkeys(names[row] for row in rows))[:k]


def main() -> None:
    """Add, search, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("file", type=Path)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--after", type=float, default=20.0, help="seconds until a run is killed")
    options = parser.parse_args()
    with gzip.open(options.file, "rt", encoding="utf-8") as lines:
        pairs: list[dict[str, Any]] = [json.loads(line) for line in lines]
    home = options.into / "home"
    os.environ |= {"DOMAINKIT_HOME": str(home), "DOMAINKIT_DOMAINS": str(options.into / "domains")}
    compiled = compiled_folder(get_settings())
    get_settings.cache_clear()
    if compiled.is_dir() and not (home / "encoders").exists():
        (home / "encoders").mkdir(parents=True)
        (home / "encoders" / compiled.name).symlink_to(compiled.resolve())
    run("new", NAME, "--into", str(options.into / "domains"))
    records, questions = options.into / "answers.jsonl", options.into / "questions.jsonl"
    records.write_text("".join(json.dumps({"id": pair["qid"], "text": pair["answer"]}, ensure_ascii=False) + "\n" for pair in pairs), "utf-8")
    right: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        right[" ".join(pair["question"].split()).casefold()].add(str(pair["qid"]))
    asked = random.Random(0).sample(pairs, options.questions)
    wanted = [right[" ".join(pair["question"].split()).casefold()] for pair in asked]
    questions.write_text("".join(json.dumps({"id": str(n), "question": pair["question"], "lang": "en"}) + "\n" for n, pair in enumerate(asked)), "utf-8")

    seconds = add_killed(records, kills=options.kills, after=options.after)
    begun = time.perf_counter()
    found = [json.loads(line) for line in run("search", NAME, "--batch", str(questions), "-k", "10", "--json").splitlines()]
    took = time.perf_counter() - begun
    kit = [list(dict.fromkeys(hit["external_id"] for hit in line["hits"])) for line in sorted(found, key=lambda line: int(line["id"]))]

    encoder = Encoder(compiled)
    library = Library(home / "libraries" / NAME, encoder_id=encoder.id)
    rows, vectors = library.vectors()
    names = {row: stored.external_id for at in range(0, len(rows), 500) for row, (stored, _, _) in library.passages(rows[at : at + 500].tolist()).items()}
    cosine, keyword = [], []
    for pair in asked:
        scores = vectors @ encoder.encode([pair["question"]])[0]
        best = np.argsort(-scores, kind="stable")[:60]
        cosine.append(by_document(rows[best].tolist(), names))
        keyword.append(by_document(library.keyword(match_query(content_terms(pair["question"])), limit=60), names))
    report = [f"{len(pairs)} answers, {len(rows)} passages, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"]
    report.append(f"added in {seconds:.0f} s with {options.kills} kills; {len(asked)} questions searched in {took:.1f} s, process included")
    for name, rankings in (("kit", kit), ("cosine alone", cosine), ("BM25 alone", keyword)):
        report.append(f"{name:<14} Recall@1 {recall(rankings, wanted, 1):.3f}  Recall@5 {recall(rankings, wanted, 5):.3f}")
    sys.stdout.write("\n".join(report) + "\n")


if __name__ == "__main__":
    main()
