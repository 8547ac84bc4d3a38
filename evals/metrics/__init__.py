"""Metrics: pure functions, deterministic, without a judge; one file per kind of thing measured. They know neither items nor assistants."""

from core.text_metrics import CorpusScore, answer_f1, bleu, chrf, exact_match, normalize_answer
from evals.metrics.confidence import (
    ReliabilityBin,
    RiskPoint,
    area_under_risk_coverage,
    brier,
    expected_calibration_error,
    reliability,
    risk_coverage,
)
from evals.metrics.labels import accuracy, confusion, macro_f1
from evals.metrics.ranking import ndcg_at, precision_at, recall_at, reciprocal_rank

__all__ = [
    "CorpusScore",
    "ReliabilityBin",
    "RiskPoint",
    "accuracy",
    "answer_f1",
    "area_under_risk_coverage",
    "bleu",
    "brier",
    "chrf",
    "confusion",
    "exact_match",
    "expected_calibration_error",
    "macro_f1",
    "ndcg_at",
    "normalize_answer",
    "precision_at",
    "recall_at",
    "reciprocal_rank",
    "reliability",
    "risk_coverage",
]
