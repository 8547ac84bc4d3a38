"""What stands before the HTTP API: host names, origins, the bearer token and the size of a body; all before anything is parsed.

Pure ASGI; knows no route but the health check.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from typing import Any
from urllib.parse import urlsplit

from core.errors import UsageError
from ui.completions import error_body

MAX_BODY = 1_000_000
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN_PATHS = frozenset({"/healthz"})
"""Answered without a token, so that a load balancer needs none."""


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_safe_host(host: str, *, token: str) -> None:
    """Refuse to listen beyond this machine without a token.

    Raises:
        UsageError: says how to set one.
    """
    if not is_loopback(host) and not token:
        raise UsageError(f"'{host[:80]}' can be reached from other machines: set DOMAINKIT_API_TOKEN to a long random word first, or use --host 127.0.0.1")


def _name(authority: str) -> str:
    """Return the host of ``host:port``, in lower case, without the brackets of an IPv6 address."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").lower()
    except ValueError:
        return ""


class Guard:
    """ASGI middleware that lets only decent requests through.

    Args:
        app: what is behind it.
        hosts: names a request may call this server by; None: any (a token then keeps strangers out).
        token: bearer token, empty for none.
        max_body: bytes of a body.
    """

    def __init__(self, app: Any, *, hosts: frozenset[str] | None, token: str, max_body: int = MAX_BODY) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token.encode()
        self._max_body = max_body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Check, then hand over."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        refusal = self._refuse(scope["path"], headers)
        if refusal is not None:
            await _reply(send, *refusal)
            return
        body = await self._read(headers, receive)
        if body is None:
            await _reply(send, 413, f"the body has more than {self._max_body:,} bytes; ask a shorter question", "request_too_large")
            return
        rest: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Any:
            return rest.pop() if rest else await receive()

        await self._app(scope, replay, send)

    def _refuse(self, path: str, headers: dict[bytes, bytes]) -> tuple[int, str, str] | None:
        if self._hosts is not None:
            # A page of a stranger whose name was re-bound to this address still sends its own name here.
            if _name(headers.get(b"host", b"").decode("latin-1")) not in self._hosts:
                return 400, "this server answers to localhost only; call it as http://127.0.0.1", "invalid_host"
            origin = headers.get(b"origin", b"").decode("latin-1")
            if origin and _name(_authority(origin)) not in self._hosts:
                return 403, "requests from other web pages are refused", "invalid_origin"
        if self._token and path not in OPEN_PATHS:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                return 401, "send the header 'Authorization: Bearer TOKEN' with the server's DOMAINKIT_API_TOKEN", "invalid_api_key"
        return None

    async def _read(self, headers: dict[bytes, bytes], receive: Any) -> bytes | None:
        stated = headers.get(b"content-length", b"0")
        if stated.isdigit() and (len(stated) > 15 or int(stated) > self._max_body):
            return None
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(parts)
            size += len(message.get("body", b""))
            if size > self._max_body:
                return None
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)


def _authority(origin: str) -> str:
    """Return the ``host:port`` of an ``Origin`` header; empty for ``null`` and for what is not an address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


async def _reply(send: Any, status: int, message: str, code: str) -> None:
    kind = "authentication_error" if status == 401 else "invalid_request_error"
    body = json.dumps(error_body(message, kind=kind, code=code)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
