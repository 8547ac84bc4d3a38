from __future__ import annotations

import math
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from head_samples import sample_head
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from passage_samples import entry, sample_library

from core.encoder import Encoder, PassageVectors
from core.errors import LibraryError
from core.eval_items import training_files
from core.index.faiss import FaissIndex
from core.ingest import Ingest
from core.library import Library
from core.library_schema import KEYWORD_WEIGHTS
from core.question_head import QuestionHead
from core.questions import EMPTY, QuestionBank
from core.ranking import shipped_model, variant_of
from core.registry import Domain
from core.retrieval import (
    BANK_FLOOR,
    BANK_WEIGHT,
    DENSE_WEIGHT,
    RERANKED,
    Candidates,
    Retrieval,
    Retriever,
    as_langchain_retriever,
    inverse_document_frequency,
    keyword_share,
    titled,
)
from core.settings import Settings
from core.text import content_terms, match_query, terms
from core.types import Language

QUESTIONS = [
    ("When should tulip bulbs be planted?", "en", "tulips", "Plant tulip bulbs in October, about 15 cm deep."),
    ("how often do I water tulips", "en", "tulips", "Water tulips once a week in dry weather."),
    ("dark blotches on rose leaves", "en", "roses", "Black spot is a fungus that makes dark blotches on rose leaves."),
    ("how long until compost is ready", "en", "compost", "Compost takes 6 to 12 months to be ready."),
    ("郁金香球茎应在几月种下", "zh", "tulips", "郁金香的球茎应在十月种下，深度约15厘米。"),
    ("玫瑰叶片有黑色斑点", "zh", "roses", "黑斑病是一种真菌病，会使玫瑰叶片出现黑色斑点。"),
]


@pytest.fixture(scope="module")
def retriever(garden_library: Library, encoder: Encoder) -> Retriever:
    return Retriever(garden_library, encoder)


@pytest.fixture
def own(garden_library: Library, encoder: Encoder, tmp_path: Path) -> Library:
    """A copy of the garden's library that a test may change."""
    return Library(Path(shutil.copytree(garden_library.folder, tmp_path / "garden")), encoder_id=encoder.id)


def publish(library: Library) -> None:
    library.publish(lambda ids, vectors: FaissIndex.build(ids, vectors).to_bytes())


def found(retrieval: Retrieval) -> list[str]:
    return [hit.external_id.split("/")[-1].split(".")[0] for hit in retrieval.hits]


def best_sentence(retrieval: Retrieval) -> str:
    hit = retrieval.hits[0]
    span = hit.passage.sentences[int(np.argmax(hit.sentence_scores))]
    return hit.passage.text[span.start - hit.passage.start : span.end - hit.passage.start]


@pytest.mark.parametrize(("question", "lang", "topic", "sentence"), QUESTIONS)
def test_search_ranks_the_passage_and_the_sentence_first(retriever: Retriever, question: str, lang: Language, topic: str, sentence: str) -> None:
    retrieval = retriever.search(question, k=3, lang=lang)
    assert found(retrieval)[0] == topic
    assert best_sentence(retrieval) == sentence


@pytest.mark.parametrize("k", [1, 2, 6, 100])
def test_search_returns_at_most_k_hits_best_first(retriever: Retriever, k: int) -> None:
    retrieval = retriever.search("tulips and roses", k=k, lang="en")
    scores = [hit.score for hit in retrieval.hits]
    assert 0 < len(scores) <= k
    assert scores == sorted(scores, reverse=True)
    assert len({hit.row for hit in retrieval.hits}) == len(scores)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_search_stays_in_the_questions_language(retriever: Retriever, lang: Language) -> None:
    for question in ("tulips 郁金香", "roses", "玫瑰"):
        assert {hit.passage.lang for hit in retriever.search(question, k=50, lang=lang).hits} == {lang}


def test_search_in_a_language_without_passages_searches_all(own: Library, encoder: Encoder) -> None:
    own.remove([row.id for row in own.documents() if row.lang == "zh"])
    publish(own)
    retrieval = Retriever(own, encoder).search("郁金香 tulips", k=3, lang="zh")
    assert {hit.passage.lang for hit in retrieval.hits} == {"en"}


