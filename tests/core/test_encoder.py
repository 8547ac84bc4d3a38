from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from core.documents.sentences import sentence_spans
from core.encoder import FORMAT, TEXTS_AT_ONCE, CompiledEncoder, Encoder, PassageText, base_folder, compiled_folder
from core.encoder_compile import ensure_compiled
from core.errors import IntegrityError, ModelError
from core.settings import Settings

TEXTS = [
    "tulips", "When do I plant tulips?", "", " ", "?", "A", "Water once a week in dry weather.", "15 cm deep, 3.5 kg, $1,234.56", "e.g. Dr. Smith's roses",
    "什么时候种郁金香？", "玫瑰怎样修剪", "二甲双胍 metformin 500 mg", "ÀÉÎõü", "🌷 tulip emoji", "word " * 60, "long " * 400, "line\nbreak\ttab", "HbA1c ≥ 6.5 %",
    "What is the difference between a stock and a bond?", "x" * 300,
]  # fmt: skip

SHORT = [text for text in TEXTS if len(text) < 100]


@pytest.fixture
def copy(settings: Settings, tmp_path: Path) -> Path:
    """A copy of the compiled folder that a test may damage."""
    return Path(shutil.copytree(compiled_folder(settings), tmp_path / "encoder"))


@pytest.fixture(scope="module")
def exact(settings: Settings) -> Encoder:
    """The compiled encoder in full precision."""
    return Encoder(compiled_folder(settings), precision="fp32")


def passage(text: str, header: str = "Tulips › Care") -> PassageText:
    return PassageText(header=header, text=text, sentences=tuple(sentence_spans(text)))


@pytest.mark.slow
def test_compiled_encoder_equals_torch(exact: Encoder, settings: Settings) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = base_folder(settings)
    model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=exact.manifest.max_tokens, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None].float()
    expected = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1).numpy()
    assert len(TEXTS) == 20
    assert np.abs(exact.encode(TEXTS) - expected).max() < 1e-4
    assert np.abs(np.concatenate([exact.encode([text]) for text in TEXTS]) - expected).max() < 1e-4


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_encode_returns_unit_float32_vectors(settings: Settings, precision: str) -> None:
    vectors = Encoder(compiled_folder(settings), precision=precision).encode(TEXTS)
    assert vectors.shape == (20, 384)
    assert vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5


def test_encode_of_nothing_is_empty(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, 384)
    assert encoder.encode_passages([]) == []


def test_encode_in_full_precision_does_not_depend_on_its_batch(exact: Encoder) -> None:
    alone = np.concatenate([exact.encode([text]) for text in TEXTS])
    assert np.abs(exact.encode(TEXTS) - alone).max() < 1e-4


def test_encode_of_many_takes_few_at_once_and_keeps_their_order(exact: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    states = exact._states
    monkeypatch.setattr(exact, "_states", lambda encodings: sizes.append(len(encodings)) or states(encodings))
    many = [TEXTS[n % len(TEXTS)] for n in range(2 * TEXTS_AT_ONCE + 5)]
    vectors = exact.encode(many)
    assert sizes == [TEXTS_AT_ONCE, TEXTS_AT_ONCE, 5]
    assert np.abs(vectors - np.concatenate([exact.encode([text]) for text in many])).max() < 1e-4


def test_encode_each_gives_what_a_question_gets_when_it_is_asked(encoder: Encoder) -> None:
    assert encoder.encode_each(SHORT).tobytes() == b"".join(encoder.encode([text]).tobytes() for text in SHORT)
    assert encoder.encode_each([]).shape == (0, 384)


def test_encode_in_int8_depends_little_on_its_batch(encoder: Encoder) -> None:
    # Activations are quantised by the range that the whole batch spans.
    alone = np.concatenate([encoder.encode([text]) for text in SHORT])
    assert (encoder.encode(SHORT) * alone).sum(axis=1).min() > 0.95


def test_encode_of_one_text_is_the_same_to_the_last_bit(encoder: Encoder, settings: Settings) -> None:
    again = Encoder(compiled_folder(settings))
    assert all(encoder.encode([text]).tobytes() == again.encode([text]).tobytes() for text in SHORT)


def test_int8_is_what_an_encoder_runs_unless_told_otherwise(encoder: Encoder, settings: Settings) -> None:
    small = Encoder(compiled_folder(settings), precision="int8")
    assert np.array_equal(encoder.encode(TEXTS[:5]), small.encode(TEXTS[:5]))


def test_int8_stays_near_fp32(encoder: Encoder, exact: Encoder) -> None:
    words = [text for text in TEXTS if text.isascii() and len(text.split()) > 2]
    assert (encoder.encode(words) * exact.encode(words)).sum(axis=1).min() > 0.9


def test_encoder_knows_what_is_alike(encoder: Encoder) -> None:
    question, near, far = encoder.encode(["When should tulips be planted?", "Plant tulip bulbs in October.", "Bond prices fall when rates rise."])
    assert question @ near > question @ far + 0.3


def test_encode_passages_gives_a_vector_per_sentence(encoder: Encoder) -> None:
    texts = [
        passage("Tulips grow from bulbs. Plant them in October. Water them."),
        passage("One sentence only."),
        passage("水太多会使球茎腐烂。天气干燥时浇水。"),
    ]
    found = encoder.encode_passages(texts)
    assert [vectors.sentences.shape for vectors in found] == [(3, 384), (1, 384), (2, 384)]
    for vectors in found:
        assert vectors.passage.shape == (384,)
        assert np.abs(np.linalg.norm(vectors.sentences, axis=1) - 1).max() < 1e-5
        assert abs(float(np.linalg.norm(vectors.passage)) - 1) < 1e-5


def test_encode_passages_of_late_sentences_falls_back_to_the_passage(encoder: Encoder) -> None:
    (vectors,) = encoder.encode_passages([passage("A first sentence of some length stands here. " * 60 + "The very last one.")])
    assert np.allclose(vectors.sentences[-1], vectors.passage, atol=1e-6)
    assert not np.allclose(vectors.sentences[0], vectors.passage, atol=1e-2)


def test_encode_passages_vector_is_that_of_header_and_text(encoder: Encoder) -> None:
    (vectors,) = encoder.encode_passages([passage("Water them once a week.")])
    assert np.abs(vectors.passage - encoder.encode(["Tulips › Care\nWater them once a week."])[0]).max() < 1e-5


def test_encode_passages_without_sentences_has_none(encoder: Encoder) -> None:
    (vectors,) = encoder.encode_passages([PassageText(header="h", text="t", sentences=())])
    assert vectors.sentences.shape == (0, 384)


def test_encoder_gives_equal_results_to_many_threads(encoder: Encoder) -> None:
    expected = [encoder.encode([text]).tobytes() for text in TEXTS]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: encoder.encode([TEXTS[n % 20]]).tobytes(), range(160)))
    assert all(vector == expected[n % 20] for n, vector in enumerate(found))


