"""Pairs are read, parted by entity and checked against eval sets."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.errors import UsageError
from core.eval_items import EvalItem
from core.text import normalize
from core.training.pairs import Columns, Pair, find_leaks, read_pairs, split_by_entity
from core.training.parting import Parts, apart

pytestmark = pytest.mark.usefixtures("home")


def pair(number: int, question: str = "", text: str = "", entity: str = "") -> Pair:
    return Pair(id=str(number), question=question or f"question {number}", text=text or f"text {number}", entity=entity or f"entity {number}")


def test_read_pairs_of_jsonl_and_csv_are_the_same(tmp_path: Path) -> None:
    rows = [
        {"qid": "1", "question": "What is  gout?", "answer": "A joint disease.", "focus": "Gout"},
        {"qid": "2", "question": "什么是痛风？", "answer": "一种关节病。", "focus": "痛风"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", "utf-8")
    (tmp_path / "a.csv").write_text("qid,question,answer,focus\n" + "".join(",".join(row.values()) + "\n" for row in rows), "utf-8")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write((tmp_path / "a.jsonl").read_text("utf-8"))
    found = read_pairs(tmp_path / "a.jsonl")
    assert found[0] == Pair(id="1", question="What is gout?", text="A joint disease.", entity="gout")
    assert read_pairs(tmp_path / "a.csv") == read_pairs(tmp_path / "b.jsonl.gz") == found


def test_read_pairs_takes_the_columns_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q,a\nwhy,because\n,empty\n", "utf-8")
    (only,) = read_pairs(tmp_path / "a.csv", columns=Columns(question="q", text="a"))
    assert (only.id, only.question, only.text) == ("1", "why", "because")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b'{"question": "q"}\n', "no field 'question' or 'answer'; it has question"),
        ("a.jsonl", b"{\n", "a.jsonl:1: not JSON"),
        ("a.jsonl", b"[1]\n", "not a JSON object"),
        ("a.jsonl", b"", "holds no pair"),
        ("a.csv", b"question,answer\n\xff\xfe,x\n", "cannot be read"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.parquet", b"", "read from .jsonl, .csv or .tsv"),
    ],
)
def test_read_pairs_says_in_one_line_what_is_wrong(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_pairs(tmp_path / name)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


PAIRS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30), st.integers(0, 30)), min_size=4, max_size=60).map(
    lambda rows: [pair(n, f"question {q}", f"text {t}", f"entity {e}") for n, (e, q, t) in enumerate(rows)]
)


@given(PAIRS, st.integers(1, 10), st.integers(0, 5))
@examples(max_examples=200, deadline=None)
def test_split_shares_no_entity_question_or_text_and_loses_no_pair(pairs: list[Pair], held_out: int, seed: int) -> None:
    try:
        split = split_by_entity(pairs, held_out=held_out, seed=seed)
    except UsageError:
        return
    assert sorted(int(p.id) for p in (*split.train, *split.held_out)) == list(range(len(pairs)))
    assert len(split.held_out) >= held_out
    for part in ("entity", "text"):
        assert not {getattr(p, part) for p in split.train} & {getattr(p, part) for p in split.held_out}
    assert not {normalize(p.question) for p in split.train} & {normalize(p.question) for p in split.held_out}
    assert split == split_by_entity(pairs, held_out=held_out, seed=seed)


@given(st.lists(st.sets(st.integers(0, 15), min_size=1, max_size=3), min_size=6, max_size=40), st.integers(1, 4), st.integers(0, 5))
@examples(max_examples=100, deadline=None)
def test_split_keeps_together_what_shares_one_of_several_things(about: list[set[int]], held_out: int, seed: int) -> None:
    pairs = [
        replace(pair(n, entity=names[0]), about=names[1:]) for n, things in enumerate(about) for names in [tuple(f"thing {one}" for one in sorted(things))]
    ]
    try:
        split = split_by_entity(pairs, held_out=held_out, seed=seed)
    except UsageError:
        return
    train, held = ({name for one in part for name in (one.entity, *one.about)} for part in (split.train, split.held_out))
    assert held and not train & held


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 20)), max_size=15), min_size=2, max_size=4))
@examples(max_examples=150, deadline=None)
def test_entries_of_a_plan_are_kept_apart_and_lose_nothing_else(entries: list[list[tuple[int, int, int]]]) -> None:
    made = [[(part, pair(n, f"question {q}", f"text {t}")) for n, (part, q, t) in enumerate(rows)] for rows in entries]
    before = [Parts(**{name: [one for part, one in rows if part == place] for place, name in enumerate(("train", "valid", "test"))}) for rows in made]
    after = apart(before, lambda one: one)

    def said(name: str) -> set[str]:
        return {words for part in after for one in getattr(part, name) for words in (one.question, one.text)}

    assert [part.test for part in after] == [part.test for part in before]
    assert not said("train") & said("valid") and not said("train") & said("test") and not said("valid") & said("test")
    held = said("valid") | said("test") | {words for part in before for one in part.valid for words in (one.question, one.text)}
    for old, new in zip(before, after, strict=True):
        assert all({one.question, one.text} & held for one in old.train if one not in new.train)
        assert all({one.question, one.text} & said("test") for one in old.valid if one not in new.valid)


def test_split_of_one_entity_is_refused() -> None:
    with pytest.raises(UsageError, match="hold out fewer"):
        split_by_entity([pair(n, entity="gout") for n in range(20)], held_out=5)


def test_leaks_are_found_exact_and_near() -> None:
    items = [EvalItem(id="a", question="How long does a gout attack last?"), EvalItem(id="b", question="痛风发作会持续多久？")]
    pairs = [
        pair(1, "how long does a gout attack last"),
        pair(2, "how long does a gout attack usually last"),
        pair(3, "痛风发作会持续多久"),
        pair(4, "what is gout"),
    ]
    found = [(leak.pair_id, leak.item_id, leak.exact) for leak in find_leaks(pairs, items)]
    assert found == [("1", "a", True), ("2", "a", False), ("3", "b", True)]


WORDY = st.lists(
    st.lists(st.sampled_from("gout salt iron gold wool moon rain tree fish bird cat dog bread knee skin".split()), min_size=1, max_size=9), max_size=12
)


@given(WORDY, WORDY)
@examples(max_examples=120, deadline=None)
def test_leaks_are_those_that_comparing_each_with_each_finds(questions: list[list[str]], asked: list[list[str]]) -> None:
    items = [EvalItem(id=f"e{n}", question=" ".join(words), lang="en", answerable=False) for n, words in enumerate(asked)]
    pairs = [pair(n, question=" ".join(words)) for n, words in enumerate(questions)]
    found = {leak.pair_id for leak in find_leaks(pairs, items)}
    expected = {
        one.id for one, words in zip(pairs, questions, strict=True) for other in asked if len(set(words) & set(other)) >= 0.8 * len(set(words) | set(other))
    }
    assert found == expected
