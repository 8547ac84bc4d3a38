"""What the app keeps: one encoder, one assistant per domain, one conversation store; and what the present view is.

Knows how things are cached and for how long; shows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.assistant import Assistant, library_folder
from core.encoder import Encoder, compiled_folder
from core.library import Library
from core.memory import LOCAL, Memory
from core.registry import Domain, Registry, discover
from core.settings import Settings, get_settings
from core.types import Language

VIEW = "view"


@dataclass(frozen=True, kw_only=True)
class View:
    """What the frame decided: the interface's language and the domain, None where there is none."""

    lang: Language
    domain: Domain | None
    settings: Settings
    side: DeltaGenerator
    """The part of the sidebar that belongs to the page."""


def view() -> View:
    """Return the present view; the frame sets it before a page runs."""
    found: View = st.session_state[VIEW]
    return found


@st.cache_resource(ttl=10, show_spinner=False)
def _registry(home: Path, domains: str) -> Registry:
    return discover(get_settings())


def registry() -> Registry:
    """Return the domains, looked up again every ten seconds."""
    settings = get_settings()
    return _registry(settings.home, settings.domains)


@st.cache_resource(show_spinner=False)
def _encoder(folder: Path) -> Encoder:
    return Encoder(folder)


def encoder() -> Encoder:
    """Return the process's encoder.

    Raises:
        ModelError: it is not compiled yet.
    """
    return _encoder(compiled_folder(get_settings()))


@st.cache_resource(show_spinner=False)
def _assistant(name: str, home: Path, stamp: tuple[Any, ...]) -> Assistant:
    settings = get_settings()
    return Assistant(registry().get(name), settings=settings, encoder=encoder())


def assistant(domain: Domain) -> Assistant:
    """Return the domain's assistant, built anew when its manifest, policy or calibration changed.

    Raises:
        ModelError: the encoder is not compiled, or the answerer's model is missing. ManifestError: the policy is not valid.
    """
    paths = domain.manifest.paths
    files = (
        domain.folder / "domain.toml",
        domain.folder / paths.policy / "rules.toml",
        domain.folder / paths.calibration,
        domain.folder / paths.adapter / "card.json",
    )
    stamp = (domain.folder, *(file.stat().st_mtime_ns if file.is_file() else 0 for file in files))
    return _assistant(domain.name, get_settings().home, stamp)


def library(domain: Domain) -> Library:
    """Return the domain's library for reading; it may not exist yet."""
    return _library(library_folder(get_settings(), domain.name))


@st.cache_resource(show_spinner=False)
def _library(folder: Path) -> Library:
    return Library(folder)


@st.cache_resource(show_spinner=False)
def _memory(path: Path) -> Memory:
    store = Memory(path)
    # What was deleted can be undone while the app runs; afterwards it is gone for good.
    store.purge(LOCAL)
    return store


def memory() -> Memory:
    """Return the conversation store."""
    return _memory(get_settings().home / "memory.sqlite3")


def document_urls(domain: Domain) -> dict[str, str]:
    """Return the address of each document that has one, by document id."""
    found = library(domain)
    return _urls(str(found.folder), found.revision(), found) if found.exists() else {}


@st.cache_resource(max_entries=8, show_spinner=False)
def _urls(folder: str, revision: int, _library: Library) -> dict[str, str]:
    return {row.id: row.url for row in _library.documents() if row.url}
