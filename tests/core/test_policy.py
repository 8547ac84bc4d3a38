"""The gate's engine on policies built by hand: terms, precedence, what switches a rule off, and what it must survive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.manifest import Learned, Localized, Policy, Rule, Terms
from core.policy import Decision, Gate
from core.policy_learned import WORD_SCALE, LearnedGate, LearnedLabel, LearnedLanguage
from core.types import Language


def gate(*rules: Rule, **groups: Terms) -> Gate:
    """Return a gate with one notice, ``n``, in two languages."""
    return Gate(Policy(groups=groups, rules=rules, notices={"n": Localized(en="act now", zh="请立即行动")}, disclaimer=Localized(en="no advice")))


def rule(name: str, *groups: str, action: str = "escalate", none: tuple[str, ...] = ()) -> Rule:
    """Return a rule over the named groups."""
    return Rule.model_validate({"id": name, "action": action, "notice": "n", "all": groups, "none": none})


CHEST = gate(rule("chest", "chest"), chest=Terms(en=("chest .. pain*", "heart attack*"), zh=("胸..疼",)))


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("I have chest pain", True),
        ("my CHEST is in such real PAIN", True),
        ("chest, painful", True),
        ("my chest is one two three four five pain", False),
        ("my chest. Pain in my foot", False),
        ("a chestnut pain", False),
        ("two heart attacks", True),
        ("胸口一阵阵疼", True),
        ("胸口没事。脚疼", False),
        ("胸口这里从昨天晚上开始一直都很疼", False),
    ],
)
def test_policy_terms_match_words_stems_and_short_gaps(text: str, fires: bool) -> None:
    assert (CHEST.decide(text, "en") is not None) is fires


@pytest.mark.parametrize(("term", "text"), [("guaranteed * return*", "guaranteed monthly returns"), ("is * * a buy", "is this stock a buy")])
def test_policy_star_alone_stands_for_one_word(term: str, text: str) -> None:
    assert gate(rule("star", "star"), star=Terms(en=(term,))).decide(text, "en") is not None


def test_policy_terms_of_both_languages_are_tried_whatever_the_language() -> None:
    assert CHEST.decide("chest pain", "zh") == Decision(action="escalate", rule="chest", notice="请立即行动")
    assert CHEST.decide("胸口疼", "en") == Decision(action="escalate", rule="chest", notice="act now")


def test_policy_text_is_folded_before_matching() -> None:
    made = gate(rule("breath", "breath"), breath=Terms(en=("can't breathe",)))
    for text in ("I can’t breathe", "I CAN'T\n BREATHE", "I can't bre\u200bathe", "Ｉ ｃａｎ't ｂｒｅａｔｈｅ"):
        assert made.decide(text, "en") is not None, text


def test_policy_rule_needs_every_group_and_no_excluded_one() -> None:
    made = gate(rule("now", "sign", "person", none=("info",)), sign=Terms(en=("pain",)), person=Terms(en=("my",)), info=Terms(en=("what is",)))
    assert made.decide("my pain", "en") is not None
    assert made.decide("pain", "en") is None
    assert made.decide("what is my pain", "en") is None


def test_policy_rule_without_excluded_groups_cannot_be_switched_off() -> None:
    made = gate(
        rule("soft", "sign", none=("info",)),
        rule("hard", "certain"),
        sign=Terms(en=("pain",)),
        certain=Terms(en=("not breathing",)),
        info=Terms(en=("what is",)),
    )
    decision = made.decide("what is the matter, he is not breathing, just asking", "en")
    assert decision is not None
    assert decision.rule == "hard"


def test_policy_escalation_outranks_refusal_and_refusal_outranks_notice() -> None:
    words = {"a": Terms(en=("alpha",)), "b": Terms(en=("beta",)), "c": Terms(en=("gamma",))}
    made = gate(rule("third", "c", action="notice"), rule("second", "b", action="refuse"), rule("first", "a"), **words)
    assert [d.rule for text in ("gamma beta alpha", "gamma beta", "gamma") if (d := made.decide(text, "en"))] == ["first", "second", "third"]


def test_policy_first_rule_of_an_action_wins() -> None:
    made = gate(rule("one", "a"), rule("two", "a"), a=Terms(en=("alpha",)))
    decision = made.decide("alpha", "en")
    assert decision is not None
    assert decision.rule == "one"


def test_policy_empty_group_never_matches() -> None:
    made = gate(rule("empty", "nothing"), nothing=Terms())
    assert made.decide("", "en") is None
    assert made.decide("anything", "en") is None


def test_policy_terms_are_literal() -> None:
    made = gate(rule("literal", "odd"), odd=Terms(en=("a+b (c)",), zh=("[甲]+",)))
    assert made.decide("aab c", "en") is None
    assert made.decide("甲甲", "zh") is None
    assert made.decide("这是[甲]+", "zh") is not None


def fitted(intercept: float = 0.0, *, words: dict[str, float] | None = None, vector: tuple[float, ...] = ()) -> LearnedGate:
    """A gate with the label ``danger`` in both languages; a word's weight is its share of the score."""
    idf = {word: round(1 / WORD_SCALE, 6) for word in words or {}}
    label = LearnedLabel(words=words or {}, vector=vector, intercept=intercept, threshold=0.6)
    language = LearnedLanguage(idf=idf, labels={"danger": label})
    return LearnedGate(examples_sha256="0", encoder="e@1", languages={"en": language, "zh": language})


