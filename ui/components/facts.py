"""What the About page says: the facts about a domain, its library, its models and the libraries underneath."""

from __future__ import annotations

import importlib.metadata
import re

from core.abstention import DEFAULT_THRESHOLD, load_calibration
from core.encoder import compiled_folder
from core.registry import Domain
from core.settings import Settings
from core.types import Language
from ui import state
from ui.i18n import text

PACKAGES = ("domainkit", "streamlit", "onnxruntime", "tokenizers", "faiss-cpu", "langchain-core", "transformers", "torch", "pypdf", "pydantic")
_CARD_LIMIT = 400_000
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def card_text(domain: Domain) -> str:
    """Return the domain's card without its first heading, empty where it has none."""
    path = domain.folder / domain.manifest.paths.card
    if not path.is_file():
        return ""
    lines = _COMMENT.sub("", path.read_text("utf-8", errors="replace")[:_CARD_LIMIT]).splitlines()
    return "\n".join(lines[1:] if lines and lines[0].startswith("# ") else lines).strip()


def versions() -> list[tuple[str, str]]:
    """Return the main packages that are installed, with their versions."""
    found = []
    for name in PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _library(domain: Domain, lang: Language) -> str:
    library = state.library(domain)
    if not library.exists():
        return text("about.library_none", lang)
    documents, passages = library.counts()
    generation = library.generation()
    return text("about.library_value", lang, documents=f"{documents:,}", passages=f"{passages:,}", generation=generation.number if generation else 0)


def _calibration(domain: Domain, lang: Language) -> str:
    calibration = load_calibration(domain.folder / domain.manifest.paths.calibration)
    if calibration is None or not calibration.thresholds:
        return text("about.calibration_none", lang, value=DEFAULT_THRESHOLD)
    parts = (
        text("about.calibration_value", lang, lang=text(f"lang.{name}", lang), value=f"{threshold.value:.2f}", items=threshold.items)
        for name, threshold in calibration.thresholds.items()
    )
    return "; ".join(parts)


def facts(domain: Domain, settings: Settings, lang: Language) -> list[tuple[str, str]]:
    """Return what runs the domain, as (term, value).

    Raises:
        ManifestError: the domain's calibration is not valid.
    """
    manifest = domain.manifest
    ready = (compiled_folder(settings) / "encoder.json").is_file()
    adapter = (domain.folder / manifest.paths.adapter / "adapter_model.safetensors").is_file()
    model = state.assistant(domain).model if ready else settings.profile
    return [
        (text("about.version", lang), manifest.version),
        (text("about.license", lang), manifest.license),
        (text("about.languages", lang), ", ".join(text(f"lang.{name}", lang) for name in manifest.languages)),
        (text("details.profile", lang), settings.profile),
        (text("about.model", lang), model),
        (text("about.encoder", lang), state.encoder().id if ready else text("about.library_none", lang)),
        (text("about.adapter", lang), text("about.adapter_yes" if adapter else "about.adapter_none", lang)),
        (text("about.library", lang), _library(domain, lang)),
        (text("about.calibration", lang), _calibration(domain, lang)),
    ]
