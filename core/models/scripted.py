"""An answerer that says what a script says: for tests, the demo and work on the user interface. Loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from core.models import Draft, Request


class ScriptedAnswerer:
    """Answers by the first script key that occurs in the question; else echoes the first sentence of the first hit.

    Args:
        script: text by substring of the question (case-insensitive).
    """

    name = "scripted"
    needs_prompt = True

    def __init__(self, script: Mapping[str, str] | None = None) -> None:
        self._script = {key.casefold(): text for key, text in (script or {}).items()}
        self.requests: list[Request] = []

    def answer(self, request: Request) -> Draft:
        """Return the scripted text as a free-text draft, so that the evidence lock has to check it."""
        self.requests.append(request)
        folded = request.question.casefold()
        for key, text in self._script.items():
            if key in folded:
                return Draft(text=text)
        if not request.hits:
            return Draft()
        passage = request.hits[0].passage
        span = passage.sentences[0]
        return Draft(text=passage.text[span.start - passage.start : span.end - passage.start])

    def stream(self, request: Request) -> Iterator[str]:
        """Yield the draft word by word."""
        for word in self.answer(request).text.split(" "):
            yield word + " "
