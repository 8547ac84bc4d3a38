"""The local answerer: a Hugging Face causal LM, with the domain's adapter where the request names one.

Turns requests into jobs for the engine and texts into drafts. Imports neither torch nor transformers: the engine's thread
does, when the first job comes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from core.errors import ModelError
from core.models import Draft, Request
from core.models.adapters import AdapterShelf
from core.models.drafting import to_draft, visible
from core.models.engine import Engine, Job, Runtime, Ticket
from core.settings import Settings

ANSWER_SECONDS = 900
"""Longest wait for one answer, queueing and loading included."""
_engines: dict[tuple[str, str, str], Engine] = {}
_engines_lock = threading.Lock()
shelf = AdapterShelf()
"""The process's adapters, shared by the assistants of all domains as the model is."""


def shared_engine(settings: Settings) -> Engine:
    """Return the engine of the settings' model; every assistant of the process shares it, so a model is in memory once.

    Raises:
        ModelError: no model is named.
    """
    if not settings.model:
        raise ModelError("the local profile needs a model: set DOMAINKIT_MODEL to a folder or hub id of a causal LM, or use DOMAINKIT_PROFILE=embedded")
    folder = Path(settings.model).expanduser()
    source = str(folder.resolve()) if folder.is_dir() else settings.model
    key = (source, settings.model_revision, settings.device)

    def build() -> Runtime:
        from core.models.causal import CausalRuntime

        return CausalRuntime(source, revision=settings.model_revision, device=settings.device, threads=settings.threads)

    with _engines_lock:
        if key not in _engines:
            _engines[key] = Engine(build, name=Path(source).name)
        return _engines[key]


def close_engines() -> None:
    """Unload every model of the process. The next request loads anew."""
    with _engines_lock:
        engines = list(_engines.values())
        _engines.clear()
    for engine in engines:
        engine.close()


class HuggingFaceAnswerer:
    """Drafts with a local language model.

    Args:
        settings: name the model, its revision, the device.
        engine: by default the one that all answerers of this model share.
        adapters: where names of adapters are looked up; by default the process's shelf.

    Raises:
        ModelError: no model is named. A model that cannot be loaded is reported by the first request.
    """

    needs_prompt = True

    def __init__(self, settings: Settings, *, engine: Engine | None = None, adapters: AdapterShelf | None = None) -> None:
        self._engine = engine or shared_engine(settings)
        self._adapters = adapters or shelf
        folder = Path(settings.model).expanduser()
        self.name = f"huggingface/{folder.resolve().name}" if folder.is_dir() else f"huggingface/{settings.model}@{settings.model_revision}"

    def _submit(self, request: Request) -> Ticket:
        adapter = self._adapters.get(request.adapter) if request.adapter else None
        return self._engine.submit(Job(prompt=request.prompt or request.question, max_tokens=request.max_tokens, adapter=adapter))

    def answer(self, request: Request) -> Draft:
        """Return the model's text as a draft; empty without passages, and when the model says that it does not know.

        Raises:
            ModelError: the model or adapter cannot be loaded, is busy, or failed.
        """
        if not request.hits:
            return Draft()
        ticket = self._submit(request)
        try:
            return to_draft(ticket.result(timeout=ANSWER_SECONDS).text)
        except TimeoutError as error:
            ticket.cancel()
            raise ModelError(f"no answer from {self.name} in {ANSWER_SECONDS} s; choose a smaller model or lower DOMAINKIT_MAX_ANSWER_TOKENS") from error

    def stream(self, request: Request) -> Iterator[str]:
        """Yield the same text in pieces; stopping to read stops the model.

        Raises:
            ModelError: as :meth:`answer`.
        """
        if request.hits:
            yield from visible(self._submit(request).pieces())
