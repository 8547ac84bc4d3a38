"""The lock of a run: hashes of everything its scores follow from, and the environment it ran in. Runs nothing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

from core.assistant import Assistant
from core.encoder import sha256_file
from core.eval_items import EvalItem
from core.ranking import WEIGHTS
from core.types import Frozen

PACKAGES = ("numpy", "onnxruntime", "tokenizers", "faiss-cpu", "jieba", "snowballstemmer", "torch", "transformers", "peft")
"""Packages that a score may depend on."""
SCORING = ("aggregate.py", "items.py", "scorers.py", "seeking.py", "quantities.py", "units.py", "numerals.py", "metrics", "statistics.py")


class Lock(Frozen):
    """``lock.json``: two runs with equal locks have equal scores. An empty string stands for a part that there is none of."""

    corpus: str
    index: str
    """Of the passages, in the order in which the index holds them."""
    prompts: str
    policy: str
    adapter: str
    calibration: str
    heads: str
    ranking: str
    encoder: str
    model: str
    """Name of the answerer, and the hash of the generator adapter that it drafts with."""
    settings: str
    """Of the knobs that change answers."""
    evals: str
    """Of the items that were asked."""
    scorers: str
    """Of the code that scores."""


class Environment(Frozen):
    """``environment.json``: where a run ran; names no machine and no path."""

    python: str
    system: str
    processor: str
    cores: int
    packages: dict[str, str]


def make_lock(assistant: Assistant, items: Sequence[EvalItem]) -> Lock:
    """Return the lock of asking an assistant these items."""
    domain, settings = assistant.domain, assistant.settings
    paths = domain.manifest.paths
    knobs = {
        "profile": settings.profile, "top_k": settings.top_k, "max_sentences": settings.max_sentences, "model": settings.model,
        "model_revision": settings.model_revision,
    }  # fmt: skip
    return Lock(
        corpus=assistant.library.corpus_sha256(),
        index=assistant.library.passages_sha256(),
        prompts=tree_sha256(domain.folder / paths.prompts),
        policy=tree_sha256(domain.folder / paths.policy),
        adapter=assistant.adapter.id if assistant.adapter else "",
        calibration=tree_sha256(domain.folder / paths.calibration),
        heads=tree_sha256(domain.folder / paths.training / "heads.json"),
        ranking=sha256_file(WEIGHTS),
        encoder=assistant.encoder.id,
        model=assistant.model,
        settings=_sha256(repr(sorted(knobs.items()))),
        evals=_sha256("\n".join(item.model_dump_json() for item in items)),
        scorers=_scorers(),
    )


def tree_sha256(path: Path) -> str:
    """Return a hash of a file or of all files of a folder, names and bytes; empty where there is none."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts) if path.is_dir() else []
    return _sha256("".join(f"{file.relative_to(path).as_posix()}\0{sha256_file(file)}\0" for file in files)) if files else ""


def _scorers() -> str:
    here = Path(__file__).parent
    return _sha256("".join(f"{name}\0{tree_sha256(here / name)}\0" for name in SCORING))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def changed(one: Lock, other: Lock, *, leaving: Iterable[str] = ()) -> list[str]:
    """Return the names of the parts in which two locks differ."""
    left = set(leaving)
    return [name for name in Lock.model_fields if name not in left and getattr(one, name) != getattr(other, name)]


def environment() -> Environment:
    """Return the environment of this process."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed
    return Environment(python=platform.python_version(), system=platform.system(), processor=platform.machine(), cores=os.cpu_count() or 1, packages=packages)
