from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.encoder import Encoder
from core.manifest import Example, load_manifest
from core.policy_learned import LearnedGate, load_learned_gate
from core.registry import Domain
from core.types import LANGUAGES, Language
from evals.gatefit import ASKED, PLAYED_DOWN, fit_gate, played_down

DANGER = ["swallowed", "drank", "ate", "licked"]
STUFF = ["weedkiller", "slug pellets", "rat bait", "fungicide"]
ACTING = [f"my child {verb} {thing}" for verb in DANGER for thing in STUFF]
HARMLESS = [f"where do I {verb} {thing}" for verb in ("buy", "store", "dispose of") for thing in STUFF]


@pytest.fixture
def own(garden: Domain, tmp_path: Path) -> Domain:
    """A garden whose gate learns from examples."""
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    rules = folder / "policy" / "rules.toml"
    rules.write_text(rules.read_text("utf-8") + '[[learned]]\nlabel = "swallowed"\naction = "escalate"\nnotice = "crisis"\n', "utf-8")
    rows = [{"text": text, "lang": "en", "label": label} for label, texts in (("swallowed", ACTING), ("benign", HARMLESS)) for text in texts]
    (folder / "policy" / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return Domain(manifest=load_manifest(folder), folder=folder, door="test")


def labels(gate: LearnedGate, text: str, encoder: Encoder) -> list[str]:
    return gate.labels(gate.scores(text, "en", encoder.encode([text])[0]), "en")


def add_questions(domain: Domain, questions: list[str]) -> None:
    rows = [{"lang": "en", "document": "tulips", "answerable": False, "questions": questions[n : n + 200]} for n in range(0, len(questions), 200)]
    (domain.folder / "training" / "batch.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@given(st.lists(st.tuples(st.text(min_size=1, max_size=30), st.sampled_from(["benign", "crisis"])), max_size=8), st.sampled_from(LANGUAGES))
@examples(max_examples=50, deadline=None)
def test_played_down_rows_are_followed_by_wrapped_copies_of_their_kind(texts: list[tuple[str, str]], lang: Language) -> None:
    rows = [Example(text=text, lang=lang, label=label) for text, label in texts]
    more, groups = played_down(rows, lang)
    assert more[: len(rows)] == rows and groups[: len(rows)] == list(range(len(rows)))
    wrapped = {(wrapping.format(row.text), row.label) for row in rows for wrapping in PLAYED_DOWN[lang]}
    assert all((row.text, row.label) in wrapped and rows[group].text in row.text for row, group in zip(more[len(rows) :], groups[len(rows) :], strict=True))


def test_fit_gate_recognises_what_the_examples_are_like(own: Domain, encoder: Encoder) -> None:
    gate = fit_gate(own, encoder)
    assert gate is not None
    for text, expected in (("the toddler drank some weedkiller", ["swallowed"]), ("best time of year to put tulips in", []), ("where do I buy bait", [])):
        assert labels(gate, text, encoder) == expected


def test_fit_gate_writes_what_the_assistant_reads_and_is_reproducible(own: Domain, encoder: Encoder) -> None:
    gate = fit_gate(own, encoder)
    path = own.folder / "policy" / "gate.json"
    first = path.read_bytes()
    assert load_learned_gate(own.folder / "policy") == gate
    path.unlink()
    fit_gate(own, encoder)
    assert path.read_bytes() == first


def test_fit_gate_again_on_the_same_examples_writes_nothing(own: Domain, encoder: Encoder) -> None:
    gate = fit_gate(own, encoder)
    before = (own.folder / "policy" / "gate.json").stat().st_mtime_ns
    assert fit_gate(own, encoder) == gate
    assert (own.folder / "policy" / "gate.json").stat().st_mtime_ns == before


def test_fit_gate_fits_anew_when_an_example_was_added(own: Domain, encoder: Encoder) -> None:
    before = fit_gate(own, encoder)
    with (own.folder / "policy" / "examples.jsonl").open("a") as file:
        file.write(json.dumps({"text": "my child sipped bleach", "lang": "en", "label": "swallowed"}) + "\n")
    after = fit_gate(own, encoder)
    assert before is not None and after is not None and before.examples_sha256 != after.examples_sha256


def test_fit_gate_fits_anew_when_another_label_acts(own: Domain, encoder: Encoder) -> None:
    assert fit_gate(own, encoder) is not None
    rules = own.folder / "policy" / "rules.toml"
    rules.write_text(rules.read_text("utf-8").replace('label = "swallowed"', 'label = "benign"'), "utf-8")
    gate = fit_gate(own, encoder)
    assert gate is not None and set(gate.languages["en"].labels) == {"benign"}


def test_fit_gate_learns_that_what_people_ask_is_harmless(own: Domain, encoder: Encoder) -> None:
    text = "my child ate a tulip petal"
    add_questions(own, [f"{text} number {n}" for n in range(40)])
    gate = fit_gate(own, encoder)
    assert gate is not None and labels(gate, text, encoder) == []


def test_fit_gate_reads_some_of_very_many_questions(own: Domain, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ASKED >= 1_000
    monkeypatch.setattr("evals.gatefit.ASKED", 20)
    add_questions(own, [f"question of tulips {'common ' if n % 10 else 'seldom '}{n}" for n in range(1_000)])
    gate = fit_gate(own, encoder)
    assert gate is not None
    # 20 of 1,000, each shown twice: a word of one question in two would otherwise weigh next to nothing.
    assert gate.languages["en"].idf.get("tulip", 9.0) > 1.5


@pytest.mark.parametrize("missing", ["examples", "label"])
def test_fit_gate_of_a_domain_that_brings_nothing_to_learn_is_none(own: Domain, encoder: Encoder, missing: str, garden: Domain) -> None:
    if missing == "examples":
        (own.folder / "policy" / "examples.jsonl").unlink()
    else:
        shutil.copy(garden.folder / "policy" / "rules.toml", own.folder / "policy" / "rules.toml")
    assert fit_gate(own, encoder) is None
    assert not (own.folder / "policy" / "gate.json").exists()
