"""The server answerer: any OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, Ollama, TGI), spoken to through LangChain.

An adapter is named per request in the ``model`` field, as vLLM's multi-LoRA does. Knows nothing of evidence; never logs the key.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from core.errors import ModelError
from core.models import Draft, Request
from core.models.drafting import to_draft, visible
from core.settings import Settings

TIMEOUT = 60.0
"""Seconds without a byte before the server counts as gone."""
RETRIES = 2
CHARS_PER_TOKEN = 24
"""No vocabulary has longer tokens on average: a stream that goes on beyond is cut off."""


class ServerAnswerer:
    """Drafts with a model on a server.

    Args:
        settings: name the endpoint, the model (empty: the first that the server lists) and the key.
        timeout: seconds without a byte.
        retries: further tries when a connection fails or the server answers 429 or 5xx.

    Raises:
        ModelError: ``server_url`` is not an http address.
    """

    needs_prompt = True

    def __init__(self, settings: Settings, *, timeout: float = TIMEOUT, retries: int = RETRIES) -> None:
        try:
            address = urlsplit(settings.server_url)
            port = address.port or (443 if address.scheme == "https" else 80)
        except ValueError as error:
            raise ModelError("DOMAINKIT_SERVER_URL has an impossible port; it looks like http://127.0.0.1:8000/v1") from error
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise ModelError("DOMAINKIT_SERVER_URL is not an http address; it looks like http://127.0.0.1:8000/v1")
        self._settings = settings
        self._where = f"{address.hostname}:{port}"
        self._timeout = timeout
        self._retries = retries
        self._lock = threading.Lock()
        self._client: Any = None
        self._model = settings.model
        self.name = f"server/{settings.model}" if settings.model else "server"

    def answer(self, request: Request) -> Draft:
        """Return the server's text as a draft; empty without passages, and when the model says that it does not know.

        Raises:
            ModelError: one line that names host and port, what is wrong and what to do.
        """
        if not request.hits:
            return Draft()
        with self._explained(request.adapter):
            reply = self._connect().invoke(self._messages(request), **self._options(request))
            return to_draft(str(reply.text)[: request.max_tokens * CHARS_PER_TOKEN])

    def stream(self, request: Request) -> Iterator[str]:
        """Yield the same text in pieces as the server sends them.

        Raises:
            ModelError: as :meth:`answer`, also when the server breaks off.
        """
        if request.hits:
            yield from visible(self._pieces(request))

    def _pieces(self, request: Request) -> Iterator[str]:
        left = request.max_tokens * CHARS_PER_TOKEN
        with self._explained(request.adapter):
            for chunk in self._connect().stream(self._messages(request), **self._options(request)):
                text = str(chunk.text)[:left]
                left -= len(text)
                yield text
                if left <= 0:
                    return

    def _messages(self, request: Request) -> list[tuple[str, str]]:
        text = request.prompt or request.question
        return [("user", text.encode("utf-8", "replace").decode("utf-8"))]

    def _options(self, request: Request) -> dict[str, Any]:
        # In the body, because LangChain would rename max_tokens to a newer name that Ollama and TGI do not read.
        return {"model": request.adapter or self._chosen_model(), "extra_body": {"max_tokens": request.max_tokens}}

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None:
                from langchain_openai import ChatOpenAI
                from pydantic import SecretStr

                self._client = ChatOpenAI(
                    base_url=self._settings.server_url,
                    api_key=SecretStr(self._settings.server_key or "none"),
                    model=self._model or "unknown",
                    temperature=0,
                    timeout=self._timeout,
                    max_retries=self._retries,
                    use_responses_api=False,
                )
        return self._client

    def _chosen_model(self) -> str:
        if self._model:
            return self._model
        listed = next(iter(self._connect().root_client.models.list()), None)
        if listed is None:
            raise ModelError(f"the server at {self._where} lists no model: load one there, or set DOMAINKIT_MODEL")
        self._model = str(listed.id)
        self.name = f"server/{self._model}"
        return self._model

    @contextmanager
    def _explained(self, adapter: str) -> Iterator[None]:
        """Turn whatever the client raises into one line; the key and the server's own words stay out of it."""
        import httpx
        import openai

        at = f"the model server at {self._where}"
        try:
            yield
        except openai.APITimeoutError as error:
            raise ModelError(f"{at} did not answer within {self._timeout:g} s; it may be loading or overloaded: try again") from error
        except (openai.APIConnectionError, httpx.HTTPError) as error:
            raise ModelError(f"{at} cannot be reached: start it, or set DOMAINKIT_SERVER_URL") from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ModelError(f"{at} refused the key ({error.status_code}): set DOMAINKIT_SERVER_KEY") from error
        except openai.NotFoundError as error:
            wanted = adapter or self._model or "the model list"
            raise ModelError(f"{at} does not know '{wanted[:80]}' (404): load it there, set DOMAINKIT_MODEL, or check DOMAINKIT_SERVER_URL") from error
        except openai.RateLimitError as error:
            raise ModelError(f"{at} is overloaded (429): try again in a moment") from error
        except openai.BadRequestError as error:
            raise ModelError(f"{at} refused the request (400): the prompt may be too long for its context; lower DOMAINKIT_TOP_K") from error
        except openai.APIStatusError as error:
            raise ModelError(f"{at} failed with HTTP {error.status_code}: look at its log") from error
        except (openai.OpenAIError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise ModelError(f"{at} sent something that is not an OpenAI chat completion: check that DOMAINKIT_SERVER_URL ends in /v1") from error
