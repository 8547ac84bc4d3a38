"""``ui``: makes sure that everything is built, then starts the Streamlit app."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from ui import output


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("ui")(start)


def _free_port(host: str, wanted: int) -> int:
    for port in range(wanted, wanted + 50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    return wanted


def start(
    host: Annotated[str, typer.Option("--host", help="Address to listen on; loopback unless you know what you do.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port; the next free one when taken.")] = 8501,
) -> None:
    """Start the app in the browser; builds what is missing first."""
    from core.errors import DomainkitError
    from core.ingest import is_up_to_date
    from core.query_adapter import find_adapter, is_compiled
    from core.registry import discover
    from core.settings import get_settings
    from ui.commands.maintenance import open_library, reindex

    settings = get_settings()
    for name, domain in discover(settings).domains.items():
        try:
            _, _, encoder, library = open_library(name)
            if not is_up_to_date(domain, library, encoder) or not is_compiled(find_adapter(domain, settings), settings):
                reindex(domain=name, as_json=False)
        except DomainkitError as error:
            output.note(f"{name}: {error}")  # one domain's trouble must not keep the others away; the app shows it too
    chosen = _free_port(host, port)
    output.say(f"\n  domainkit is starting at http://{'localhost' if host == '127.0.0.1' else host}:{chosen}   (stop with Ctrl+C)\n")
    sys.stdout.flush()
    app = Path(__file__).resolve().parent.parent / "app.py"
    headless = "false" if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin" else "true"
    os.chdir(app.parent.parent)  # Streamlit reads .streamlit/config.toml from the working directory
    os.execv(
        sys.executable,
        [
            sys.executable, "-m", "streamlit", "run", str(app), "--server.address", host, "--server.port", str(chosen), "--server.headless", headless,
            "--browser.gatherUsageStats", "false", "--server.maxUploadSize", str(settings.upload_mb),
        ],
    )  # fmt: skip
