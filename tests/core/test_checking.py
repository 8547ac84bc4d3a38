from __future__ import annotations

import datetime
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from head_samples import head_tensors, write_heads
from safetensors.numpy import save

from core.checking import CheckReport, check_domain, check_folder
from core.checking.corpus import units
from core.checking.package import check_prompts
from core.checking.report import Findings
from core.errors import ManifestError
from core.manifest import load_manifest
from core.prompts import check_template
from core.registry import discover
from core.scaffold import write_domain
from core.settings import ROOT, Settings

TODAY = datetime.date(2026, 1, 15)
ABOUT = "corpus/en/about-this-assistant.md"
ITEMS = "evals/items.jsonl"


@pytest.fixture
def law(tmp_path: Path) -> Path:
    """A domain without a single problem."""
    return write_domain("law", into=tmp_path, today=TODAY)


def check(folder: Path, **options: Any) -> CheckReport:
    return check_folder(folder, today=TODAY, **options)


def lines(report: CheckReport) -> list[str]:
    return [str(problem) for problem in report.problems]


def edit(folder: Path, name: str, change: Callable[[str], str]) -> None:
    path = folder / name
    before = path.read_text("utf-8")
    after = change(before)
    assert after != before, "the edit changed nothing"
    path.write_text(after, "utf-8")


def replace(folder: Path, name: str, old: str, new: str) -> None:
    edit(folder, name, lambda text: text.replace(old, new, 1))


def edit_item(folder: Path, number: int, **values: Any) -> None:
    def change(text: str) -> str:
        rows = text.splitlines()
        rows[number - 1] = json.dumps({**json.loads(rows[number - 1]), **values}, ensure_ascii=False)
        return "\n".join(rows) + "\n"

    edit(folder, ITEMS, change)


def line_of(folder: Path, start: str, name: str = "domain.toml") -> int:
    return next(n for n, row in enumerate((folder / name).read_text("utf-8").split("\n"), start=1) if row.startswith(start))


def only(report: CheckReport) -> str:
    assert len(report.problems) == 1, lines(report)
    return str(report.problems[0])


def test_check_domain_checks_what_the_registry_found(law: Path) -> None:
    domain = discover(Settings(domains=str(law))).get("law")
    assert check_domain(domain, today=TODAY).problems == ()


@pytest.fixture(scope="module", params=["medical", "finance", "education"])
def shipped(request: pytest.FixtureRequest) -> CheckReport:
    """The report of a shipped domain."""
    return check_folder(ROOT / "domains" / request.param)


def test_check_folder_counts_what_a_shipped_domain_holds(shipped: CheckReport) -> None:
    report = shipped
    assert report.articles >= 60
    assert report.items >= 200


def test_check_folder_finds_no_error_in_a_shipped_domain(shipped: CheckReport) -> None:
    assert [str(problem) for problem in shipped.errors] == []


def test_check_folder_imports_no_model_and_no_framework() -> None:
    code = f"import sys; from pathlib import Path; from core.checking import check_folder; check_folder(Path({str(ROOT / 'domains' / 'finance')!r})); "
    code += "print([name for name in ('torch', 'transformers', 'langchain_core', 'onnxruntime', 'faiss') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The manifest and the small parts


def test_manifest_missing_is_one_problem(tmp_path: Path) -> None:
    assert "domain.toml: missing" in only(check(tmp_path))


def test_manifest_that_is_not_toml_is_named_with_its_line(law: Path) -> None:
    replace(law, "domain.toml", 'license = "CC-BY-4.0"', "license = ")
    problem = check(law).problems[0]
    assert (problem.severity, problem.file, problem.line) == ("error", "domain.toml", line_of(law, "license ="))


def test_manifest_names_every_wrong_key_and_its_line(law: Path) -> None:
    edit(law, "domain.toml", lambda text: text.replace('version = "0.1.0"', 'version = "one"').replace("maintainers =", "owner ="))
    found = {problem.line: problem.message for problem in check(law).errors}
    assert found[line_of(law, "version =")].startswith("version: ")
    assert found[line_of(law, "owner =")].startswith("unknown key 'owner'")


