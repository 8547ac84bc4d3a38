"""One file with everything of a vertical: written the same each time, checked byte by byte before anything of it is used.

``layout`` says what a pack looks like, ``writing`` makes one, ``reading`` looks into one, ``unpacking`` installs one, ``placing`` keeps what it
replaces until it stands, ``documents`` carries what people added. Opens no socket, runs no code of a pack.
"""

from __future__ import annotations

from core.packing.documents import restore_documents
from core.packing.layout import PackIndex, PackSummary
from core.packing.reading import read_index
from core.packing.unpacking import unpack
from core.packing.writing import pack

__all__ = ["PackIndex", "PackSummary", "pack", "read_index", "restore_documents", "unpack"]
