from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

import core.text
from core.text import STOP_EN, PackedFrequencies, content_terms, match_query, normalize, overlap, prepare_segmenter, stem, term_set, terms

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


def test_segmenter_keeps_its_dictionary_packed_not_as_marshal(home: Path) -> None:
    prepare_segmenter()
    (cache,) = (home / "segmenter").iterdir()
    assert cache.name.startswith("jieba-") and cache.suffix == ".words"
    data = cache.read_bytes()
    assert PackedFrequencies(data[8:])["郁金香"] > 0
    assert int.from_bytes(data[:8], "little") > 1_000_000


class Tokenizer:
    """What making a dictionary needs of jieba's tokenizer, with one word; notes how often it was made."""

    def __init__(self) -> None:
        self.made = 0

    def gen_pfdict(self, file: object) -> tuple[dict[str, int], int]:
        self.made += 1
        return {"花": 3}, 3

    def get_dict_file(self) -> None:
        return None


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "segmenter" / "jieba-1.words"


def test_segmenter_makes_its_dictionary_once(cache: Path) -> None:
    tokenizer = Tokenizer()
    assert core.text._frequencies(tokenizer, cache) == ({"花": 3}, 3)
    words, total = core.text._frequencies(tokenizer, cache)
    assert (words["花"], total, tokenizer.made) == (3, 3, 1)
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\0" * 8, b"\xff" * 16, (3).to_bytes(8, "little") + PackedFrequencies.pack({"花": 3})[:-1]])
def test_segmenter_rebuilds_a_damaged_dictionary(cache: Path, damage: bytes) -> None:
    cache.parent.mkdir()
    cache.write_bytes(damage)
    tokenizer = Tokenizer()
    assert core.text._frequencies(tokenizer, cache) == ({"花": 3}, 3)
    assert core.text._frequencies(tokenizer, cache)[0]["花"] == 3
    assert tokenizer.made == 1


def test_segmenter_works_where_its_dictionary_cannot_be_kept(cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    assert core.text._frequencies(Tokenizer(), cache) == ({"花": 3}, 3)


VOCABULARY = st.dictionaries(st.one_of(st.text(max_size=6), st.sampled_from(["郁金香", "郁", "郁金", "花"])), st.integers(0, 2**31 - 1), max_size=30)


@given(VOCABULARY, st.lists(st.text(max_size=6), max_size=5))
@examples(max_examples=200, deadline=None)
def test_packed_frequencies_answer_like_the_dict(words: dict[str, int], others: list[str]) -> None:
    packed = PackedFrequencies(PackedFrequencies.pack(words))
    for word in [*words, *others, ""]:
        assert packed.get(word) == words.get(word)
        assert packed.get(word, 7) == words.get(word, 7)
        assert (word in packed) == (word in words)


@given(VOCABULARY)
@examples(max_examples=50, deadline=None)
def test_packed_frequencies_are_the_same_bytes_whatever_the_order(words: dict[str, int]) -> None:
    assert PackedFrequencies.pack(dict(reversed(words.items()))) == PackedFrequencies.pack(words)


def test_packed_frequencies_of_an_unknown_word_raise_as_a_dict_does() -> None:
    with pytest.raises(KeyError, match="草"):
        PackedFrequencies(PackedFrequencies.pack({"花": 3}))["草"]


@given(VOCABULARY, st.data())
@examples(max_examples=100, deadline=None)
def test_packed_frequencies_refuse_a_cut_file(words: dict[str, int], data: st.DataObject) -> None:
    whole = PackedFrequencies.pack(words)
    with pytest.raises(ValueError, match="not a packed dictionary"):
        PackedFrequencies(whole[: data.draw(st.integers(0, len(whole) - 1))])


@pytest.fixture(scope="module")
def segmenters(home: Path) -> tuple[Any, Any]:
    """jieba with the packed and with the whole dictionary."""
    import jieba

    prepare_segmenter()
    (file,) = (home / "segmenter").iterdir()
    packed, whole = jieba.Tokenizer(), jieba.Tokenizer()
    packed.FREQ, packed.total = core.text._frequencies(packed, file)
    whole.FREQ, whole.total = whole.gen_pfdict(whole.get_dict_file())
    packed.initialized = whole.initialized = True
    assert isinstance(packed.FREQ, PackedFrequencies) and isinstance(whole.FREQ, dict)
    return packed, whole


@given(
    st.one_of(
        st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=20),
        st.lists(st.sampled_from(["郁金香", "什么时候", "种植", "糖尿病", "患者", "的", "收益率", "南京市长江大桥", "不能", "吃"]), max_size=8).map("".join),
    )
)
@examples(max_examples=150, deadline=None)
def test_segmenter_cuts_alike_with_the_packed_and_the_whole_dictionary(segmenters: tuple[Any, Any], text: str) -> None:
    packed, whole = segmenters
    assert list(packed.cut_for_search(text)) == list(whole.cut_for_search(text))


def test_prepare_segmenter_in_bulk_loads_the_whole_dictionary(segmenters: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    packed, whole = segmenters
    monkeypatch.setattr(core.text, "_segmenter", packed)
    monkeypatch.setattr(packed, "FREQ", packed.FREQ)
    before = terms("糖尿病患者能吃西瓜吗")
    prepare_segmenter()
    assert isinstance(packed.FREQ, PackedFrequencies)
    prepare_segmenter(bulk=True)
    assert packed.FREQ == whole.FREQ
    assert terms("糖尿病患者能吃西瓜吗") == before


@pytest.mark.parametrize(
    ("words", "idf", "share"), [({"a"}, {"a": 3.0, "b": 1.0}, 0.75), ({"a"}, {}, 0.0), (set(), {"a": 1.0}, 0.0), ({"a", "b", "c"}, {"a": 3.0, "b": 1.0}, 1.0)]
)
def test_overlap_is_the_weighted_share_of_words(words: set[str], idf: dict[str, float], share: float) -> None:
    assert overlap(words, idf) == share
