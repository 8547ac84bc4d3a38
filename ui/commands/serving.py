"""``serve``: the OpenAI-compatible API on a port of this machine."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer

from core.errors import UsageError
from ui import output
from ui.commands.answering import JsonOption


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on; beyond loopback DOMAINKIT_API_TOKEN must be set.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8080,
    profile: Annotated[str, typer.Option("--profile", help="embedded, local or server; by default DOMAINKIT_PROFILE.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Serve every domain as a model of an OpenAI-compatible API."""
    from core.encoder import compiled_folder
    from core.settings import get_settings
    from ui.api import TOKEN_VARIABLE, create_app
    from ui.guard import require_safe_host

    settings = get_settings()
    if profile:
        if profile not in {"embedded", "local", "server", "scripted"}:
            raise UsageError(f"unknown profile '{profile[:20]}': use embedded, local or server")
        settings = settings.model_copy(update={"profile": profile})
    token = os.environ.get(TOKEN_VARIABLE, "")
    require_safe_host(host, token=token)
    listener = _listen(host, port)
    with listener:
        if not (compiled_folder(settings) / "encoder.json").is_file():
            from core.encoder_compile import ensure_compiled

            output.note("compiling the sentence encoder (once, about 20 s)")
            ensure_compiled(settings)
        app = create_app(settings, host=host, token=token)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}/v1"
        if as_json:
            output.emit({"url": url, "profile": settings.profile, "token_required": bool(token)})
        else:
            output.say(f"serving {url} (profile {settings.profile}{', token required' if token else ''}); stop with Ctrl-C")
        _run(app, listener)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen on {host[:80]}:{port} ({getattr(error, 'strerror', None) or error}): choose another --port or --host") from error


def _run(app: object, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=512,
        timeout_keep_alive=5,
    )
    uvicorn.Server(config).run(sockets=[listener])
