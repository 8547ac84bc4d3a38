from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import ManifestError
from core.eval_items import EvalItem, QuestionGroup, eval_files, parse_training_line, read_eval_items, read_training_questions, training_files
from core.manifest import Manifest, Policy, load_manifest, load_policy, read_front_matter, read_toml, split_front_matter

MINIMAL: dict[str, Any] = {
    "name": "toy",
    "version": "1.0.0",
    "languages": ["en"],
    "title": {"en": "Toy"},
    "description": {"en": "A toy."},
    "license": "CC0-1.0",
}
FRONT = """---
title: Tulips
lang: en
topic: tulips
group: Plants
reviewed: 2026-01-15
sources:
  - title: Gardening
    publisher: Example
    url: https://example.org/tulips
---
Body.
"""


def toml(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "domain.toml").write_text(text, "utf-8")
    return folder


def test_manifest_needs_only_what_has_no_sensible_default() -> None:
    manifest = Manifest.model_validate(MINIMAL)
    assert manifest.paths.corpus == "corpus"
    assert manifest.tools is None
    assert manifest.abstention.max_wrong_rate == 0.05


@pytest.mark.parametrize("key", sorted(MINIMAL))
def test_manifest_misses_each_required_key(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        Manifest.model_validate({k: v for k, v in MINIMAL.items() if k != key})


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Toy"},
        {"name": "toy-box"},
        {"name": "../toy"},
        {"version": "1.0"},
        {"languages": []},
        {"languages": ["en", "en"]},
        {"languages": ["de"]},
        {"title": {"zh": "玩具"}},
        {"title": {"en": ""}},
        {"surprise": 1},
        {"appearance": {"color": "red"}},
        {"appearance": {"color": "#12345g"}},
        {"abstention": {"max_wrong_rate": 0}},
        {"abstention": {"max_wrong_rate": 1}},
        {"gate": {"floors": {"source_right": 1.2}}},
        {"paths": {"corpus": "/etc"}},
        {"paths": {"corpus": "../other"}},
        {"paths": {"corpus": "a/../../b"}},
        {"tools": {"functions": []}},
        {"tools": {"module": "../tools.py", "functions": ["f"]}},
        {"tools": {"functions": ["os.system"]}},
    ],
)
def test_manifest_refuses_values_out_of_bounds(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate({**MINIMAL, **change})


def test_manifest_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate(MINIMAL).name = "other"  # type: ignore[misc]


@given(st.text(max_size=60))
def test_manifest_paths_never_leave_the_folder(path: str) -> None:
    try:
        manifest = Manifest.model_validate({**MINIMAL, "paths": {"corpus": path}})
    except ValidationError:
        return
    root = Path("/domain")
    assert (root / manifest.paths.corpus).resolve().is_relative_to(root)


def test_localized_falls_back_to_english() -> None:
    manifest = Manifest.model_validate(MINIMAL)
    assert manifest.title.get("zh") == "Toy"


def test_load_manifest_explains_an_unknown_key_in_one_line(tmp_path: Path) -> None:
    folder = toml(
        tmp_path / "toy", 'name = "toy"\nversion = "1.0.0"\nlanguages = ["en"]\nlicense = "x"\nauthor = "me"\n[title]\nen = "a"\n[description]\nen = "b"\n'
    )
    with pytest.raises(ManifestError, match=r"^toy/domain\.toml: unknown key 'author'; remove it") as caught:
        load_manifest(folder)
    assert "\n" not in str(caught.value)


def test_load_manifest_explains_a_wrong_value_and_how_many_more(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"toy/domain\.toml: version: .*got 'one' \(and 4 more\)"):
        load_manifest(toml(tmp_path / "toy", 'name = "toy"\nversion = "one"\n'))


@pytest.mark.parametrize(
    ("text", "message"), [(None, "missing; `domainkit new` writes one"), ("name = ", "not valid TOML"), ("#" * 1_000_001, "larger than 1 MB")]
)
def test_read_toml_names_the_file_and_what_is_wrong(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "domain.toml").write_text(text)
    with pytest.raises(ManifestError, match=message) as caught:
        read_toml(tmp_path / "domain.toml")
    assert "domain.toml" in str(caught.value)


def test_read_toml_refuses_bytes_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "domain.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="not valid TOML"):
        read_toml(tmp_path / "domain.toml")


def test_load_policy_without_a_file_has_no_rules(tmp_path: Path) -> None:
    assert load_policy(tmp_path, Manifest.model_validate(MINIMAL)) == Policy()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"all": ["nobody"]}, "names group 'nobody'; known: g"),
        ({"none": ["nobody"]}, "names group 'nobody'; known: g"),
        ({"notice": "nothing"}, "names notice 'nothing'; known: n"),
        ({"all": []}, "at least 1 item"),
        ({"action": "shout"}, "'escalate', 'refuse' or 'notice'"),
        ({"id": "Rule One"}, "should match pattern"),
    ],
)
def test_policy_refuses_rules_that_cannot_act(rule: dict[str, Any], message: str) -> None:
    whole = {"id": "r", "action": "refuse", "notice": "n", "all": ["g"], **rule}
    with pytest.raises(ValidationError, match=message):
        Policy.model_validate({"groups": {"g": {"en": ["x"]}}, "notices": {"n": {"en": "No."}}, "rules": [whole]})