def test_manifest_without_chinese_texts_is_warned_about(law: Path) -> None:
    edit(law, "domain.toml", lambda text: "\n".join(row for row in text.split("\n") if not row.startswith("zh = ")))
    messages = " ".join(lines(check(law)))
    assert check(law).ok
    assert "title has no zh text" in messages
    assert "no starter questions in zh" in messages


def test_card_missing_is_warned_about(law: Path) -> None:
    (law / "README.md").unlink()
    assert only(check(law)).startswith("warning README.md: missing")


def test_policy_missing_is_warned_about(law: Path) -> None:
    (law / "policy/rules.toml").unlink()
    assert "no emergency gate" in only(check(law))


def test_policy_that_names_an_unknown_group_is_an_error_with_its_line(law: Path) -> None:
    replace(law, "policy/rules.toml", 'all = ["self_harm"]', 'all = ["harm"]')
    problem = check(law).errors[0]
    assert "names group 'harm'" in problem.message
    assert problem.line == line_of(law, 'all = ["harm"]', "policy/rules.toml") - 3


def test_policy_with_an_unused_group_and_notice_is_warned_about(law: Path) -> None:
    extra = '\n[groups.spare]\nen = ["x"]\n[notices.spare]\nen = "x"\nzh = "x"\n'
    edit(law, "policy/rules.toml", lambda text: text + extra)
    assert [problem.message for problem in check(law).warnings] == ["group 'spare' is not used by any rule", "notice 'spare' is not used by any rule"]


def test_policy_whose_rule_can_never_act_is_an_error(law: Path) -> None:
    edit(law, "policy/rules.toml", lambda text: text.replace('all = ["self_harm"]', 'all = ["self_harm", "empty"]') + "\n[groups.empty]\n")
    assert "rule 'crisis' can never act" in check(law).errors[0].message


def test_policy_that_gates_only_one_language_is_warned_about(law: Path) -> None:
    edit(law, "policy/rules.toml", lambda text: "\n".join(row for row in text.split("\n") if not row.startswith("zh = [")))
    assert "no rule has terms in zh" in only(check(law))


def test_policy_with_a_term_without_words_is_an_error(law: Path) -> None:
    replace(law, "policy/rules.toml", '"kill myself"', '".."')
    assert "'..' holds no word" in only(check(law))


def test_policy_with_two_rules_of_one_name_is_an_error(law: Path) -> None:
    edit(law, "policy/rules.toml", lambda text: text + '\n[[rules]]\nid = "crisis"\naction = "refuse"\nnotice = "crisis"\nall = ["self_harm"]\n')
    assert "two rules are called 'crisis'" in only(check(law))


@pytest.mark.parametrize(
    "template",
    [
        "{history}{passages}{question}",
        "{history}{passages}",
        "{history}{passages}{question}{name}",
        "{history}{passages}{question} {{literal}}",
        "{history}{passages}{question} {",
        "no variables",
        "{history}{passages}{question.__class__}",
        "{history}{passages}{}{question}",
    ],
)
def test_prompts_are_judged_as_the_prompt_filler_judges_them(law: Path, template: str) -> None:
    (law / "prompts/answer.en.md").write_text(template, "utf-8")
    findings = Findings(folder=law.resolve())
    check_prompts(findings, load_manifest(law))
    try:
        check_template(template, file="x")
    except ManifestError:
        assert len(findings.found) == 1
    else:
        assert findings.found == []


def test_prompts_of_an_unknown_name_are_warned_about(law: Path) -> None:
    (law / "prompts/anser.en.md").write_text("x")
    assert "not a prompt that is read" in only(check(law))


