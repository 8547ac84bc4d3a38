from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.documents.sentences import sentence_spans
from core.types import Span

PIECES = st.sampled_from(
    ["word", "Word", "3.5", "e.g.", "Dr.", "J.", "etc.", ".", "...", "!", "?", "。", "！", "？", "；", "…", '"', "'", "”", "’", ")", "）", "」", "《", " ", "  ", "\n", "\n\n",
     "\t", "\n \n", "患者", "血压", "U.S.", "1.", "www.a.org", "a", "I", "é", "\u3000", "\x0b", "(", "（", "）", "+", ",", "、"]
)  # fmt: skip
PROSE = st.lists(PIECES, max_size=40).map("".join)
EVERYTHING = st.one_of(PROSE, st.text(max_size=200), PROSE.map(lambda text: text.replace(" ", "")))


def split(text: str) -> list[str]:
    return [text[span.start : span.end] for span in sentence_spans(text)]


def check(text: str, spans: list[Span], start: int, end: int) -> None:
    at = start
    for span in spans:
        assert at <= span.start < span.end <= end
        assert not text[at : span.start].strip()
        assert not text[span.start].isspace() and not text[span.end - 1].isspace()
        at = span.end
    assert not text[at:end].strip()


@given(EVERYTHING)
@examples(max_examples=300, deadline=None)
def test_sentence_spans_are_ordered_disjoint_and_cover_every_visible_character(text: str) -> None:
    check(text, sentence_spans(text), 0, len(text))


@given(EVERYTHING, st.data())
@examples(max_examples=200, deadline=None)
def test_sentence_spans_of_a_part_stay_inside_it_in_the_whole_texts_coordinates(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    check(text, sentence_spans(text, start=start, end=end), start, end)


@given(st.lists(st.sampled_from(["Plants need water.", "Is it warm?", "植物需要水。", "水太多会使根腐烂！"]), min_size=1, max_size=8))
@examples(max_examples=100, deadline=None)
def test_sentence_spans_find_each_plain_sentence(sentences: list[str]) -> None:
    assert split(" ".join(sentences)) == sentences


@given(EVERYTHING)
@examples(max_examples=100, deadline=None)
def test_sentence_spans_are_the_same_in_every_run(text: str) -> None:
    assert sentence_spans(text) == sentence_spans(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith saw him. He left.", ["Dr. Smith saw him.", "He left."]),
        ("See Fig. 3 and e.g. Table 2. Next.", ["See Fig. 3 and e.g. Table 2.", "Next."]),
        ("It was J. Smith. He came.", ["It was J. Smith.", "He came."]),
        ("Roses, tulips etc. They flower.", ["Roses, tulips etc.", "They flower."]),
        ("Roses, etc. are shrubs.", ["Roses, etc. are shrubs."]),
        ("Acme Inc. reported a loss. It fell.", ["Acme Inc. reported a loss.", "It fell."]),
        ("Take it at 8 a.m. Then wait.", ["Take it at 8 a.m.", "Then wait."]),
        ("The dose is 3.5 mg. It works.", ["The dose is 3.5 mg.", "It works."]),
        ("Revenue was $1,234.56 million. Costs rose.", ["Revenue was $1,234.56 million.", "Costs rose."]),
        ("See www.example.org for more. Bye.", ["See www.example.org for more.", "Bye."]),
        ("1. First item", ["1. First item"]),
        ('She said "Stop." Then she left.', ['She said "Stop."', "Then she left."]),
        ("(It was cold.) We left.", ["(It was cold.)", "We left."]),
        ("他说：“停下。”然后走了。", ["他说：“停下。”", "然后走了。"]),
        ("血压为3.5。正常；偏低？", ["血压为3.5。", "正常；", "偏低？"]),
        ("What?! Really... Yes.", ["What?!", "Really...", "Yes."]),
        ("A heading\n\nA sentence", ["A heading", "A sentence"]),
        ("one line\nbroken anywhere. Next", ["one line\nbroken anywhere.", "Next"]),
        ("Vitamin A. Vitamin B.", ["Vitamin A.", "Vitamin B."]),
        ("So did I. Then we left.", ["So did I.", "Then we left."]),
        ("", []),
        (" \n\t ", []),
    ],
)
def test_sentence_spans_know_abbreviations_decimals_and_quotes(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The series 1, 1, 2, 3, ... grows. Next.", ["The series 1, 1, 2, 3, ... grows.", "Next."]),
        ("Add a + b + ... + z first. Then stop.", ["Add a + b + ... + z first.", "Then stop."]),
        ("We know x1, x2, …, xn here. Next.", ["We know x1, x2, …, xn here.", "Next."]),
        ("He waited... and left. Next.", ["He waited... and left.", "Next."]),
        ("It lasts 1 ... 9 days. Next.", ["It lasts 1 ... 9 days.", "Next."]),
        ("数列为1、1、2、…，依此类推。下一句。", ["数列为1、1、2、…，依此类推。", "下一句。"]),
        ("I waited... Then he came.", ["I waited...", "Then he came."]),
        ("I waited… Then he came.", ["I waited…", "Then he came."]),
        ("他等了很久…… 然后走了。", ["他等了很久……", "然后走了。"]),
        ("And so on...", ["And so on..."]),
        ("", []),
    ],
)
def test_sentence_spans_go_on_past_an_ellipsis_in_a_list(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tulips (they are bulbs. They need cold) flower in spring. Next.", ["Tulips (they are bulbs. They need cold) flower in spring.", "Next."]),
        ("It works (does it? Yes! Always) well. Next.", ["It works (does it? Yes! Always) well.", "Next."]),
        ("水（见第3章。另见附录）很重要。下一句。", ["水（见第3章。另见附录）很重要。", "下一句。"]),
        ("We left (it was cold.) Then it snowed.", ["We left (it was cold.)", "Then it snowed."]),
        ("A list (never closed. The next sentence. And one more.", ["A list (never closed.", "The next sentence.", "And one more."]),
        ("A list (closed in time). The next one. And :) one more.", ["A list (closed in time).", "The next one.", "And :) one more."]),
        ("Open (here.\n\nClosed) there. Next.", ["Open (here.", "Closed) there.", "Next."]),
    ],
)
def test_sentence_spans_do_not_end_inside_a_bracket(text: str, expected: list[str]) -> None:
    assert split(text) == expected


def test_sentence_spans_give_up_on_a_bracket_that_stays_open_too_long() -> None:
    text = "Open (here. " + "Plants need water. " * 20 + "Closed) there."
    assert split(text)[:2] == ["Open (here.", "Plants need water."]


@given(st.lists(st.sampled_from(["Plants need water", "Is it warm", "植物需要水"]), min_size=1, max_size=5), st.sampled_from(["()", "（）"]))
@examples(max_examples=50, deadline=None)
def test_sentence_spans_keep_a_short_bracket_whole(inside: list[str], marks: str) -> None:
    bracket = marks[0] + ". ".join(inside) + marks[1]
    assert split(f"Before {bracket} after. Next one.") == [f"Before {bracket} after.", "Next one."]
