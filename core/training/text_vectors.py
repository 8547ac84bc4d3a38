"""Encodes what questions are sought among, once: vectors of texts by the base, kept in a run's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from core.encoder import Encoder
from core.training.checkpoint import write_whole
from core.training.context import RunContext, Stopped
from core.training.retrieval import Vectors

TEXTS_PER_BATCH = 32


class TextVectors:
    """Encodes texts with the base, in batches of like length; kept in the run's folder, since a resumed run needs the same."""

    def __init__(self, encoder: Encoder, context: RunContext) -> None:
        self._encoder, self._progress, self._stop = encoder, context.progress, context.stop
        self._folder = context.folder.parent if context.trial else context.folder  # trials of a search encode the same texts

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors (n, d) of texts, unit norm.

        Raises:
            Stopped: the run was asked to stop before they were all encoded.
        """
        digest = hashlib.sha256("\0".join([self._encoder.id, *texts]).encode()).hexdigest()
        path = self._folder / f"texts-{digest[:16]}.vectors"
        size = len(texts) * self._encoder.dimension * 4
        if path.is_file() and path.stat().st_size == size + 32:
            data = path.read_bytes()
            if hashlib.sha256(data[32:]).digest() == data[:32]:
                return np.frombuffer(data[32:], dtype=np.float32).reshape(len(texts), self._encoder.dimension).copy()
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        found = np.zeros((len(texts), self._encoder.dimension), dtype=np.float32)
        for at in range(0, len(order), TEXTS_PER_BATCH):
            if self._stop():
                raise Stopped
            self._progress("encoding texts", at, len(order))
            chosen = order[at : at + TEXTS_PER_BATCH]
            found[chosen] = self._encoder.encode([texts[n] for n in chosen])
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, hashlib.sha256(found.tobytes()).digest() + found.tobytes())
        return found
