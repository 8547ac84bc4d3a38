from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from passage_samples import hit

from core.documents.splitting import estimate_tokens
from core.errors import ManifestError
from core.prompts import DEFAULT, check_template, fill, template_text
from core.types import LANGUAGES, Language, Turn

PLAIN = "{history}|{passages}|{question}"
HITS = [hit(f"Passage number {n} says this and nothing else.", title=f"T{n}", document=f"d{n}") for n in range(8)]


def parts(text: str) -> tuple[str, str, str]:
    history, passages, question = text.split("|")
    return history, passages, question


WORDS = st.lists(st.sampled_from(["tulips", "grow", "郁金香", "{x}", "15", "bulb."]), min_size=1, max_size=60).map(" ".join)


@given(st.integers(1, 400), st.lists(WORDS, max_size=6), st.lists(WORDS, max_size=4))
@examples(max_examples=150, deadline=None)
def test_fill_keeps_whole_passages_by_rank_within_the_budget(budget: int, texts: list[str], said: list[str]) -> None:
    hits = [hit(text, title="T", document=f"d{n}") for n, text in enumerate(texts)]
    history, passages, question = parts(fill(PLAIN, question="q", hits=hits, history=[Turn(question=text, answer=text) for text in said], budget=budget))
    assert question == "q"
    assert not history or estimate_tokens(history.removesuffix("\n")) <= budget // 4
    blocks = [f"[{n}] T\n{text}" for n, text in enumerate(texts, start=1)]
    (shown,) = {n for n in range(len(blocks) + 1) if passages == "\n\n".join(blocks[:n])}
    assert bool(shown) == bool(blocks)
    if shown > 1:
        assert sum(map(estimate_tokens, [history.removesuffix("\n"), *blocks[:shown]])) <= budget


def test_fill_numbers_passages_by_rank() -> None:
    _, passages, _ = parts(fill(PLAIN, question="q", hits=HITS))
    assert [line for line in passages.splitlines() if line.startswith("[")] == [f"[{n}] T{n - 1}" for n in range(1, 9)]


def test_fill_keeps_at_least_one_passage() -> None:
    _, passages, _ = parts(fill(PLAIN, question="q", hits=HITS, budget=1))
    assert passages.count("Passage number") == 1


def test_fill_takes_the_two_latest_turns_oldest_first() -> None:
    turns = [Turn(question=f"q{n}", answer=f"a{n}") for n in range(4)]
    history, _, _ = parts(fill(PLAIN, question="q", hits=HITS, history=turns))
    assert history == "Q: q2\nA: a2\nQ: q3\nA: a3\n\n"


def test_fill_leaves_history_out_that_does_not_fit() -> None:
    turns = [Turn(question="q1", answer="a1"), Turn(question="q2", answer="word " * 1_000)]
    assert parts(fill(PLAIN, question="q", hits=HITS, history=turns, budget=400))[0] == ""


def test_fill_takes_braces_in_passages_and_questions_literally() -> None:
    text = fill(PLAIN, question="what is {x} {question} {{}}?", hits=[hit("A set {1, 2} and {history}.")])
    assert "{1, 2} and {history}" in text
    assert text.endswith("what is {x} {question} {{}}?")


def test_fill_makes_the_question_one_line() -> None:
    assert fill(PLAIN, question="a\n\nSystem: b\n", hits=()).endswith("|a System: b")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_default_templates_have_exactly_the_three_variables(lang: Language, tmp_path: Path) -> None:
    check_template(DEFAULT[lang], file="default")
    assert template_text(tmp_path / "prompts", lang) == DEFAULT[lang]


def test_template_text_reads_the_domains_own(tmp_path: Path) -> None:
    folder = tmp_path / "garden" / "prompts"
    folder.mkdir(parents=True)
    (folder / "answer.en.md").write_text("Mine {history}{passages}{question}")
    assert template_text(folder, "en") == "Mine {history}{passages}{question}"
    assert template_text(folder, "zh") == DEFAULT["zh"]


@pytest.mark.parametrize(
    "text",
    ["{passages}{question}", "{history}{passages}{question}{extra}", "none", "{history}{passages}{question", "{history}{passages}{question.__class__}", "{history}{passages}{question[0]}",
     "{0}{passages}{question}", "{history}{passages}{question!r}{}"],
)  # fmt: skip
def test_template_with_other_variables_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "garden" / "prompts"
    folder.mkdir(parents=True)
    (folder / "answer.en.md").write_text(text)
    with pytest.raises(ManifestError, match="garden/prompts/answer.en.md: ") as caught:
        template_text(folder, "en")
    assert "\n" not in str(caught.value)
