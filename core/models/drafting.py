"""From a model's raw text to a draft: hidden reasoning is dropped, "I don't know." becomes an empty draft. Loads nothing.

Shared by the answerers that talk to a language model; knows neither how the text was made nor what the evidence says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from core.models import Draft

NO_ANSWER = ("i don't know", "i do not know", "我不知道")
"""What the prompt templates tell a model to write when the passages do not answer, without the closing full stop."""
_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"
_LONGEST = max(len(phrase) for phrase in NO_ANSWER) + 2


def _folded(text: str) -> str:
    return " ".join(text.replace("\u2019", "'").casefold().split())


def says_no_answer(text: str) -> bool:
    """Whether the whole text is one of the :data:`NO_ANSWER` phrases; a longer text that holds one is an answer to check."""
    return _folded(text).strip(" .。!！\"'*") in NO_ANSWER


def _may_become_no_answer(text: str) -> bool:
    folded = _folded(text).lstrip(" \"'*")
    return len(folded) <= _LONGEST and any(phrase.startswith(folded[: len(phrase)]) for phrase in NO_ANSWER)


def visible(pieces: Iterable[str]) -> Iterator[str]:
    """Yield what a reader may see of a model's pieces.

    A leading ``<think>`` block is dropped. Text is held back as long as it may still turn out to be "I don't know.", which
    yields nothing at all. Leading space is dropped, and so is trailing space.
    """
    held = ""
    begun = False
    for piece in pieces:
        held += piece
        if not begun:
            held = _without_reasoning(held)
            if not held or _THINK_OPEN.startswith(held) or held.startswith(_THINK_OPEN) or _may_become_no_answer(held):
                continue
            begun = True
        ready = held.rstrip()
        if ready:
            yield ready
            held = held[len(ready) :]
    if not begun:
        rest = _without_reasoning(held).rstrip()
        if rest and not rest.startswith(_THINK_OPEN) and not says_no_answer(rest):
            yield rest


def _without_reasoning(text: str) -> str:
    text = text.lstrip()
    if text.startswith(_THINK_OPEN) and _THINK_CLOSE in text:
        return text.split(_THINK_CLOSE, 1)[1].lstrip()
    return text


def to_draft(text: str) -> Draft:
    """Return the draft of a model's whole text; the same text that :func:`visible` yields, joined."""
    return Draft(text="".join(visible([text])))


def neutralize(text: str, *, markers: Iterable[str]) -> str:
    """Return ``text`` with every control marker of a model ("<|im_end|>", "</s>") broken up.

    Passages and questions are written by others: a marker in them would let their author end the user's turn and speak
    as the system. A space goes in place of a marker's first character, so that no two halves can join into another one.
    """
    found = [re.escape(marker) for marker in sorted(set(markers), key=len, reverse=True) if len(marker) > 1]
    if not found:
        return text
    pattern = re.compile("|".join(found))
    while True:
        text, count = pattern.subn(lambda match: match.group()[1:] if match.group()[0] == " " else " " + match.group()[1:], text)
        if not count:
            return text
