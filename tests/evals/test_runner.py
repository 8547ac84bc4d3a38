from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core.assistant import Assistant
from core.errors import ManifestError, UsageError
from core.eval_items import EvalItem
from core.manifest import load_manifest
from core.registry import Domain
from core.settings import Settings
from core.types import Status
from evals.datasets import load_items
from evals.lockfile import changed, make_lock, tree_sha256
from evals.runner import Run, aggregate, judge, list_runs, load_run, run_domain
from evals.runs import find_run


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    """Settings whose runs go to a folder of the test."""
    return settings.model_copy(update={"home": tmp_path / "home"})


@pytest.fixture
def run(garden: Domain, own: Settings, assistant: Assistant) -> Run:
    return run_domain(garden, settings=own, assistant=assistant)


def write_items(path: Path, *items: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), "utf-8")
    return path


def test_run_judges_every_item(run: Run) -> None:
    results = {item.id: item for item in run.items}
    assert list(results) == ["g1", "g2", "g3", "g4"]
    assert results["g1"].right and results["g1"].reason == ""
    assert results["g1"].cited[0].endswith("Plant tulip bulbs in October, about 15 cm deep.")
    assert results["g2"].expected_status is Status.ABSTAINED
    assert results["g3"].status is Status.ESCALATED and results["g3"].right
    assert all(item.spans_hold for item in run.items)
    assert all(bool(item.reason) != item.right for item in run.items)


def test_run_scores_every_language_and_all(run: Run) -> None:
    assert {score.slice for score in run.scores} == {"all", "en", "zh"}
    everything = run.score("status")
    assert everything is not None and everything.n == 4
    assert 0 <= everything.low <= everything.value <= everything.high <= 1
    spans = run.score("spans_hold", "zh")
    assert spans is not None and (spans.value, spans.n) == (1.0, 1)
    assert run.score("no such metric") is None


def test_run_is_stored_and_read_back(run: Run, own: Settings) -> None:
    (summary,) = list_runs(own, "garden")
    assert summary.id == run.id
    assert load_run(summary.path) == run
    config = json.loads((summary.path / "config.json").read_text())
    assert (config["domain"], config["split"], config["profile"]) == ("garden", "test", "embedded")
    assert len(config["corpus_sha256"]) == len(config["items_sha256"]) == 64


def test_list_runs_is_newest_first(run: Run, garden: Domain, own: Settings, assistant: Assistant) -> None:
    second = run_domain(garden, settings=own, assistant=assistant, split="all")
    assert [found.id for found in list_runs(own, "garden")] == [second.id, run.id]
    assert list_runs(own, "other") == []


def test_unfinished_run_is_not_listed_and_not_loaded(garden: Domain, own: Settings, assistant: Assistant) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_domain(garden, settings=own, assistant=assistant, progress=stop)
    (folder,) = (own.home / "runs" / "garden").iterdir()
    assert len((folder / "items.jsonl").read_text().splitlines()) == 2
    assert list_runs(own, "garden") == []
    with pytest.raises(UsageError, match="is not a finished run; run `domainkit eval` again"):
        load_run(folder)


@pytest.mark.parametrize("name", ["config.json", "scores.json", "items.jsonl"])
def test_load_run_refuses_a_run_without_one_of_its_files(run: Run, own: Settings, name: str) -> None:
    folder = list_runs(own, "garden")[0].path
    (folder / name).unlink()
    with pytest.raises(UsageError, match="is not a finished run"):
        load_run(folder)


@pytest.mark.parametrize(
    ("name", "text"), [("config.json", "{"), ("config.json", "{}"), ("scores.json", "[{}]"), ("items.jsonl", "{}\n"), ("items.jsonl", '{"half')]
)
def test_load_run_refuses_damaged_files_in_one_line(run: Run, own: Settings, name: str, text: str) -> None:
    folder = list_runs(own, "garden")[0].path
    (folder / name).write_text(text)
    with pytest.raises(UsageError, match="is not a finished run") as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)


