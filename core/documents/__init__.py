"""Files → Documents → Passages. Outside files are parsed in a killable child; knows no library, no encoder, no index."""

from __future__ import annotations

from core.documents.files import SUPPORTED_SUFFIXES, iter_files
from core.documents.loading import read_documents

__all__ = ["SUPPORTED_SUFFIXES", "iter_files", "read_documents"]
