"""The HTTP API: each domain is a model of an OpenAI-compatible server. Loopback only, unless DOMAINKIT_API_TOKEN is set.

Routes and error codes; the wire format is in :mod:`ui.completions`, what is refused before parsing in :mod:`ui.guard`.
"""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from core.assistant import Assistant, library_folder
from core.encoder import Encoder, compiled_folder
from core.errors import DomainkitError, ModelError, UsageError, unknown
from core.library import Library
from core.models import Answerer, make_answerer
from core.models.engine import Busy
from core.registry import Domain, Registry, discover
from core.settings import Settings
from core.types import Answer
from ui.completions import ChatRequest, completion, error_body, events
from ui.guard import LOOPBACK_NAMES, Guard, is_loopback, require_safe_host

TOKEN_VARIABLE = "DOMAINKIT_API_TOKEN"
WAITING = 32
"""Questions that may be in the house at once; the next one is told to come back."""


class Overloaded(DomainkitError):
    """More questions than the server takes in at once."""


class Desk:
    """The assistants behind the API: built at the first question to their domain, sharing one encoder and one model.

    Args:
        settings: the server's settings.
        answerer: by default the one of the settings' profile.
    """

    def __init__(self, settings: Settings, *, answerer: Answerer | None = None) -> None:
        self.settings = settings
        self.registry: Registry = discover(settings)
        self._answerer = answerer
        self._encoder: Encoder | None = None
        self._assistants: dict[str, Assistant] = {}
        self._lock = threading.Lock()
        self._workers = anyio.CapacityLimiter(settings.threads)
        self._inside = 0

    def domain(self, name: str) -> Domain:
        """Return a domain.

        Raises:
            UsageError: unknown; lists the known ones.
        """
        found = self.registry.domains.get(name)
        if found is None:
            raise unknown("model", name, self.registry.domains)
        return found

    def _assistant(self, domain: Domain) -> Assistant:
        with self._lock:
            if domain.name not in self._assistants:
                if self._encoder is None:
                    self._encoder = Encoder(compiled_folder(self.settings))
                if self._answerer is None:
                    self._answerer = make_answerer(self.settings, encoder_id=self._encoder.id)
                self._assistants[domain.name] = Assistant(domain, settings=self.settings, encoder=self._encoder, answerer=self._answerer)
            return self._assistants[domain.name]

    def _ask(self, domain: Domain, request: ChatRequest) -> Answer:
        return self._assistant(domain).ask(request.question, lang=request.lang, history=request.history)

    async def ask(self, domain: Domain, request: ChatRequest) -> Answer:
        """Ask in a worker thread.

        Raises:
            Overloaded: too many questions are inside. DomainkitError: as :meth:`core.assistant.Assistant.ask`.
        """
        # Only the event loop's thread counts, so the number needs no lock.
        if self._inside >= WAITING:
            raise Overloaded(f"{WAITING} questions are being answered; ask again in a moment")
        self._inside += 1
        try:
            return await anyio.to_thread.run_sync(partial(self._ask, domain, request), limiter=self._workers)
        finally:
            self._inside -= 1

    def card(self, domain: Domain) -> dict[str, Any]:
        """Return what ``/v1/domains`` says of a domain."""
        manifest = domain.manifest
        library = Library(library_folder(self.settings, domain.name))
        documents, passages = library.counts() if library.exists() else (0, 0)
        library.close()
        return {
            "name": domain.name,
            "title": manifest.title.model_dump(),
            "description": manifest.description.model_dump(),
            "version": manifest.version,
            "languages": list(manifest.languages),
            "license": manifest.license,
            "starters": manifest.starters.model_dump(mode="json"),
            "documents": documents,
            "passages": passages,
        }


def create_app(settings: Settings, *, host: str = "127.0.0.1", token: str | None = None, answerer: Answerer | None = None) -> FastAPI:
    """Return the API as an ASGI application.

    Args:
        settings: the server's settings.
        host: the address it will listen on; on loopback only requests that call it by a loopback name are answered.
        token: bearer token that requests must carry; by default ``DOMAINKIT_API_TOKEN``, empty for none.
        answerer: by default the one of the settings' profile.

    Raises:
        UsageError: ``host`` can be reached from other machines and there is no token.
    """
    secret = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
    require_safe_host(host, token=secret)
    desk = Desk(settings, answerer=answerer)
    started = int(time.time())
    # The documentation pages would load scripts from the network, so there are none; /openapi.json is there.
    app = FastAPI(title="domainkit", docs_url=None, redoc_url=None)
    app.add_middleware(Guard, hosts=LOOPBACK_NAMES if is_loopback(host) else None, token=secret)
    _explain_errors(app)

    def model_card(domain: Domain) -> dict[str, Any]:
        return {"id": domain.name, "object": "model", "created": started, "owned_by": "domainkit"}

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """Say that the server runs."""
        return {"status": "ok"}

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        """List the domains as models."""
        return {"object": "list", "data": [model_card(domain) for domain in desk.registry.domains.values()]}

    @app.get("/v1/models/{name}")
    def model(name: str) -> dict[str, Any]:
        """Describe one domain as a model."""
        return model_card(_known(desk, name))

    @app.get("/v1/domains")
    def domains() -> dict[str, Any]:
        """Describe the domains: titles, languages, starter questions, documents and passages."""
        return {"domains": [desk.card(domain) for domain in desk.registry.domains.values()]}

    @app.post("/v1/chat/completions")
    async def chat(request: ChatRequest) -> Response:
        """Answer the last message, with citations as annotations and the whole answer object under ``domainkit``."""
        answer = await desk.ask(_known(desk, request.model), request)
        created = int(time.time())
        if not request.stream:
            return JSONResponse(completion(answer, created=created))
        usage = request.stream_options is not None and request.stream_options.include_usage
        return StreamingResponse(
            events(answer, created=created, include_usage=usage),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return app


def _known(desk: Desk, name: str) -> Domain:
    try:
        return desk.domain(name)
    except UsageError as error:
        raise HTTPException(404, detail=str(error)) from error


def _explain_errors(app: FastAPI) -> None:
    """Give every error OpenAI's shape, and never a traceback."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = next(iter(error.errors()), {"loc": (), "msg": "not valid"})
        where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        return _error(400, f"{where[:200]}: {str(first['msg'])[:300]}", kind="invalid_request_error", code="invalid_request")

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        codes = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed"}
        code = "model_not_found" if error.status_code == 404 and str(error.detail).startswith("unknown model") else codes.get(error.status_code, "http_error")
        return _error(error.status_code, str(error.detail), kind="invalid_request_error", code=code, headers=dict(error.headers or {}))

    @app.exception_handler(DomainkitError)
    async def known(_: Request, error: DomainkitError) -> Response:
        if isinstance(error, Overloaded | Busy):
            return _error(429, str(error), kind="rate_limit_error", code="overloaded", headers={"Retry-After": "1"})
        if isinstance(error, UsageError):
            return _error(400, str(error), kind="invalid_request_error", code="invalid_request")
        return _error(503, str(error), kind="server_error", code="model_unavailable" if isinstance(error, ModelError) else "domain_unavailable")

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:
        return _error(500, f"the server failed ({type(error).__name__}); its log has the details", kind="server_error", code="internal_error")


def _error(status: int, message: str, *, kind: str, code: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(error_body(message, kind=kind, code=code), status_code=status, headers=headers)
