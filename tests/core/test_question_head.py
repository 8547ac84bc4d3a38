from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from head_samples import TABLE, Tensors, head_tensors, sample_head, write_heads
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from passage_samples import DIMENSION, unit_vectors
from safetensors.numpy import save

from core.encoder import Encoder
from core.errors import DomainkitError, IntegrityError, ManifestError
from core.question_head import HASHES, MAX_BYTES, QuestionHead, feature_hash, head_features, load_heads, table_rows
from core.settings import ROOT
from core.types import LANGUAGES, Language

pytestmark = pytest.mark.usefixtures("home")
TEXTS = ["When do I plant tulip bulbs?", "How deep do tulips go?", "How do I prune roses?"]
ASKED = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(["tulips", "Plant", "bulbs", "rose", "unheard", "郁金香", "种植", "?", "2.5", "\ud800"]), max_size=10).map(" ".join),
)
GOOD = save(head_tensors(TEXTS))


@pytest.fixture(scope="module")
def chinese() -> QuestionHead:
    return sample_head(["郁金香几月种？", "玫瑰怎样修剪"], "zh", dense=0.0)


def encoding(text: str) -> np.ndarray:
    return unit_vectors(text.encode("utf-8", "replace").decode(), 1)


def test_head_features_of_english_are_stems_and_pairs_of_neighbours() -> None:
    assert head_features("Planting tulip bulbs", "en") == ["plant", "tulip", "bulb", "plant tulip", "tulip bulb"]


def test_head_features_of_chinese_are_character_grams_and_longer_words() -> None:
    found = head_features("郁金香，花？", "zh")
    assert found[:9] == ["郁", "金", "香", "花", "郁金", "金香", "香花", "郁金香", "金香花"]
    assert "w:郁金香" in found


@given(ASKED, st.sampled_from(LANGUAGES))
@examples(max_examples=150, deadline=None)
def test_head_features_are_distinct_and_the_same_in_every_run(text: str, lang: Language) -> None:
    found = head_features(text, lang)
    assert len(set(found)) == len(found)
    assert head_features(text, lang) == found


def test_feature_hash_is_that_of_shipped_heads() -> None:
    # A head knows its features by these numbers: another hash would make every shipped head deaf.
    assert [feature_hash(feature) for feature in ("tulip", "tulip bulb", "郁金香")] == [6305204313453146331, 3470283827236486976, 6873974250776967825]


@given(st.text(max_size=30))
@examples(max_examples=150, deadline=None)
def test_feature_hash_fits_a_signed_integer(feature: str) -> None:
    assert 0 <= feature_hash(feature) < 2**63


@given(st.lists(st.integers(0, 2**63 - 1), max_size=20), st.integers(1, 10_000))
@examples(max_examples=100, deadline=None)
def test_table_rows_lie_in_the_table(hashes: list[int], size: int) -> None:
    rows = table_rows(np.array(hashes, dtype=np.int64), size)
    assert rows.shape == (len(hashes), HASHES)
    assert ((rows >= 0) & (rows < size)).all()


@given(st.lists(ASKED, max_size=4))
@examples(max_examples=150, deadline=None)
def test_vectors_are_unit_norm_for_any_text(texts: list[str]) -> None:
    head = QuestionHead(GOOD, "en")
    encoded = np.concatenate([encoding(text) for text in texts]) if texts else np.zeros((0, DIMENSION), dtype=np.float32)
    vectors = head.vectors(texts, encoded)
    assert (vectors.shape, vectors.dtype) == ((len(texts), DIMENSION), np.float32)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max(initial=0) < 1e-5


@given(ASKED)
@examples(max_examples=150, deadline=None)
def test_vectors_of_a_head_of_words_alone_are_unit_norm_or_know_no_word(chinese: QuestionHead, text: str) -> None:
    vector = chinese.vectors([text], np.zeros((1, 0), dtype=np.float32))[0]
    knows = {feature_hash(feature) for feature in head_features(text, "zh")} & set(head_tensors(["郁金香几月种？", "玫瑰怎样修剪"], "zh")["known"].tolist())
    assert np.linalg.norm(vector) == pytest.approx(1.0 if knows else 0.0, abs=1e-5)


@given(st.lists(ASKED, min_size=2, max_size=4))
@examples(max_examples=50, deadline=None)
def test_vectors_do_not_depend_on_their_batch(texts: list[str]) -> None:
    head = QuestionHead(GOOD, "en")
    encoded = np.concatenate([encoding(text) for text in texts])
    alone = np.concatenate([head.vectors([text], row[None]) for text, row in zip(texts, encoded, strict=True)])
    assert np.abs(head.vectors(texts, encoded) - alone).max() < 1e-6


