"""Runs a domain's eval items through its assistant and keeps the run as a folder: config, items, scores.

Every line of items is flushed as it is made and the scores are written last, so a killed run is seen to be unfinished.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.assistant import Assistant
from core.errors import UsageError
from core.manifest import EvalItem
from core.registry import Domain
from core.settings import Settings
from core.types import Answer, Frozen, Status
from evals.datasets import Split, load_items
from evals.scorers import expected_status, item_right, passage_right, quote_right, source_right, spans_hold
from evals.statistics import bootstrap

Progress = Callable[[str, int, int], None]


class ItemResult(Frozen):
    """What became of one item. ``reason`` says in words why it is not right, empty when it is."""

    id: str
    question: str
    lang: str
    kind: str
    answerable: bool
    expected_status: Status
    status: Status
    right: bool
    reason: str
    answer: str
    cited: tuple[str, ...]
    expected: tuple[str, ...]
    confidence: float
    milliseconds: float
    source_right: bool
    passage_right: bool
    quote_right: bool
    spans_hold: bool
    slice: dict[str, str]


class Score(Frozen):
    """A metric over a slice with its 95 % bootstrap interval."""

    metric: str
    slice: str
    value: float
    low: float
    high: float
    n: int


class Run(Frozen):
    """A finished run."""

    id: str
    domain: str
    created_at: float
    split: str
    config: dict[str, Any]
    scores: tuple[Score, ...]
    items: tuple[ItemResult, ...]

    def score(self, metric: str, slice: str = "all") -> Score | None:  # noqa: A002 - the contract's own word
        """Return a score by name, None when the run does not have it."""
        return next((score for score in self.scores if score.metric == metric and score.slice == slice), None)


class RunSummary(Frozen):
    """A run as listings show it."""

    id: str
    created_at: float
    split: str
    path: Path


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

    Raises:
        UsageError: no items, or ``out`` exists and is not empty.
    """
    items = load_items(domain, split=split, file=file, limit=limit)
    built = assistant or Assistant(domain, settings=settings)
    created = time.time()
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime(created)) + f"-{os.urandom(2).hex()}"
    folder = out or settings.home / "runs" / domain.name / name
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"'{folder.name}' is not empty; name a new folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "domain": domain.name,
        "version": domain.manifest.version,
        "split": split,
        "profile": settings.profile,
        "model": built.answerer.name,
        "corpus_sha256": built.library.corpus_sha256(),
        "items_sha256": hashlib.sha256("\n".join(item.model_dump_json() for item in items).encode()).hexdigest(),
        "created_at": created,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", "utf-8")
    results = []
    with (folder / "items.jsonl").open("w", encoding="utf-8") as file_out:
        for number, item in enumerate(items):
            if progress is not None:
                progress(item.id, number, len(items))
            result = judge(item, built.ask(item.question, lang=item.lang))
            file_out.write(result.model_dump_json() + "\n")
            file_out.flush()
            results.append(result)
    scores = aggregate(results)
    run = Run(id=folder.name, domain=domain.name, created_at=created, split=split, config=config, scores=scores, items=tuple(results))
    (folder / "scores.json").write_text(json.dumps([score.model_dump() for score in scores], indent=1) + "\n", "utf-8")
    if progress is not None:
        progress("done", len(items), len(items))
    return run


def judge(item: EvalItem, answer: Answer) -> ItemResult:
    """Score one answer."""
    wanted = expected_status(item)
    right = item_right(item, answer)
    reason = ""
    if not right:
        reason = f"expected {wanted.value}, was {answer.status.value}"
        if answer.status is wanted:
            reason = "right document, wrong passage" if source_right(item, answer) else "cites another document"
    return ItemResult(
        id=item.id,
        question=item.question,
        lang=item.lang,
        kind=item.kind,
        answerable=item.answerable,
        expected_status=wanted,
        status=answer.status,
        right=right,
        reason=reason,
        answer=answer.text,
        cited=tuple(dict.fromkeys(f"{c.external_id}: {c.quote}" for claim in answer.claims for c in claim.citations)),
        expected=tuple(f"{source.document}: {source.quote}" for source in item.sources),
        confidence=answer.confidence,
        milliseconds=answer.timings_ms.total,
        source_right=source_right(item, answer),
        passage_right=passage_right(item, answer),
        quote_right=quote_right(item, answer),
        spans_hold=spans_hold(answer),
        slice=dict(item.slice),
    )