def taught(learned: LearnedGate, *, final: bool = False, action: str = "escalate") -> Gate:
    """A gate with the rule ``heart`` over heart attacks in both languages, and a fitted gate whose label has ``action``."""
    heart = rule("heart", "heart").model_copy(update={"final": final})
    entry = Learned.model_validate({"label": "danger", "action": action, "notice": "n"})
    groups = {"heart": Terms(en=("heart attack*",), zh=("心脏病发作",))}
    return Gate(Policy(groups=groups, rules=(heart,), learned=(entry,), notices={"n": Localized(en="act now", zh="请立即行动")}), learned=learned)


def fired(made: Gate, text: str, lang: Language = "en", *, vector: tuple[float, ...] | None = (1.0,)) -> str | None:
    decision = made.decide(text, lang, vector=None if vector is None else np.array(vector, dtype=np.float32))
    return decision.rule if decision is not None else None


FILM = fitted(words={"film": -9.0, "collaps": 9.0})


@pytest.mark.parametrize(
    ("text", "rule_name"),
    [
        ("a heart attack", "heart"),
        ("a film about heart attacks", None),
        ("a film", None),
        ("he collapsed", "learned-danger"),
        ("heart attack, he collapsed", "heart"),
    ],
)
def test_policy_fitted_gate_overrules_a_rule_or_adds_to_it(text: str, rule_name: str | None) -> None:
    assert fired(taught(FILM), text) == rule_name


def test_policy_fitted_gate_never_overrules_a_final_rule() -> None:
    assert fired(taught(FILM, final=True), "a film about heart attacks") == "heart"


def test_policy_fitted_gate_overrules_no_rule_of_an_action_it_has_no_label_for() -> None:
    assert fired(taught(FILM, action="refuse"), "a film about heart attacks") == "heart"


def test_policy_fitted_gate_that_reads_encodings_is_sure_of_a_danger() -> None:
    assert fired(taught(fitted(-4.0, vector=(5.0,))), "a heart attack") == "heart"


def test_policy_fitted_gate_that_lacks_the_encoding_overrules_nothing() -> None:
    assert fired(taught(fitted(-4.0, vector=(5.0,))), "a heart attack", vector=None) == "heart"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("text", "lang"), [("I am having a heart attack", "zh"), ("我心脏病发作了", "en")])
def test_policy_fitted_gate_of_another_language_overrules_nothing(text: str, lang: Language) -> None:
    assert fired(taught(fitted(-4.0, words={"heart": 9.0, "脏病": 9.0})), text, lang) == "heart"


def test_policy_disclaimer_falls_back_to_english() -> None:
    assert CHEST.disclaimer("zh") == "no advice"
    assert Gate(Policy()).disclaimer("en") == ""


FRAGMENTS = ["chest", "heart", "pain", "attack", "a", "can", " ", "  ", "\n", ".", "?", ",", "胸", "疼", "。", "é", "\u200b", "ﬀ", "\ud800", "0", "_", "(", "*"]


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.sampled_from(FRAGMENTS), max_size=40), times=st.integers(min_value=1, max_value=400))
def test_policy_gate_never_raises_on_long_texts(parts: list[str], times: int) -> None:
    text = ("".join(parts) * times)[:20_000]
    assert CHEST.decide(text, "en") is None or CHEST.decide(text, "zh") is not None


@settings(max_examples=80, deadline=None)
@given(text=st.text(max_size=300))
def test_policy_gate_is_deterministic_on_any_text(text: str) -> None:
    assert CHEST.decide(text, "en") == CHEST.decide(text, "en")


@pytest.mark.timeout(3)
def test_policy_gap_is_linear_in_punctuation() -> None:
    assert CHEST.decide("chest " + "-" * 400, "en") is None
