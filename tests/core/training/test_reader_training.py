"""A tiny encoder learns to point at the word that answers; spans, windows and clozes by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from tiny_bert import make_tiny_bert

from core.errors import CheckFailed, UsageError
from core.eval_items import EvalItem
from core.settings import Settings
from core.training.context import RunContext
from core.training.parting import Amounts, divided
from core.training.plan import read_plan
from core.training.reader import ReaderModel, ReaderRecipe, best_span
from core.training.reader_run import ReaderPlan, best_sentence, gather, run_reader
from core.training.spans import SpanExample, cloze_questions, read_spans, split_pair, unanswerable

pytestmark = pytest.mark.usefixtures("home")
THINGS = "cat dog bird fish tree bread moon rain salt iron gold wool".split()
COLOURS = "red blue green cold warm".split()
RECIPE = 'task = "reader"\nleaks = "drop"\nbase = "{base}"\n[[data]]\nfile = "rows.jsonl"\nvalid = 10\ntest = 30\n[training]\nlearning_rate = 0.01\nbatch = 16\nsteps = {steps}\nvalidate_every = 20\nwarmup = 2\nmax_tokens = 32\nstride = 8\nseed = 3\n'


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """What is red? The thing behind the word red, where there is one."""
    chance = np.random.default_rng(0)
    lines = []
    for n in range(240):
        colours, things = chance.permutation(COLOURS)[:3], chance.permutation(THINGS)[:3]
        context = " ".join(f"the {colour} {thing}" for colour, thing in zip(colours, things, strict=True))
        asked, known = "red", "red" in colours
        answer = [things[list(colours).index("red")]] if known else []
        starts = [context.index(f"{asked} {answer[0]}") + len(asked) + 1] if known else []
        lines.append(
            {"id": str(n), "title": f"t{n}", "question": f"what is {asked}", "context": context, "answers": answer, "answer_starts": starts, "lang": "en"}
        )
    path = tmp_path / "data" / "rows.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def context_of(rows: Path, folder: Path, *, stop: Callable[[], bool] = lambda: False, items: tuple[EvalItem, ...] = ()) -> RunContext:
    return RunContext(
        domain=None, folder=folder, sources=rows.parent, data=rows.parent, settings=Settings(), items=items, command="test", stop=stop,
        progress=lambda what, done, total: None,
    )  # fmt: skip


def test_reader_learns_to_point_at_the_answer_and_to_say_that_there_is_none(bert: Path, rows: Path, tmp_path: Path) -> None:
    report = run_reader(read_plan(RECIPE.format(base=bert, steps=240), ReaderPlan), context_of(rows, tmp_path / "run"))
    assert report is not None
    found = report.figure("f1", "rows")
    assert found is not None and found.after > (found.before or 0) + 0.2
    assert len(report.samples) == 20 and (tmp_path / "run" / "model" / "card.json").is_file()
    card = json.loads((tmp_path / "run" / "model" / "card.json").read_text())
    assert list(card["files"].values()) == [report.weights_sha256] and "en" in card["thresholds"]


def test_stopped_reader_ends_with_the_weights_of_an_undisturbed_one(bert: Path, rows: Path, tmp_path: Path) -> None:
    plan = read_plan(RECIPE.format(base=bert, steps=40), ReaderPlan)
    whole = run_reader(plan, context_of(rows, tmp_path / "whole"))
    asked: list[int] = []
    assert run_reader(plan, context_of(rows, tmp_path / "cut", stop=lambda: len(asked) > 24 or asked.append(1) is not None)) is None
    again = run_reader(plan, context_of(rows, tmp_path / "cut"))
    assert whole is not None and again is not None and again.weights_sha256 == whole.weights_sha256


def test_question_that_an_eval_item_asks_is_refused(bert: Path, rows: Path, tmp_path: Path) -> None:
    plan = read_plan(RECIPE.format(base=bert, steps=20).replace('"drop"', '"refuse"'), ReaderPlan)
    with pytest.raises(CheckFailed, match="are asked by eval sets"):
        run_reader(plan, context_of(rows, tmp_path / "run", items=(EvalItem(id="x", question="what is red"),)))


def test_text_that_one_file_is_measured_on_is_neither_learned_nor_chosen_by(bert: Path, rows: Path, tmp_path: Path) -> None:
    lines = rows.read_text().splitlines(keepends=True)
    (rows.parent / "measured.jsonl").write_text("".join(lines[:120]))
    recipe = RECIPE.format(base=bert, steps=1).replace("test = 30\n", '[[data]]\nfile = "measured.jsonl"\ntest_only = true\n')
    parts = gather(read_plan(recipe, ReaderPlan), context_of(rows, tmp_path / "run"))
    train, valid, test = ({one.context for one in part} for part in (parts.train, parts.valid, parts.test["measured"]))
    assert train and valid and test and not train & valid and not train & test and not valid & test


def test_long_text_is_read_in_windows_that_overlap(bert: Path) -> None:
    model = ReaderModel(bert, ReaderRecipe(max_tokens=32, stride=8))
    text = " ".join(THINGS * 6)
    example = SpanExample(id="a", group="g", question="what is the cat", context=text, answers=("wool",), starts=(text.rindex("wool"),))
    windows = model.windows([example])
    assert len(windows) > 2 and all(len(window.ids) <= 32 for window in windows)
    marked = [window for window in windows if window.start]
    assert marked and all(text[window.offsets[window.start][0] : window.offsets[window.end][1]] == "wool" for window in marked)
    assert windows[0].start == windows[0].end == 0


@given(st.integers(0, 10_000), st.integers(3, 30), st.integers(1, 6))
@examples(max_examples=60, deadline=None)
def test_best_span_is_the_best_of_all_short_ones(seed: int, tokens: int, longest: int) -> None:
    chance = np.random.default_rng(seed)
    start, end = chance.standard_normal((2, tokens)).astype(np.float32)
    offsets = [(-1, -1), *((n, n + 1) for n in range(tokens - 1))]
    score, span = best_span(start, end, offsets, longest=longest, candidates=tokens)
    best = max((start[a] + end[b], (a - 1, b)) for a in range(1, tokens) for b in range(a, min(tokens, a + longest)))
    assert score == pytest.approx(best[0]) and span == best[1]


def test_answer_that_is_off_is_sought_nearby_and_one_that_is_nowhere_has_no_place(tmp_path: Path) -> None:
    row = {"question": "q", "context": "a cat and a cat", "answers": ["cat", "dog"], "answer_starts": [11, 3]}
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row))
    assert read_spans(path)[0].starts == (12, -1)
    path.write_text(json.dumps(row | {"answer_starts": [2]}))
    with pytest.raises(UsageError, match="x.jsonl:1: has 2 answers and 1 answer_starts"):
        read_spans(path)
    path.write_text('{"question": "q"}')
    with pytest.raises(UsageError, match="has no field context, answers, answer_starts"):
        read_spans(path)
    with pytest.raises(UsageError, match="holds no question of split dev"):
        path.write_text(json.dumps(row | {"split": "test"}))
        read_spans(path, splits=("dev",))


@given(
    st.lists(
        st.sampled_from(
            ["The kidney filters about 180 litres of blood plasma in a single day.", "Nothing here", "Paris was chosen by the French king in early 1715."]
        ),
        max_size=6,
    )
)
@examples(max_examples=40, deadline=None)
def test_cloze_asks_for_a_phrase_that_stands_where_it_says(sentences: list[str]) -> None:
    for example in cloze_questions([("d", " ".join(sentences))], per_text=3, seed=1):
        (answer,), (start,) = example.answers, example.starts
        assert example.context[start : start + len(answer)] == answer
        assert example.question.endswith("?")


def test_unanswerable_question_stands_before_a_text_without_its_answer() -> None:
    made = [
        SpanExample(id=str(n), group="g" if n < 4 else "h", question="q", context=f"about {thing}", answers=(thing,), starts=(6,))
        for n, thing in enumerate(THINGS)
    ]
    none = unanswerable(made, share=1.0, seed=0)
    assert len(none) == len(made)
    assert all(not example.answers and example.context != next(one.context for one in made if example.id == f"{one.id}:none") for example in none)
    assert {example.context for example in none if example.group == "g"} <= {one.context for one in made if one.group == "g"}


def test_documents_are_parted_whole() -> None:
    made = [SpanExample(id=str(n), group=f"g{n // 3}", question=f"q{n}", context=f"c{n}") for n in range(30)]
    parts = divided(made, Amounts(test=6), split_pair, seed=0)
    assert not {one.group for one in parts.train} & {one.group for one in parts.test} and len(parts.test) >= 6


def test_best_sentence_shares_the_rarest_words_with_the_question() -> None:
    example = SpanExample(
        id="a", group="g", question="How deep should tulip bulbs be planted?", context="Tulips like sun. Plant the bulbs about 15 cm deep. Water them."
    )
    assert best_sentence(example) == "Plant the bulbs about 15 cm deep."
