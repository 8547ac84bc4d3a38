"""Building a domain's library from its corpus, with progress. Knows the order of the steps, not what they do inside."""

from __future__ import annotations

import streamlit as st

from core.encoder import compiled_folder
from core.errors import DomainkitError
from core.ingest import IngestReport, Progress
from core.library import Library
from core.registry import Domain
from core.settings import Settings
from core.types import Language
from ui import state
from ui.components import html
from ui.components.chrome import problem
from ui.i18n import text


def encoder_ready(settings: Settings) -> bool:
    """Whether the sentence encoder is compiled."""
    return (compiled_folder(settings) / "encoder.json").is_file()


def writable_library(domain: Domain) -> Library:
    """Return the domain's library for writing: it claims the encoder whose vectors it holds."""
    return Library(state.library(domain).folder, encoder_id=state.encoder().id)


def publish(library: Library) -> None:
    """Publish an index of what the library holds now."""
    from core.index.faiss import FaissIndex

    library.publish(lambda ids, vectors: FaissIndex.build(ids, vectors).to_bytes())


def ready(domain: Domain, settings: Settings) -> bool:
    """Whether the domain can be asked: the encoder is compiled and its library has a published index."""
    if not encoder_ready(settings):
        return False
    library = state.library(domain)
    return library.exists() and library.generation() is not None


def build_library(domain: Domain, settings: Settings, *, progress: Progress) -> IngestReport:
    """Do what ``domainkit reindex`` does, compiling the encoder first where that was not done.

    Raises:
        DomainkitError: another process is writing, the disk is full, or no encoder is installed.
    """
    from core.ingest import bring_up_to_date
    from core.text import prepare_segmenter

    if not encoder_ready(settings):
        from core.encoder_compile import ensure_compiled

        progress("encoder", 0, 1)
        ensure_compiled(settings)
    prepare_segmenter(bulk=True)
    return bring_up_to_date(domain, writable_library(domain), state.encoder(), settings=settings, progress=progress)


def missing_library(domain: Domain, settings: Settings, lang: Language) -> None:
    """Show that a domain has no library yet, the command that builds it, and a button that does."""
    title = domain.manifest.title.get(lang)
    body = html.join(
        html.tag("p", text("build.title", lang, title=title), cls="dk-card-title"),
        html.tag("p", text("build.body", lang), cls="dk-card-body"),
        html.tag("p", text("build.command", lang, name=domain.name), cls="dk-card-body dk-mono"),
    )
    html.show(html.tag("section", html.icon("inventory_2"), html.tag("div", body), cls="dk-card dk-card-calm", role="note"))
    if not st.button(text("build.button", lang), type="primary", icon=":material/play_arrow:", key="build.start"):
        return
    bar = st.progress(0.0)

    def progress(name: str, done: int, total: int) -> None:
        key = {"encoder": "build.encoder", "index": "build.indexing"}.get(name, "build.working")
        bar.progress(min(1.0, done / max(1, total)), text=html.plain(text(key, lang, name=name)))

    try:
        report = build_library(domain, settings, progress=progress)
    except DomainkitError as error:
        bar.empty()
        problem(error, lang)
        return
    if report.failed:
        reasons = html.tag("ul", *(html.tag("li", reason) for _, reason in report.failed))
        html.show(html.tag("div", text("build.failed", lang, n=len(report.failed)), reasons, cls="dk-small"))
    documents, passages = state.library(domain).counts()
    st.toast(text("build.done", lang, documents=documents, passages=passages), icon=":material/check:")
    st.rerun()
