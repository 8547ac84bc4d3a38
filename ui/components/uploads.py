"""Uploaded files → the library, one by one, each with its own error. Names from outside never reach the file system as given."""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import streamlit as st

from core.documents.files import SUPPORTED_SUFFIXES
from core.errors import DomainkitError
from core.ingest import Ingest, Progress
from core.registry import Domain
from core.settings import Settings
from core.types import Language
from ui import state
from ui.components import html
from ui.components.build import writable_library
from ui.i18n import text

SCOPE = "added"
_MB = 1024 * 1024
_ROUND = "uploads.round"
_REPORT = "uploads.report"


class Upload(Protocol):
    """What an uploaded file is: a name from outside, a size in bytes, and its bytes."""

    name: str
    size: int

    def getvalue(self) -> bytes:
        """Return the bytes."""
        ...


@dataclass(frozen=True, kw_only=True)
class UploadReport:
    """What became of an upload; ``failed`` holds one line per file that was not added."""

    added: int
    unchanged: int
    failed: tuple[str, ...]


def safe_name(name: str) -> str:
    """Return a file name without folders, control characters or a leading dot, at most 120 characters, its suffix kept."""
    base = re.split(r"[/\\]", name)[-1]
    cleaned = re.sub(r"[^\w .()+-]", "_", base).strip(" .") or "file"
    stem, dot, suffix = cleaned.rpartition(".")
    # File systems count bytes: 200 of UTF-8 leave room for the suffix on all of them.
    short = (stem if dot else cleaned)[:100].encode()[:200].decode("utf-8", "ignore")
    return f"{short}.{suffix[:16]}" if dot else short


def _free(folder: Path, name: str) -> Path:
    """Return a path that is not taken: of two files of one name the second is another document, not a new version of the first."""
    stem, dot, suffix = name.rpartition(".")
    candidates = (f"{stem} ({n}).{suffix}" if dot else f"{name} ({n})" for n in itertools.count(2))
    return next(folder / tried for tried in itertools.chain((name,), candidates) if not (folder / tried).exists())


def add_uploads(files: Sequence[Upload], *, domain: Domain, settings: Settings, lang: Language, progress: Progress) -> UploadReport:
    """Ingest uploaded files into the collection ``added``.

    Raises:
        LibraryError: another process is writing, or the disk is full. ModelError: the encoder is not compiled.
    """
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="domainkit-upload-") as folder:
        paths: list[Path] = []
        for file in files:
            if file.size > settings.upload_mb * _MB:
                failed.append(text("library.too_large", lang, name=safe_name(file.name), size=round(file.size / _MB, 1), mb=settings.upload_mb))
                continue
            path = _free(Path(folder), safe_name(file.name))
            path.write_bytes(file.getvalue())
            paths.append(path)
        if not paths:
            return UploadReport(added=0, unchanged=0, failed=tuple(failed))
        ingest = Ingest(writable_library(domain), state.encoder(), settings=settings, progress=progress)
        report = ingest.add_paths(paths, scope=SCOPE)
    failed += [reason for _, reason in report.failed]
    failed += [f"{name}: {reason}" for name, reason in report.skipped]
    return UploadReport(added=report.added, unchanged=report.unchanged, failed=tuple(failed))


def show_uploads(domain: Domain, settings: Settings, lang: Language) -> None:
    """Show the place to drop files, the button, the progress, and what became of the last upload."""
    # A new key empties the list of chosen files once they are in.
    number = st.session_state.get(_ROUND, 0)
    files = st.file_uploader(
        text("library.upload", lang),
        type=[suffix.removeprefix(".") for suffix in SUPPORTED_SUFFIXES],
        accept_multiple_files=True,
        max_upload_size=settings.upload_mb,
        key=f"uploads.files.{number}",
        label_visibility="collapsed",
    )
    html.show(html.tag("p", text("library.upload_hint", lang, mb=settings.upload_mb), cls="dk-small dk-quiet"))
    if files and st.button(text("library.upload_button", lang), type="primary", icon=":material/upload:", key="uploads.add"):
        bar = st.progress(0.0)

        def progress(name: str, done: int, total: int) -> None:
            label = text("build.indexing", lang) if name == "index" else text("library.uploading", lang, name=name)
            bar.progress(min(1.0, done / max(1, total)), text=html.plain(label))

        try:
            st.session_state[_REPORT] = add_uploads(files, domain=domain, settings=settings, lang=lang, progress=progress)
        except DomainkitError as error:
            st.session_state[_REPORT] = UploadReport(added=0, unchanged=0, failed=(str(error),))
        st.session_state[_ROUND] = number + 1
        st.rerun()
    _show_report(st.session_state.get(_REPORT), lang)


def _show_report(report: UploadReport | None, lang: Language) -> None:
    if report is None:
        return
    if report.added or report.unchanged:
        done = text("library.upload_done", lang, added=report.added, unchanged=report.unchanged)
        html.show(html.tag("p", html.icon("check_circle"), " ", done, cls="dk-small dk-good", role="status"))
    for reason in report.failed:
        html.show(html.card("problem", symbol="error", title=text("library.upload_failed", lang, reason=reason), role="alert"))