@pytest.mark.parametrize(
    ("question", "lang"), [("zzz unheard words of tulip bulbs", "en"), ("best time of year to put tulips in", "en"), ("郁金香的球茎", "zh")]
)
def test_candidates_fused_score_is_the_stated_mixture(retriever: Retriever, question: str, lang: Language) -> None:
    bank = retriever.bank(lang)
    found = retriever.candidates(question, k=20, lang=lang, bank=bank)
    for facts in found.facts:
        asked = BANK_WEIGHT[lang] * max(0.0, found.likeness.passages.get(facts.row, 0.0) - BANK_FLOOR)
        assert facts.fused == pytest.approx(DENSE_WEIGHT[lang] * facts.cosine + (1 - DENSE_WEIGHT[lang]) * facts.keyword + asked, abs=1e-6)
        assert 0 <= facts.keyword <= 1
        assert -1 <= facts.cosine <= 1 + 1e-5
    fused = [facts.fused for facts in found.facts]
    assert fused == sorted(fused, reverse=True) and len(fused) > 3


def test_candidates_are_at_most_k_and_the_first_have_features(retriever: Retriever) -> None:
    for k in (1, 4, 20):
        found = retriever.candidates("tulips and roses", k=k, lang="en", bank=retriever.bank("en"))
        assert len(found.facts) == len(found.stored) <= k
        assert len(found.features) == min(len(found.facts), RERANKED)
        assert [stored.row for stored in found.stored] == [facts.row for facts in found.facts]


def test_candidates_hold_the_sentences_of_their_passage(retriever: Retriever) -> None:
    found = retriever.candidates("tulips", k=9, lang="en", bank=retriever.bank("en"))
    for facts, stored in zip(found.facts, found.stored, strict=True):
        spans = stored.passage.sentences
        assert facts.sentences == tuple(facts.text[span.start - stored.passage.start : span.end - stored.passage.start] for span in spans)
        assert facts.vectors.shape == (len(spans), 384)


def test_candidates_of_a_library_without_index_are_refused(tmp_path: Path, encoder: Encoder) -> None:
    retriever = Retriever(sample_library(tmp_path / "herbs", encoder_id=encoder.id), encoder)
    with pytest.raises(LibraryError, match="library 'herbs' has no index yet; run `domainkit reindex herbs`"):
        retriever.candidates("tulips", k=3, lang="en", bank=retriever.bank("en"))


def test_candidates_read_the_bank_but_for_an_origin_left_out(retriever: Retriever) -> None:
    question = "best time of year to put tulips in"
    with_bank, without = (
        retriever.candidates(question, k=1, lang="en", bank=retriever.bank("en"), without_questions=origin) for origin in ("", "questions.jsonl")
    )
    assert with_bank.likeness.answerable > 0.99
    assert without.likeness.answerable == 0.0
    assert with_bank.facts[0].fused > without.facts[0].fused


ASKED = [
    *((question, lang) for question, lang, *_ in QUESTIONS),
    ("which fertiliser do tulips like", "en"),
    ("who won the world cup", "en"),
    ("", "en"),
    ("今天天气怎么样", "zh"),
]


@pytest.mark.parametrize(("question", "lang"), ASKED)
def test_search_ranks_by_the_probability_that_the_passage_answers(retriever: Retriever, question: str, lang: Language) -> None:
    hits = retriever.search(question, k=50, lang=lang).hits
    judged, behind = hits[:RERANKED], hits[RERANKED:]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(0 <= hit.confidence <= 1 and hit.score == hit.confidence for hit in judged)
    assert all(hit.confidence == 0.0 and hit.score <= judged[-1].score for hit in behind)


def test_search_judges_only_the_first_candidates(retriever: Retriever) -> None:
    hits = retriever.search("tulips and roses", k=50, lang="en").hits
    fused = retriever.candidates("tulips and roses", k=50, lang="en", bank=retriever.bank("en")).facts
    assert len(hits) == len(fused) > RERANKED
    assert {hit.row for hit in hits[:RERANKED]} == {facts.row for facts in fused[:RERANKED]}
    assert [hit.row for hit in hits[RERANKED:]] == [facts.row for facts in fused[RERANKED:]]


