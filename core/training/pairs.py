"""Question–text pairs for training: reading them, parting them by entity, and refusing those that an eval set asks. Trains nothing."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import UsageError
from core.eval_items import EvalItem
from core.text import normalize, term_set, terms
from core.types import Frozen

NEAR = 0.8
"""Share of content words that two questions have in common from which on they count as near-duplicates (Jaccard)."""
MAX_CHARS = 20_000
_TABLES = {".csv": ",", ".tsv": "\t"}
"""Delimiters by kind of file."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A question, a text that answers it, and what both are about: splits keep an entity whole."""

    id: str
    question: str
    text: str
    entity: str
    about: tuple[str, ...] = ()
    """Further things that it is about: a split keeps each of them whole too."""


class Columns(Frozen):
    """Names of the fields that hold the parts of a pair."""

    question: str = "question"
    text: str = "answer"
    entity: str = "focus"
    id: str = "qid"


@dataclass(frozen=True, kw_only=True)
class PairSplit:
    """Pairs to train on and pairs held out, with no entity, no question and no text in both."""

    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A training question that an eval item asks too, or nearly."""

    pair_id: str
    item_id: str
    exact: bool


def read_pairs(path: Path, *, columns: Columns | None = None) -> list[Pair]:
    """Read pairs from ``.jsonl`` or ``.csv``, either may end in ``.gz``; pairs without question or text are left out.

    Raises:
        UsageError: the file cannot be read, has no such fields, or holds no pair.
    """
    names = columns or Columns()
    found = []
    for number, row in enumerate(read_rows(path), start=1):
        if names.question not in row or names.text not in row:
            raise UsageError(f"{path.name}:{number}: has no field '{names.question}' or '{names.text}'; it has {', '.join(map(str, list(row)[:12]))}")
        question, text = (" ".join(str(row[name] or "").split())[:MAX_CHARS] for name in (names.question, names.text))
        if question and text:
            entity = normalize(str(row.get(names.entity) or "")) or hashlib.sha256(text.encode()).hexdigest()[:16]
            found.append(Pair(id=str(row.get(names.id) or number), question=question, text=text, entity=entity))
    if not found:
        raise UsageError(f"{path.name}: holds no pair of '{names.question}' and '{names.text}'")
    return found


def data_file(folder: Path, name: str) -> Path:
    """Return the path of a file of public data.

    Raises:
        UsageError: it is not there.
    """
    path = folder / name
    if not path.is_file():
        raise UsageError(f"no file '{name}' in '{folder.name}'; name the folder that holds the public data with --data")
    return path


def read_rows(path: Path) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a ``.jsonl``, ``.csv`` or ``.tsv`` file in UTF-8, each may end in ``.gz``.

    Raises:
        UsageError: of another kind, not readable, or a line is not a JSON object.
    """
    packed = path.suffix == ".gz"
    kind = Path(path.stem).suffix if packed else path.suffix
    if kind not in {".jsonl", *_TABLES}:
        raise UsageError(f"{path.name}: rows are read from .jsonl, .csv or .tsv, each may end in .gz")
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") if packed else path.open(encoding="utf-8-sig", newline="") as lines:
            yield from csv.DictReader(lines, delimiter=_TABLES[kind]) if kind in _TABLES else json_rows(lines, name=path.name)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path.name}: cannot be read ({error}); name a .jsonl, .csv or .tsv file in UTF-8, .gz allowed") from error


def json_rows(lines: Iterable[str], *, name: str) -> Iterator[Mapping[str, object]]:
    """Yield the objects of lines of JSON; empty lines are left out.

    Raises:
        UsageError: a line is not a JSON object.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{name}:{number}: not JSON") from error
        if not isinstance(row, dict):
            raise UsageError(f"{name}:{number}: not a JSON object")
        yield row


def split_by_entity(pairs: Sequence[Pair], *, held_out: int, seed: int = 0) -> PairSplit:
    """Hold out whole entities until at least ``held_out`` pairs are.

    What shares a question or a text with a held-out pair goes with it, so that nothing of the held-out part was seen in training.

    Raises:
        UsageError: fewer than ``held_out`` pairs would be left for training.
    """
    group = _connected(pairs)
    members: dict[int, list[Pair]] = defaultdict(list)
    for pair, root in zip(pairs, group, strict=True):
        members[root].append(pair)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    held: set[int] = set()
    count = 0
    for root in order:
        if count >= held_out:
            break
        # A group as large as half of what is asked for would be a held-out set of one subject.
        if len(members[root]) <= max(1, held_out // 2):
            held.add(root)
            count += len(members[root])
    split = PairSplit(
        train=tuple(pair for pair, root in zip(pairs, group, strict=True) if root not in held),
        held_out=tuple(pair for pair, root in zip(pairs, group, strict=True) if root in held),
    )
    if count < held_out or len(split.train) < held_out:
        raise UsageError(f"{len(pairs)} pairs are too few to hold out {held_out} by entity and train on as many; hold out fewer")
    return split


def _connected(pairs: Sequence[Pair]) -> list[int]:
    """Return for each pair the number of its group: pairs that share an entity, a question or a text, directly or through others."""
    parent = list(range(len(pairs)))

    def root(n: int) -> int:
        while parent[n] != n:
            parent[n] = parent[parent[n]]
            n = parent[n]
        return n

    first: dict[tuple[str, str], int] = {}
    for number, pair in enumerate(pairs):
        for key in (*(("entity", name) for name in (pair.entity, *pair.about)), ("question", normalize(pair.question)), ("text", pair.text)):
            other = first.setdefault(key, number)
            parent[root(number)] = root(other)
    return [root(number) for number in range(len(pairs))]


def find_leaks(pairs: Iterable[Pair], items: Iterable[EvalItem]) -> list[Leak]:
    """Return the pairs whose question an eval item asks in the same index terms or nearly (:data:`NEAR`)."""
    asked: dict[tuple[str, ...], str] = {}
    words: list[tuple[str, frozenset[str]]] = []
    for item in items:
        asked.setdefault(tuple(terms(item.question)), item.id)
        words.append((item.id, frozenset(term_set(item.question))))
    number = Counter(word for _, bag in words for word in bag)
    by_word: dict[str, list[int]] = defaultdict(list)
    for place, (_, bag) in enumerate(words):
        for word in _telling(bag, number):
            by_word[word].append(place)
    found = []
    for pair in pairs:
        exact = asked.get(tuple(terms(pair.question)))
        if exact is not None:
            found.append(Leak(pair_id=pair.id, item_id=exact, exact=True))
            continue
        bag = frozenset(term_set(pair.question))
        near = {n for word in _telling(bag, number) for n in by_word.get(word, ())}
        alike = next((words[n][0] for n in sorted(near) if len(bag & words[n][1]) >= NEAR * len(bag | words[n][1])), None)
        if alike is not None:
            found.append(Leak(pair_id=pair.id, item_id=alike, exact=False))
    return found


def _telling(bag: frozenset[str], number: Mapping[str, int]) -> list[str]:
    """Return the rarest words of a question, one of which a near-duplicate must have too.

    Two sets that share ``NEAR`` of their union lack at most ``(1 - NEAR) * len`` words of each other, so that among one more than that of the rarest,
    in one order for both, at least one is shared (prefix filtering: Chaudhuri, Ganti and Kaushik, "A primitive operator for similarity
    joins in data cleaning", ICDE 2006).
    """
    lacking = int((1 - NEAR) * len(bag) + 1e-9)
    return sorted(bag, key=lambda word: (number.get(word, 0), word))[: lacking + 1]