def test_vectors_are_the_encodings_map_and_the_words_sum() -> None:
    tensors = {name: tensor.astype(np.float64) if name != "known" else tensor for name, tensor in head_tensors(TEXTS, seed=3).items()}
    known = tensors["known"].tolist()
    text, encoded = "How deep do roses go, and unheard words?", encoding("x")
    words = np.zeros(DIMENSION)
    for feature in head_features(text, "en"):
        if feature_hash(feature) in known:
            for shift in (0, 20):
                row = (feature_hash(feature) >> shift) % TABLE
                words += tensors["weight"][known.index(feature_hash(feature))] * tensors["scale"][row] * tensors["rows"][row]
    expected = tensors["dense"] @ encoded[0] + words / np.linalg.norm(words)
    found = QuestionHead(save(head_tensors(TEXTS, seed=3)), "en").vectors([text], encoded)[0]
    assert np.abs(found - expected / np.linalg.norm(expected)).max() < 1e-5


def test_head_that_knows_no_word_maps_the_encoding() -> None:
    head = sample_head([])
    assert np.abs(head.vectors(["tulips"], encoding("tulips")) - encoding("tulips")).max() < 1e-6


def test_head_round_trip_keeps_what_it_says_of_itself() -> None:
    tensors = head_tensors(TEXTS, encoded=5, dimension=DIMENSION)
    head = QuestionHead(save(tensors), "zh")
    assert (head.lang, head.dimension, len(head.sha256)) == ("zh", DIMENSION, 64)
    assert head.sha256 == QuestionHead(save(tensors), "zh").sha256
    assert head.sha256 != QuestionHead(save(head_tensors(TEXTS, seed=1)), "zh").sha256


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: np.ascontiguousarray(change(tensors[name]))}


def spoiled(name: str, value: float) -> Callable[[Tensors], Tensors]:
    def spoil(tensor: np.ndarray) -> np.ndarray:
        copy = tensor.copy()
        copy.flat[-1] = value
        return copy

    return changed(name, spoil)