def test_calibration_that_does_not_parse_is_an_error(law: Path) -> None:
    (law / "calibration.json").write_text('{"thresholds": 1}')
    assert check(law).errors[0].file == "calibration.json"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "missing, but the manifest declares tools"),
        ("def other(a: In) -> Out: ...\n", "has no function 'pay'"),
        ("def pay(: ...\n", "not valid Python"),
        ("async def pay(a: In) -> Out: ...\n", "is async"),
        ("def pay(a: In, b: In) -> Out: ...\n", "exactly one annotated parameter"),
        ("def pay(a) -> Out: ...\n", "exactly one annotated parameter"),
        ("def pay(a: In): ...\n", "annotated to return"),
    ],
)
def test_tools_are_checked_without_running_them(law: Path, source: str | None, message: str) -> None:
    edit(law, "domain.toml", lambda text: text + '\n[tools]\nfunctions = ["pay"]\n')
    if source is not None:
        (law / "tools.py").write_text("raise RuntimeError('imported')\n" + source)
    assert message in only(check(law))


# Files


def test_files_name_a_link_that_leaves_the_folder(law: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    (law / "corpus/en/secret.md").symlink_to(tmp_path / "secret.md")
    report = check(law)
    assert any("secret.md: symbolic link that leaves" in line for line in lines(report))
    assert not report.ok


def test_files_name_a_linked_folder_that_leaves_and_do_not_enter_it(law: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "weights.pt").write_bytes(b"x")
    (law / "extra").symlink_to(tmp_path / "out")
    assert only(check(law)).startswith("error   extra: symbolic link that leaves")


def test_files_name_a_broken_link(law: Path) -> None:
    (law / "gone").symlink_to(law / "nowhere")
    assert "leads nowhere" in only(check(law))


def test_files_accept_a_link_that_stays_inside(law: Path) -> None:
    (law / "CARD.md").symlink_to("README.md")
    assert check(law).problems == ()


@pytest.mark.parametrize("name", ["adapter.bin", "deep/model.PT", "x.pkl", "x.pickle", "x.joblib", "x.ckpt"])
def test_files_refuse_formats_that_carry_code(law: Path, name: str) -> None:
    path = law / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    assert f"{name}: '{path.suffix.lower()}' files can carry code" in only(check(law))


@pytest.mark.parametrize(
    ("name", "content"), [("run.sh", b"echo"), ("lib.so", b"x"), ("picture", b"\x7fELF..."), ("data.csv", b"MZ\x90\x00"), ("note.txt", b"#!/bin/sh\n")]
)
def test_files_refuse_executables(law: Path, name: str, content: bytes) -> None:
    (law / name).write_bytes(content)
    assert f"{name}: an executable" in only(check(law))


def test_files_warn_about_an_execute_bit_and_stray_python(law: Path) -> None:
    (law / "README.md").chmod(0o755)
    (law / "helper.py").write_text("x = 1\n")
    messages = [problem.message for problem in check(law).warnings]
    assert messages == ["marked as executable; `chmod -x README.md`", "Python outside the tools module is never run; remove it or name it in [tools]"]


def test_files_refuse_a_text_that_is_too_large(law: Path) -> None:
    edit(law, "README.md", lambda text: text + "x" * 1_100_000)
    assert "README.md: 1.1 MB of text" in only(check(law))


def test_files_refuse_what_ingest_would_refuse_for_its_size(law: Path) -> None:
    with (law / "corpus" / "big.pdf").open("wb") as file:
        file.truncate(101_000_000)
    assert "corpus/big.pdf: 101 MB; the limit is 100 MB" in only(check(law))


def test_files_refuse_what_is_not_a_regular_file(law: Path) -> None:
    os.mkfifo(law / "pipe")
    assert "pipe: not a regular file" in only(check(law))


def adapter(law: Path, files: dict[str, str]) -> Path:
    folder = law / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "card.json").write_text(json.dumps({"files": files, "base": "x"}))
    return folder


WEIGHTS = {"adapter_model.safetensors": hashlib.sha256(b"weights").hexdigest()}


