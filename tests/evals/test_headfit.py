from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from busy_garden import Busy

from core.assistant import Assistant
from core.encoder import Encoder
from core.ingest import bring_up_to_date
from core.library import Library
from core.question_head import load_heads
from core.registry import Domain
from core.retrieval import Retriever
from evals.calibration import calibrate_domain
from evals.headfit import LEAST_QUESTIONS, fit_heads, fit_on, sentence_examples

pytestmark = pytest.mark.usefixtures("one_thread")


def test_sentence_examples_are_every_sentence_of_the_language_with_its_title(garden_library: Library) -> None:
    found = sentence_examples(garden_library, "en")
    rows = garden_library.rows_by_language()["en"].tolist()
    stored = garden_library.passages(rows)
    assert set(found) == {(row, n) for row in rows for n in range(len(stored[row][0].passage.sentences))}
    texts = [example.text for example in found.values()]
    assert "Tulips Plant tulip bulbs in October, about 15 cm deep." in texts
    assert not any("郁金香" in text for text in texts)
    assert all(np.array_equal(found[row, n].vector, stored[row][2][n]) for row, n in found)


def test_sentence_examples_of_a_language_without_passages_are_none(tmp_path: Path, encoder: Encoder) -> None:
    assert sentence_examples(Library(tmp_path, encoder_id=encoder.id), "en") == {}


def test_fit_on_too_few_questions_fits_nothing(garden_library: Library) -> None:
    assert fit_on(garden_library.questions("en"), sentence_examples(garden_library, "en"), "en") is None


def test_fit_on_questions_of_one_place_fits_nothing(garden_library: Library) -> None:
    answered = [question for question in garden_library.questions("en") if question.passages]
    assert fit_on(answered * LEAST_QUESTIONS, sentence_examples(garden_library, "en"), "en") is None


def test_fit_heads_of_a_domain_with_few_questions_writes_nothing(garden: Domain, garden_library: Library, encoder: Encoder) -> None:
    before = sorted(path.name for path in (garden.folder / "training").iterdir())
    assert not fit_heads(garden, garden_library, encoder)
    assert sorted(path.name for path in (garden.folder / "training").iterdir()) == before


@pytest.fixture(scope="module")
def fitted(busy: Busy, tmp_path_factory: pytest.TempPathFactory) -> Busy:
    """The busy garden with heads, its bank packed with them."""
    import torch

    own = busy.copy(tmp_path_factory.mktemp("fitted"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    steps: list[str] = []
    assert fit_heads(own.domain, own.library, own.encoder, progress=lambda name, done, total: steps.append(f"{name} {done == total}"))
    torch.set_num_threads(threads)
    assert {"question head (en) True", "question head (zh) True"} <= set(steps)
    bring_up_to_date(own.domain, own.library, own.encoder, settings=own.settings)
    return own


@pytest.mark.slow
def test_fit_heads_writes_a_head_per_language_with_its_hashes(fitted: Busy) -> None:
    heads = load_heads(fitted.training, encoder_id=fitted.encoder.id)
    stated = json.loads((fitted.training / "heads.json").read_text())
    assert set(heads) == {"en", "zh"}
    assert stated["encoder"] == fitted.encoder.id
    assert {lang: entry["sha256"] for lang, entry in stated["heads"].items()} == {lang: head.sha256 for lang, head in heads.items()}


@pytest.mark.slow
def test_fit_heads_again_of_the_same_questions_writes_nothing(fitted: Busy) -> None:
    before = (fitted.training / "heads.json").stat().st_mtime_ns
    assert not fit_heads(fitted.domain, fitted.library, fitted.encoder)
    assert (fitted.training / "heads.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_fit_heads_brings_new_wordings_to_the_sentence_that_answers(fitted: Busy) -> None:
    heads = load_heads(fitted.training, encoder_id=fitted.encoder.id)
    retriever = Retriever(fitted.library, fitted.encoder, heads=heads)
    for question, lang, sentence in (
        ("my roses look sick and blotchy", "en", "Black spot is a fungus"), ("tulips mushy and soggy, help", "en", "Too much water"), ("玫瑰 剪刀 冬末", "zh", "玫瑰应在二月或三月"),
    ):  # fmt: skip
        retrieval = retriever.search(question, k=3, lang=lang)
        hit = retrieval.hits[0]
        span = hit.passage.sentences[int(np.argmax(hit.sentence_scores))]
        assert retrieval.likeness.learned is not None
        assert hit.passage.text[span.start - hit.passage.start :].startswith(sentence)


@pytest.mark.slow
def test_fit_heads_fits_anew_when_questions_changed(fitted: Busy, tmp_path: Path) -> None:
    own = fitted.copy(tmp_path)
    path = own.training / "one.jsonl"
    path.write_text(path.read_text("utf-8").replace("please", "kindly"), "utf-8")
    bring_up_to_date(own.domain, own.library, own.encoder, settings=own.settings)
    before = json.loads((own.training / "heads.json").read_text())["heads"]["en"]
    assert fit_heads(own.domain, own.library, own.encoder)
    after = json.loads((own.training / "heads.json").read_text())["heads"]["en"]
    assert before["sha256"] != after["sha256"] and before["questions_sha256"] != after["questions_sha256"]


@pytest.mark.slow
def test_fit_heads_fits_anew_for_another_encoder_and_gives_the_same_bytes_for_the_same_one(fitted: Busy, tmp_path: Path) -> None:
    own = fitted.copy(tmp_path)
    path = own.training / "heads.json"
    before = {name: (own.training / name).read_bytes() for name in ("head-en.safetensors", "head-zh.safetensors")}
    path.write_text(path.read_text().replace(own.encoder.id, "other@1"))
    assert fit_heads(own.domain, own.library, own.encoder)
    assert {name: (own.training / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_fit_heads_removes_heads_whose_questions_are_gone(fitted: Busy, tmp_path: Path) -> None:
    own = fitted.copy(tmp_path)
    for path in own.training.glob("*.jsonl"):
        path.unlink()
    bring_up_to_date(own.domain, own.library, own.encoder, settings=own.settings)
    assert fit_heads(own.domain, own.library, own.encoder)
    assert load_heads(own.training, encoder_id=own.encoder.id) == {}
    assert list(own.training.glob("head*")) == []
    assert not fit_heads(own.domain, own.library, own.encoder)


@pytest.mark.slow
def test_calibrate_domain_fits_heads_and_packs_the_bank_with_them(busy: Busy, tmp_path: Path) -> None:
    own = busy.copy(tmp_path)
    source = {"document": "tulips", "quote": "Plant tulip bulbs in October, about 15 cm deep."}
    rows = [{"id": f"d{n}", "question": f"which month for tulips {n}", "split": "dev", "sources": [source]} for n in range(6)]
    rows += [{"id": f"n{n}", "question": f"who won the world cup of 19{n}0", "split": "dev", "answerable": False} for n in range(6)]
    (own.domain.folder / "evals" / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    calibrate_domain(own.domain, settings=own.settings)
    assistant = Assistant(own.domain, settings=own.settings, encoder=own.encoder)
    assert assistant.retriever.search("tulips month", k=1, lang="en").likeness.learned is not None
    assert assistant.retriever.search("玫瑰黑点", k=1, lang="zh").likeness.learned is not None