def test_list_runs_passes_over_a_damaged_run(run: Run, garden: Domain, own: Settings, assistant: Assistant) -> None:
    second = run_domain(garden, settings=own, assistant=assistant)
    (own.home / "runs" / "garden" / second.id / "config.json").write_text("{")
    assert [found.id for found in list_runs(own, "garden")] == [run.id]


def test_run_refuses_a_folder_that_is_not_empty(garden: Domain, own: Settings, assistant: Assistant, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="'out' is not empty; name a new folder with --out"):
        run_domain(garden, settings=own, assistant=assistant, out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_run_of_the_same_items_gives_the_same_results(run: Run, garden: Domain, own: Settings, assistant: Assistant) -> None:
    again = run_domain(garden, settings=own, assistant=assistant)
    assert again.scores == run.scores
    assert [item.model_copy(update={"milliseconds": 0}) for item in again.items] == [item.model_copy(update={"milliseconds": 0}) for item in run.items]
    assert again.config["items_sha256"] == run.config["items_sha256"]


def test_judge_says_in_words_what_was_wrong(assistant: Assistant) -> None:
    def reason(question: str, **item: object) -> str:
        return judge(EvalItem.model_validate({"id": "x", "question": question, **item}), assistant.ask(question)).reason

    asked = "When should tulip bulbs be planted?"
    assert reason(asked, answerable=False) == "expected abstained, was answered"
    assert reason(asked, sources=[{"document": "roses"}]) == "cites another document"
    assert reason(asked, sources=[{"document": "tulips", "quote": "Water tulips once a week in dry weather."}]) == "right document, wrong passage"
    assert reason(asked, sources=[{"document": "tulips", "quote": "Plant tulip bulbs in October, about 15 cm deep."}]) == ""
    assert reason("I want to die", sources=[{"document": "tulips"}]) == "expected answered, was escalated"


def test_aggregate_leaves_metrics_without_items_out(run: Run) -> None:
    only = [item for item in run.items if item.id == "g3"]
    assert {score.metric for score in aggregate(only)} == {"right", "escalation", "status", "spans_hold"}
    assert aggregate([]) == ()


def test_load_items_by_split_and_limit(garden: Domain, tmp_path: Path) -> None:
    path = write_items(tmp_path / "set.jsonl", *({"id": f"i{n}", "question": "q", "split": "dev" if n % 2 else "test"} for n in range(20)))
    assert len(load_items(garden)) == 4
    assert [item.id for item in load_items(garden, file=path, split="dev")] == [f"i{n}" for n in range(1, 20, 2)]
    spread = [item.id for item in load_items(garden, file=path, split="all", limit=4)]
    assert spread == ["i0", "i5", "i10", "i15"]
    assert len(load_items(garden, file=path, split="all", limit=100)) == 20


def test_load_items_names_what_is_missing(garden: Domain, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such eval set: 'none\.jsonl'"):
        load_items(garden, file=tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="domain 'garden' has no eval items in split 'dev'; add JSONL files under evals/"):
        load_items(garden, split="dev")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "a"}', r"set\.jsonl:1: question: Field required"),
        ('{"id": "a", "question": "q"}\n{"id": "a", "question": "q"}', r"set\.jsonl:2: id 'a' occurs twice"),
        ('{"id": "a", "question": "q", "colour": 1}', "unknown key 'colour'"),
        ("{", r"set\.jsonl:1: "),
        ('{"id": "a", "question": "q", "kind": "guess"}', "kind: Input should be 'qa'"),
    ],
)
def test_load_items_names_the_line_that_is_wrong(garden: Domain, tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(lines + "\n")
    with pytest.raises(ManifestError, match=message):
        load_items(garden, file=path)


def test_run_of_odd_questions_is_read_back(garden: Domain, own: Settings, assistant: Assistant, tmp_path: Path) -> None:
    path = write_items(tmp_path / "odd.jsonl", {"id": "a\u2028b", "question": "tulips\u2028\x85\x0cin \u2029spring?\r", "slice": {"age": "\x1c"}})
    run = run_domain(garden, settings=own, assistant=assistant, file=path, split="all")
    assert load_run(list_runs(own, "garden")[0].path) == run


def test_run_folder_can_be_moved(run: Run, own: Settings, tmp_path: Path) -> None:
    moved = Path(shutil.move(list_runs(own, "garden")[0].path, tmp_path / "kept"))
    assert load_run(moved).scores == run.scores


def test_killed_run_goes_on_where_it_was(run: Run, garden: Domain, own: Settings, assistant: Assistant, tmp_path: Path) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_domain(garden, settings=own, assistant=assistant, progress=stop, out=out)
    with (out / "items.jsonl").open("a") as file:
        file.write('{"id": "half')
    with pytest.raises(UsageError, match="--resume goes on with it"):
        run_domain(garden, settings=own, assistant=assistant, out=out)
    asked: list[int] = []
    again = run_domain(garden, settings=own, assistant=assistant, out=out, resume=True, progress=lambda name, done, total: asked.append(done))
    assert asked == [2, 3, 4] and again.scores == run.scores
    with pytest.raises(UsageError, match="'out' is finished"):
        run_domain(garden, settings=own, assistant=assistant, out=out, resume=True)


def test_unfinished_run_of_something_else_is_not_gone_on_with(garden: Domain, own: Settings, assistant: Assistant) -> None:
    def stop(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_domain(garden, settings=own, assistant=assistant, progress=stop)
    with pytest.raises(UsageError, match="cannot go on: evals changed since"):
        run_domain(garden, settings=own, assistant=assistant, limit=2, resume=True)
    assert len(run_domain(garden, settings=own, assistant=assistant, resume=True).items) == 4
    with pytest.raises(UsageError, match="no unfinished run"):
        run_domain(garden, settings=own, assistant=assistant, resume=True)


def test_order_and_number_at_a_time_change_no_score(run: Run, garden: Domain, own: Settings, assistant: Assistant) -> None:
    other = run_domain(garden, settings=own, assistant=assistant, jobs=3, seed=5)
    values = {(score.metric, score.slice): (score.value, score.n) for score in run.scores}
    assert {(score.metric, score.slice): (score.value, score.n) for score in other.scores} == values
    assert other.lock == run.lock


def test_lock_follows_from_what_scores_follow_from(run: Run, garden: Domain, own: Settings, assistant: Assistant, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    (folder / "policy" / "more.toml").write_text("# a change\n")
    (folder / "calibration.json").write_text('{"corpus_sha256": "", "model_sha256": "", "thresholds": {}}')
    other = Assistant(Domain(manifest=load_manifest(folder), folder=folder, door="test"), settings=assistant.settings, encoder=assistant.encoder)
    assert run.lock is not None and run.environment is not None and run.cost is not None
    assert changed(run.lock, make_lock(assistant, load_items(garden))) == []
    assert changed(run.lock, make_lock(other, load_items(garden))) == ["policy", "calibration"]
    assert changed(run.lock, make_lock(assistant, load_items(garden)[:2])) == ["evals"]
    assert tree_sha256(tmp_path / "none") == ""
    assert run.cost.tokens_read > run.cost.tokens_written > 0


def test_run_is_found_by_folder_id_end_and_latest(run: Run, own: Settings) -> None:
    path = own.home / "runs" / "garden" / run.id
    assert {find_run(own, "garden", name) for name in (str(path), run.id, run.id[-4:], "latest")} == {path}
    with pytest.raises(UsageError, match=f"no run is called 'nope'; name a folder or one of: {run.id}"):
        find_run(own, "garden", "nope")


def test_marks_of_an_answer_say_how_early_the_passage_came(run: Run) -> None:
    marks = next(item for item in run.items if item.id == "g1").marks
    assert marks["recall_at_1"] == marks["mrr_at_10"] == marks["ndcg_at_10"] == marks["citation_precision"] == marks["sought_mrr"] == 1.0
    assert marks["wrong"] == 0.0 and "abstention" not in marks
    assert "passage_right" not in next(item for item in run.items if item.id == "g2").marks