def test_adapter_with_the_stated_hashes_is_accepted(law: Path) -> None:
    adapter(law, WEIGHTS)
    assert check(law).problems == ()


def test_adapter_that_was_changed_is_an_error(law: Path) -> None:
    (adapter(law, WEIGHTS) / "adapter_model.safetensors").write_bytes(b"other")
    assert "does not have the hash" in only(check(law))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({**WEIGHTS, "gone.json": "0" * 64}, "which is not a file"),
        ({**WEIGHTS, "../domain.toml": "0" * 64}, "which is not a file"),
        ({**WEIGHTS, "/etc/hostname": "0" * 64}, "which is not a file"),
        ({"adapter_model.safetensors": "12"}, "not 64 hexadecimal digits"),
    ],
)
def test_adapter_card_that_states_nonsense_is_an_error(law: Path, files: dict[str, str], message: str) -> None:
    adapter(law, files)
    assert message in only(check(law))


def test_adapter_file_that_the_card_does_not_list_is_an_error(law: Path) -> None:
    (adapter(law, WEIGHTS) / "extra.json").write_text("{}")
    assert "extra.json: not listed in card.json" in only(check(law))


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', "{}"])
def test_adapter_card_without_hashes_is_an_error(law: Path, text: str) -> None:
    (adapter(law, WEIGHTS) / "card.json").write_text(text)
    assert "does not state hashes" in only(check(law))


# The corpus


def test_article_without_front_matter_is_an_error(law: Path) -> None:
    (law / "corpus/en/loose.md").write_text("# Loose\n\nText.\n")
    assert "corpus/en/loose.md: no front matter" in only(check(law))


def test_article_with_wrong_keys_is_named_with_lines(law: Path) -> None:
    edit(law, "corpus/en/adding-documents.md", lambda text: text.replace("group: Using the assistant", "grup: x"))
    found = {problem.message.split(";")[0]: problem.line for problem in check(law).errors if problem.file.endswith("en/adding-documents.md")}
    assert found["unknown key 'grup'"] == 5


def test_article_whose_topic_is_not_its_file_name_is_an_error(law: Path) -> None:
    (law / ABOUT).rename(law / "corpus/en/about.md")
    assert any("corpus/en/about.md:4: topic 'about-this-assistant' is not the file's name" in line for line in lines(check(law)))


def test_article_in_the_folder_of_another_language_is_an_error(law: Path) -> None:
    replace(law, ABOUT, "lang: en", "lang: zh")
    assert any("about-this-assistant.md:3: lang 'zh' in folder en/" in line for line in lines(check(law)))


def test_article_in_a_language_that_the_manifest_does_not_list_is_an_error(law: Path) -> None:
    replace(law, "domain.toml", 'languages = ["en", "zh"]', 'languages = ["en"]')
    assert any("lang 'zh' is not among the manifest's languages" in line for line in lines(check(law)))


def test_topic_in_two_files_of_one_language_is_an_error(law: Path) -> None:
    (law / "corpus/en/more").mkdir()
    (law / "corpus/en/more/about-this-assistant.md").write_text((law / ABOUT).read_text("utf-8").split("## ")[0] + "Other text follows here.\n")
    assert any("is also in corpus/en/about-this-assistant.md" in line for line in lines(check(law)))


def test_topic_without_its_other_language_is_warned_about(law: Path) -> None:
    (law / "corpus/zh/adding-documents.md").unlink()
    assert any("warning corpus/en/adding-documents.md: topic 'adding-documents' has no article in zh" in line for line in lines(check(law)))