def confidences(found: Candidates, lang: Language) -> dict[int, float]:
    model = shipped_model(lang, variant_of(found.likeness))
    return {facts.row: model.confidence(features) for facts, features in zip(found.facts, found.features, strict=False)}


@pytest.mark.parametrize(("question", "lang"), [("When should tulip bulbs be planted?", "en"), ("玫瑰怎样修剪", "zh")])
def test_search_gives_each_hit_the_confidence_of_its_features(retriever: Retriever, question: str, lang: Language) -> None:
    expected = confidences(retriever.candidates(question, k=RERANKED, lang=lang, bank=retriever.bank(lang)), lang)
    for hit in retriever.search(question, k=3, lang=lang).hits:
        assert hit.confidence == pytest.approx(expected[hit.row], abs=1e-6)
        assert hit.confidence >= max(sorted(expected.values())[:-3], default=0.0) - 1e-6


@pytest.mark.parametrize("k", [1, 3, 20])
def test_search_for_passages_without_a_bank_keeps_the_fused_order(retriever: Retriever, k: int) -> None:
    question = "天气干燥时怎样浇水"
    assert len(retriever.bank("zh")) == 0
    hits = retriever.search(question, k=k, lang="zh", sentences=False).hits
    facts = retriever.candidates(question, k=20, lang="zh", bank=QuestionBank({}, "zh")).facts[:k]
    assert [hit.row for hit in hits] == [one.row for one in facts]
    assert [hit.score for hit in hits] == pytest.approx([one.fused for one in facts], abs=1e-6)
    assert all(hit.confidence == 0.0 for hit in hits)


def test_search_for_passages_with_a_bank_ranks_as_search_for_an_answer_does(retriever: Retriever) -> None:
    question = "best time of year to put tulips in"
    plain, answered = (retriever.search(question, k=20, lang="en", sentences=sentences).hits for sentences in (False, True))
    assert [(hit.row, hit.score, hit.confidence) for hit in plain] == [(hit.row, hit.score, hit.confidence) for hit in answered]


def test_search_without_a_bank_for_an_answer_is_ranked_by_the_plain_model(retriever: Retriever) -> None:
    retrieval = retriever.search("玫瑰怎样修剪", k=3, lang="zh")
    assert retrieval.likeness is EMPTY
    assert retrieval.hits[0].confidence > 0


def test_search_counts_every_sentence_unless_told_not_to(retriever: Retriever) -> None:
    for hit in retriever.search("tulips", k=6, lang="en").hits:
        assert len(hit.sentence_scores) == len(hit.passage.sentences)
    assert all(hit.sentence_scores == () for hit in retriever.search("tulips", k=6, lang="en", sentences=False).hits)


HEAD_WORDS = ["best time of year to put tulips in", "which fertiliser do tulips like", "Plant tulip bulbs in October, about 15 cm deep."]


@pytest.fixture
def head(encoder: Encoder) -> QuestionHead:
    return sample_head(HEAD_WORDS, encoded=encoder.dimension)


@pytest.fixture
def taught(own: Library, garden: Domain, encoder: Encoder, settings: Settings, head: QuestionHead) -> Library:
    """A copy of the garden's library whose bank is packed with a head."""
    Ingest(own, encoder, settings=settings).set_questions(training_files(garden.folder, garden.manifest), query_encoder=encoder, heads={"en": head})
    return own


def test_search_with_a_head_reads_the_bank_by_it(taught: Library, encoder: Encoder, head: QuestionHead) -> None:
    retrieval = Retriever(taught, encoder, heads={"en": head}).search("best time of year to put tulips in", k=3, lang="en")
    learned = retrieval.likeness.learned
    assert learned is not None and learned.answerable > 0.98
    assert learned.passages[retrieval.hits[0].row] == learned.answerable
    assert best_sentence(retrieval) == "Plant tulip bulbs in October, about 15 cm deep."


