"""What metrics are called by people, in both languages. Knows no run."""

from __future__ import annotations

from core.types import Language

METRICS: dict[str, tuple[str, str]] = {
    "right": ("Did what it should", "处理得当"),
    "status": ("Right kind of response", "回应类型正确"),
    "source_right": ("Right document", "文档正确"),
    "passage_right": ("Right passage", "段落正确"),
    "quote_right": ("Right sentence", "句子正确"),
    "coverage": ("Answered when it should", "该答时作答"),
    "exact_match": ("Exact match", "完全匹配"),
    "answer_f1": ("Token F1", "词元 F1"),
    "bleu": ("BLEU", "BLEU"),
    "chrf": ("chrF", "chrF"),
    "numeric_match": ("Number, unit and scale right", "数值、单位与量级正确"),
    "accuracy": ("Right choice", "选项正确"),
    "macro_f1": ("Macro F1", "宏平均 F1"),
    "citation_precision": ("Citation precision", "引用精确率"),
    "citation_recall": ("Citation recall", "引用召回率"),
    "support": ("Support of sentences", "句子的依据"),
    "spans_hold": ("Citations hold", "引用可核对"),
    "sought_mrr": ("Found by the encoder alone (MRR)", "仅凭编码器检索（MRR）"),
    "recall_at_1": ("Recall@1", "召回率@1"),
    "recall_at_5": ("Recall@5", "召回率@5"),
    "recall_at_10": ("Recall@10", "召回率@10"),
    "mrr_at_10": ("MRR@10", "MRR@10"),
    "ndcg_at_10": ("nDCG@10", "nDCG@10"),
    "abstention": ("Abstained when it should", "该弃答时弃答"),
    "escalation": ("Emergencies caught", "识别紧急情况"),
    "refusal": ("Refused when it should", "该拒绝时拒绝"),
    "wrong": ("Wrong among all questions", "全部提问中的错误"),
    "wrong_answers": ("Wrong among answers", "作答中的错误"),
    "wrong_sources": ("Wrong document among answers", "作答中的错误文档"),
    "false_alarm": ("False alarms", "误报"),
}
"""Every metric by name, in the order in which pages show them."""


def metric_title(metric: str, lang: Language = "en") -> str:
    """Return a metric's name as people read it; the name itself where there is no word for it."""
    titles = METRICS.get(metric)
    return titles[lang == "zh"] if titles else metric


def in_order(metric: str) -> int:
    """Return a metric's place among all, unknown ones last."""
    return list(METRICS).index(metric) if metric in METRICS else len(METRICS)