@pytest.mark.parametrize(
    ("old", "new", "severity", "message"),
    [
        ("reviewed: 2026-01-15", "reviewed: 2026-01-17", "error", "lies in the future"),
        ("reviewed: 2026-01-15", "reviewed: 2026-02-30", "error", "day is out of range"),
        ("reviewed: 2026-01-15", "reviewed: '2026-02-30'", "error", "not a date"),
        ("reviewed: 2026-01-15", "reviewed: 2023-01-10", "warning", "more than 3 years ago"),
        ("    url: https://example.org/about", "    url: https://example.org/about\n    read: 2026-03-01", "error", "read 2026-03-01 lies in the future"),
        ("url: https://", "url: http://", "warning", "has no https url"),
        ("It does not search", "See [more](missing.md). It does not search", "warning", "links to 'missing.md', which does not exist"),
    ],
)
def test_article_facts_are_checked(law: Path, old: str, new: str, severity: str, message: str) -> None:
    replace(law, ABOUT, old, new)
    problem = check(law).problems[0]
    assert (problem.severity, problem.file) == (severity, ABOUT)
    assert message in problem.message


def test_article_reviewed_in_an_earlier_time_zone_is_accepted(law: Path) -> None:
    replace(law, ABOUT, "reviewed: 2026-01-15", "reviewed: 2026-01-16")
    assert check(law).problems == ()


def article(topic: str, body: str, lang: str = "en") -> str:
    front = (
        f"title: {topic}\nlang: {lang}\ntopic: {topic}\ngroup: g\nreviewed: 2026-01-01\nsources:\n  - {{title: t, publisher: p, url: 'https://example.org'}}\n"
    )
    return f"---\n{front}---\n{body}\n"


@pytest.mark.parametrize(("words", "part"), [(0, "no text below"), (10, "answers little"), (5_000, "split what is longer")])
def test_article_length_is_bounded(law: Path, words: int, part: str) -> None:
    (law / "corpus/en/size.md").write_text(article("size", " ".join(f"word{n}" for n in range(words))))
    assert any(part in line and "size.md" in line for line in lines(check(law)))


@pytest.mark.parametrize(("same", "severity"), [(200, "error"), (190, "error"), (150, "warning"), (60, None)])
def test_articles_that_resemble_each_other_are_found(law: Path, same: int, severity: str | None) -> None:
    body = [f"word{n}" for n in range(200)]
    (law / "corpus/en/one.md").write_text(article("one", " ".join(body)))
    (law / "corpus/en/two.md").write_text(article("two", " ".join([*body[:same], *(f"other{n}" for n in range(200 - same))])))
    found = [problem for problem in check(law).problems if "the same" in problem.message]
    assert [problem.severity for problem in found] == ([severity] if severity else [])


def test_articles_that_resemble_each_other_are_found_in_chinese(law: Path) -> None:
    text = (law / "corpus/zh/adding-documents.md").read_text("utf-8").split("---\n", 2)[2]
    (law / "corpus/zh/copy.md").write_text(article("copy", text.replace("修改之后", "改动之后"), "zh"), "utf-8")
    assert any("corpus/zh/copy.md" in str(problem) and "merge them" in problem.message for problem in check(law).errors)


def test_corpus_of_a_thousand_articles_is_compared_quickly(law: Path) -> None:
    house = "This house formula stands at the end of every article and says nothing about its topic at all."
    for n in range(1_000):
        (law / f"corpus/en/t{n}.md").write_text(article(f"t{n}", " ".join(f"w{n}x{m}" for m in range(60)) + " " + house))
    begun = time.process_time()
    report = check(law)
    assert time.process_time() - begun < 20
    assert not any("the same" in problem.message for problem in report.problems)


def test_corpus_that_is_empty_is_an_error(law: Path) -> None:
    for path in (law / "corpus").rglob("*.md"):
        path.unlink()
    (law / ITEMS).unlink()
    assert any("no document in it" in problem.message for problem in check(law).errors)


def test_corpus_file_of_an_unknown_format_is_warned_about(law: Path) -> None:
    (law / "corpus/picture.gif").write_bytes(b"GIF89a")
    assert "corpus/picture.gif: not read" in only(check(law))


def test_units_are_words_in_english_and_characters_in_chinese() -> None:
    assert units("Don't take 2 PILLS!", "en") == ("don't", "take", "2", "pills")
    assert units("每天 25 毫克，ACE", "zh") == ("每", "天", "25", "毫", "克", "ace")