@pytest.mark.parametrize(
    "change",
    [
        *(without(name) for name in ("known", "weight", "rows", "scale", "dense")),
        lambda tensors: {**tensors, "extra": np.zeros(1, dtype=np.float16)},
        changed("known", lambda t: t.astype(np.int32)),
        changed("known", lambda t: t.astype(np.uint64)),
        changed("weight", lambda t: t.astype(np.float32)),
        changed("rows", lambda t: t.astype(np.int16)),
        changed("rows", lambda t: t.astype(np.uint8)),
        changed("scale", lambda t: t.astype(np.float64)),
        changed("dense", lambda t: t.astype(np.float32)),
        changed("known", lambda t: t[:-1]),
        changed("known", lambda t: t[:, None]),
        changed("weight", lambda t: t[:-1]),
        changed("weight", lambda t: t[:, None]),
        changed("rows", lambda t: t[:-1]),
        changed("rows", lambda t: t[:, :-1]),
        changed("rows", lambda t: t.ravel()),
        changed("scale", lambda t: t[:-1]),
        changed("scale", lambda t: t[:, None]),
        changed("dense", lambda t: t[:-1]),
        changed("dense", lambda t: t[0]),
        lambda tensors: {**tensors, "rows": tensors["rows"][:0], "scale": tensors["scale"][:0]},
        *(spoiled(name, value) for name in ("weight", "scale", "dense") for value in (float("nan"), float("inf"), float("-inf"))),
    ],
)
def test_head_refuses_tensors_that_are_not_a_heads(change: Callable[[Tensors], Tensors]) -> None:
    with pytest.raises(ManifestError, match="does not hold what it should; run `domainkit calibrate` again"):
        QuestionHead(save(change(head_tensors(TEXTS))), "en")


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"\xff" * 64, GOOD[:-1], GOOD[: len(GOOD) // 2], GOOD + b"\0", GOOD[8:]])
def test_head_refuses_what_is_no_safetensors_file(data: bytes) -> None:
    with pytest.raises(ManifestError, match="not a safetensors file; run `domainkit calibrate` again"):
        QuestionHead(data, "en")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3"])
def test_head_refuses_a_type_that_numpy_lacks(dtype: str) -> None:
    header = json.dumps({"known": {"dtype": dtype, "shape": [2], "data_offsets": [0, 4 if dtype == "BF16" else 2]}}).encode()
    with pytest.raises(ManifestError, match="run `domainkit calibrate` again"):
        QuestionHead(len(header).to_bytes(8, "little") + header + bytes(4 if dtype == "BF16" else 2), "en")


@given(st.data())
@examples(max_examples=200, deadline=None)
def test_head_of_changed_numbers_is_refused_or_gives_finite_vectors(data: st.DataObject) -> None:
    header = 8 + int.from_bytes(GOOD[:8], "little")
    mutant = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        mutant[data.draw(st.integers(header, len(mutant) - 1))] = data.draw(st.integers(0, 255))
    try:
        head = QuestionHead(bytes(mutant), "en")
    except DomainkitError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(head.vectors(TEXTS, unit_vectors("x", len(TEXTS)))).all()


# load_heads


@pytest.fixture
def training(tmp_path: Path) -> Path:
    folder = tmp_path / "garden" / "training"
    folder.mkdir(parents=True)
    return folder


def test_load_heads_reads_what_was_written(training: Path) -> None:
    chinese = save(head_tensors(["郁金香"], "zh", dense=0.0))
    write_heads(training, {"en": GOOD, "zh": chinese}, encoder_id="e@1")
    heads = load_heads(training, encoder_id="e@1")
    assert {lang: (head.lang, head.sha256) for lang, head in heads.items()} == {
        "en": ("en", QuestionHead(GOOD, "en").sha256),
        "zh": ("zh", QuestionHead(chinese, "zh").sha256),
    }


def test_load_heads_of_a_domain_without_heads_is_empty(training: Path) -> None:
    assert load_heads(training, encoder_id="e@1") == {}
    assert load_heads(training / "nowhere", encoder_id="e@1") == {}


def test_load_heads_of_another_encoder_are_left_unread(training: Path) -> None:
    write_heads(training, {"en": GOOD}, encoder_id="e@1")
    (training / "head-en.safetensors").write_bytes(b"damaged")
    assert load_heads(training, encoder_id="e@2") == {}


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_load_heads_refuses_another_hash_before_parsing(training: Path, damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    write_heads(training, {"en": GOOD}, encoder_id="e@1")
    (training / "head-en.safetensors").write_bytes(damage(GOOD))
    monkeypatch.setattr("safetensors.numpy.load", lambda data: pytest.fail("safetensors parsed a file of another hash"))
    with pytest.raises(IntegrityError, match=r"^garden/training/head-en\.safetensors does not have the hash that heads\.json states; restore it"):
        load_heads(training, encoder_id="e@1")


def test_load_heads_does_not_read_a_file_that_is_too_large(training: Path) -> None:
    write_heads(training, {"en": GOOD}, encoder_id="e@1")
    with (training / "head-en.safetensors").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(IntegrityError, match="does not have the hash"):
        load_heads(training, encoder_id="e@1")


def test_load_heads_names_a_missing_file(training: Path) -> None:
    write_heads(training, {"en": GOOD}, encoder_id="e@1")
    (training / "head-en.safetensors").unlink()
    with pytest.raises(ManifestError, match=r"^garden/training/head-en\.safetensors: missing; run `domainkit calibrate garden`"):
        load_heads(training, encoder_id="e@1")


def test_load_heads_refuses_a_file_of_the_stated_hash_that_is_no_head(training: Path) -> None:
    write_heads(training, {"en": b"no head at all"}, encoder_id="e@1")
    with pytest.raises(ManifestError, match="not a safetensors file"):
        load_heads(training, encoder_id="e@1")


@pytest.mark.parametrize("name", ["medical", "finance", "education"])
def test_load_heads_of_a_shipped_domain_reads_both_languages(name: str, encoder: Encoder) -> None:
    heads = load_heads(ROOT / "domains" / name / "training", encoder_id=encoder.id)
    assert set(heads) == set(LANGUAGES)
    asked = encoder.encode(["how often", "how frequently", "who pays"])
    assert np.linalg.norm(heads["en"].vectors(["how often", "how frequently", "who pays"], asked), axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(heads["zh"].vectors(["多久一次"], np.zeros((1, 0), dtype=np.float32))).all()


ENTRY = {"file": "head-en.safetensors", "sha256": "0" * 64, "questions_sha256": "0" * 64}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        json.dumps({"encoder": "e@1"}),
        json.dumps({"encoder": "e@1", "heads": {}, "surprise": 1}),
        json.dumps({"encoder": "e@1", "heads": {"fr": ENTRY}}),
        json.dumps({"encoder": "e@1", "heads": {"en": {**ENTRY, "file": "../head-en.safetensors"}}}),
        json.dumps({"encoder": "e@1", "heads": {"en": {**ENTRY, "file": "/etc/passwd"}}}),
        json.dumps({"encoder": "e@1", "heads": {"en": {**ENTRY, "file": "head-en.bin"}}}),
        json.dumps({"encoder": "e@1", "heads": {"en": {**ENTRY, "sha256": "short"}}}),
        json.dumps({"encoder": "e@1", "heads": {"en": {**ENTRY, "surprise": 1}}}),
    ],
)
def test_load_heads_refuses_what_is_not_a_list_of_heads(training: Path, text: str) -> None:
    (training / "heads.json").write_text(text, "utf-8")
    with pytest.raises(ManifestError, match=r"^garden/training/heads\.json: not valid; run `domainkit calibrate garden`$"):
        load_heads(training, encoder_id="e@1")


def test_load_heads_refuses_bytes_that_are_not_text(training: Path) -> None:
    (training / "heads.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ManifestError, match="not valid"):
        load_heads(training, encoder_id="e@1")
