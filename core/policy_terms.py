"""Matches the terms of a policy in one pass over a text. No regular expression is made from a domain's files, so none can hang.

English terms are runs of words: ``*`` ends a stem, ``..`` allows up to four words between, and a term never crosses the end of a
sentence. Chinese terms are runs of characters: ``..`` allows up to eight between, and no end of a sentence.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from core.manifest import Terms
from core.text import normalize

GAP_WORDS = 4
GAP_CHARACTERS = 8
STEM_ENDING = 20
"""Characters that may follow a stem."""
_TOKEN = re.compile(r"\d+(?:[.,:]\d+)*|\w+(?:'\w+)*")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_SENTENCE_END = frozenset(".!?。！？")
_MAX_MARKS = 4
"""More than this many marks between two words part them as a sentence's end does."""
_BARRIER = ""

_Words = tuple[tuple[str, bool], ...]
"""A run of words; True marks a stem."""


class TermMatcher:
    """The term groups of one policy, indexed by how their terms begin."""

    def __init__(self, groups: dict[str, Terms]) -> None:
        self._words: dict[str, list[tuple[str, tuple[_Words, ...]]]] = defaultdict(list)
        self._stems: dict[str, list[tuple[str, tuple[_Words, ...]]]] = defaultdict(list)
        self._characters: dict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
        for name, group in groups.items():
            for term in group.en:
                self._add_words(name, term)
            for term in group.zh:
                parts = tuple("".join(part.split()) for part in normalize(term).split("..") if part.strip())
                if parts:
                    self._characters[parts[0][0]].append((name, parts))
        self._stem_lengths = sorted({len(stem) for stem in self._stems})

    def _add_words(self, name: str, term: str) -> None:
        # A star of its own stands for some words too.
        written = " ".join(".." if word == "*" else word for word in normalize(term).split())
        parts = tuple(words for part in written.split("..") if (words := _term_words(part)))
        if parts:
            first, is_stem = parts[0][0]
            (self._stems if is_stem else self._words)[first].append((name, parts))

    def groups_in(self, text: str) -> frozenset[str]:
        """Return the names of the groups that have a term in ``text``, which is folded as :func:`core.text.normalize` does."""
        found: set[str] = set()
        self._match_words(_text_words(text), found)
        if self._characters and _HAN.search(text):
            self._match_characters(text, found)
        return frozenset(found)

    def _match_words(self, tokens: list[str], found: set[str]) -> None:
        for at, token in enumerate(tokens):
            if token == _BARRIER:
                continue
            candidates: Iterable[tuple[str, tuple[_Words, ...]]] = self._words.get(token, ())
            for length in self._stem_lengths:
                if length > len(token):
                    break
                if len(token) - length <= STEM_ENDING and (stems := self._stems.get(token[:length])):
                    candidates = [*candidates, *stems]
            for name, parts in candidates:
                if name not in found and _words_match(parts, tokens, at):
                    found.add(name)

    def _match_characters(self, text: str, found: set[str]) -> None:
        squeezed = re.sub(r"(?<=[\u3400-\u9fff])[ \t]+(?=[\u3400-\u9fff])", "", text)
        for at, character in enumerate(squeezed):
            for name, parts in self._characters.get(character, ()):
                if name not in found and _characters_match(parts, squeezed, at):
                    found.add(name)


def _term_words(part: str) -> _Words:
    words = []
    for word in part.split():
        is_stem = word.endswith("*")
        tokens = _TOKEN.findall(word.rstrip("*"))
        words += [(token, is_stem and n == len(tokens) - 1) for n, token in enumerate(tokens)]
    return tuple(words)


def _text_words(text: str) -> list[str]:
    tokens: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        between = text[end : match.start()]
        if tokens and (len(between) > _MAX_MARKS or not _SENTENCE_END.isdisjoint(between)):
            tokens.append(_BARRIER)
        tokens.append(match.group())
        end = match.end()
    return tokens


def _run_matches(words: _Words, tokens: list[str], at: int) -> bool:
    if at + len(words) > len(tokens):
        return False
    for n, (word, is_stem) in enumerate(words):
        token = tokens[at + n]
        if not (token == word or (is_stem and token.startswith(word) and len(token) - len(word) <= STEM_ENDING)):
            return False
    return True


def _words_match(parts: tuple[_Words, ...], tokens: list[str], at: int) -> bool:
    if not _run_matches(parts[0], tokens, at):
        return False
    if len(parts) == 1:
        return True
    after = at + len(parts[0])
    for start in range(after, min(after + GAP_WORDS + 1, len(tokens))):
        if _words_match(parts[1:], tokens, start):
            return True
        if tokens[start] == _BARRIER:
            return False
    return False


def _characters_match(parts: tuple[str, ...], text: str, at: int) -> bool:
    if not text.startswith(parts[0], at):
        return False
    if len(parts) == 1:
        return True
    after = at + len(parts[0])
    for start in range(after, min(after + GAP_CHARACTERS + 1, len(text))):
        if _characters_match(parts[1:], text, start):
            return True
        if text[start] in _SENTENCE_END:
            return False
    return False