def test_count_tokens_counts_special_tokens_and_stops_at_the_limit(encoder: Encoder) -> None:
    assert encoder.count_tokens("") == 2
    assert encoder.count_tokens("water") == 3
    assert encoder.count_tokens("word " * 1_000) == encoder.manifest.max_tokens == 256


@pytest.mark.parametrize(("name", "precision"), [("int8.onnx", "int8"), ("fp32.onnx", "fp32"), ("tokenizer.json", "int8")])
def test_encoder_refuses_an_altered_file_before_any_parser_sees_it(copy: Path, name: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime
    import tokenizers

    seen: list[str] = []
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: seen.append("onnxruntime"))
    monkeypatch.setattr(tokenizers, "Tokenizer", None)
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(IntegrityError, match="domainkit doctor --fix"):
        Encoder(copy, precision=precision)
    assert seen == []


def test_encoder_keeps_checked_bytes_when_the_file_changes_afterwards(copy: Path, encoder: Encoder) -> None:
    opened = Encoder(copy)
    (copy / "int8.onnx").write_bytes(b"changed after the check")
    assert np.array_equal(opened.encode(["tulips"]), encoder.encode(["tulips"]))


@pytest.mark.parametrize("name", ["int8.onnx", "tokenizer.json", "encoder.json"])
def test_encoder_names_what_to_do_when_a_file_is_missing(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match="domainkit doctor --fix"):
        Encoder(copy)


def test_encoder_refuses_a_precision_that_was_not_compiled(copy: Path) -> None:
    with pytest.raises(ModelError, match="lacks fp16"):
        Encoder(copy, precision="fp16")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"format": FORMAT - 1},
        {"extra": 1},
        {"dimension": "x"},
        {"files": {}},
        {"files": {"int8.onnx": "0" * 64}},
        {"files": {"../int8.onnx": "0"}},
    ],
)
def test_encoder_refuses_a_manifest_that_does_not_fit(copy: Path, change: dict[str, object]) -> None:
    manifest = json.loads((copy / "encoder.json").read_text())
    (copy / "encoder.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises((ModelError, IntegrityError), match="domainkit doctor --fix"):
        Encoder(copy)


def test_compiled_folder_depends_on_encoder_and_adapter(settings: Settings) -> None:
    other = settings.model_copy(update={"encoder": "/some/folder"})
    places = {compiled_folder(settings), compiled_folder(settings, adapter_sha256="a" * 64), compiled_folder(other)}
    assert len(places) == 3
    assert {place.parent for place in places} == {settings.home / "encoders"}


def test_ensure_compiled_leaves_a_finished_folder_alone(settings: Settings) -> None:
    folder = compiled_folder(settings)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert ensure_compiled(settings) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_compiled_manifest_states_the_published_base_and_every_file(settings: Settings) -> None:
    folder = compiled_folder(settings)
    manifest = CompiledEncoder.model_validate_json((folder / "encoder.json").read_text())
    assert set(manifest.files) == {"fp32.onnx", "int8.onnx", "tokenizer.json"} == set(os.listdir(folder)) - {"encoder.json"}
    assert (manifest.base, manifest.dimension, manifest.max_tokens, manifest.pooling) == ("all-MiniLM-L6-v2", 384, 256, "mean")


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_compiled_graph_is_optimised_already(settings: Settings, precision: str) -> None:
    import onnx

    # Sessions are opened without optimising, so the fused operators must be in the file.
    nodes = onnx.load(compiled_folder(settings) / f"{precision}.onnx").graph.node
    assert "FusedMatMul" in {node.op_type for node in nodes}
