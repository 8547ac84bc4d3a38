from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

import core.text
from core.text import STOP_EN, content_terms, match_query, normalize, prepare_segmenter, stem, term_set, terms

pytestmark = pytest.mark.usefixtures("home")
MIXED = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(["tulip", "Bulbs", "it's", "1,234.5", "郁金香", "种植", "HbA1c", "’s", '"', "*", "-", " "]), max_size=12).map(" ".join),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Planting tulips", ["plant", "tulip"]),
        ("tulip's bulbs", ["tulip", "bulb"]),
        ("don’t", ["dont"]),
        ("1,234.5 mg", ["1234.5", "mg"]),
        ("12-15 cm", ["12", "15", "cm"]),
        ("ＴＵＬＩＰ", ["tulip"]),
        ("tu\u200blip tu\u00adlip", ["tulip", "tulip"]),
        ("药", ["药"]),
        ("café Ménière", ["cafe", "menier"]),
        ("under_score", ["under", "score"]),
        ("", []),
        ("?! …", []),
    ],
)
def test_terms_of_words_numbers_and_signs(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_terms_segment_chinese_and_yield_the_parts_of_long_words() -> None:
    found = terms("糖尿病患者能吃西瓜吗")
    assert {"糖尿病", "患者", "西瓜"} <= set(found)


def test_terms_are_the_same_for_a_word_at_index_and_at_query_time() -> None:
    text = "Tulip bulbs need 1,000 hours of cold. 郁金香需要寒冷的冬天。"
    indexed = set(terms(text))
    for question in ("how many hours of cold do TULIP bulbs need", "1000 hours", "tulips’ bulb", "郁金香 冬天"):
        assert set(content_terms(question)) & indexed
    assert set(content_terms("bulb tulips hour cold 1000")) <= indexed


@given(MIXED)
@examples(max_examples=200, deadline=None)
def test_terms_survive_a_second_pass_through_normalize(text: str) -> None:
    assert terms(normalize(text)) == terms(text)


@given(MIXED)
@examples(max_examples=200, deadline=None)
def test_terms_hold_no_white_space_and_no_quote_and_term_set_agrees(text: str) -> None:
    found = terms(text)
    assert all(word and not any(c.isspace() or c in "\"'*" for c in word) for word in found)
    assert term_set(text) == frozenset(found)


@given(MIXED)
@examples(max_examples=100, deadline=None)
def test_content_terms_are_distinct_and_never_empty_when_there_are_terms(text: str) -> None:
    found = content_terms(text)
    assert len(found) == len(set(found))
    assert bool(found) == bool(terms(text))


def test_content_terms_drop_stop_words_of_both_languages() -> None:
    assert content_terms("What is the best time to plant it?") == ["best", "time", "plant"]
    assert "什么" not in content_terms("什么是郁金香")


def test_content_terms_of_only_stop_words_keeps_them() -> None:
    assert content_terms("what is it") == ["what", "is", "it"]


@given(st.lists(st.text(max_size=20), max_size=8))
@examples(max_examples=150, deadline=None)
def test_match_query_is_an_expression_that_fts5_accepts(words: list[str]) -> None:
    found = [word for text in words for word in terms(text)]
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE keyword USING fts5(body)")
    connection.execute("INSERT INTO keyword VALUES(?)", (" ".join(found),))
    expression = match_query(found)
    if expression:
        connection.execute("SELECT rowid FROM keyword WHERE keyword MATCH ?", (expression,)).fetchall()
    connection.close()


def test_match_query_makes_no_operator_of_a_word() -> None:
    assert match_query(['a" OR b', "NEAR", "body:x"]) == '"a OR b" OR "NEAR" OR "body:x"'


def test_stem_keeps_number_like_words_and_is_stable() -> None:
    assert [stem(word) for word in ("tulips", "planting", "diabetes")] == ["tulip", "plant", "diabet"]
    assert all(word == word.casefold() for word in STOP_EN)


def test_segmenter_keeps_its_dictionary_as_json_not_as_marshal(home: Path) -> None:
    prepare_segmenter()
    (cache,) = (home / "segmenter").glob("jieba-*.json")
    data = json.loads(cache.read_text("utf-8"))
    assert data["words"]["郁金香"] > 0
    assert data["total"] > 1_000_000


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"words": {}}', "null"])
def test_segmenter_rebuilds_a_damaged_dictionary(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import jieba

    made: list[int] = []

    class Tokenizer:
        def gen_pfdict(self, file: object) -> tuple[dict[str, int], int]:
            made.append(1)
            return {"花": 3}, 3

        def get_dict_file(self) -> None:
            return None

    cache = tmp_path / "segmenter" / f"jieba-{jieba.__version__}.json"
    cache.parent.mkdir()
    cache.write_text(damage)
    assert core.text._frequencies(Tokenizer(), cache) == ({"花": 3}, 3)
    assert core.text._frequencies(Tokenizer(), cache) == ({"花": 3}, 3)
    assert made == [1]
