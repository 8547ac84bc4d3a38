from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import scaffold
from core.checking import check_folder
from core.errors import UsageError
from core.manifest import load_manifest, load_policy
from core.policy import Gate
from core.prompts import check_template
from core.registry import discover
from core.scaffold import check_name, template_files, write_domain
from core.settings import Settings

TODAY = datetime.date(2026, 1, 15)


def test_write_domain_passes_the_check_without_a_single_problem(tmp_path: Path) -> None:
    report = check_folder(write_domain("law", into=tmp_path, today=TODAY), today=TODAY)
    assert report.problems == ()
    assert report.articles == 4
    assert report.items >= 10


def test_write_domain_is_found_by_the_registry(tmp_path: Path) -> None:
    folder = write_domain("case_law", into=tmp_path)
    domain = discover(Settings(domains=str(tmp_path))).get("case_law")
    assert domain.folder == folder
    assert domain.manifest.title.en == "Case Law"


def test_write_domain_leaves_no_placeholder_and_no_code(tmp_path: Path) -> None:
    folder = write_domain("law", into=tmp_path)
    for path in (p for p in folder.rglob("*") if p.is_file()):
        text = path.read_text("utf-8")
        assert not any(mark in text for mark in ("@NAME@", "@TITLE@", "@TODAY@", "TODO")), path
        assert path.suffix != ".py"


def test_write_domain_brings_prompts_that_the_core_accepts(tmp_path: Path) -> None:
    folder = write_domain("law", into=tmp_path)
    prompts = sorted((folder / "prompts").iterdir())
    assert [path.name for path in prompts] == ["answer.en.md", "answer.zh.md"]
    for path in prompts:
        check_template(path.read_text("utf-8"), file=path.name)


@pytest.mark.parametrize("text", ["I want to kill myself", "i really don't want to live anymore", "我不想活了", "I have suicidal thoughts"])
def test_write_domain_brings_a_crisis_gate_that_acts(tmp_path: Path, text: str) -> None:
    folder = write_domain("law", into=tmp_path)
    decision = Gate(load_policy(folder, load_manifest(folder))).decide(text, "en")
    assert decision is not None
    assert decision.action == "escalate"


@pytest.mark.parametrize(
    "text", ["What are the symptoms of suicidal thoughts?", "Which file formats can I add?", "想死你了，老朋友", "How is a contract ended?"]
)
def test_write_domain_brings_a_crisis_gate_that_lets_questions_pass(tmp_path: Path, text: str) -> None:
    folder = write_domain("law", into=tmp_path)
    assert Gate(load_policy(folder, load_manifest(folder))).decide(text, "en") is None


def test_write_domain_refuses_an_existing_folder_and_leaves_it_alone(tmp_path: Path) -> None:
    (tmp_path / "law").mkdir()
    (tmp_path / "law" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists in that folder already"):
        write_domain("law", into=tmp_path)
    assert [path.name for path in (tmp_path / "law").iterdir()] == ["mine.txt"]


def test_write_domain_refuses_a_dangling_link_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "law").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists"):
        write_domain("law", into=tmp_path)


def test_write_domain_refuses_a_name_that_another_domain_has(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="called 'law' already"):
        write_domain("law", into=tmp_path, taken={"law"})


def test_write_domain_refuses_to_nest_in_a_domain(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is itself a domain"):
        write_domain("inner", into=write_domain("outer", into=tmp_path))


def test_write_domain_makes_missing_parents(tmp_path: Path) -> None:
    assert (write_domain("law", into=tmp_path / "a" / "b") / "domain.toml").is_file()


def test_write_domain_names_a_parent_that_cannot_hold_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another folder with --into"):
        write_domain("law", into=tmp_path / "file" / "sub")


def test_write_domain_leaves_nothing_when_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: object, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scaffold.os, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        write_domain("law", into=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_template_files_name_the_manifest_last() -> None:
    names = [path.as_posix() for path in template_files()]
    assert names[-1] == "domain.toml"
    assert len(names) == len(set(names)) == 11


@given(st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True))
def test_check_name_accepts_what_the_manifest_accepts(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "Law", "1law", "law-firm", "../law", "a" * 41, "law\n", "rechtß", "法律", " law"])
def test_check_name_refuses_what_the_manifest_refuses(name: str) -> None:
    with pytest.raises(UsageError, match="not a name for a domain"):
        check_name(name)
