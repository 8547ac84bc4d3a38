"""Public data sets as training pairs: a TOML file says what a set is, whose, and how its rows become pairs. Knows no set and no domain."""

from __future__ import annotations

import random
import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from core.errors import UsageError, unknown
from core.text import normalize
from core.training.pairs import MAX_CHARS, Pair, data_file, read_rows
from core.training.table_rows import RowRule, row_pairs
from core.types import Frozen

_FIELD = re.compile(r"\{([a-z_]+(?:\.[a-z_]+)?)\}")


class Join(Frozen):
    """Another file whose rows complete a row: ``{as.field}`` reads the fields of the row that has the same values in ``on``."""

    file: str
    on: dict[str, str]
    """Names of the fields here and there that must be equal."""
    name: str
    where: dict[str, tuple[str, ...]] = {}


class PairRule(Frozen):
    """How the rows of one file become pairs; ``{field}`` in a template is the row's field, lists joined line by line."""

    name: str
    """What its pairs are called in a report."""
    file: str
    """Below the folder of the public data."""
    question: str
    text: str
    entity: str
    """What a pair is about, one thing a line; a split keeps each of them whole."""
    where: dict[str, tuple[str, ...]] = {}
    """Keep rows whose field is one of these."""
    where_not: dict[str, tuple[str, ...]] = {}
    """Leave rows out whose field matches one of these patterns whole; ``*`` stands for anything."""
    join: Join | None = None
    least_words: int = Field(default=1, ge=1)
    """A question of fewer words is left out."""
    least_chars: int = Field(default=1, ge=1)
    """A text of fewer characters is left out."""
    replace: dict[str, str] = {}
    """What stands in a text, and what stands there instead."""
    per_text: int = Field(default=0, ge=0)
    """Keep at most so many questions of one text, drawn at random; 0: all."""


class DataSource(Frozen):
    """A public data set and the terms of its use."""

    title: str
    url: str
    version: str
    """Commit or release that was read."""
    license: str
    attribution: str
    pairs: tuple[PairRule, ...] = ()
    rows: tuple[RowRule, ...] = ()

    @model_validator(mode="after")
    def _some_rule(self) -> DataSource:
        if not self.pairs and not self.rows:
            raise ValueError("has neither [[pairs]] nor [[rows]]")
        return self


def all_pairs(source: DataSource, folder: Path) -> list[Pair]:
    """Return the pairs that all rules of a source make; see :func:`source_pairs` and :func:`row_pairs`."""
    return [pair for rule in source.pairs for pair in source_pairs(rule, folder)] + [
        pair for rule in source.rows for pair in row_pairs(rule, read_rows(data_file(folder, rule.file)))
    ]


def read_source(path: Path) -> DataSource:
    """Read a source's TOML file.

    Raises:
        UsageError: missing, not TOML or not of the schema; an unknown name is answered with the known ones.
    """
    try:
        return DataSource.model_validate(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise unknown("data source", path.stem, sorted(other.stem for other in path.parent.glob("*.toml"))) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name}: is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def source_pairs(rule: PairRule, folder: Path) -> list[Pair]:
    """Return the pairs that a rule makes of its file.

    Args:
        rule: how.
        folder: where the public data lies.

    Raises:
        UsageError: a file is missing or a row lacks a field that the rule names.
    """
    joined = _joined(rule.join, folder) if rule.join else {}
    kept = []
    for number, row in enumerate(read_rows(data_file(folder, rule.file)), start=1):
        if not _wanted(row, rule.where, rule.where_not):
            continue
        fields: dict[str, Any] = dict(row)
        if rule.join is not None:
            other = joined.get(tuple(_plain(row.get(here)) for here in rule.join.on))
            if other is None:
                continue
            fields |= {f"{rule.join.name}.{key}": value for key, value in other.items()}
        question, text, entity = (_filled(template, fields, rule=rule, number=number) for template in (rule.question, rule.text, rule.entity))
        for old, new in rule.replace.items():
            text = text.replace(old, new)
        question, text = " ".join(question.split())[:MAX_CHARS], text.strip()[:MAX_CHARS]
        if len(question.split()) >= rule.least_words and len(text) >= rule.least_chars and text != question:
            first, *more = [f"{rule.name}:{normalize(line)}" for line in entity.splitlines() if line.strip()] or [f"{rule.name}:"]
            kept.append(Pair(id=f"{rule.name}:{number}", question=question, text=text, entity=first, about=tuple(more)))
    return _thinned(kept, rule.per_text) if rule.per_text else kept


def _thinned(pairs: list[Pair], most: int) -> list[Pair]:
    """Keep at most so many pairs of one text, drawn at random but always the same ones."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        numbers[pair.text].append(number)
    kept = {n for text, places in numbers.items() for n in (random.Random(text).sample(places, most) if len(places) > most else places)}
    return [pair for number, pair in enumerate(pairs) if number in kept]


def _wanted(row: Mapping[str, object], where: Mapping[str, tuple[str, ...]], where_not: Mapping[str, tuple[str, ...]]) -> bool:
    from fnmatch import fnmatchcase

    return all(_plain(row.get(field)) in values for field, values in where.items()) and not any(
        fnmatchcase(_plain(row.get(field)).casefold(), pattern.casefold()) for field, patterns in where_not.items() for pattern in patterns
    )


def _joined(join: Join, folder: Path) -> dict[tuple[str, ...], Mapping[str, object]]:
    found: dict[tuple[str, ...], Mapping[str, object]] = {}
    for row in read_rows(data_file(folder, join.file)):
        if _wanted(row, join.where, {}):
            found.setdefault(tuple(_plain(row.get(there)) for there in join.on.values()), row)
    return found


def _filled(template: str, fields: Mapping[str, object], *, rule: PairRule, number: int) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in fields:
            raise UsageError(f"{rule.file}:{number}: has no field '{match[1]}'; it has {', '.join(list(fields)[:12])}")
        return _plain(fields[match[1]])

    return _FIELD.sub(value, template)


def _plain(value: object) -> str:
    """Return a field as text: rows of tables cell by cell, lists line by line, of objects their texts."""
    if value is None:
        return ""
    if isinstance(value, list):
        rows = [" | ".join(map(_plain, item)) if isinstance(item, list) else _plain(item) for item in value]
        return "\n".join(row for row in rows if row.strip(" |"))
    if isinstance(value, dict):
        return _plain([value.get("title"), value.get("text")])
    return str(value)
