"""One file with everything of a vertical: written the same each time, checked byte by byte before anything of it is used.

``layout`` says what a pack looks like, ``writing`` makes one, ``reading`` installs one. Opens no socket, runs no code of a pack.
"""

from __future__ import annotations

from core.packing.layout import PackIndex, PackSummary
from core.packing.reading import read_index, unpack
from core.packing.writing import pack

__all__ = ["PackIndex", "PackSummary", "pack", "read_index", "unpack"]
