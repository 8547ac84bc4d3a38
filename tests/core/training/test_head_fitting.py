"""A small head, fitted on places that are asked about in words of their own."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.question_head import QuestionHead
from core.training.question_head import RECIPES, Example, Place, Recipe, fit_head
from core.types import LANGUAGES, Language

pytestmark = pytest.mark.usefixtures("home")
PLACES, WIDTH = 8, 16
SMALL = Recipe(dense=1.0, learning_rate=0.1, table=256, epochs=100, drop=0.2)
BRIEF = dataclasses.replace(SMALL, epochs=3)
COMMON = ["when", "how", "should", "plant", "water", "garden", "bed", "soil", "much", "often"]
COMMON_ZH = ["什么", "怎样", "应该", "多少", "种植"]
OWN = "tulip rose mint sage basil dill thyme chive slug aphid mould frost trellis pot mulch lime straw twine spade rake hoe hose fork shed oak elm ash fir yew pine beech maple".split()
OWN_ZH = "郁金香 玫瑰 薄荷 百里香 罗勒 莳萝 蚜虫 霜冻 堆肥 石灰 稻草 麻绳 铁锹 耙子 锄头 水管 叉子 棚屋 橡树 榆树 白蜡 冷杉 红杉 松树 山毛榉 枫树 樱花 牡丹 菊花 荷花 兰草 竹子".split()
"""Four words of each place: whoever asks for it uses two of them."""


def encoding(place: int, chance: np.random.Generator) -> NDArray[np.float32]:
    """An encoding that knows the place only faintly."""
    vector = 0.25 * np.eye(PLACES, WIDTH)[place] + chance.standard_normal(WIDTH) / WIDTH**0.5
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def asked(lang: Language = "en", *, seed: int, count: int) -> dict[Place, list[Example]]:
    """Questions of every place: two of its words among common ones."""
    words, chance, numbers = random.Random(seed), np.random.default_rng(seed), range(PLACES)
    own, common = (OWN, COMMON) if lang == "en" else (OWN_ZH, COMMON_ZH)
    join = " " if lang == "en" else "，"
    return {
        (place, 0): [
            Example(text=join.join([*words.sample(common, 3), *words.sample(own[4 * place : 4 * place + 4], 2)]), vector=encoding(place, chance))
            for _ in range(count)
        ]
        for place in numbers
    }


def stands(lang: Language = "en") -> dict[Place, Example]:
    """The sentence of every place, and one that nobody asks for."""
    chance = np.random.default_rng(99)
    own = OWN if lang == "en" else OWN_ZH
    found = {(place, 0): Example(text=f"{own[4 * place]} {own[4 * place + 1]}.", vector=encoding(place, chance)) for place in range(PLACES)}
    return {**found, (PLACES, 3): Example(text="Nothing else.", vector=encoding(0, chance))}


def vectors(head: QuestionHead, examples: list[Example]) -> NDArray[np.float32]:
    return head.vectors([example.text for example in examples], np.stack([example.vector for example in examples]))


def hits(head: QuestionHead, training: dict[Place, list[Example]], held_out: dict[Place, list[Example]]) -> float:
    """The share of held-out questions that lie nearest to the training questions of their own place."""
    places = sorted(training)
    centres = np.stack([vectors(head, training[place]).mean(axis=0) for place in places])
    found = [places[int(np.argmax(centres @ vector))] == place for place in places for vector in vectors(head, held_out[place])]
    return sum(found) / len(found)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Steps this small take longest when several threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fitted() -> bytes:
    return fit_head(asked(seed=1, count=10), stands(), lang="en", recipe=SMALL)


def test_fit_head_of_the_same_seed_gives_the_same_bytes() -> None:
    first, second = (fit_head(asked(seed=1, count=4), stands(), lang="en", recipe=BRIEF) for _ in range(2))
    assert first == second


def test_fit_head_of_another_seed_gives_another_head() -> None:
    first, second = (fit_head(asked(seed=1, count=4), stands(), lang="en", recipe=dataclasses.replace(BRIEF, seed=seed)) for seed in (0, 1))
    assert first != second


def test_fit_head_of_the_same_places_in_another_order_gives_the_same_bytes() -> None:
    first, second = (
        fit_head(dict(pairs), stands(), lang="en", recipe=BRIEF) for pairs in (asked(seed=1, count=4).items(), reversed(asked(seed=1, count=4).items()))
    )
    assert first == second


def test_fit_head_gives_what_a_head_reads(fitted: bytes) -> None:
    head = QuestionHead(fitted, "en")
    assert head.dimension == WIDTH
    assert len(fitted) < 40_000


def test_fit_head_brings_held_out_paraphrases_to_their_own_place(fitted: bytes) -> None:
    training, held_out = asked(seed=1, count=10), asked(seed=2, count=6)
    centres = np.stack([np.mean([example.vector for example in training[place]], axis=0) for place in sorted(training)])
    by_encoding = [int(np.argmax(centres @ example.vector)) == place[0] for place, group in held_out.items() for example in group]
    assert sum(by_encoding) / len(by_encoding) < 0.5
    assert hits(QuestionHead(fitted, "en"), training, held_out) > 0.9


def test_fit_head_brings_questions_to_the_sentence_that_answers_them(fitted: bytes) -> None:
    head = QuestionHead(fitted, "en")
    answers = vectors(head, [stands()[place] for place in sorted(asked(seed=2, count=1))])
    found = [int(np.argmax(answers @ vector)) == place[0] for place, group in asked(seed=2, count=6).items() for vector in vectors(head, group)]
    assert sum(found) / len(found) > 0.8


def test_fit_head_learns_that_words_of_one_place_mean_the_same(fitted: bytes) -> None:
    head = QuestionHead(fitted, "en")
    nothing = np.zeros((3, WIDTH), dtype=np.float32)
    for place in range(PLACES):
        one, same, other = head.vectors([OWN[4 * place], OWN[4 * place + 3], OWN[(4 * place + 7) % len(OWN)]], nothing)
        assert one @ same > one @ other + 0.2


def test_fit_head_of_words_alone_reads_no_encoding() -> None:
    recipe = dataclasses.replace(SMALL, dense=0.0, epochs=50)
    head = QuestionHead(fit_head(asked("zh", seed=1, count=10), stands("zh"), lang="zh", recipe=recipe), "zh")
    held_out = asked("zh", seed=2, count=4)
    texts = [example.text for example in held_out[0, 0]]
    blind = head.vectors(texts, np.zeros((4, 0), dtype=np.float32))
    assert np.array_equal(blind, vectors(head, held_out[0, 0]))
    assert hits(head, asked("zh", seed=1, count=10), held_out) > 0.9


@pytest.mark.parametrize(("at_least", "known"), [(1, True), (2, False)])
def test_fit_head_knows_only_features_that_were_seen_often_enough(at_least: int, known: bool) -> None:
    questions = asked(seed=1, count=3)
    questions[0, 0] = [*questions[0, 0], Example(text="unheard", vector=questions[0, 0][0].vector)]
    head = QuestionHead(fit_head(questions, stands(), lang="en", recipe=dataclasses.replace(BRIEF, at_least=at_least)), "en")
    assert head.vectors(["unheard"], np.zeros((1, WIDTH), dtype=np.float32)).any() == known


def test_fit_head_of_places_with_one_question_each_is_a_head() -> None:
    made = fit_head(asked(seed=1, count=1), stands(), lang="en", recipe=BRIEF)
    assert np.isfinite(vectors(QuestionHead(made, "en"), asked(seed=2, count=1)[0, 0])).all()


def test_fit_head_of_questions_without_a_known_word_is_a_head() -> None:
    chance = np.random.default_rng(0)
    questions = {(place, 0): [Example(text="?", vector=encoding(place, chance))] * 2 for place in range(3)}
    sentences = {place: group[0] for place, group in questions.items()}
    head = QuestionHead(fit_head(questions, sentences, lang="en", recipe=BRIEF), "en")
    assert np.linalg.norm(vectors(head, questions[0, 0]), axis=1) == pytest.approx(1.0, abs=1e-5)


def test_fit_head_tells_its_progress_to_the_end() -> None:
    steps: list[tuple[int, int]] = []
    recipe = dataclasses.replace(BRIEF, batch=3)
    fit_head(asked(seed=1, count=2), stands(), lang="en", recipe=recipe, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(n, 9) for n in range(1, 10)]


@pytest.mark.parametrize("count", [0, 1])
def test_fit_head_refuses_fewer_than_two_places(count: int) -> None:
    with pytest.raises(ValueError, match="at least two places"):
        fit_head(dict(list(asked(seed=1, count=2).items())[:count]), stands(), lang="en", recipe=SMALL)


def test_recipes_are_there_for_every_language() -> None:
    assert set(RECIPES) == set(LANGUAGES)
