"""Every format in its real layout becomes items and documents; rows that are not of it are one error that names them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UsageError
from core.eval_items import EvalItem
from evals.readers import FORMATS, detect, read_set, reader
from evals.readers.building import Builder, sentence_around
from evals.readers.source import Source
from evals.scorers import holds

TABLE = [["", "2019", "2018"], ["Sales", "1,250", "1,100"], ["Costs", "(310)", "(290)"]]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def whole(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value, indent=1), "utf-8")
    return path


def one_of_each(folder: Path) -> dict[str, Path]:
    """A small set in each format, as its publishers lay it out."""
    beir = folder / "gardens"
    lines(beir / "corpus.jsonl", [{"_id": "d1", "title": "Tulips", "text": "Plant them in October."}, {"_id": "d2", "title": "", "text": "Water roses."}])
    lines(beir / "queries.jsonl", [{"_id": "q1", "text": "when do tulips go in"}, {"_id": "q2", "text": "nothing is relevant"}])
    (beir / "qrels").mkdir()
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td9\t1\nq2\td2\t0\n")
    evidence = {
        "evidence_text": "Sales were 1,250.",
        "doc_name": "ACME_2019_10K",
        "evidence_page_num": 41,
        "evidence_text_full_page": "Page.\nSales were 1,250. End.",
    }
    filing = {
        "financebench_id": "f1", "company": "ACME", "question_type": "metrics-generated", "question": "What were sales?", "answer": "$1,250.00",
        "doc_name": "ACME_2019_10K", "evidence": [evidence],
    }  # fmt: skip
    table = {
        "table": {"uid": "t1", "table": TABLE},
        "paragraphs": [{"uid": "p", "order": 1, "text": "We sell bulbs. Most sales are fixed-price contracts. More follows."}],
        "questions": [
            {"uid": "q1", "question": "By how much did sales grow?", "answer": 13.64, "answer_type": "arithmetic", "answer_from": "table", "scale": "percent", "derivation": "1,250/1,100-1"},
            {"uid": "q2", "question": "What are most sales?", "answer": ["fixed-price contracts"], "answer_type": "span", "answer_from": "text", "scale": "", "rel_paragraphs": ["1"]},
            {"uid": "q3", "question": "Which sales?", "answer": ["1,250", "1,100"], "answer_type": "multi-span", "scale": "thousand"},
        ],
    }  # fmt: skip
    span = {
        "version": "v2.0",
        "data": [{"title": "Tulips", "paragraphs": [{"context": "Bulbs sleep in summer. They are planted in October. Frost comes later.", "qas": [
            {"id": "s1", "question": "When are they planted?", "answers": [{"text": "October", "answer_start": 44}, {"text": "in October", "answer_start": 41}], "is_impossible": False},
            {"id": "s2", "question": "Who planted them?", "answers": [], "is_impossible": True},
        ]}]}],
    }  # fmt: skip
    chinese = [
        {
            "context_id": "C1",
            "context_text": "郁金香十月种下。冬天很冷。",
            "title": "郁金香",
            "qas": [{"query_id": "C1Q0", "query_text": "何时种下？", "answers": ["十月", "十月种下"]}],
        }
    ]
    abstract = {
        "QUESTION": "Does water help tulips?",
        "CONTEXTS": ["We watered.", "They grew."],
        "LABELS": ["A", "B"],
        "LONG_ANSWER": "It does.",
        "final_decision": "yes",
    }
    step = {
        "id": "p1a", "problem_title": "Halves", "problem_body": "Take $$x=4$$.", "step_title": "What is x/2?", "answer": ["2"], "answer_type": "arithmetic",
        "choices": [], "hints": [{"title": "Divide", "text": "Halve it."}], "course": "Algebra",
    }  # fmt: skip
    return {
        "beir": beir,
        "financebench": lines(folder / "fb" / "financebench_open_source.jsonl", [filing]),
        "tatqa": whole(folder / "tatqa_dataset_dev.json", [table]),
        "squad": whole(folder / "dev-v2.0.json", span),
        "cmrc": whole(folder / "cmrc2018_dev.json", chinese),
        "mirage": whole(folder / "benchmark.json", {"medqa": {"0001": {"question": "Which flower?", "options": {"A": "tulip", "B": "rose"}, "answer": "B"}}}),
        "pubmedqa": whole(folder / "ori_pqal.json", {"21645374": abstract}),
        "oatutor": lines(folder / "steps.jsonl", [step]),
        "gsm8k": lines(folder / "gsm.jsonl", [{"question": "Two and two?", "answer": "2+2=<<2+2=4>>4\n#### 4"}]),
        "medquad": lines(folder / "mq.jsonl", [{"question": "What is rot ?", "answer": "Rot is a fungus.\n\nIt spreads.", "focus": "Rot", "qtype": "information", "qid": "1-1"}]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return one_of_each(tmp_path_factory.mktemp("sets"))


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_told_by_its_layout(sets: dict[str, Path], name: str) -> None:
    assert detect(Source(sets[name])) == name


@pytest.mark.parametrize("name", FORMATS)
def test_items_name_documents_that_come_with_them_and_quotes_stand_in_those(sets: dict[str, Path], name: str) -> None:
    found = read_set(sets[name])
    held: dict[tuple[str, int | None], str] = {(document.id, document.page): document.text for document in found.documents}
    assert found.format == name and found.items
    for item in found.items:
        for source in item.sources:
            assert holds(source, held[source.document, source.page])


def only(found: Any) -> EvalItem:
    (item,) = found.items
    return item


def test_beir_keeps_relevant_documents_of_the_corpus_alone(sets: dict[str, Path]) -> None:
    found = read_set(sets["beir"])
    item = only(found)
    assert (item.id, item.kind, [source.document for source in item.sources]) == ("q1", "retrieval", ["d1"])
    assert len(found.documents) == 2 and found.notes == ("1 row without a relevant document in the corpus left out",)


def test_financebench_counts_pages_from_one(sets: dict[str, Path]) -> None:
    found = read_set(sets["financebench"])
    item = only(found)
    assert (item.kind, item.answers, item.sources[0].page, found.documents[0].page) == ("numeric", ("$1,250.00",), 42, 42)
    assert item.slice["question_type"] == "metrics-generated" and item.sources[0].document == "ACME_2019_10K"


def test_tatqa_answers_carry_their_scale(sets: dict[str, Path]) -> None:
    growth, kind, both = read_set(sets["tatqa"]).items
    assert (growth.kind, growth.answers) == ("numeric", ("13.64%",))
    assert (kind.kind, kind.sources[0].quote) == ("qa", "Most sales are fixed-price contracts.")
    assert (both.kind, both.answers) == ("numeric", ("1,250 thousand; 1,100 thousand",))


def test_tatqa_rows_find_their_tables_beside_them(tmp_path: Path) -> None:
    row = {"id": "1", "context_id": "c", "question": "Sales?", "answer": ["$1,250"], "answer_type": "span", "scale": "million", "derivation": ""}
    path = lines(tmp_path / "tatqa.jsonl", [row])
    with pytest.raises(UsageError, match="put that file beside it"):
        read_set(path)
    lines(tmp_path / "tatqa_contexts.jsonl", [{"id": "c", "table": TABLE, "paragraphs": ["We sell bulbs."]}])
    found = read_set(path)
    assert only(found).answers == ("$1,250 million",) and "Sales | 1,250 | 1,100" in found.documents[0].text
    assert only(read_set(tmp_path)).id == "1"
    lines(path, [row | {"context_id": "gone"}])
    with pytest.raises(UsageError, match=r"tatqa.jsonl:1: there is no context 'gone'"):
        read_set(path)


def test_squad_quotes_the_sentence_around_an_answer_and_declines_the_impossible(sets: dict[str, Path]) -> None:
    answered, declined = read_set(sets["squad"]).items
    assert answered.sources[0].quote == "They are planted in October." and answered.answers == ("October", "in October")
    assert not declined.answerable and declined.slice["near"] == answered.sources[0].document


def test_squad_rows_of_either_layout_are_one(tmp_path: Path) -> None:
    context = "Bulbs sleep. They wake in October."
    common = {"id": "1", "title": "t", "context": context, "question": "When do they wake?"}
    dictionary = lines(tmp_path / "a.jsonl", [common | {"answers": {"text": ["October"], "answer_start": [26]}}])
    flat = lines(tmp_path / "b.jsonl", [common | {"answers": ["October"], "answer_starts": [3]}])  # an offset that is off: the occurrence is meant
    assert read_set(dictionary).items == read_set(flat).items


def test_cmrc_is_chinese(sets: dict[str, Path]) -> None:
    item = only(read_set(sets["cmrc"]))
    assert (item.lang, item.sources[0].quote, item.sources[0].document) == ("zh", "郁金香十月种下。", "C1")


def test_mirage_answers_are_the_words_behind_a_letter(sets: dict[str, Path], tmp_path: Path) -> None:
    item = only(read_set(sets["mirage"]))
    assert (item.id, item.kind, item.choices, item.answers, item.slice) == ("medqa-0001", "choice", ("tulip", "rose"), ("rose",), {"set": "medqa"})
    rows = lines(tmp_path / "arc.jsonl", [{"id": "x", "question": "Which?", "options": ["tulip", "rose"], "answer": "tulip"}])
    assert only(read_set(rows)).answers == ("tulip",)
    lines(rows, [{"id": "x", "question": "Which?", "options": ["tulip", "rose"], "answer": "daisy"}])
    with pytest.raises(UsageError, match="'daisy' is none of the options"):
        read_set(rows)


def test_pubmedqa_is_a_choice_by_an_abstract(sets: dict[str, Path]) -> None:
    found = read_set(sets["pubmedqa"])
    item = only(found)
    assert (item.kind, item.choices, item.answers) == ("choice", ("yes", "no", "maybe"), ("yes",))
    assert found.documents[0].text == "We watered.\n\nThey grew." and "It does." not in found.documents[0].text


def test_oatutor_folder_and_rows_are_one(sets: dict[str, Path], tmp_path: Path) -> None:
    problem = tmp_path / "pool" / "p1"
    step = problem / "steps" / "p1a"
    (step / "tutoring").mkdir(parents=True)
    whole(problem / "p1.json", {"id": "p1", "title": "Halves", "body": "Take $$x=4$$.", "courseName": "Algebra"})
    whole(step / "p1a.json", {"id": "p1a", "stepAnswer": ["2"], "stepTitle": "What is x/2?", "stepBody": "", "answerType": "arithmetic"})
    whole(step / "tutoring" / "p1aDefaultPathway.json", [{"id": "h1", "type": "hint", "title": "Divide", "text": "Halve it."}])
    assert read_set(tmp_path / "pool").items == read_set(sets["oatutor"]).items
    assert only(read_set(sets["oatutor"])).question == "Halves Take $$x=4$$. What is x/2?"


def test_gsm8k_answer_is_what_stands_behind_the_mark(sets: dict[str, Path]) -> None:
    item = only(read_set(sets["gsm8k"]))
    assert (item.kind, item.answers, item.id) == ("numeric", ("4",), "gsm-1")


def test_medquad_answers_are_documents_and_the_same_answer_is_one(tmp_path: Path) -> None:
    rows = [{"question": f"What is rot {n}?", "answer": "Rot is a fungus.", "focus": "Rot"} for n in range(3)] + [{"question": "Empty?", "answer": " "}]
    found = read_set(lines(tmp_path / "m.jsonl", rows))
    assert (len(found.items), len(found.documents), found.notes) == (3, 1, ("1 row without an answer left out",))
    assert found.items[0].slice == {"topic": "Rot"} and [item.id for item in found.items] == ["medquad-1", "medquad-2", "medquad-3"]


def test_tables_of_values_and_packed_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('question,answer\n"What is rot?","A fungus,\nand it spreads."\n', "utf-8")
    assert read_set(tmp_path / "m.csv").documents[0].text == "A fungus,\nand it spreads."
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(b'{"question": "What is rot?", "answer": "A fungus."}\n'))
    assert only(read_set(tmp_path / "m.jsonl.gz")).question == "What is rot?"


def test_split_and_limit_are_as_asked(tmp_path: Path) -> None:
    path = lines(tmp_path / "m.jsonl", [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(10)])
    found = read_set(path, split="dev", limit=5)
    assert [item.question for item in found.items] == [f"Question {n}?" for n in range(0, 10, 2)] and len(found.documents) == 10
    assert {item.split for item in found.items} == {"dev"}


def test_ids_that_occur_twice_are_numbered(tmp_path: Path) -> None:
    rows = [{"id": "same", "question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(3)]
    assert [item.id for item in read_set(lines(tmp_path / "m.jsonl", rows)).items] == ["same", "same~2", "same~3"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", '{"question": "x", "answer": "y"}\nnot json\n', "a.jsonl:2: not JSON"),
        ("a.jsonl", '{"question": "x", "answer": "y"}\n[1]\n', "a.jsonl:2: not a JSON object"),
        ("a.jsonl", '{"question": "x", "answer": "y"}\n{"answer": "y"}\n', "a.jsonl:2: has no 'question'"),
        ("a.jsonl", '{"colour": "red"}\n', "is of no known eval format; name one with --format"),
        ("a.json", '{"data": [', "is not JSON"),
        ("a.json", "{}", "is of no known eval format"),
        ("a.jsonl", "", "is of no known eval format"),
    ],
)
def test_what_cannot_be_read_is_one_error_that_says_where(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(UsageError, match=words):
        read_set(tmp_path / name)


def test_missing_files_and_bytes_that_are_no_text_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such eval set: 'none.jsonl'"):
        read_set(tmp_path / "none.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"b.jsonl: cannot be read .* in UTF-8"):
        read_set(tmp_path / "b.jsonl")
    (tmp_path / "c.jsonl.gz").write_bytes(b"not packed")
    with pytest.raises(UsageError, match=r"c.jsonl.gz: cannot be read"):
        read_set(tmp_path / "c.jsonl.gz")


def test_unknown_format_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'squad'"):
        reader("sqaud")


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.text(max_size=12), st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=30), st.lists(st.text(max_size=8), max_size=3)), max_size=6
    )
)
def test_no_row_breaks_a_reader(tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    lines(path, [{"question": "x", "answer": "y", **row}])
    for name in ("medquad", "gsm8k", "mirage", "squad", "oatutor", "pubmedqa", "financebench", "cmrc"):
        try:
            found = read_set(path, name=name)
        except UsageError:
            continue
        assert all(EvalItem.model_validate(item.model_dump()) == item for item in found.items)


@given(
    st.lists(
        st.sampled_from(["Bulbs sleep.", "They wake in spring.", "冬天很冷。", "Prices rose 3.5 % in 2019.", "See Fig. 2 for more."]), min_size=1, max_size=6
    ),
    st.data(),
)
def test_sentence_around_holds_what_it_is_around(parts: list[str], data: st.DataObject) -> None:
    text = " ".join(parts)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    assert text[start:end].strip() in sentence_around(text, start, end)


def test_too_long_a_question_is_left_out_and_said() -> None:
    builder = Builder("x")
    builder.item("here", id="1", question="word " * 5_000)
    builder.item("here", id="2", question="  ")
    assert builder.converted().notes == ("1 row with more than 20,000 characters of question left out", "1 row without a question left out")