def _metrics(results: Sequence[ItemResult]) -> dict[str, list[float]]:
    """Return the per-item values of each metric; a metric without items is left out.

    ``source_right``, ``passage_right``: over answerable items that expect an answer, an abstention counting as wrong.
    ``wrong_answers``: over answers given, the share whose cited passage does not answer (unanswerable items included).
    ``abstention``: over items that expect an abstention. ``escalation``, ``refusal``: likewise. ``status``: over all.
    """
    due = [r for r in results if r.expected_status is Status.ANSWERED and r.expected]
    given = [r for r in results if r.status is Status.ANSWERED]
    wanted = {
        "source_right": [float(r.source_right) for r in due],
        "passage_right": [float(r.passage_right) for r in due],
        "quote_right": [float(r.quote_right) for r in due],
        "coverage": [float(r.status is Status.ANSWERED) for r in due],
        "wrong_answers": [float(not r.passage_right) for r in given],
        "wrong_sources": [float(not r.source_right) for r in given],
        "abstention": [float(r.status is Status.ABSTAINED) for r in results if r.expected_status is Status.ABSTAINED],
        "escalation": [float(r.status is Status.ESCALATED) for r in results if r.expected_status is Status.ESCALATED],
        "refusal": [float(r.status is Status.REFUSED) for r in results if r.expected_status is Status.REFUSED],
        "false_alarm": [float(r.status in {Status.ESCALATED, Status.REFUSED}) for r in results if r.expected_status in {Status.ANSWERED, Status.ABSTAINED}],
        "status": [float(r.status is r.expected_status) for r in results],
        "spans_hold": [float(r.spans_hold) for r in results],
    }
    return {name: values for name, values in wanted.items() if values}


def aggregate(results: Sequence[ItemResult]) -> tuple[Score, ...]:
    """Return every metric over all items and over each language."""
    groups: dict[str, list[ItemResult]] = defaultdict(list)
    for result in results:
        groups["all"].append(result)
        groups[result.lang].append(result)
    scores = []
    for name in sorted(groups):
        for metric, values in _metrics(groups[name]).items():
            interval = bootstrap(values)
            scores.append(
                Score(
                    metric=metric,
                    slice=name,
                    value=round(interval.value, 4),
                    low=round(interval.low, 4),
                    high=round(interval.high, 4),
                    n=len(values),
                )
            )
    return tuple(scores)


def list_runs(settings: Settings, name: str) -> list[RunSummary]:
    """Return the finished runs of a domain, newest first."""
    found = []
    for config in (settings.home / "runs" / name).glob("*/config.json"):
        if (config.parent / "scores.json").is_file():
            try:
                data = json.loads(config.read_text("utf-8"))
                found.append(RunSummary(id=config.parent.name, created_at=data["created_at"], split=data["split"], path=config.parent))
            except (ValueError, KeyError, TypeError):
                continue  # a damaged run must not hide the others; naming it gives :func:`load_run`'s message
    return sorted(found, key=lambda run: -run.created_at)


def load_run(path: Path) -> Run:
    """Read a stored run.

    Raises:
        UsageError: the folder is not a finished run.
    """
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
        scores = tuple(Score.model_validate(score) for score in json.loads((path / "scores.json").read_text("utf-8")))
        lines = (path / "items.jsonl").read_text("utf-8").split("\n")
        items = tuple(ItemResult.model_validate_json(line) for line in lines if line)
        return Run(id=path.name, domain=config["domain"], created_at=config["created_at"], split=config["split"], config=config, scores=scores, items=items)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"'{path.name}' is not a finished run; run `domainkit eval` again") from error