def items(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "items.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def test_read_eval_items_reads_the_contract_and_skips_blank_lines(tmp_path: Path) -> None:
    path = items(tmp_path, {"id": "a", "question": "Why?", "sources": [{"document": "d", "page": 2, "quote": "q"}]}, "", {"id": "b", "question": "How?"})
    first, second = read_eval_items(path)
    assert first.sources[0].page == 2
    assert (second.lang, second.kind, second.split, second.answerable) == ("en", "qa", "test", True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{oops", r"items.jsonl:2: not JSON"),
        ({"id": "b"}, r"items.jsonl:2: question: Field required"),
        ({"id": "b", "question": "?", "hint": "x"}, r"items.jsonl:2: unknown key 'hint'"),
        ({"id": "a", "question": "?"}, r"items.jsonl:2: id 'a' occurs twice"),
        ({"id": "b", "question": "?", "expect_status": "maybe"}, r"items.jsonl:2: expect_status"),
        ({"id": "b", "question": "?", "sources": [{"document": "d", "page": 0}]}, r"items.jsonl:2: sources.0.page"),
    ],
)
def test_read_eval_items_names_file_and_line(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        list(read_eval_items(items(tmp_path, {"id": "a", "question": "Why?"}, row)))


@given(st.builds(EvalItem, id=st.text(min_size=1, max_size=20), question=st.text(min_size=1, max_size=200)))
def test_eval_items_survive_json(item: EvalItem) -> None:
    assert EvalItem.model_validate_json(item.model_dump_json()) == item


GROUP = {"lang": "en", "document": "tulips", "quote": "Plant them in October.", "questions": ["When?", "Which month?"]}


def test_question_group_is_one_item_per_question() -> None:
    first, second = parse_training_line(json.dumps(GROUP), name="batch:7")
    assert [(item.id, item.question) for item in (first, second)] == [("batch:7-1", "When?"), ("batch:7-2", "Which month?")]
    assert [(source.document, source.quote) for source in first.sources] == [("tulips", "Plant them in October.")]
    assert (first.lang, first.answerable, first.split, first.slice) == ("en", True, "dev", {})


def test_question_group_that_nothing_answers_names_the_document_it_is_near_to() -> None:
    (item,) = QuestionGroup.model_validate({"lang": "zh", "document": "tulips", "answerable": False, "questions": ["施什么肥？"]}).items(name="b:1")
    assert (item.answerable, item.sources, item.slice, item.lang) == (False, (), {"near": "tulips"}, "zh")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quote": ""}, "an answerable group needs the quote that answers; an unanswerable one has none"),
        ({"answerable": False}, "an answerable group needs the quote that answers; an unanswerable one has none"),
        ({"questions": []}, "at least 1 item"),
        ({"questions": ["?"] * 201}, "at most 200 items"),
        ({"questions": [""]}, "at least 1 character"),
        ({"questions": ["x" * 2_001]}, "at most 2000 characters"),
        ({"questions": "When?"}, "valid tuple"),
        ({"document": ""}, "at least 1 character"),
        ({"lang": "de"}, "'en' or 'zh'"),
        ({"id": "a"}, "Extra inputs are not permitted"),
    ],
)
def test_question_group_refuses_what_cannot_be_learned_from(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QuestionGroup.model_validate({**GROUP, **change})


@given(
    st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=5),
    st.booleans(),
    st.text(min_size=1, max_size=20),
    st.sampled_from(["en", "zh"]),
)
def test_question_group_items_say_what_the_group_says(questions: list[str], answerable: bool, quote: str, lang: str) -> None:
    line = json.dumps({"lang": lang, "document": "d", "answerable": answerable, "questions": questions, **({"quote": quote} if answerable else {})})
    items = parse_training_line(line, name="n")
    assert [item.question for item in items] == questions
    assert len({item.id for item in items}) == len(items)
    assert {(item.lang, item.answerable, tuple(source.quote for source in item.sources)) for item in items} == {
        (lang, answerable, (quote,) if answerable else ())
    }


