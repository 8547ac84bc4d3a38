"""lm-evaluation-harness: a folder of tasks that ``lm_eval --include_path FOLDER --tasks NAME`` runs with any model, closed-book.

One task per kind and language of items. https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/task_guide.md
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import UsageError
from core.eval_items import EvalItem
from core.library import Library
from core.registry import Domain

CHOICES = "choice"
GENERATED = "answer"


def export(domain: Domain, library: Library, items: Sequence[EvalItem]) -> Mapping[str, str]:
    """Return the files of a task folder: a group, a task per kind and language, and their items as JSON lines.

    Items with choices are multiple-choice tasks, scored by accuracy; those with reference answers are generated until the line's end and
    scored by exact match; those without either are left out, since the harness has no evidence to judge by.

    Raises:
        UsageError: no item has choices or reference answers.
    """
    import yaml

    parts: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        if not item.answerable or not item.answers:
            continue
        if item.choices and item.answers[0] in item.choices:
            row = {"id": item.id, "question": item.question, "choices": list(item.choices), "answer": item.choices.index(item.answers[0])}
            parts[CHOICES, item.lang].append(row)
        else:
            parts[GENERATED, item.lang].append({"id": item.id, "question": item.question, "answer": item.answers[0]})
    if not parts:
        raise UsageError(f"no item of '{domain.name}' has choices or reference answers, which the harness scores by")
    files, names = {}, []
    for (kind, lang), rows in sorted(parts.items()):
        name = f"domainkit_{domain.name}_{kind}_{lang}"
        names.append(name)
        files[f"{name}.jsonl"] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        files[f"{name}.yaml"] = yaml.safe_dump(_task(name, kind, lang, version=domain.manifest.version), sort_keys=False, allow_unicode=True)
    group = {"group": f"domainkit_{domain.name}", "task": names, "metadata": {"version": domain.manifest.version}}
    files[f"domainkit_{domain.name}.yaml"] = yaml.safe_dump(group, sort_keys=False, allow_unicode=True)
    return files


def _task(name: str, kind: str, lang: str, *, version: str) -> dict[str, Any]:
    asked, answered = ("问题：", "答案：") if lang == "zh" else ("Question: ", "Answer:")
    common: dict[str, Any] = {
        "task": name, "dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}}, "test_split": "test",
        "doc_to_text": f"{asked}{{{{question}}}}\n{answered}",
    }  # fmt: skip
    if kind == CHOICES:
        scoring: dict[str, Any] = {
            "output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "answer",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}, {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True}],
        }  # fmt: skip
    else:
        exact = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True, "ignore_punctuation": True}
        scoring = {
            "output_type": "generate_until", "doc_to_target": "{{answer}}", "generation_kwargs": {"until": ["\n"], "max_gen_toks": 128, "do_sample": False},
            "metric_list": [exact],
        }  # fmt: skip
    return common | scoring | {"metadata": {"version": version}}
