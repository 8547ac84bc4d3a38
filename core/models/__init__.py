"""Answerers: one contract, one file each. An answerer drafts; it never cites: the evidence lock does that after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from core.settings import Settings
from core.types import Frozen, Hit, Language, Turn


class Quote(Frozen):
    """A sentence of a hit, by place: ``hit`` indexes the request's hits, ``sentence`` the passage's sentences."""

    hit: int
    sentence: int


class Request(Frozen):
    """What an answerer is given. ``prompt`` is the filled template; quoting answerers do not read it."""

    question: str
    lang: Language
    hits: tuple[Hit, ...]
    prompt: str = ""
    history: tuple[Turn, ...] = ()
    max_sentences: int = 4
    max_tokens: int = 512
    adapter: str = ""
    """Name of the domain's adapter, empty for none."""


class Draft(Frozen):
    """What an answerer returns: quotes by place, or free text for the evidence lock to check. Both empty: no answer."""

    text: str = ""
    quotes: tuple[Quote, ...] = ()


class Answerer(Protocol):
    """The contract of an answerer. ``name`` is what an answer's ``model`` field shows."""

    name: str
    needs_prompt: bool

    def answer(self, request: Request) -> Draft:
        """Draft an answer.

        Raises:
            ModelError: the model cannot be reached or loaded.
        """
        ...

    def stream(self, request: Request) -> Iterator[str]:
        """Yield the draft's text in pieces as they come; quoting answerers yield whole sentences."""
        ...


def make_answerer(settings: Settings, *, encoder_id: str = "") -> Answerer:
    """Return the answerer of the settings' profile: embedded → quoting, local → huggingface, server → server, scripted → scripted."""
    if settings.profile == "local":
        from core.models.huggingface import HuggingFaceAnswerer

        return HuggingFaceAnswerer(settings)
    if settings.profile == "server":
        from core.models.server import ServerAnswerer

        return ServerAnswerer(settings)
    if settings.profile == "scripted":
        from core.models.scripted import ScriptedAnswerer

        return ScriptedAnswerer()
    from core.models.quoting import QuotingAnswerer

    return QuotingAnswerer(encoder_id=encoder_id)
