"""The server profile against real OpenAI-compatible servers: `transformers serve` on a tiny model, and the kit's own `serve`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tiny_model import SENTENCE, make_tiny_model

from core.assistant import Assistant
from core.encoder import Encoder
from core.errors import ModelError
from core.evidence import lock
from core.library import Library
from core.models import Draft, Request, make_answerer
from core.models.scripted import ScriptedAnswerer
from core.models.server import CHARS_PER_TOKEN, ServerAnswerer
from core.registry import Domain
from core.settings import Settings
from core.types import Hit, Passage, Span

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent
QUESTION = "When should I plant tulip bulbs?"


def wait_for(url: str, process: subprocess.Popen[str], *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer in {seconds} s")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.getbasetemp() / "tiny-model"
    return folder if (folder / "tokenizer.json").exists() else make_tiny_model(folder)


@pytest.fixture(scope="module")
def transformers_serve(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of Hugging Face's own OpenAI-compatible server, offline, with the tiny model."""
    port = free_port()
    cache = tmp_path_factory.mktemp("hub")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [str(Path(sys.executable).parent / "transformers"), "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (cache / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def server_settings(settings: Settings, transformers_serve: str, tiny_model: Path) -> Settings:
    return settings.model_copy(update={"profile": "server", "server_url": transformers_serve, "model": str(tiny_model), "max_answer_tokens": 48})


@pytest.fixture
def request_for() -> Request:
    passage = Passage(
        id="p",
        document_id="d",
        page=None,
        start=0,
        end=len(SENTENCE),
        text=SENTENCE,
        heading="Tulips",
        lang="en",
        sentences=(Span(start=0, end=len(SENTENCE)),),
    )
    hit = Hit(passage=passage, external_id="tulips", title="Tulips", source="tulips.md", url="", score=0.9, dense=0.9, keyword=0.9)
    return Request(question=QUESTION, lang="en", hits=(hit,), prompt="Passages: [1] tulip bulbs Question: When? Answer:", max_tokens=48)


def test_server_profile_answers_with_citations(server_settings: Settings, garden: Domain, garden_library: Library, encoder: Encoder) -> None:
    answer = Assistant(garden, settings=server_settings, encoder=encoder).ask(QUESTION)
    assert answer.status == "answered"
    assert answer.profile == "server"
    assert answer.model == f"server/{server_settings.model}"
    (claim,) = answer.claims
    assert claim.text == SENTENCE
    citation = claim.citations[0]
    assert garden_library.page_text(citation.document_id, citation.page)[citation.start : citation.end] == citation.quote == SENTENCE


def test_server_profile_shows_nothing_that_the_library_does_not_say(
    server_settings: Settings, garden: Domain, garden_library: Library, encoder: Encoder
) -> None:
    # The tiny model says its tulip sentence whatever is asked; among passages on compost nothing supports it.
    answer = Assistant(garden, settings=server_settings.model_copy(update={"top_k": 1}), encoder=encoder).ask("How long does compost take to be ready?")
    assert answer.status == "abstained"
    assert "October" not in answer.text


def test_server_answerer_streams_the_text_of_the_answer(server_settings: Settings, request_for: Request) -> None:
    answerer = make_answerer(server_settings)
    assert isinstance(answerer, ServerAnswerer)
    assert answerer.answer(request_for) == Draft(text=SENTENCE)
    assert "".join(answerer.stream(request_for)) == SENTENCE


def test_server_answerer_keeps_to_max_tokens(server_settings: Settings, request_for: Request) -> None:
    short = ServerAnswerer(server_settings).answer(request_for.model_copy(update={"max_tokens": 3})).text
    assert SENTENCE.startswith(short)
    assert short != SENTENCE


def test_server_answerer_names_the_adapter_as_the_model(server_settings: Settings, request_for: Request, tiny_model: Path) -> None:
    answerer = ServerAnswerer(server_settings.model_copy(update={"model": "not-there"}))
    assert answerer.answer(request_for.model_copy(update={"adapter": str(tiny_model)})).text == SENTENCE
    with pytest.raises(ModelError, match=r"127\.0\.0\.1"):
        answerer.answer(request_for)


def test_evidence_lock_keeps_and_removes_the_same_text_for_both_profiles(request_for: Request) -> None:
    told = f"{SENTENCE} Plant tulip bulbs in October, about 95 cm deep. Unicorns adore marzipan."
    draft = ScriptedAnswerer({"tulip": told}).answer(request_for)
    assert [claim.text for claim in lock(draft, request_for.hits)] == [SENTENCE]


Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@pytest.fixture
def stand_in() -> Iterator[Callable[[Reply], tuple[Settings, list[dict[str, Any]]]]]:
    """A server that behaves as a test wants: for the ways in which servers fail."""
    running: list[ThreadingHTTPServer] = []

    def start(reply: Reply) -> tuple[Settings, list[dict[str, Any]]]:
        seen: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                seen.append({"path": self.path, "authorization": self.headers["authorization"], **body})
                reply(self, body)

            def do_GET(self) -> None:
                seen.append({"path": self.path})
                reply(self, {})

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        running.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return Settings(profile="server", model="m", server_url=f"http://127.0.0.1:{server.server_port}/v1", server_key="sk-secret"), seen

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, *, kind: str = "application/json") -> None:
    handler.send_response(status)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def completion(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    ).encode()


