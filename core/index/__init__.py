"""Dense vector indexes: one contract, one file per engine. An index is a disposable cache of the vectors in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class VectorIndex(Protocol):
    """An immutable index over unit vectors; scores are cosines."""

    def __len__(self) -> int:
        """Number of vectors."""
        ...

    def search(self, query: NDArray[np.float32], k: int, *, allowed: NDArray[np.int64] | None = None) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ``(ids, cosines)`` of the ``k`` nearest vectors among ``allowed`` (all when None), best first; fewer when there are fewer."""
        ...

    def save(self, path: Path) -> None:
        """Write the index to a new file."""
        ...
