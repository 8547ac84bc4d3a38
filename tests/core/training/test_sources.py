"""Public data sets become pairs as their TOML file says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from core.errors import UsageError
from core.training.sources import Join, PairRule, read_source, source_pairs

SHIPPED = sorted((Path(__file__).resolve().parents[3] / "data" / "sources").glob("*.toml"))


def write(folder: Path, name: str, rows: list[dict[str, object]]) -> None:
    with gzip.open(folder / name, "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def rule(**more: object) -> PairRule:
    return PairRule.model_validate({"name": "terms", "file": "terms.jsonl.gz", "question": "What is {term}?", "text": "{meaning}", "entity": "{book}"} | more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows: list[dict[str, object]] = [
        {"term": "yield", "meaning": "what a bond pays", "book": "bonds", "kind": None, "page": "a"},
        {"term": "par", "meaning": "the face value", "book": "bonds", "kind": "preface", "page": "b"},
        {"term": "share", "meaning": "a part of a firm", "book": "stocks", "kind": "Key terms", "page": "c"},
    ]
    write(tmp_path, "terms.jsonl.gz", rows)
    tables: list[dict[str, object]] = [{"id": "a", "rows": [["", "2019"], ["Sales", "7"], ["", ""]]}, {"id": "c", "rows": [{"title": "Hint", "text": "Add."}]}]
    write(tmp_path, "tables.jsonl.gz", tables)
    return tmp_path


def test_templates_are_filled_from_the_row(folder: Path) -> None:
    first, *_ = source_pairs(rule(), folder)
    assert (first.id, first.question, first.text, first.entity) == ("terms:1", "What is yield?", "what a bond pays", "terms:bonds")


def test_entity_is_one_thing_a_line(folder: Path) -> None:
    first, *_ = source_pairs(rule(entity="{book}\nPage {page}\n{kind}"), folder)
    assert (first.entity, first.about) == ("terms:bonds", ("terms:page a",))


def test_rows_are_kept_by_value_and_left_out_by_pattern(folder: Path) -> None:
    assert [pair.question for pair in source_pairs(rule(where={"book": ["bonds"]}), folder)] == ["What is yield?", "What is par?"]
    assert [pair.question for pair in source_pairs(rule(where_not={"kind": ["preface", "key *"]}), folder)] == ["What is yield?"]
    assert [pair.question for pair in source_pairs(rule(where_not={"kind": [""]}), folder)] == ["What is par?", "What is share?"]


def test_joined_rows_give_tables_cell_by_cell_and_hints_line_by_line(folder: Path) -> None:
    joined = rule(text="{table.rows}", join=Join(file="tables.jsonl.gz", on={"page": "id"}, name="table"))
    assert {pair.question: pair.text for pair in source_pairs(joined, folder)} == {"What is yield?": "| 2019\nSales | 7", "What is share?": "Hint\nAdd."}


def test_short_questions_and_texts_are_left_out(folder: Path) -> None:
    assert [pair.question for pair in source_pairs(rule(least_chars=15), folder)] == ["What is yield?", "What is share?"]
    assert source_pairs(rule(least_words=4), folder) == []


def test_field_that_a_row_lacks_is_named_with_those_it_has(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"terms.jsonl.gz:1: has no field 'definition'; it has term, meaning"):
        source_pairs(rule(text="{definition}"), folder)


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the folder that holds the public data with --data"):
        source_pairs(rule(), tmp_path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_source_states_its_licence_and_has_pairs(path: Path) -> None:
    source = read_source(path)
    assert source.license.startswith(("CC BY", "MIT", "public filings")) and source.attribution and source.url.startswith("https://")


def test_unknown_source_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "medquad.toml").write_text("")
    with pytest.raises(UsageError, match="did you mean 'medquad'"):
        read_source(tmp_path / "medquat.toml")


@pytest.mark.parametrize(("text", "reason"), [("title =", "is not TOML"), ('title = "x"', "url"), ('title = "x"\nurls = 1', "urls|url")])
def test_source_of_another_form_is_one_clear_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(UsageError, match=reason):
        read_source(tmp_path / "a.toml")


def test_questions_of_one_text_are_thinned_to_the_same_few(tmp_path: Path) -> None:
    write(tmp_path, "terms.jsonl.gz", [{"term": f"t{n}", "meaning": "one text" if n < 9 else "another", "book": "b"} for n in range(12)])
    found = source_pairs(rule(per_text=4), tmp_path)
    assert [pair.text for pair in found].count("one text") == 4 and len(found) == 7
    assert found == source_pairs(rule(per_text=4), tmp_path)


def test_source_without_rules_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("".join(f'{key} = "x"\n' for key in ("title", "url", "version", "license", "attribution")))
    with pytest.raises(UsageError, match=r"neither \[\[pairs\]\] nor \[\[rows\]\]"):
        read_source(tmp_path / "a.toml")