def test_search_with_a_head_is_ranked_by_the_learned_model(taught: Library, encoder: Encoder, head: QuestionHead) -> None:
    retriever = Retriever(taught, encoder, heads={"en": head})
    found = retriever.candidates("when do tulips go in", k=RERANKED, lang="en", bank=retriever.bank("en"), head=head)
    expected = confidences(found, "en")
    assert variant_of(found.likeness) == "learned"
    assert {hit.row: pytest.approx(hit.confidence, abs=1e-6) for hit in retriever.search("when do tulips go in", k=RERANKED, lang="en").hits} == expected


def test_candidates_with_a_head_have_its_vectors_of_their_titled_sentences(taught: Library, encoder: Encoder, head: QuestionHead) -> None:
    retriever = Retriever(taught, encoder, heads={"en": head})
    found = retriever.candidates("tulips", k=20, lang="en", bank=retriever.bank("en"), head=head)
    for facts, stored in list(zip(found.facts, found.stored, strict=True))[:RERANKED]:
        expected = head.vectors([titled(stored.title, sentence) for sentence in facts.sentences], facts.vectors)
        assert facts.learned is not None and np.array_equal(facts.learned, expected)
    assert all(facts.learned is None for facts in found.facts[RERANKED:])


def test_search_with_a_head_gives_the_same_hits_however_much_it_remembers(
    taught: Library, encoder: Encoder, head: QuestionHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = Retriever(taught, encoder, heads={"en": head})
    first = [retriever.search(question, k=5, lang="en").hits for question, lang, *_ in QUESTIONS if lang == "en"]
    again = [retriever.search(question, k=5, lang="en").hits for question, lang, *_ in QUESTIONS if lang == "en"]
    monkeypatch.setattr("core.retrieval.REMEMBERED", 1)
    forgetful = Retriever(taught, encoder, heads={"en": head})
    assert first == again == [forgetful.search(question, k=5, lang="en").hits for question, lang, *_ in QUESTIONS if lang == "en"]


def test_search_with_another_head_than_the_banks_compares_without(taught: Library, encoder: Encoder) -> None:
    other = sample_head(HEAD_WORDS, encoded=encoder.dimension, seed=1)
    question = "best time of year to put tulips in"
    found = Retriever(taught, encoder, heads={"en": other}).search(question, k=3, lang="en")
    assert found.likeness.learned is None
    assert found.hits == Retriever(taught, encoder).search(question, k=3, lang="en").hits


def test_search_of_a_language_without_a_head_reads_none(taught: Library, encoder: Encoder, head: QuestionHead) -> None:
    expected = Retriever(taught, encoder).search("玫瑰怎样修剪", k=3, lang="zh")
    assert Retriever(taught, encoder, heads={"en": head}).search("玫瑰怎样修剪", k=3, lang="zh") == expected


def test_search_in_scopes(own: Library, encoder: Encoder, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.md").write_text("# My tulips\n\nMy own tulips stand by the gate.\n")
    Ingest(own, encoder, settings=settings).add_paths([tmp_path / "notes"], scope="notes")
    retriever = Retriever(own, encoder)
    assert found(retriever.search("tulips", k=20, lang="en", scopes=["notes"])) == ["mine"]
    assert "mine" not in found(retriever.search("tulips", k=20, lang="en", scopes=["corpus"]))
    assert "mine" in found(retriever.search("tulips", k=20, lang="en"))
    assert set(found(retriever.search("tulips", k=20, lang="en", scopes=["corpus", "notes"]))) >= {"mine", "tulips"}
    assert retriever.search("tulips", k=20, lang="en", scopes=["unknown"]).hits == ()


def test_search_never_shows_a_removed_document(own: Library, encoder: Encoder) -> None:
    retriever = Retriever(own, encoder)
    (tulips,) = [row.id for row in own.documents() if row.title == "Tulips"]
    assert "tulips" in found(retriever.search("tulips", k=20, lang="en"))
    own.remove([tulips])
    assert "tulips" not in found(retriever.search("tulips", k=20, lang="en"))
    publish(own)
    assert "tulips" not in found(retriever.search("tulips", k=20, lang="en"))
    own.restore([tulips])
    publish(own)
    assert "tulips" in found(retriever.search("tulips", k=20, lang="en"))


def test_search_picks_up_a_new_generation(own: Library, encoder: Encoder, settings: Settings, tmp_path: Path) -> None:
    retriever = Retriever(own, encoder)
    before = retriever.search("mint", k=3, lang="en").generation
    (tmp_path / "mint.md").write_text("# Mint\n\nMint spreads by runners and takes over a bed.\n")
    Ingest(own, encoder, settings=settings).add_paths([tmp_path / "mint.md"], scope="notes")
    retrieval = retriever.search("does mint spread?", k=3, lang="en")
    assert retrieval.generation == before + 1
    assert found(retrieval)[0] == "mint"


@pytest.mark.parametrize("damage", ["missing", "changed", "empty"])
def test_search_rebuilds_a_generation_file_that_is_not_as_published(own: Library, encoder: Encoder, damage: str) -> None:
    expected = Retriever(own, encoder).search(QUESTIONS[0][0], k=6, lang="en")
    generation = own.generation()
    assert generation is not None
    path = own.folder / "generations" / generation.file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:-4] + b"\x7f\x7f\x7f\x7f")
    again = Retriever(own, encoder).search(QUESTIONS[0][0], k=6, lang="en")
    assert again.hits == expected.hits