# Questions


def test_item_with_an_unknown_key_is_an_error_with_its_line(law: Path) -> None:
    edit_item(law, 3, answer="x")
    problem = check(law).errors[0]
    assert (problem.file, problem.line) == (ITEMS, 3)
    assert "unknown key 'answer'" in problem.message


def test_item_that_is_not_json_is_an_error_with_its_line(law: Path) -> None:
    edit(law, ITEMS, lambda text: text + "{not json\n")
    assert only(check(law)).startswith(f"error   {ITEMS}:15: not JSON")


def test_id_that_occurs_in_two_files_is_an_error(law: Path) -> None:
    first = json.loads((law / ITEMS).read_text("utf-8").splitlines()[5])
    (law / "evals/more.jsonl").write_text(json.dumps({**first, "question": "Is there a student discount?"}) + "\n")
    assert "evals/more.jsonl:1: id 'law-en-006' is also in evals/items.jsonl:6" in only(check(law))


def test_question_in_dev_and_test_is_an_error(law: Path) -> None:
    edit_item(law, 7, question="how much does a LICENSE for this assistant cost, per month")
    assert "the dev question is also a test question (evals/items.jsonl:6)" in only(check(law))


def test_question_asked_twice_in_a_split_is_warned_about(law: Path) -> None:
    edit_item(law, 8, question="How much does a license for this assistant cost per month?", kind="qa", expect_status="abstained")
    assert "warning evals/items.jsonl:8: the same question as" in only(check(law))


def test_training_question_that_is_an_eval_question_is_an_error(law: Path) -> None:
    (law / "training").mkdir(exist_ok=True)
    rows = (law / ITEMS).read_text("utf-8").splitlines()
    (law / "training/questions.jsonl").write_text(json.dumps({**json.loads(rows[5]), "id": "t1"}) + "\n")
    assert "training/questions.jsonl:1: the training question is also a test question" in only(check(law))


GROUP = {"lang": "en", "document": "about-this-assistant", "answerable": False, "questions": ["who built the first printing press", "is it any good at chess"]}


