"""Checks the files of a domain folder as files: links, sizes, forbidden formats, executables, adapter hashes. Parses none of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from core.checking.report import Findings
from core.manifest import Manifest

MAX_FILE_MB = 100
"""Larger files are refused by ``domainkit add`` as well."""
LARGE_FILE_MB = 20
MAX_TEXT_MB = 1
TEXT_SUFFIXES = frozenset({".md", ".toml"})
OBJECT_SUFFIXES = frozenset({".bin", ".ckpt", ".dill", ".h5", ".joblib", ".marshal", ".pickle", ".pkl", ".pt", ".pth"})
EXECUTABLE_SUFFIXES = frozenset(
    {".bat", ".cmd", ".com", ".dll", ".dylib", ".exe", ".jar", ".msi", ".ps1", ".pyc", ".pyd", ".pyo", ".scr", ".sh", ".so", ".vbs"}
)
EXECUTABLE_MAGIC = (b"\x7fELF", b"MZ", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"#!")
SKIPPED_FOLDERS = frozenset({".git", "__pycache__"})
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_files(findings: Findings, manifest: Manifest | None) -> None:
    """Check every file below the folder and, where there is one, the adapter's card."""
    tools = manifest.tools.module if manifest and manifest.tools else None
    for path in _walk(findings):
        relative = path.relative_to(findings.folder).as_posix()
        try:
            _check_file(findings, path, is_tools=relative == tools)
        except OSError as error:
            findings.error(path, f"cannot be read ({error.strerror}); check its permissions")
    if manifest is not None:
        for name in (manifest.paths.adapter, manifest.paths.generator):
            _check_adapter(findings, findings.folder / name)


def _walk(findings: Findings) -> Iterator[Path]:
    for folder, folders, files in os.walk(findings.folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            if path.is_symlink():
                _check_link(findings, path)
            elif name in files:
                yield path


def _check_link(findings: Findings, path: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        findings.error(path, "symbolic link that leads nowhere; remove it")
        return
    if not target.is_relative_to(findings.folder):
        findings.error(path, "symbolic link that leaves the domain's folder; copy the file instead")


def _check_file(findings: Findings, path: Path, *, is_tools: bool) -> None:
    info = path.lstat()
    if not stat.S_ISREG(info.st_mode):
        findings.error(path, "not a regular file; remove it")
        return
    suffix = path.suffix.lower()
    megabytes = info.st_size / 1_000_000
    if suffix in OBJECT_SUFFIXES:
        findings.error(path, f"'{suffix}' files can carry code and are never loaded; convert weights to .safetensors, data to .json")
    if megabytes > MAX_FILE_MB:
        findings.error(path, f"{megabytes:,.0f} MB; the limit is {MAX_FILE_MB} MB a file")
    elif suffix in TEXT_SUFFIXES and megabytes > MAX_TEXT_MB:
        findings.error(path, f"{megabytes:,.1f} MB of text; split it, the limit is {MAX_TEXT_MB} MB")
    elif megabytes > LARGE_FILE_MB:
        findings.warn(path, f"{megabytes:,.0f} MB; a package this large is slow to share")
    with path.open("rb") as file:
        magic = file.read(4)
    if suffix in EXECUTABLE_SUFFIXES or magic.startswith(EXECUTABLE_MAGIC):
        if not (suffix == ".py" and magic.startswith(b"#!")):
            findings.error(path, "an executable; a domain is data, remove it")
            return
    elif info.st_mode & 0o111:
        findings.warn(path, f"marked as executable; `chmod -x {path.name}`")
    # An installed package needs its __init__.py; it is never imported.
    if suffix == ".py" and not is_tools and path != findings.folder / "__init__.py":
        findings.warn(path, "Python outside the tools module is never run; remove it or name it in [tools]")


def _check_adapter(findings: Findings, folder: Path) -> None:
    card = folder / "card.json"
    if not card.is_file():
        if any(folder.glob("*.safetensors")):
            findings.warn(folder, "weights without card.json, which states their hashes; train the adapter again to write one")
        return
    try:
        stated = json.loads(card.read_text("utf-8"))["files"]
        pairs = {str(name): str(digest) for name, digest in stated.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        findings.error(card, 'does not state hashes; it needs {"files": {"name": "sha256"}}')
        return
    for name, digest in sorted(pairs.items()):
        path = folder / name
        if not _SHA256.fullmatch(digest):
            findings.error(card, f"hash of '{name[:80]}' is not 64 hexadecimal digits")
        elif Path(name).is_absolute() or ".." in Path(name).parts or not path.is_file():
            findings.error(card, f"names '{name[:80]}', which is not a file of the adapter's folder")
        elif _sha256(path) != digest:
            findings.error(path, "does not have the hash that card.json states; restore the file or train again")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in pairs and name not in {"card.json", "README.md", "recipe.toml"}:
            findings.error(path, "not listed in card.json; remove it or train again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