def test_read_training_questions_reads_groups_and_single_items_in_order(tmp_path: Path) -> None:
    path = items(tmp_path, GROUP, "", {"id": "a", "question": "Why?"}, {**GROUP, "questions": ["In what month?"]})
    assert [(item.id, item.question) for item in read_training_questions(path)] == [
        ("items:1-1", "When?"), ("items:1-2", "Which month?"), ("a", "Why?"), ("items:4-1", "In what month?"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{oops", r"^items.jsonl:2: not JSON$"),
        ("[]", r"^items.jsonl:2: \(whole file\): "),
        ({"question": "Why?"}, r"^items.jsonl:2: id: Field required"),
        ({**GROUP, "hint": 1}, r"^items.jsonl:2: unknown key 'hint'"),
        ({**GROUP, "quote": ""}, r"^items.jsonl:2: .*an answerable group needs the quote"),
        ({**GROUP, "questions": ["ok", ""]}, r"^items.jsonl:2: questions.1: "),
    ],
)
def test_read_training_questions_names_file_and_line(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        list(read_training_questions(items(tmp_path, GROUP, row)))
    assert "\n" not in str(caught.value)


def test_read_eval_items_refuses_a_group(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"items.jsonl:1: "):
        list(read_eval_items(items(tmp_path, GROUP)))


def test_eval_and_training_files_come_in_name_order(tmp_path: Path) -> None:
    manifest = Manifest.model_validate(MINIMAL)
    for folder in ("evals", "training"):
        (tmp_path / folder).mkdir()
        for name in ("b.jsonl", "a.jsonl", "notes.txt"):
            (tmp_path / folder / name).write_text("")
    assert [path.name for path in eval_files(tmp_path, manifest)] == ["a.jsonl", "b.jsonl"]
    assert [path.name for path in training_files(tmp_path, manifest)] == ["a.jsonl", "b.jsonl"]
    assert eval_files(tmp_path / "gone", manifest) == []


def test_read_front_matter_reads_dates_as_text(tmp_path: Path) -> None:
    path = tmp_path / "tulips.md"
    path.write_text(FRONT, "utf-8")
    front = read_front_matter(path)
    assert front.reviewed == "2026-01-15"
    assert front.sources[0].url == "https://example.org/tulips"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("---\ntitle", "title", "no front matter"),
        ("title: Tulips", "title: [", "front matter is not YAML"),
        ("topic: tulips", "topic: Tulips and More", "topic"),
        ("sources:", "links:", "missing|unknown key|Field required"),
        ("https://", "ftp://", "sources.0.url"),
        ("lang: en", "lang: de", "'en' or 'zh'"),
        ("title: Tulips", "title: !!python/object/apply:os.system ['true']", "front matter is not YAML"),
    ],
)
def test_read_front_matter_names_the_file_and_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "tulips.md"
    path.write_text(FRONT.replace(old, new, 1), "utf-8")
    with pytest.raises(ManifestError, match=message) as caught:
        read_front_matter(path)
    assert "tulips.md" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=200))
def test_split_front_matter_loses_nothing(body: str) -> None:
    assert split_front_matter("---\ntitle: x\n---\n" + body) == ("title: x", body)
    assert split_front_matter("Text first.\n" + body) == ("", "Text first.\n" + body)
