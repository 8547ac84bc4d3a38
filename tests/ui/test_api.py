"""The HTTP API over the test garden: real library, real encoder, real ASGI stack."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

import ui.api
from core.errors import ModelError, UsageError
from core.library import Library
from core.models import Draft, Request
from core.models.engine import Busy
from core.models.scripted import ScriptedAnswerer
from core.registry import Domain
from core.settings import Settings
from ui.api import create_app
from ui.completions import ChatRequest
from ui.guard import MAX_BODY, is_loopback

QUESTION = "When should I plant tulip bulbs?"
LOCAL = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def served(settings: Settings, garden: Domain, garden_library: Library) -> Settings:
    """Settings under which the garden is among the domains."""
    return settings.model_copy(update={"domains": str(garden.folder)})


@pytest.fixture(scope="module")
def client(served: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(served, token=""), base_url=LOCAL, raise_server_exceptions=False) as opened:
        yield opened


def ask(client: TestClient, text: Any = QUESTION, **more: Any) -> Any:
    return client.post("/v1/chat/completions", json={"model": "garden", "messages": [{"role": "user", "content": text}], **more})


def deltas(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def is_error(response: Any, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in response.text
    return str(error["message"])


def test_api_answers_in_the_shape_of_a_chat_completion(client: TestClient) -> None:
    body = ask(client).json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "garden"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert "October" in body["choices"][0]["message"]["content"]
    assert body["domainkit"]["status"] == "answered"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]


def test_api_annotations_index_their_claims_exactly(client: TestClient, garden_library: Library) -> None:
    body = ask(client).json()
    message, claims = body["choices"][0]["message"], body["domainkit"]["claims"]
    assert len(message["annotations"]) == sum(len(claim["citations"]) for claim in claims) > 0
    for mark in message["annotations"]:
        assert message["content"][mark["start_index"] : mark["end_index"]] == claims[mark["claim"]]["text"]
        citation = mark["citation"]
        assert citation in claims[mark["claim"]]["citations"]
        text = garden_library.page_text(citation["document_id"], citation["page"])
        assert text[citation["start"] : citation["end"]] == citation["quote"]


def test_api_annotations_index_a_claim_that_occurs_twice() -> None:
    from core.types import Answer, Citation, Claim, Timings
    from ui.completions import annotations_of

    citation = Citation(document_id="d", external_id="e", title="t", source="s", page=None, start=0, end=5, quote="Same.", sha256="0" * 64)
    claim = Claim(text="Same.", support=1.0, citations=(citation,))
    answer = Answer(
        id="1", domain="d", question="q", lang="en", status="answered", text="Same. Same.", notice="", claims=(claim, claim), hits=(), confidence=1.0,
        profile="embedded", model="m", adapter="", generation=1, timings_ms=Timings(retrieve=0, answer=0, total=0),
    )  # fmt: skip
    assert [(mark.start_index, mark.end_index) for mark in annotations_of(answer)] == [(0, 5), (6, 11)]


def test_api_shows_the_disclaimer_under_the_answer(client: TestClient) -> None:
    assert ask(client).json()["choices"][0]["message"]["content"].endswith("\n\nGeneral gardening information.")


def test_api_escalates_and_refuses_like_the_assistant(client: TestClient) -> None:
    crisis = ask(client, "I want to die").json()
    assert crisis["domainkit"]["status"] == "escalated"
    assert crisis["choices"][0]["message"]["content"] == "Please call your local emergency number now."
    assert crisis["choices"][0]["message"]["annotations"] == []


def test_api_streams_the_same_content_and_annotations(client: TestClient) -> None:
    whole = ask(client).json()["choices"][0]["message"]
    streamed = ask(client, stream=True)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    chunks = deltas(streamed.text)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"][0]["delta"]["annotations"] == whole["annotations"]
    assert chunks[-1]["domainkit"]["status"] == "answered"


def test_api_streams_usage_only_when_asked(client: TestClient) -> None:
    chunks = deltas(ask(client, stream=True, stream_options={"include_usage": True}).text)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert all("usage" not in chunk for chunk in deltas(ask(client, stream=True).text))


def test_api_answers_chinese(client: TestClient) -> None:
    body = ask(client, "什么时候种郁金香？").json()
    assert body["domainkit"]["lang"] == "zh"
    content = body["choices"][0]["message"]["content"]
    assert content.startswith(body["domainkit"]["text"])
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in deltas(ask(client, "什么时候种郁金香？", stream=True).text)) == content


def test_api_reads_earlier_messages_as_history(client: TestClient) -> None:
    messages = [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "How should I prune roses?"},
        {"role": "assistant", "content": "Prune roses in February or March, before the buds open."},
        {"role": "user", "content": "And what are those dark blotches on their leaves?"},
    ]
    body = client.post("/v1/chat/completions", json={"model": "garden", "messages": messages}).json()
    assert body["domainkit"]["hits"][0]["title"] == "Roses"


def test_chat_request_pairs_questions_with_the_answers_that_follow() -> None:
    contents = [
        ("user", "lost"),
        ("user", "q1"),
        ("assistant", "a1"),
        ("assistant", "stray"),
        ("user", "q2"),
        ("tool", "t"),
        ("assistant", "a2"),
        ("user", "now"),
    ]
    request = ChatRequest.model_validate({"model": "m", "messages": [{"role": role, "content": text} for role, text in contents]})
    assert [(turn.question, turn.answer) for turn in request.history] == [("q1", "a1"), ("q2", "a2")]
    assert request.question == "now"


def test_api_reads_text_parts_and_refuses_others(client: TestClient) -> None:
    assert ask(client, [{"type": "text", "text": QUESTION}]).json()["domainkit"]["status"] == "answered"
    message = is_error(ask(client, [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]), 400, "invalid_request")
    assert "only text is read" in message


def test_api_lists_models_and_domains(client: TestClient) -> None:
    models = client.get("/v1/models").json()
    assert models["object"] == "list"
    assert "garden" in [model["id"] for model in models["data"]]
    assert client.get("/v1/models/garden").json()["id"] == "garden"
    garden = next(domain for domain in client.get("/v1/domains").json()["domains"] if domain["name"] == "garden")
    assert garden["documents"] == 5
    assert garden["title"] == {"en": "Garden", "zh": "园艺"}
    assert client.get("/healthz").json() == {"status": "ok"}


def test_api_answers_an_unknown_model_with_the_known_ones(client: TestClient) -> None:
    body = {"model": "gardn", "messages": [{"role": "user", "content": QUESTION}]}
    message = is_error(client.post("/v1/chat/completions", json=body), 404, "model_not_found")
    assert "did you mean 'garden'" in message
    is_error(client.get("/v1/models/gardn"), 404, "model_not_found")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"model": "garden"}', b'{"model": "garden", "messages": []}', b"[" * 100_000, b'{"model":' * 50_000,
     b'{"model": "garden", "messages": [{"role": "user", "content": 1}]}', b'{"model": "garden", "messages": [{"role": "assistant", "content": "x"}]}',
     b'{"model": "garden", "messages": [{"role": "user", "content": ' + b"9" * 5_000 + b"}]}", b"\xff\xfe\x00",
     b'{"model": "garden", "messages": [{"role": "user", "content": "x"}], "stream": "perhaps"}'],
)  # fmt: skip
def test_api_refuses_a_bad_body(client: TestClient, body: bytes) -> None:
    is_error(client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"}), 400, "invalid_request")


@pytest.mark.parametrize("content", ['"tulip bulbs \\udfff"', '[{"type": "text", "text": "tulip bulbs \\ud800"}]'])
@pytest.mark.parametrize(("model", "status"), [("garden", 200), ("\\ud800", 400)])
def test_api_survives_lone_surrogates(client: TestClient, model: str, status: int, content: str) -> None:
    raw = f'{{"model": "{model}", "messages": [{{"role": "user", "content": {content}}}]}}'
    assert client.post("/v1/chat/completions", content=raw, headers={"content-type": "application/json"}).status_code == status


def test_api_refuses_a_question_that_is_too_long(client: TestClient) -> None:
    assert "4,000" in is_error(ask(client, "tulips " * 1_000), 400, "invalid_request")


def test_api_refuses_a_large_body_before_parsing(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    is_error(client.post("/v1/chat/completions", content=b"x" * (MAX_BODY + 1), headers=headers), 413, "request_too_large")

    def endless() -> Iterator[bytes]:
        for _ in range(1_000):
            yield b"x" * 10_000

    is_error(client.post("/v1/chat/completions", content=endless(), headers=headers), 413, "request_too_large")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:8080", "[::1", "169.254.169.254"])
def test_api_refuses_foreign_host_names(client: TestClient, host: str) -> None:
    is_error(client.get("/v1/models", headers={"host": host}), 400, "invalid_host")


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST"])
def test_api_answers_to_loopback_names(client: TestClient, host: str) -> None:
    assert client.get("/v1/models", headers={"host": host}).status_code == 200


def test_api_refuses_requests_from_other_web_pages(client: TestClient) -> None:
    is_error(client.get("/v1/models", headers={"origin": "https://evil.example"}), 403, "invalid_origin")
    is_error(client.get("/v1/models", headers={"origin": "null"}), 403, "invalid_origin")
    assert client.get("/v1/models", headers={"origin": "http://localhost:3000"}).status_code == 200


def test_api_gives_unknown_paths_and_methods_the_error_shape(client: TestClient) -> None:
    is_error(client.get("/v1/embeddings"), 404, "not_found")
    is_error(client.get("/v1/chat/completions"), 405, "method_not_allowed")


def test_api_wants_the_token_everywhere_but_at_the_health_check(served: Settings) -> None:
    with TestClient(create_app(served, token="s3cret-s3cret"), base_url=LOCAL) as client:
        assert client.get("/healthz").status_code == 200
        refused = client.get("/v1/models")
        is_error(refused, 401, "invalid_api_key")
        assert refused.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer wrong", "Bearer", "Basic s3cret-s3cret", "Bearer s3cret-s3cret2", "Bearer s3cret-s3cre"):
            is_error(client.get("/v1/models", headers={"authorization": wrong}), 401, "invalid_api_key")
        assert client.get("/v1/models", headers={"authorization": "Bearer s3cret-s3cret"}).status_code == 200
        is_error(client.get("/openapi.json"), 401, "invalid_api_key")


def test_api_reads_the_token_from_the_environment(served: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ui.api.TOKEN_VARIABLE, "from-the-environment")
    with TestClient(create_app(served), base_url=LOCAL) as client:
        is_error(client.get("/v1/models"), 401, "invalid_api_key")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_api_refuses_to_leave_loopback_without_a_token(served: Settings, host: str) -> None:
    with pytest.raises(UsageError, match="DOMAINKIT_API_TOKEN"):
        create_app(served, host=host, token="")


def test_api_behind_a_token_answers_to_any_name(served: Settings) -> None:
    with TestClient(create_app(served, host="0.0.0.0", token="t0ken"), base_url="http://assistant.example") as client:
        assert client.get("/v1/models", headers={"authorization": "Bearer t0ken"}).status_code == 200


def test_is_loopback_knows_addresses() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "localhost.evil.example", "10.0.0.1", "", "127.0.0.1.evil.example"))


def test_api_keeps_supported_sentences_and_removes_others(served: Settings) -> None:
    told = "Plant tulip bulbs in October, about 15 cm deep. Plant tulip bulbs in October, about 95 cm deep. Unicorns adore marzipan."
    with TestClient(create_app(served, token="", answerer=ScriptedAnswerer({"tulip": told})), base_url=LOCAL) as client:
        body = ask(client).json()
    assert [claim["text"] for claim in body["domainkit"]["claims"]] == ["Plant tulip bulbs in October, about 15 cm deep."]
    assert "95" not in body["choices"][0]["message"]["content"]


class Raising:
    """An answerer whose model is in trouble."""

    name = "raising"
    needs_prompt = False

    def __init__(self, error: Exception) -> None:
        self._error = error

    def answer(self, request: Request) -> Draft:
        raise self._error

    def stream(self, request: Request) -> Iterator[str]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ModelError("the model server at 127.0.0.1:9 cannot be reached: start it"), 503, "model_unavailable"),
        (Busy("32 requests are waiting"), 429, "overloaded"),
        (RuntimeError("secret detail"), 500, "internal_error"),
    ],
)
def test_api_explains_a_model_in_trouble(served: Settings, error: Exception, status: int, code: str) -> None:
    with TestClient(create_app(served, token="", answerer=Raising(error)), base_url=LOCAL, raise_server_exceptions=False) as client:
        for stream in (False, True):
            response = ask(client, stream=stream)
            message = is_error(response, status, code)
            assert "secret detail" not in message
            assert (response.headers.get("retry-after") == "1") == (status == 429)


def test_api_says_that_a_library_is_missing(settings: Settings, garden: Domain, tmp_path: Path) -> None:
    empty = settings.model_copy(update={"domains": str(garden.folder), "home": tmp_path})
    (tmp_path / "encoders").symlink_to(settings.home / "encoders")
    with TestClient(create_app(empty, token=""), base_url=LOCAL) as client:
        assert "domainkit reindex garden" in is_error(ask(client), 503, "domain_unavailable")


class Slow:
    """An answerer that waits until it is let go."""

    name = "slow"
    needs_prompt = False

    def __init__(self) -> None:
        self.go = threading.Event()

    def answer(self, request: Request) -> Draft:
        assert self.go.wait(60)
        return Draft()

    def stream(self, request: Request) -> Iterator[str]:
        yield self.answer(request).text


def test_api_turns_away_what_it_cannot_take_in(served: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui.api, "WAITING", 3)
    slow = Slow()
    statuses: list[int] = []
    first_refusal = threading.Event()

    with TestClient(create_app(served, token="", answerer=slow), base_url=LOCAL) as client:

        def one() -> None:
            response = ask(client)
            statuses.append(response.status_code)
            if response.status_code == 429:
                assert response.headers["retry-after"] == "1"
                first_refusal.set()

        threads = [threading.Thread(target=one) for _ in range(12)]
        for thread in threads:
            thread.start()
        assert first_refusal.wait(60)
        slow.go.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 429}
        assert statuses.count(200) >= 3
        assert ask(client).status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["garden", "medical", ""]) | JSON,
        "messages": st.lists(
            st.fixed_dictionaries({}, optional={"role": st.sampled_from(["user", "assistant", "system"]) | JSON, "content": st.text(max_size=40) | JSON}), max_size=4
        )
        | JSON,
        "stream": st.booleans() | JSON,
        "stream_options": JSON,
        "lang": st.sampled_from(["en", "zh", ""]) | JSON,
    },
)  # fmt: skip


@examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODY)
def test_api_never_fails_on_any_body(client: TestClient, body: dict[str, Any]) -> None:
    response = client.post("/v1/chat/completions", content=json.dumps(body), headers={"content-type": "application/json"})
    # The shipped domains have no library in this home, which is a 503 that says so; nothing else may be 5xx.
    assert response.status_code in {200, 400, 404} or response.json()["error"]["code"] == "domain_unavailable"
