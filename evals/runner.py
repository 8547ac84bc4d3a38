"""Runs a domain's eval items through its assistant and keeps the run as a folder.

Every line of items is flushed as it is made and the scores are written last, so a killed run is seen to be unfinished and can go on.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from core.assistant import Assistant
from core.errors import UsageError
from core.eval_items import EvalItem
from core.registry import Domain
from core.settings import Settings
from core.types import Status
from evals.aggregate import Score, aggregate
from evals.cost import measure
from evals.datasets import Split, load_items
from evals.items import ItemResult, judge
from evals.lockfile import Lock, changed, environment, make_lock
from evals.runs import CONFIG, COST, ENVIRONMENT, ITEMS, LOCK, SCORES, Run, RunSummary, list_runs, load_items_of, load_run, write_json
from evals.scorers import expected_status
from evals.seeking import reciprocal_ranks, sought

__all__ = ["ItemResult", "Run", "RunSummary", "Score", "aggregate", "judge", "list_runs", "load_run", "run_domain"]
Progress = Callable[[str, int, int], None]
MAX_JOBS = 32


def run_domain(
    domain: Domain,
    *,
    settings: Settings,
    split: Split = "test",
    limit: int | None = None,
    progress: Progress | None = None,
    file: Path | None = None,
    out: Path | None = None,
    assistant: Assistant | None = None,
    resume: bool = False,
    jobs: int = 1,
    seed: int = 0,
    alone: bool = False,
) -> Run:
    """Run a domain's evals and store the run.

    Args:
        domain: the domain to measure.
        settings: state where runs are kept and which profile answers.
        split: which items.
        limit: about how many items, spread over the set.
        progress: told how far the run is.
        file: a JSONL file of items instead of the domain's own.
        out: folder of the run; by default ``runs/<domain>/<time>`` under the home.
        assistant: by default one is built.
        resume: go on with the unfinished run in ``out``, or with the newest unfinished one of the domain that asks the same of the same.
        jobs: questions asked at a time; scores are the same, milliseconds are not.
        seed: of the order in which items are asked (0: the file's) and of the intervals.
        alone: whether this process does nothing else, so that its memory is the run's.

    Raises:
        UsageError: no items, ``out`` exists and is not empty, or there is no such run to go on with.
    """
    if not 1 <= jobs <= MAX_JOBS:
        raise UsageError(f"--jobs is from 1 to {MAX_JOBS}, not {jobs}")
    items = load_items(domain, split=split, file=file, limit=limit)
    built = assistant or Assistant(domain, settings=settings)
    lock = make_lock(built, items)
    folder, done = _resumed(settings, domain.name, out, lock) if resume else (_fresh(settings, domain.name, out), ())
    if not resume:
        created = time.time()
        config = {
            "domain": domain.name,
            "version": domain.manifest.version,
            "split": split,
            "profile": settings.profile,
            "model": built.model,
            "corpus_sha256": lock.corpus,
            "items_sha256": lock.evals,
            "created_at": created,
            "seed": seed,
            "jobs": jobs,
            "alone": alone,
        }
        write_json(folder / LOCK, lock)
        write_json(folder / ENVIRONMENT, environment())
        write_json(folder / CONFIG, config)
        (folder / ITEMS).touch()
    known = {result.id for result in done}
    ranks = _sought_ranks(built, items)
    left = [item for item in _ordered(items, seed) if item.id not in known]
    results = {result.id: result for result in done}
    with measure() as meter, (folder / ITEMS).open("a", encoding="utf-8") as file_out:
        for number, result in enumerate(_asked(built, left, jobs, ranks), start=len(done)):
            if progress is not None:
                progress(result.id, number, len(items))
            file_out.write(result.model_dump_json() + "\n")
            file_out.flush()
            results[result.id] = result
        meter.tokens_read = sum(result.tokens_read for result in results.values())
        meter.tokens_written = sum(result.tokens_written for result in results.values())
    write_json(folder / COST, meter.cost)
    write_json(folder / SCORES, [score.model_dump() for score in aggregate([results[item.id] for item in items], seed=seed)])
    if progress is not None:
        progress("done", len(items), len(items))
    return load_run(folder)


def _ordered(items: Sequence[EvalItem], seed: int) -> list[EvalItem]:
    return random.Random(seed).sample(list(items), len(items)) if seed else list(items)


def _sought_ranks(assistant: Assistant, items: Sequence[EvalItem]) -> dict[str, float]:
    """Return the reciprocal rank by cosine alone of items that expect an answer: the part of an answer that an adapter decides."""
    wanted = [item for item in items if expected_status(item) is Status.ANSWERED]
    found = sought(assistant.library, wanted)
    if not found.questions:
        return {}
    return dict(zip(found.ids, reciprocal_ranks(assistant.retriever.query_vectors(found.questions), found).tolist(), strict=True))


def _asked(assistant: Assistant, items: Sequence[EvalItem], jobs: int, ranks: Mapping[str, float]) -> Iterator[ItemResult]:
    """Yield what became of each item, in order."""

    def ask(item: EvalItem) -> ItemResult:
        result = judge(item, assistant.ask(item.question, lang=item.lang))
        return result.model_copy(update={"marks": result.marks | {"sought_mrr": ranks[item.id]}}) if item.id in ranks else result

    if jobs == 1:
        yield from map(ask, items)
        return
    pool = ThreadPoolExecutor(jobs)
    try:
        yield from pool.map(ask, items)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _fresh(settings: Settings, name: str, out: Path | None) -> Path:
    """Return a new folder of a run."""
    folder = out or settings.home / "runs" / name / (time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{os.urandom(2).hex()}")
    if folder.exists() and any(folder.iterdir()):
        hint = "; --resume goes on with it" if (folder / CONFIG).is_file() and not (folder / SCORES).is_file() else ""
        raise UsageError(f"'{folder.name}' is not empty; name a new folder with --out{hint}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _resumed(settings: Settings, name: str, out: Path | None, lock: Lock) -> tuple[Path, tuple[ItemResult, ...]]:
    """Return the folder of an unfinished run and what it has; a line that was being written when it was killed is cut off.

    Raises:
        UsageError: there is none, it is finished, or it asked something else or of something else.
    """
    if out is not None and (out / SCORES).is_file():
        raise UsageError(f"'{out.name}' is finished; there is nothing to go on with")
    folders = [out] if out is not None else sorted((settings.home / "runs" / name).glob("*"), reverse=True)
    reason = "no unfinished run to go on with; leave --resume away"
    for folder in folders:
        if (folder / SCORES).is_file() or not (folder / CONFIG).is_file() or not (folder / LOCK).is_file():
            continue
        try:
            different = changed(Lock.model_validate_json((folder / LOCK).read_text("utf-8")), lock)
            if different:
                reason = f"the unfinished run '{folder.name}' cannot go on: {', '.join(different)} changed since; start anew without --resume"
                continue
            done = load_items_of(folder / ITEMS)
        except (OSError, ValueError):
            continue
        (folder / ITEMS).write_text("".join(result.model_dump_json() + "\n" for result in done), "utf-8")
        return folder, done
    raise UsageError(reason)