def test_server_answerer_sends_what_every_server_reads(stand_in: Any, request_for: Request) -> None:
    settings, seen = stand_in(lambda handler, body: send(handler, 200, completion("I don't know.")))
    assert ServerAnswerer(settings).answer(request_for) == Draft()
    (sent,) = seen
    assert sent["path"] == "/v1/chat/completions"
    assert sent["authorization"] == "Bearer sk-secret"
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("m", 0, 48)
    assert sent["messages"] == [{"content": request_for.prompt, "role": "user"}]
    assert "max_completion_tokens" not in sent


def test_server_answerer_takes_the_first_listed_model(stand_in: Any, request_for: Request) -> None:
    listing = json.dumps({"object": "list", "data": [{"id": "first", "object": "model"}, {"id": "second", "object": "model"}]}).encode()
    settings, seen = stand_in(lambda handler, body: send(handler, 200, listing if not body else completion("Tulips.")))
    answerer = ServerAnswerer(settings.model_copy(update={"model": ""}))
    assert answerer.answer(request_for).text == "Tulips."
    assert answerer.answer(request_for).text == "Tulips."
    assert answerer.name == "server/first"
    assert [item["path"] for item in seen] == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]
    assert seen[1]["model"] == "first"
    empty, _ = stand_in(lambda handler, body: send(handler, 200, b'{"object": "list", "data": []}'))
    with pytest.raises(ModelError, match="lists no model"):
        ServerAnswerer(empty.model_copy(update={"model": ""})).answer(request_for)


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (401, b'{"error": {"message": "bad key sk-secret"}}', "DOMAINKIT_SERVER_KEY"),
        (403, b"{}", "DOMAINKIT_SERVER_KEY"),
        (404, b'{"error": {"message": "no such model"}}', "does not know 'm'"),
        (400, b'{"error": {"message": "context length"}}', "DOMAINKIT_TOP_K"),
        (429, b"{}", "overloaded"),
        (500, b"<html>boom</html>", "HTTP 500"),
        (200, b"<html>a login page</html>", "not an OpenAI chat completion"),
        (200, b"{}", "not an OpenAI chat completion"),
        (200, b"[1, 2]", "not an OpenAI chat completion"),
        (200, b'{"choices": []}', "not an OpenAI chat completion"),
        (200, b'{"choices": null}', "not an OpenAI chat completion"),
    ],
)
def test_server_answerer_explains_what_a_server_says(stand_in: Any, request_for: Request, status: int, body: bytes, advice: str) -> None:
    settings, _ = stand_in(lambda handler, _: send(handler, status, body))
    answerer = ServerAnswerer(settings, retries=0)
    with pytest.raises(ModelError, match=advice) as caught:
        answerer.answer(request_for)
    message = str(caught.value)
    assert settings.server_url.split("/")[2] in message
    assert "sk-secret" not in message
    assert "\n" not in message