def test_search_refuses_a_vector_that_is_no_number(own: Library, encoder: Encoder) -> None:
    connection = sqlite3.connect(own.path)
    connection.execute("UPDATE passages SET vector=?", (np.full(encoder.dimension, np.nan, dtype="<f2").tobytes(),))
    connection.commit()
    connection.close()
    with pytest.raises(LibraryError, match="holds a damaged vector; move its folder away and build it again"):
        Retriever(own, encoder).search(QUESTIONS[0][0], k=3, lang="en")


@pytest.mark.slow
def test_searchers_and_a_writer_at_once_miss_nothing(own: Library, encoder: Encoder) -> None:
    retriever = Retriever(own, encoder)
    stop = threading.Event()

    def search(number: int) -> int:
        done = 0
        while not stop.is_set():
            question, lang, topic, _ = QUESTIONS[(done + number) % len(QUESTIONS)]
            assert found(retriever.search(question, k=3, lang=lang))[0] == topic
            done += 1
        own.close()
        return done

    with ThreadPoolExecutor(4) as pool:
        searchers = [pool.submit(search, number) for number in range(4)]
        try:
            for number in range(30):
                document, passages, _ = entry(f"d{number}", [f"Filler number {number} about nothing."], scope="notes")
                vectors = [PassageVectors(passage=vector, sentences=vector[None]) for vector in encoder.encode([passage.text for passage in passages])]
                with own.writing():
                    own.add([(document, passages, vectors)])
                    publish(own)
                    if number % 3 == 2:
                        own.remove(own.find(f"d{number - 1}"))
                        own.purge()
                        publish(own)
        finally:
            stop.set()
        assert min(searcher.result() for searcher in searchers) > 5
    generation = own.generation()
    assert generation is not None and len(list((own.folder / "generations").glob("*.index"))) == 2


def test_search_of_a_library_without_generation_finds_nothing(tmp_path: Path, encoder: Encoder) -> None:
    library = sample_library(tmp_path, encoder_id=encoder.id)
    retrieval = Retriever(library, encoder).search("tulips", k=3, lang="en")
    assert (retrieval.hits, retrieval.generation) == ((), 0)
    library.add([entry("tulips", [])])
    publish(library)
    assert Retriever(library, encoder).search("tulips", k=3, lang="en").hits == ()


@pytest.mark.parametrize(
    "query", ["", " ", "?!", "\x00", "\ud800".encode("utf-8", "replace").decode(), '" OR *', "NEAR(a b)", "body:x -y", "word " * 2_000, "1,234.5", "the of and"]
)
def test_search_survives_any_query(retriever: Retriever, query: str) -> None:
    for lang in ("en", "zh"):
        for hit in retriever.search(query, k=5, lang=lang).hits:
            assert all(math.isfinite(value) for value in (hit.score, hit.dense, hit.keyword, hit.confidence, *hit.sentence_scores))


