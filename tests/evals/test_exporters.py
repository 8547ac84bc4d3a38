"""What is exported is what the formats' own readers expect, and comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from core.errors import UsageError
from core.eval_items import EvalItem, EvalSource
from core.library import Library
from core.registry import Domain
from core.types import Status
from evals.datasets import load_items
from evals.exporters import export, write_files
from evals.readers import read_set
from evals.scorers import expected_status


@pytest.fixture
def items(garden: Domain) -> list[EvalItem]:
    return load_items(garden, split="all")


def test_beir_comes_back_with_the_same_queries_and_documents(garden: Domain, garden_library: Library, items: list[EvalItem], tmp_path: Path) -> None:
    assert export("beir", garden, garden_library, items, into=tmp_path / "b") == ["corpus.jsonl", "qrels/test.tsv", "queries.jsonl"]
    found = read_set(tmp_path / "b")
    wanted = {item.id: item.question for item in items if item.sources}
    assert {item.id: item.question for item in found.items} == wanted
    assert len(found.documents) == len(garden_library.documents())
    texts = {document.id: document.text for document in found.documents}
    quotes = {item.id: item.sources[0].quote for item in items if item.sources}
    assert all(any(quotes[item.id] in texts[source.document] for source in item.sources) for item in found.items if item.lang == "en")


def test_squad_spans_stand_where_their_offsets_say(garden: Domain, garden_library: Library, items: list[EvalItem], tmp_path: Path) -> None:
    export("squad", garden, garden_library, items, into=tmp_path / "s")
    data = json.loads((tmp_path / "s" / "garden.json").read_text("utf-8"))
    paragraphs = [paragraph for article in data["data"] for paragraph in article["paragraphs"]]
    asked = [(paragraph["context"], question) for paragraph in paragraphs for question in paragraph["qas"]]
    spans = [(context, answer) for context, question in asked for answer in question["answers"]]
    assert spans and all(context[answer["answer_start"] :].startswith(answer["text"]) for context, answer in spans)
    declined = {item.id for item in items if expected_status(item) is Status.ABSTAINED}
    assert declined and {question["id"] for _, question in asked if question["is_impossible"]} == declined
    assert {item.id for item in read_set(tmp_path / "s" / "garden.json").items} == {question["id"] for _, question in asked}


def test_harness_tasks_name_their_items_and_their_scoring(garden: Domain, garden_library: Library, tmp_path: Path) -> None:
    chosen = EvalItem(id="c", question="Which flower?", kind="choice", choices=("tulip", "rose"), answers=("rose",))
    said = EvalItem(id="a", question="何时种？", lang="zh", answers=("十月", "秋天"))
    left = EvalItem(id="n", question="Unanswerable?", answerable=False)
    names = export("lm-eval", garden, garden_library, [chosen, said, left], into=tmp_path / "h")
    assert "domainkit_garden.yaml" in names
    group = yaml.safe_load((tmp_path / "h" / "domainkit_garden.yaml").read_text("utf-8"))
    assert group["task"] == ["domainkit_garden_answer_zh", "domainkit_garden_choice_en"]
    task = yaml.safe_load((tmp_path / "h" / "domainkit_garden_choice_en.yaml").read_text("utf-8"))
    assert (task["output_type"], task["doc_to_choice"], task["doc_to_target"]) == ("multiple_choice", "choices", "answer")
    (row,) = (json.loads(line) for line in (tmp_path / "h" / task["dataset_kwargs"]["data_files"]["test"]).read_text("utf-8").splitlines())
    assert row["choices"][row["answer"]] == "rose"
    told = yaml.safe_load((tmp_path / "h" / "domainkit_garden_answer_zh.yaml").read_text("utf-8"))
    assert told["output_type"] == "generate_until" and told["metric_list"][0]["metric"] == "exact_match" and told["doc_to_text"].startswith("问题：")
    assert all("!function" not in path.read_text("utf-8") for path in (tmp_path / "h").glob("*.yaml"))


@pytest.mark.parametrize(("name", "words"), [("beir", "no item expects a document"), ("squad", "has a quote"), ("lm-eval", "choices or reference answers")])
def test_items_that_cannot_be_written_so_are_a_no(garden: Domain, garden_library: Library, tmp_path: Path, name: str, words: str) -> None:
    item = EvalItem(id="x", question="Elsewhere?", sources=(EvalSource(document="gone", quote="not there"),))
    with pytest.raises(UsageError, match=words):
        export(name, garden, garden_library, [item], into=tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    write_files({"a.txt": "one"}, into=tmp_path / "f")
    write_files({"a.txt": "two", "b/c.txt": "three"}, into=tmp_path / "f")
    with pytest.raises(UsageError, match="would be mixed up"):
        write_files({"d.txt": "four"}, into=tmp_path / "f")
    assert (tmp_path / "f" / "a.txt").read_text() == "two" and not (tmp_path / "f" / "d.txt").exists()


def test_unknown_format_is_answered_with_the_known_ones(garden: Domain, garden_library: Library, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'squad'"):
        export("sqaud", garden, garden_library, [], into=tmp_path)
