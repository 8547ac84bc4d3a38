"""Eval runs made by hand: no assistant is asked."""

from __future__ import annotations

from typing import Any

from core.types import Status
from evals.aggregate import aggregate
from evals.cost import Cost
from evals.items import ItemResult
from evals.lockfile import Environment, Lock
from evals.runs import Run

LOCK = Lock.model_validate(dict.fromkeys(Lock.model_fields, "a"))
ENVIRONMENT = Environment(python="3.11", system="Linux", processor="x86_64", cores=2, packages={})


def item(name: str, *, right: bool = True, lang: str = "en", topic: str = "", answerable: bool = True, confidence: float = 0.8, **more: Any) -> ItemResult:
    """An item that was answered; right or not."""
    status = Status.ANSWERED if answerable or not right else Status.ABSTAINED
    wanted = Status.ANSWERED if answerable else Status.ABSTAINED
    marks = {"right": float(right), "status": float(status is wanted), "spans_hold": 1.0, "wrong": float(not right)}
    marks |= {"source_right": float(right), "passage_right": float(right), "coverage": 1.0} if answerable else {"abstention": float(right)}
    values: dict[str, Any] = {
        "id": name, "question": f"question {name}", "lang": lang, "kind": "qa", "answerable": answerable, "expected_status": wanted, "status": status,
        "right": right, "reason": "" if right else "cites another document", "answer": "text", "cited": (), "expected": ("a: b",) if answerable else (),
        "confidence": confidence, "milliseconds": 10.0, "source_right": right, "passage_right": right and answerable, "quote_right": right,
        "spans_hold": True, "slice": {}, "topic": topic or name, "marks": marks, "tokens_read": 100, "tokens_written": 10,
    }  # fmt: skip
    return ItemResult.model_validate(values | more)


def run_of(items: list[ItemResult], name: str = "run", **more: Any) -> Run:
    """A run of these items."""
    cost = Cost(milliseconds=1, cpu_seconds=1, tokens_read=1, tokens_written=1, peak_memory_mb=100, energy_joules=1, energy_source="assumed")
    values: dict[str, Any] = {
        "id": name, "domain": "garden", "created_at": 0.0, "split": "test", "config": {"items_sha256": "x", "jobs": 1, "alone": True}, "scores": aggregate(items),
        "items": tuple(items), "lock": LOCK, "environment": ENVIRONMENT, "cost": cost,
    }  # fmt: skip
    return Run.model_validate(values | more)
