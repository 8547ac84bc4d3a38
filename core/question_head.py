"""The question head: a question's words and its encoding → a vector in which questions with the same answer lie close.

A sentence encoder knows language; it does not know which two questions a domain answers with the same sentence. The head
learns that from the domain's training questions: a linear map of the encoding plus a sum of word (in Chinese: character n-gram)
vectors, the latter kept small by hashing each word to two rows of one table (Serrà and Karatzoglou, "Getting Deep Recommenders
Fit: Bloom Embeddings for Sparse Binary Input/Output Networks", RecSys 2017). Runs on numpy; fitting it is
:mod:`core.training.question_head`'s business. Knows no domain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import IntegrityError, ManifestError
from core.text import normalize, terms
from core.types import Language

FILE = "heads.json"
MAX_BYTES = 32_000_000
HASHES = 2
"""Rows of the table that a word is the sum of."""
_TENSORS = {"known": "int64", "weight": "float16", "rows": "int8", "scale": "float16", "dense": "float16"}


class HeadFile(BaseModel):
    """A head of one language: its file beside ``heads.json``, the file's hash, and the hash of the questions it was fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(pattern=r"^head-[a-z]{2}\.safetensors$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    questions_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Heads(BaseModel):
    """``heads.json``: the encoder that the heads read, and a head per language."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    heads: dict[Language, HeadFile]


def head_features(text: str, lang: Language) -> list[str]:
    """Return the distinct features of a text: words and word pairs; in Chinese character 1–3-grams and longer words."""
    if lang == "zh":
        characters = [c for c in normalize(text) if c.isalnum()]
        found = ["".join(characters[n : n + size]) for size in (1, 2, 3) for n in range(len(characters) - size + 1)]
        found += ["w:" + word for word in terms(text, keep_stopwords=False) if len(word) > 1]
    else:
        words = terms(text)
        found = words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)]
    return list(dict.fromkeys(found))


@lru_cache(maxsize=100_000)
def feature_hash(feature: str) -> int:
    """Return the 63-bit hash by which a feature is known."""
    return int.from_bytes(hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest(), "little") >> 1


def table_rows(hashes: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return the rows of the table for each hash, ``(n, HASHES)``."""
    return np.stack([(hashes >> (20 * n)) % size for n in range(HASHES)], axis=1)


class QuestionHead:
    """A fitted head of one language. Stateless after construction.

    Args:
        data: a safetensors file's bytes, whose hash the caller has checked.
        lang: the language of the questions it was fitted on.

    Raises:
        ManifestError: the tensors are not those of a head.
    """

    def __init__(self, data: bytes, lang: Language) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(data)
        except (SafetensorError, KeyError) as error:
            raise ManifestError("a question head is not a safetensors file; run `domainkit calibrate` again") from error
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        fits = {name: str(tensor.dtype) for name, tensor in tensors.items()} == _TENSORS and (
            len(shapes["known"]) == len(shapes["scale"]) == len(shapes["weight"]) == 1
            and len(shapes["rows"]) == len(shapes["dense"]) == 2
            and shapes["known"] == shapes["weight"]
            and shapes["rows"][0] == shapes["scale"][0] > 0
            and shapes["rows"][1] == shapes["dense"][0]
        )
        if not fits or not all(np.isfinite(tensors[name]).all() for name in ("weight", "scale", "dense")):
            raise ManifestError("a question head does not hold what it should; run `domainkit calibrate` again")
        self.lang: Language = lang
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.dimension = int(shapes["dense"][0])
        self._known = tensors["known"]
        self._weight = tensors["weight"].astype(np.float32)
        self._rows = tensors["rows"]
        self._scale = tensors["scale"].astype(np.float32)
        dense = tensors["dense"].astype(np.float32)
        self._dense = dense if dense.any() else None

    def vectors(self, texts: Sequence[str], encoded: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors of texts, ``(n, d)`` float32, unit norm.

        Args:
            texts: questions, or sentences with their article's title before them.
            encoded: their encodings ``(n, e)``, unit norm; not read by a head of words alone.
        """
        found = encoded @ self._dense.T if self._dense is not None else np.zeros((len(texts), self.dimension), dtype=np.float32)
        for number, text in enumerate(texts):
            found[number] += self._words(text)
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(norms, 1e-9), dtype=np.float32)

    def _words(self, text: str) -> NDArray[np.float32]:
        hashes = np.array([feature_hash(feature) for feature in head_features(text, self.lang)], dtype=np.int64)
        at = np.minimum(np.searchsorted(self._known, hashes), max(0, len(self._known) - 1))
        hit = self._known[at] == hashes if len(self._known) else np.zeros(len(hashes), dtype=bool)
        if not hit.any():
            return np.zeros(self.dimension, dtype=np.float32)
        rows = table_rows(hashes[hit], len(self._rows))
        weights = self._weight[at[hit]][:, None] * self._scale[rows]
        total = weights.ravel() @ self._rows[rows.ravel()].astype(np.float32)
        return np.asarray(total / max(float(np.linalg.norm(total)), 1e-9), dtype=np.float32)


def load_heads(folder: Path, *, encoder_id: str) -> Mapping[Language, QuestionHead]:
    """Read the heads of a training folder; empty when there are none, or when they read another encoder.

    Raises:
        ManifestError: ``heads.json`` or a head is not valid. IntegrityError: a file does not have the stated hash; it was not parsed.
    """
    try:
        heads = Heads.model_validate_json((folder / FILE).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (ValidationError, UnicodeDecodeError) as error:
        raise ManifestError(f"{folder.parent.name}/{folder.name}/{FILE}: not valid; run `domainkit calibrate {folder.parent.name}`") from error
    if heads.encoder != encoder_id:
        return {}
    found: dict[Language, QuestionHead] = {}
    for lang, entry in heads.heads.items():
        path = folder / entry.file
        try:
            data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
        except OSError as error:
            raise ManifestError(f"{folder.parent.name}/{folder.name}/{entry.file}: missing; run `domainkit calibrate {folder.parent.name}`") from error
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise IntegrityError(f"{folder.parent.name}/{folder.name}/{entry.file} does not have the hash that {FILE} states; restore it or calibrate again")
        found[lang] = QuestionHead(data, lang)
    return found
