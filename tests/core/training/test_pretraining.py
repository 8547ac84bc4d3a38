"""A decoder from nothing and a tiny BERT learn held-out texts better; a killed run ends as an undisturbed one."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tiny_bert import WORDS, make_tiny_bert
from tiny_model import make_tiny_model

from core.assistant import Assistant
from core.encoder import Encoder
from core.errors import ModelError, UsageError
from core.library import Library
from core.models.huggingface import close_engines
from core.registry import Domain
from core.settings import Settings
from core.training.context import RunContext
from core.training.corpora import CorpusData, CorpusText, corpus_texts, part_texts, split_texts
from core.training.plan import read_plan
from core.training.pretraining import PADDING, DecoderShape, PretrainingRecipe, load_encoder, masked, perplexity, to_blocks, train_tokenizer
from core.training.pretraining_run import PretrainingPlan, _figures, prepare, run_pretraining
from core.types import Status

SHAPE = DecoderShape(vocabulary=400, hidden=32, layers=1, heads=2, intermediate=64, context=2_048)
CAUSAL = PretrainingRecipe(batch=4, steps=12, warmup=2, validate_every=4, block=32, learning_rate=0.01, patience=100)
MASKED = CAUSAL.model_copy(update={"objective": "masked", "steps": 9, "validate_every": 3, "batch": 8})


def plan(recipe: PretrainingRecipe, *, file: str = "", base: Path | None = None, **entry: Any) -> PretrainingPlan:
    data = CorpusData(file=file, **entry) if file else CorpusData(articles=True)
    return PretrainingPlan(task="pretraining", base=str(base or ""), decoder=SHAPE, data=(data,), held_out=0.3, training=recipe)


@pytest.fixture
def surroundings(garden: Domain, settings: Settings, tmp_path: Path) -> Callable[..., RunContext]:
    def make(name: str = "run", *, stop_at: int = 10**9) -> RunContext:
        done = [0]

        def tell(what: str, step: int, total: int) -> None:
            done[0] = step if total else done[0]

        return RunContext(
            domain=None, domains=(garden,), folder=tmp_path / name, sources=tmp_path, data=tmp_path, settings=settings, items=(), command="domainkit train",
            progress=tell, stop=lambda: done[0] >= stop_at,
        )  # fmt: skip

    return make


@pytest.fixture
def sentences(tmp_path: Path) -> str:
    """A file of forty documents of a fixed pattern, which can be learned."""
    chance = random.Random(3)
    rows = [{"id": n, "text": " ".join(f"what is the {chance.choice(WORDS[11:])} {WORDS[11 + i % 18]}" for i in range(8))} for n in range(40)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return "texts.jsonl"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


def text(document: str, body: str) -> CorpusText:
    return CorpusText(document=document, text=body, lang="en")


def test_corpora_keep_an_articles_languages_in_one_document_without_front_matter(garden: Domain) -> None:
    found = corpus_texts(CorpusData(articles=True), domains=[garden], data=Path(), seed=0)
    assert sorted((one.document, one.lang) for one in found if "tulips" in one.document) == [("garden/tulips", "en"), ("garden/tulips", "zh")]
    assert all("reviewed:" not in one.text and "publisher" not in one.text for one in found)
    assert next(one.text for one in found if one.lang == "zh" and "roses" in one.document).startswith("玫瑰")


def test_corpora_read_a_text_file_as_one_document_and_draw_a_limit_of_documents(tmp_path: Path, sentences: str) -> None:
    (tmp_path / "book.txt").write_text("一本关于郁金香的书。", "utf-8")
    (book,) = corpus_texts(CorpusData(file="book.txt"), domains=(), data=tmp_path, seed=0)
    assert (book.document, book.lang) == ("book/book", "zh")
    few = corpus_texts(CorpusData(file=sentences, limit=5), domains=(), data=tmp_path, seed=0)
    assert len({one.document for one in few}) == 5


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("gone.jsonl", None, "no file 'gone.jsonl'"),
        ("other.jsonl", b'{"body": "x"}\n', "has no field 'text'; it has body"),
        ("empty.jsonl", b"\n", "holds no text to train on"),
        ("bytes.jsonl", b"\xff\xfe\x00", "cannot be read"),
        ("cut.jsonl.gz", b"\x1f\x8b\x08\x00", "cannot be read"),
        ("blank.txt", b" \n", "holds no text to train on"),
    ],
)
def test_corpora_refuse_what_cannot_be_read_in_one_line(tmp_path: Path, name: str, content: bytes | None, advice: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=advice) as caught:
        corpus_texts(CorpusData(file=name), domains=(), data=tmp_path, seed=0)
    assert "\n" not in str(caught.value)


@given(names=st.sets(st.integers(0, 500), min_size=2, max_size=60), share=st.floats(0.01, 0.89), seed=st.integers(0, 99))
def test_corpora_split_by_document_and_hold_out_some(names: set[int], share: float, seed: int) -> None:
    texts = [text(f"d{name}", f"{lang} {name}") for name in names for lang in ("en", "zh")]
    split = split_texts(texts, share=share, seed=seed)
    train, held_out = ({one.document for one in part} for part in (split.train, split.held_out))
    assert train and held_out and not train & held_out and len(split.train) + len(split.held_out) == len(texts)


@given(names=st.sets(st.integers(0, 500), min_size=3, max_size=60), test=st.floats(0.01, 0.89), valid=st.floats(0.01, 0.89), seed=st.integers(0, 99))
def test_corpora_choose_by_other_documents_than_they_measure_on(names: set[int], test: float, valid: float, seed: int) -> None:
    texts = [text(f"d{name}", f"{lang} {name}") for name in names for lang in ("en", "zh")]
    parts = part_texts(texts, test=test, valid=valid, seed=seed)
    documents = [{one.document for one in part} for part in (parts.train, parts.valid, parts.test)]
    assert all(documents) and sum(map(len, documents)) == len(set.union(*documents)) == len(names)


def test_corpora_of_two_documents_are_too_few_to_choose_and_measure_by() -> None:
    with pytest.raises(UsageError, match="at least three documents"):
        part_texts([text("a", "one"), text("b", "two")], test=0.1, valid=0.1, seed=0)


@given(more=st.integers(1, 40))
def test_corpora_split_stays_when_documents_are_added(more: int) -> None:
    texts = [text(f"d{n}", str(n)) for n in range(60)]
    before = {one.document for one in split_texts(texts[:20], share=0.4, seed=1).held_out}
    after = {one.document for one in split_texts(texts[: 20 + more], share=0.4, seed=1).held_out}
    assert before == after & {f"d{n}" for n in range(20)}


def test_corpora_leave_out_a_held_out_text_that_training_holds_too() -> None:
    chance = random.Random(0)
    texts = [text(f"d{n}", " ".join(chance.choices(WORDS, k=60))) for n in range(20)]
    held = split_texts(texts, share=0.3, seed=0).held_out
    assert len(held) > 1
    copied = [*texts, *(text(f"mirror-of-{held[0].document}-{n}", "Copied: " + held[0].text) for n in range(8))]
    split = split_texts(copied, share=0.3, seed=0)
    assert split.copies >= 1 and held[0] not in split.held_out and held[1] in split.held_out


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer([text("a", "郁金香的球茎应在十月种下。" * 3), text("b", "Plant tulip bulbs in October. " * 3)], vocabulary=330, context=64)


@given(body=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_tokenizer_gives_every_text_back(tokenizer: Any, body: str) -> None:
    ids = tokenizer.backend_tokenizer.encode(body, add_special_tokens=False).ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == body


def test_tokenizer_learns_chinese_words_from_the_texts(tokenizer: Any) -> None:
    ids = tokenizer.backend_tokenizer.encode("郁金香的球茎", add_special_tokens=False).ids
    assert len(ids) < len("郁金香的球茎".encode()) / 2


def test_blocks_hold_every_token_once_with_an_end_mark_behind_each_text(tokenizer: Any) -> None:
    rows = to_blocks([text("a", "Plant tulips."), text("b", "郁金香")], tokenizer, block=16, objective="causal")
    stream = [int(token) for token in rows.ravel() if token != PADDING]
    parts = tokenizer.decode(stream, clean_up_tokenization_spaces=False).split("<|endoftext|>")
    assert parts == ["Plant tulips.", "郁金香", ""] and (rows.ravel()[: len(stream)] != PADDING).all()


def test_blocks_of_an_encoder_begin_and_end_with_its_marks(bert: Path) -> None:
    _, tokenizer, _ = load_encoder(bert)
    rows = to_blocks([text("a", " ".join(WORDS))], tokenizer, block=16, objective="masked")
    assert (rows[:, 0] == tokenizer.cls_token_id).all() and (rows[:-1, -1] == tokenizer.sep_token_id).all()
    inner = [int(token) for row in rows for token in row if token not in {PADDING, tokenizer.cls_token_id, tokenizer.sep_token_id}]
    assert tokenizer.decode(inner) == " ".join(WORDS)


def test_masking_is_eight_in_ten_masks_one_random_one_left(bert: Path) -> None:
    _, tokenizer, _ = load_encoder(bert)
    word = tokenizer.convert_tokens_to_ids("cat")
    rows = np.full((400, 100), word)
    rows[:, 0], rows[:, -1] = tokenizer.cls_token_id, PADDING
    hidden, asked = masked(rows, tokenizer=tokenizer, share=0.15, chance=np.random.default_rng(0))
    assert not asked[:, 0].any() and not asked[:, -1].any() and asked[:, 1:-1].mean() == pytest.approx(0.15, abs=0.01)
    chosen = hidden[asked]
    assert (chosen == tokenizer.mask_token_id).mean() == pytest.approx(0.8, abs=0.02)
    assert (chosen == word).mean() == pytest.approx(0.1 + 0.1 / len(tokenizer), abs=0.02)
    assert (hidden[~asked] == rows[~asked]).all()


def test_bits_per_byte_are_those_of_the_bytes_whatever_the_tokens_are() -> None:
    """A model that gives each byte one bit says so whether a token has one byte or four; the first token of a block is not asked for."""
    texts = [text("a", "x" * 4_000)]
    for size in (1, 4):
        blocks = {"en": np.zeros((10, 400 // size), dtype=np.int64)}
        asked = 10 * (400 // size - 1)
        nats = asked * size * math.log(2)
        figures = {one.metric: one for one in _figures({"en": (2 * nats, asked)}, {"en": (nats, asked)}, texts, blocks, objective="causal")}
        assert (figures["bits_per_byte"].before, figures["bits_per_byte"].after) == (2.0, 1.0)
        assert figures["perplexity"].after == pytest.approx(2.0**size)


def test_measured_perplexity_is_that_of_transformers_own_loss(surroundings: Callable[..., RunContext], sentences: str, tmp_path: Path) -> None:
    import torch

    texts = corpus_texts(CorpusData(file=sentences), domains=(), data=tmp_path, seed=0)
    model = prepare(plan(CAUSAL, file=sentences), texts, None)
    rows = to_blocks(texts[:6], model.tokenizer, block=32, objective="causal")
    nats, tokens = model.measure(rows)
    ids = torch.from_numpy(np.where(rows == PADDING, 0, rows))
    labels = torch.from_numpy(np.where(rows == PADDING, -100, rows))
    with torch.no_grad():
        loss = model.model(input_ids=ids, attention_mask=(labels != -100).long(), labels=labels).loss
    assert perplexity(nats, tokens) == pytest.approx(math.exp(float(loss)), rel=1e-4)


def test_causal_run_lowers_held_out_perplexity_and_says_so(surroundings: Callable[..., RunContext], sentences: str) -> None:
    context = surroundings()
    report = run_pretraining(plan(CAUSAL.model_copy(update={"steps": 60, "validate_every": 20}), file=sentences, license="CC0"), context)
    assert report is not None
    figure, bits = report.figure("perplexity"), report.figure("bits_per_byte")
    assert figure is not None and figure.before is not None and figure.after < figure.before / 5
    assert bits is not None and bits.before is not None and bits.after < bits.before
    chosen = [point.metrics["perplexity"] for point in report.history]
    assert chosen[-1] < chosen[0] and chosen[-1] != pytest.approx(figure.after, abs=1e-3)  # chosen by other texts than it is measured on
    (count,) = report.data
    assert (count.train + count.valid + count.test, count.license, count.leaks) == (40, "CC0", 0) and count.test >= 5 and count.valid >= 2
    assert report.samples and all(sample.input and sample.expected and sample.before != sample.after for sample in report.samples)
    card = json.loads((context.folder / "model" / "card.json").read_text())
    assert list(card["files"].values()) == [report.weights_sha256] and card["recipe"]["training"]["seed"] == 0


def weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / "model" / "model.safetensors")


@pytest.mark.parametrize("objective", ["causal", "masked"])
@pytest.mark.parametrize("stops", [(1,), (5,), (3, 7)])
def test_stopped_run_ends_with_the_weights_of_an_undisturbed_one(
    surroundings: Callable[..., RunContext], sentences: str, bert: Path, objective: str, stops: tuple[int, ...]
) -> None:
    wanted = plan(CAUSAL, file=sentences) if objective == "causal" else plan(MASKED, file=sentences, base=bert)
    whole = run_pretraining(wanted, surroundings("whole"))
    for stop in stops:
        assert run_pretraining(wanted, surroundings("cut", stop_at=stop)) is None
    again = run_pretraining(wanted, surroundings("cut"))
    assert whole is not None and again is not None
    assert (again.history, again.figures, again.samples, again.weights_sha256) == (whole.history, whole.figures, whole.samples, whole.weights_sha256)
    one, two = weights(surroundings("whole").folder), weights(surroundings("cut").folder)
    assert one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def test_masked_run_lowers_pseudo_perplexity_and_names_the_new_head(surroundings: Callable[..., RunContext], sentences: str, bert: Path) -> None:
    from transformers import AutoModel, AutoModelForMaskedLM

    context = surroundings()
    report = run_pretraining(plan(MASKED.model_copy(update={"steps": 80, "validate_every": 40}), file=sentences, base=bert), context)
    assert report is not None
    figure = report.figure("perplexity")
    assert figure is not None and figure.before is not None and figure.after < figure.before / 1.5 and report.figure("bits_per_byte") is None
    assert all("[MASK]" in sample.input and sample.after.count(", ") == 2 for sample in report.samples)
    new = json.loads((context.folder / "model" / "card.json").read_text())["new_weights"]
    assert "cls.predictions.transform.dense.weight" in new and not [name for name in new if name.startswith("bert.")]
    model = AutoModelForMaskedLM.from_pretrained(context.folder / "model")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert AutoModel.from_pretrained(context.folder / "model").config.hidden_size == 32


def test_causal_run_goes_on_from_a_base(surroundings: Callable[..., RunContext], sentences: str, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", steps=0)
    report = run_pretraining(plan(CAUSAL, file=sentences, base=base), surroundings())
    assert report is not None and report.base == "base" and len(report.base_sha256) == 64
    figure = report.figure("perplexity")
    assert figure is not None and figure.before is not None and figure.after < figure.before


@pytest.mark.slow
def test_local_profile_loads_a_pretrained_decoder(
    surroundings: Callable[..., RunContext], settings: Settings, garden: Domain, garden_library: Library, encoder: Encoder
) -> None:
    context = surroundings()
    report = run_pretraining(plan(CAUSAL), context)
    assert report is not None and {figure.group for figure in report.figures} >= {"all"}
    local = settings.model_copy(update={"profile": "local", "model": str(context.folder / "model"), "device": "cpu", "threads": 1, "max_answer_tokens": 24})
    try:
        for question in ("When do I plant tulip bulbs?", "什么时候种郁金香？"):
            answer = Assistant(garden, settings=local, encoder=encoder).ask(question)
            assert answer.model == "huggingface/model" and answer.status in {Status.ANSWERED, Status.ABSTAINED}
    finally:
        close_engines()


def test_block_longer_than_the_base_reads_is_refused(surroundings: Callable[..., RunContext], sentences: str, bert: Path) -> None:
    with pytest.raises(UsageError, match="block of 128 tokens is longer than the 64 that the model reads"):
        run_pretraining(plan(MASKED.model_copy(update={"block": 128}), file=sentences, base=bert), surroundings())


def test_base_without_a_mask_token_cannot_be_masked(surroundings: Callable[..., RunContext], sentences: str, tmp_path: Path) -> None:
    base = make_tiny_bert(tmp_path / "base")
    config = json.loads((base / "tokenizer_config.json").read_text())
    config["mask_token"] = None
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="without mask"):
        run_pretraining(plan(MASKED, file=sentences, base=base), surroundings())


def test_missing_base_is_refused(surroundings: Callable[..., RunContext], sentences: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"name a model folder with model\.safetensors"):
        run_pretraining(plan(CAUSAL, file=sentences, base=tmp_path / "nowhere"), surroundings())


@pytest.mark.parametrize(
    ("recipe", "advice"),
    [
        ("[[data]]\nfile = 'a'\narticles = true", "name a file, or say"),
        ("[[data]]\narticles = true\n[decoder]\nhidden = 36\nheads = 4", "even multiple"),
        ("[[data]]\narticles = true\n[training]\nobjective = 'diffusion'", "training.objective"),
        ("data = []", "data"),
    ],
)
def test_recipe_that_does_not_fit_is_refused(recipe: str, advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        read_plan(f"task = 'pretraining'\n{recipe}", PretrainingPlan)


@pytest.mark.parametrize("name", ["pretraining-causal", "pretraining-masked"])
def test_shipped_recipe_is_a_plan(name: str) -> None:
    path = Path(__file__).resolve().parents[3] / "data" / "recipes" / f"{name}.toml"
    assert read_plan(path.read_text("utf-8"), PretrainingPlan).training.objective in name