def test_server_answerer_explains_silence_and_absence(stand_in: Any, request_for: Request) -> None:
    settings, _ = stand_in(lambda handler, body: time.sleep(3))
    with pytest.raises(ModelError, match=r"within 0\.2 s"):
        ServerAnswerer(settings, timeout=0.2, retries=0).answer(request_for)
    gone = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:\d+ cannot be reached: start it"):
        ServerAnswerer(settings.model_copy(update={"server_url": gone}), retries=0).answer(request_for)
    with pytest.raises(ModelError, match="cannot be reached"):
        list(ServerAnswerer(settings.model_copy(update={"server_url": gone}), retries=0).stream(request_for))


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://127.0.0.1/v1", "http://", "http://127.0.0.1:99999/v1", "file:///etc/passwd"])
def test_server_answerer_refuses_what_is_no_address(url: str) -> None:
    with pytest.raises(ModelError, match="DOMAINKIT_SERVER_URL"):
        ServerAnswerer(Settings(profile="server", server_url=url))


def chunk(text: str) -> bytes:
    piece = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }
    return b"data: " + json.dumps(piece).encode() + b"\n\n"


def test_server_answerer_cuts_an_endless_stream_off(stand_in: Any, request_for: Request) -> None:
    def endless(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(chunk("tulips " * 20))
        except OSError:
            return

    settings, _ = stand_in(endless)
    text = "".join(ServerAnswerer(settings).stream(request_for))
    assert len(text) <= request_for.max_tokens * CHARS_PER_TOKEN


def test_server_answerer_says_when_a_stream_breaks_off(stand_in: Any, request_for: Request) -> None:
    def broken(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("content-length", "100000")
        handler.end_headers()
        handler.wfile.write(chunk("Plant tulip bulbs"))

    settings, _ = stand_in(broken)
    with pytest.raises(ModelError, match=r"model server at 127\.0\.0\.1"):
        list(ServerAnswerer(settings).stream(request_for))


@pytest.fixture(scope="module")
def kit_serve(settings: Settings, garden: Domain, garden_library: Library) -> Iterator[str]:
    """Address of `domainkit serve` in a process of its own, on a free port, with a token."""
    program = "import typer; from ui.commands import serving; app = typer.Typer(); app.callback()(lambda: None); serving.register(app); app()"
    environment = {**os.environ, "DOMAINKIT_HOME": str(settings.home), "DOMAINKIT_DOMAINS": str(garden.folder), "DOMAINKIT_API_TOKEN": "kit-token"}
    command = [sys.executable, "-c", program, "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            assert told["token_required"] is True
            wait_for(told["url"].removesuffix("/v1") + "/healthz", process)
            yield told["url"]
        finally:
            process.terminate()
            process.wait(20)


def test_kit_serve_speaks_to_openais_own_client(kit_serve: str) -> None:
    from openai import OpenAI

    with OpenAI(base_url=kit_serve, api_key="kit-token", max_retries=0) as client:
        assert "garden" in [model.id for model in client.models.list()]
        reply: Any = client.chat.completions.create(model="garden", messages=[{"role": "user", "content": QUESTION}])
        message = reply.choices[0].message
        assert SENTENCE in message.content
        mark = message.annotations[0].model_dump()
        assert message.content[mark["start_index"] : mark["end_index"]] == reply.domainkit["claims"][0]["text"]
        streamed = client.chat.completions.create(model="garden", messages=[{"role": "user", "content": QUESTION}], stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in streamed) == message.content


def test_kit_serve_is_a_server_for_the_server_profile(kit_serve: str, settings: Settings, request_for: Request) -> None:
    answerer = ServerAnswerer(settings.model_copy(update={"server_url": kit_serve, "server_key": "kit-token", "model": "garden"}))
    request = request_for.model_copy(update={"prompt": QUESTION})
    assert answerer.answer(request).text.startswith(SENTENCE)
    assert "".join(answerer.stream(request)) == answerer.answer(request).text
    with pytest.raises(ModelError, match="DOMAINKIT_SERVER_KEY"):
        ServerAnswerer(settings.model_copy(update={"server_url": kit_serve, "server_key": "wrong"}), retries=0).answer(request)


def test_kit_serve_says_that_a_port_is_taken(settings: Settings) -> None:
    program = "from ui.commands.serving import serve; serve(port=int(__import__('sys').argv[1]))"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = {**os.environ, "DOMAINKIT_HOME": str(settings.home)}
        command = [sys.executable, "-c", program, str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=60)
    assert "choose another --port" in done.stderr
