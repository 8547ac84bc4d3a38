"""The shapes of the HTTP API: OpenAI's chat completions in, and out with the citations beside the text.

Knows the wire format only: no web framework, no assistant. What OpenAI's schema has and the kit has no use for is ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.documents.splitting import estimate_tokens
from core.types import Answer, Citation, Turn

MAX_MESSAGES = 200
MAX_TURNS = 10
MAX_TURN_CHARS = 2_000
"""Earlier turns only help to understand a follow-up, so their ends are cut."""


def _writable(text: str) -> str:
    """Replace lone surrogates, which JSON can carry and which can be neither stored nor sent back."""
    return text.encode("utf-8", "replace").decode("utf-8")


class ChatMessage(BaseModel):
    """One message. ``content`` is text, or parts that are all of type ``text``; images and files are refused."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _text_of_parts(cls, value: object) -> object:
        if isinstance(value, str):
            return _writable(value)
        if not isinstance(value, list):
            return value
        texts = []
        for part in value[:100]:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise ValueError('only text is read: a part is {"type": "text", "text": "..."}')
            texts.append(part["text"])
        return _writable("\n".join(texts))


class StreamOptions(BaseModel):
    """OpenAI's ``stream_options``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A chat completion request. ``model`` is a domain's name; system messages have no effect: a domain brings its own rules."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    lang: Literal["", "en", "zh"] = Field(default="", description="language of the answer, by default the question's own (an extension)")

    @field_validator("messages")
    @classmethod
    def _ends_with_a_question(cls, value: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...]:
        if value[-1].role != "user" or not value[-1].content:
            raise ValueError("the last message must be the user's question")
        return value

    @property
    def question(self) -> str:
        """The last user message."""
        return self.messages[-1].content or ""

    @property
    def history(self) -> tuple[Turn, ...]:
        """The earlier exchanges: each user message with the assistant message that follows it."""
        turns: list[Turn] = []
        asked = ""
        for message in self.messages[:-1]:
            text = (message.content or "")[:MAX_TURN_CHARS]
            if message.role == "user":
                asked = text
            elif message.role == "assistant" and asked and text:
                turns.append(Turn(question=asked, answer=text))
                asked = ""
        return tuple(turns[-MAX_TURNS:])


class Annotation(BaseModel):
    """A citation of the claim that stands at ``content[start_index:end_index]``; ``claim`` counts from 0."""

    type: Literal["citation"] = "citation"
    citation: Citation
    claim: int
    start_index: int
    end_index: int


def content_of(answer: Answer) -> str:
    """Return what a client shows: the answer, and under it the notice, which must not get lost on the way."""
    return f"{answer.text}\n\n{answer.notice}" if answer.notice and answer.notice != answer.text else answer.text


def annotations_of(answer: Answer) -> list[Annotation]:
    """Return one annotation per citation, with the claim's place in :func:`content_of`."""
    found: list[Annotation] = []
    at = 0
    for number, claim in enumerate(answer.claims):
        start = answer.text.index(claim.text, at)
        at = start + len(claim.text)
        found.extend(Annotation(citation=citation, claim=number, start_index=start, end_index=at) for citation in claim.citations)
    return found


def usage_of(answer: Answer) -> dict[str, int]:
    """Return estimated token counts: a quoting assistant has no tokens, but clients expect the numbers."""
    asked, said = estimate_tokens(answer.question), estimate_tokens(content_of(answer))
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def completion(answer: Answer, *, created: int) -> dict[str, Any]:
    """Return a ``chat.completion`` object; the whole answer object is under ``domainkit``."""
    message = {
        "role": "assistant",
        "content": content_of(answer),
        "refusal": None,
        "annotations": [annotation.model_dump(mode="json") for annotation in annotations_of(answer)],
    }
    return {
        "id": f"chatcmpl-{answer.id}",
        "object": "chat.completion",
        "created": created,
        "model": answer.domain,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage_of(answer),
        "domainkit": answer.model_dump(mode="json"),
    }


def events(answer: Answer, *, created: int, include_usage: bool = False) -> Iterator[str]:
    """Yield the server-sent events of a streamed completion. Only locked text is streamed, so nothing is ever withdrawn."""

    def chunk(choices: list[dict[str, Any]], **more: Any) -> str:
        head = {"id": f"chatcmpl-{answer.id}", "object": "chat.completion.chunk", "created": created, "model": answer.domain}
        return f"data: {json.dumps({**head, 'choices': choices, **more}, ensure_ascii=False, allow_nan=False)}\n\n"

    def choice(delta: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    yield chunk(choice({"role": "assistant", "content": ""}))
    for piece in re.findall(r"\S{1,12}\s*|\s+", content_of(answer)):
        yield chunk(choice({"content": piece}))
    marks = [annotation.model_dump(mode="json") for annotation in annotations_of(answer)]
    yield chunk(choice({"annotations": marks}, "stop"), domainkit=answer.model_dump(mode="json"))
    if include_usage:
        yield chunk([], usage=usage_of(answer))
    yield "data: [DONE]\n\n"


def error_body(message: str, *, kind: str, code: str) -> dict[str, Any]:
    """Return an error in OpenAI's shape."""
    return {"error": {"message": _writable(message), "type": kind, "param": None, "code": code}}
