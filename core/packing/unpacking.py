"""Installs a pack as a domain's folder, which appears only when every file has its hash and the whole domain is valid."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

from core.checking import Elsewhere, check_folder
from core.errors import CheckFailed, DomainkitError, UsageError
from core.manifest import load_manifest
from core.models.adapters import CONFIG, WEIGHTS, check_adapter
from core.packing.documents import look_up
from core.packing.layout import PackIndex, PackSummary, Progress, damaged
from core.packing.placing import put, workplace
from core.packing.reading import extract_documents, extract_files, opened

SHOWN = 3
ADAPTERS: dict[str, Literal["FEATURE_EXTRACTION", "CAUSAL_LM"]] = {"adapter": "FEATURE_EXTRACTION", "generator": "CAUSAL_LM"}
"""What the adapters in a domain's folders are for, by the name of the path."""


def unpack(
    path: Path,
    *,
    into: Path,
    replace: bool = False,
    allow_code: bool = False,
    documents: Path | None = None,
    elsewhere: Elsewhere | None = None,
    progress: Progress | None = None,
) -> PackSummary:
    """Install a pack as a folder of its domain's name.

    Nothing becomes visible before every file has its hash and the whole domain is valid. A domain that is replaced is moved aside first and comes
    back when anything fails.

    Args:
        path: the pack.
        into: folder that shall hold the domain's folder; made where it is missing.
        replace: take the place of a domain of that name in the folder.
        allow_code: accept a pack with a tools module, which is code that runs when the domain's tools are used.
        documents: file that shall hold the documents that people added, if the pack has any; by default they stay in the pack.
        elsewhere: looks up documents that eval items name and the pack does not hold.
        progress: told which file is written.

    Raises:
        UsageError: no such file, the domain exists, the pack holds code and that was not allowed, or the disk is full.
        IntegrityError: the pack was changed, or is not what it says. CheckFailed: the domain in it is not valid.
    """
    with opened(path) as pack:
        index = pack.index
        if index.code and not allow_code:
            raise UsageError(f"'{path.name}' holds code ({index.code}), which runs when its tools are used; if you trust who made it, say --allow-code")
        target = into / index.domain
        _free(target, replace=replace)
        with workplace(into, index.domain) as place:
            _free(target, replace=replace)  # a killed run's domain may just have come back
            made = place / index.domain
            extract_files(pack, made, progress=progress)
            added = extract_documents(pack, place / "documents.jsonl")
            _check(made, index, path.name, elsewhere=look_up(added, otherwise=elsewhere or _nowhere) if added else elsewhere)
            if added and documents:
                _hand_over(added, documents)
            put(made, target)
    return PackSummary(
        domain=index.domain, version=index.version, path=target, files=len(index.files), bytes=sum(file.size for file in index.files), sha256=pack.sha256,
        encoder=index.encoder, code=index.code, documents=index.documents.count if index.documents else 0,
    )  # fmt: skip


def _nowhere(document: str, page: int | None) -> str | None:
    return None


def _free(target: Path, *, replace: bool) -> None:
    if target.exists() and not replace:
        raise UsageError(f"'{target.name}' is already in '{target.parent.name}'; --replace puts the pack in its place")


def _hand_over(added: Path, documents: Path) -> None:
    """Move the added documents where the caller wants them, which may be on another disk."""
    try:
        documents.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(added, documents)
        os.chmod(documents, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write '{documents.name}' ({error.strerror}); nothing was installed, look at the disk and unpack again") from error


def _check(made: Path, index: PackIndex, name: str, *, elsewhere: Elsewhere | None) -> None:
    try:
        manifest = load_manifest(made)
        for place, task in ADAPTERS.items():
            adapter = made / getattr(manifest.paths, place)
            if (adapter / CONFIG).exists() or (adapter / WEIGHTS).exists():
                check_adapter(index.domain, adapter, task=task)
    except (DomainkitError, OSError) as error:
        raise CheckFailed(f"the domain in '{name}' is not valid ({error}); nothing was installed") from error
    code = manifest.tools.module if manifest.tools else ""
    if (manifest.name, manifest.version, code) != (index.domain, index.version, index.code):
        raise damaged(name, "its index and its manifest name another domain, version or tools module")
    report = check_folder(made, elsewhere=elsewhere)
    if not report.ok:
        first = "; ".join(f"{problem.file}: {problem.message}" for problem in report.errors[:SHOWN])
        raise CheckFailed(f"the domain in '{name}' is not valid ({first}); nothing was installed")