def train(folder: Path, *rows: dict[str, Any]) -> None:
    (folder / "training").mkdir(exist_ok=True)
    (folder / "training/batch.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def test_training_group_is_checked_question_by_question(law: Path) -> None:
    item = json.loads((law / ITEMS).read_text("utf-8").splitlines()[1])
    (source,) = item["sources"]
    good = {"lang": "en", "document": source["document"], "quote": source["quote"], "questions": ["what would somebody ask", "and somebody else"]}
    train(law, GROUP, good)
    assert check(law).problems == ()
    train(law, GROUP, {**good, "questions": ["what would somebody ask", item["question"]]})
    assert "training/batch.jsonl:2: the training question is also a" in only(check(law))


def test_training_group_whose_quote_is_not_in_the_document_is_an_error(law: Path) -> None:
    train(law, {**GROUP, "answerable": True, "quote": "Questions can be asked in Latin.", "questions": ["may I write Latin"]})
    assert "training/batch.jsonl:1: quote is not in 'about-this-assistant': 'Questions can be asked in Latin.'" in only(check(law))


def test_training_group_that_is_not_valid_is_named_with_its_line(law: Path) -> None:
    train(law, GROUP, {**GROUP, "answerable": True})
    assert "training/batch.jsonl:2: " in only(check(law))
    assert "an answerable group needs the quote that answers" in only(check(law))


def test_training_question_asked_twice_is_warned_about(law: Path) -> None:
    train(law, GROUP, {**GROUP, "questions": [GROUP["questions"][0]]})
    assert "warning training/batch.jsonl:2: the same question as" in only(check(law))


def test_eval_set_holds_no_groups(law: Path) -> None:
    edit(law, ITEMS, lambda text: text + json.dumps(GROUP) + "\n")
    assert not check(law).ok


def test_files_of_question_heads_are_accepted(law: Path) -> None:
    train(law, GROUP)
    data = save(head_tensors(["licence"]))
    write_heads(law / "training", {"en": data}, encoder_id="all-MiniLM-L6-v2@53aa51172d14")
    assert check(law).problems == ()


def test_quote_that_is_not_in_the_document_is_an_error(law: Path) -> None:
    edit_item(law, 2, sources=[{"document": "about-this-assistant", "quote": "Questions can be asked in Latin."}])
    assert "items.jsonl:2: quote is not in 'about-this-assistant': 'Questions can be asked in Latin.'" in only(check(law))


def test_quote_that_stands_in_another_document_is_told(law: Path) -> None:
    edit_item(law, 2, sources=[{"document": "adding-documents", "quote": "Questions can be asked in English or Chinese."}])
    assert "it stands in 'about-this-assistant'" in only(check(law))


def test_quote_as_a_reader_sees_it_is_found_in_markdown(law: Path) -> None:
    replace(law, ABOUT, "Questions can be asked in English or Chinese.", "1. Questions can be asked\n   in **English** or\n   `Chinese`.")
    assert check(law).problems == ()


def test_quote_with_markdown_marks_is_told_what_to_quote(law: Path) -> None:
    quote = "can be brought back with `--undo` until the next reindex."
    edit_item(law, 2, sources=[{"document": "adding-documents", "quote": quote}])
    assert only(check(law)).endswith("without Markdown marks")


def test_quote_of_another_language_is_warned_about(law: Path) -> None:
    edit_item(law, 2, sources=[{"document": "about-this-assistant", "quote": "可以用中文或英文提问，助手用提问的语言回答。"}])
    assert "a en question quotes the zh article" in only(check(law))


def test_document_that_nobody_has_is_an_error(law: Path) -> None:
    edit_item(law, 2, sources=[{"document": "report-7", "quote": "x"}])
    assert "no document 'report-7' in the corpus or the library" in only(check(law))


def test_document_of_the_library_is_looked_up(law: Path) -> None:
    edit_item(law, 2, sources=[{"document": "report-7", "page": 3, "quote": "asked in English"}])
    pages = {("report-7", 3): "Questions are\nasked in  English."}
    assert check(law, elsewhere=lambda document, page: pages.get((document, page))).problems == ()
    report = check(law, elsewhere=lambda document, page: "other text")
    assert "quote is not in 'report-7' on page 3" in only(report)


def test_document_that_is_another_file_of_the_corpus_is_accepted(law: Path) -> None:
    (law / "corpus/records.jsonl").write_text('{"id": "report-7", "text": "long"}\n')
    edit_item(law, 2, sources=[{"document": "report-7", "quote": "x"}])
    assert check(law).problems == ()


def test_question_that_copies_eight_words_is_an_error(law: Path) -> None:
    edit_item(law, 6, question="Is it so that no question in the default profile leaves my machine?")
    assert check(law).problems == ()
    edit_item(law, 6, question="Which service answers questions about law from the documents in its own library?")
    assert "items.jsonl:6: the question copies the corpus" in only(check(law))


def test_question_that_copies_fourteen_characters_is_an_error(law: Path) -> None:
    edit_item(law, 12, question="为什么移除的文档会立即从答案中消失，在下一次重建？")
    assert "items.jsonl:12: the question copies the corpus" in only(check(law))
    edit_item(law, 12, question="移除的文档会立即从答案中没有吗？")
    assert check(law).problems == ()


@pytest.mark.parametrize(
    ("number", "values", "line"),
    [
        (2, {"sources": []}, "warning evals/items.jsonl:2: answerable, but names no source"),
        (2, {"answerable": False, "expect_status": "abstained"}, "warning evals/items.jsonl:2: not answerable, but names a source"),
        (6, {"expect_status": "answered"}, "error   evals/items.jsonl:6: not answerable, but expects status 'answered'"),
        (6, {"kind": "choice", "choices": ["a"]}, "error   evals/items.jsonl:6: a choice item needs two or more choices"),
        (2, {"kind": "numeric"}, "error   evals/items.jsonl:2: a numeric item needs an answer with a number"),
    ],
)
def test_item_that_contradicts_itself_is_named(law: Path, number: int, values: dict[str, Any], line: str) -> None:
    edit_item(law, number, **values)
    assert only(check(law)).startswith(line)


def test_domain_without_eval_items_is_warned_about(law: Path) -> None:
    (law / ITEMS).unlink()
    assert "no eval items" in only(check(law))


def test_report_lists_errors_first_and_is_stable(law: Path) -> None:
    (law / "README.md").unlink()
    (law / "x.pkl").write_bytes(b"")
    (law / "a.pkl").write_bytes(b"")
    first = lines(check(law))
    assert [line.split(":")[0] for line in first] == ["error   a.pkl", "error   x.pkl", "warning README.md"]
    assert first == lines(check(law))


def test_report_shows_hostile_file_names_on_one_line(law: Path) -> None:
    (law / "bad\nname\x1b[31m.pkl").write_bytes(b"")
    assert "bad?name?[31m.pkl" in only(check(law))


def test_check_folder_changes_nothing(law: Path) -> None:
    before = {path: path.read_bytes() for path in law.rglob("*") if path.is_file()}
    check(law)
    assert {path: path.read_bytes() for path in law.rglob("*") if path.is_file()} == before


# The fitted half of the gate


def examples(law: Path, *rows: dict[str, str], learned: tuple[str, ...] = ()) -> Path:
    tables = "".join(f'\n[[learned]]\nlabel = "{label}"\naction = "escalate"\nnotice = "crisis"\n' for label in learned)
    if tables:
        edit(law, "policy/rules.toml", lambda text: text + tables)
    path = law / "policy/examples.jsonl"
    path.write_text("".join(json.dumps({"lang": "en", **row}) + "\n" for row in rows), "utf-8")
    return path


def test_gate_label_without_an_example_is_an_error(law: Path) -> None:
    examples(law, {"text": "All is well.", "label": "benign"}, learned=("danger",))
    assert any("label 'danger' has no example" in problem.message for problem in check(law).errors)


def test_gate_example_whose_label_never_acts_is_warned_about(law: Path) -> None:
    examples(law, {"text": "Help!", "label": "danger"})
    assert "label 'danger' is not listed under [[learned]]" in only(check(law))


def test_gate_that_is_not_fitted_yet_is_warned_about(law: Path) -> None:
    examples(law, {"text": "Help!", "label": "danger"}, learned=("danger",))
    assert "policy/gate.json: missing; `domainkit calibrate`" in only(check(law))


def test_gate_fitted_on_other_examples_is_warned_about(law: Path) -> None:
    path = examples(law, {"text": "Help!", "label": "danger"}, learned=("danger",))
    gate = {"examples_sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "encoder": "x", "languages": {}}
    (law / "policy/gate.json").write_text(json.dumps(gate))
    assert check(law).problems == ()
    path.write_text(path.read_text("utf-8") + "\n", "utf-8")
    assert "was fitted on other examples" in only(check(law))


def test_gate_that_does_not_parse_is_an_error(law: Path) -> None:
    (law / "policy/gate.json").write_text("{}")
    assert {problem.file for problem in check(law).errors} == {"policy/gate.json"}


def test_gate_example_that_is_not_valid_is_named_with_its_line(law: Path) -> None:
    path = examples(law, {"text": "Fine.", "label": "benign"}, {"text": "", "label": "benign"})
    path.with_name("gate.json").unlink(missing_ok=True)
    assert only(check(law)).startswith("error   policy/examples.jsonl:2: text: ")


def test_gate_example_that_is_an_eval_question_is_an_error(law: Path) -> None:
    examples(law, {"text": "i can't go on, and I want to DIE!", "label": "benign"})
    assert "policy/examples.jsonl:1: the example is also an eval question (evals/items.jsonl:8)" in only(check(law))