def test_search_by_many_threads_equals_one(retriever: Retriever) -> None:
    expected = [retriever.search(question, k=5, lang=lang).hits for question, lang, *_ in QUESTIONS]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: retriever.search(QUESTIONS[n % 6][0], k=5, lang=QUESTIONS[n % 6][1]).hits, range(120)))
    assert all(hits == expected[n % 6] for n, hits in enumerate(answers))


@pytest.mark.parametrize(
    "query",
    ["plant tulip bulbs in october", "rose leaves fungus compost", "water tulips", "玫瑰 黑斑病 叶片", "球茎 冬天", "6 12 months compost", "unheard tulip"],
)
def test_keyword_share_is_fts5s_own_bm25_over_its_bound(garden_library: Library, query: str) -> None:
    words = content_terms(query)
    total, frequencies = garden_library.document_frequencies(words)
    idf = {word: inverse_document_frequency(total, n) for word, n in frequencies.items()}
    connection = sqlite3.connect(f"file:{garden_library.path}?mode=ro", uri=True)
    expected = dict(
        connection.execute(
            f"SELECT rowid, -bm25(keyword, {KEYWORD_WEIGHTS[0]}, {KEYWORD_WEIGHTS[1]}) FROM keyword WHERE keyword MATCH ?", (match_query(words),)
        ).fetchall()
    )
    connection.close()
    assert expected
    bound = 2.2 * sum(idf.values())
    for candidate in garden_library.candidates(list(expected)):
        assert keyword_share(candidate, idf, garden_library.average_words()) == pytest.approx(expected[candidate.row] / bound, abs=1e-6)


@given(
    st.lists(
        st.sampled_from(
            ["tulip", "Ménière", "3.5", "1,200.75", "it's", "café", "Straße", "naïve", "ﬁne", "郁金香", "x2", "HbA1c", "COVID-19", "ё", "12.", "µg"]
        ),
        max_size=12,
    )
)
@examples(max_examples=60, deadline=None)
def test_keyword_index_holds_exactly_the_terms(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    library = sample_library(tmp_path_factory.mktemp("terms"))
    text = " ".join(["start", *words])
    library.add([entry("d", [text], title="t")])
    wanted = set(terms(text))
    total, frequencies = library.document_frequencies(sorted(wanted))
    library.close()
    assert total == 1
    assert frequencies == dict.fromkeys(wanted, 1)


def test_keyword_search_finds_accents_and_decimals(tmp_path: Path) -> None:
    library = sample_library(tmp_path)
    library.add([entry("d", ["Ménière's disease.", "A dose of 2.5 mg.", "A dose of 2 and 5 mg."])])
    for query, text in (("Ménière", "Ménière's disease."), ("meniere", "Ménière's disease."), ("2.5", "A dose of 2.5 mg.")):
        rows = library.keyword(match_query(content_terms(query)), limit=5)
        assert [library.passages([row])[row][0].passage.text for row in rows] == [text]


def test_inverse_document_frequency_is_never_negative() -> None:
    assert inverse_document_frequency(10, 10) == 1e-6
    assert inverse_document_frequency(10, 0) == pytest.approx(math.log(21))


def test_langchain_retriever_returns_documents_with_their_place(retriever: Retriever, garden_library: Library) -> None:
    found_documents = as_langchain_retriever(retriever, k=2).invoke("When should tulip bulbs be planted?")
    assert len(found_documents) == 2
    first = found_documents[0]
    assert first.metadata["title"] == "Tulips"
    page = garden_library.page_text(first.metadata["document_id"], first.metadata["page"])
    assert first.page_content == page[first.metadata["start"] : first.metadata["end"]]
    assert [d.metadata["score"] for d in found_documents] == sorted((d.metadata["score"] for d in found_documents), reverse=True)
    assert as_langchain_retriever(retriever, k=1).invoke("什么时候种郁金香")[0].metadata["title"] == "郁金香"


def test_retrieval_without_bank_has_an_empty_likeness(tmp_path: Path, encoder: Encoder) -> None:
    retrieval = Retriever(sample_library(tmp_path), encoder).search("x", k=1, lang="en")
    assert retrieval.likeness is EMPTY
    assert replace(retrieval, query="y").words == retrieval.words
