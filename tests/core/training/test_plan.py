"""A plan gathers pairs, parts them by entity and refuses what eval sets ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import CheckFailed, UsageError
from core.eval_items import EvalItem
from core.library import Library
from core.registry import Domain
from core.settings import ROOT, Settings
from core.training.context import RunContext
from core.training.plan import DataEntry, RetrievalPlan, assemble, own_pairs, read_plan

ITEM = EvalItem(id="e1", question="What is thing 7 made of?", lang="en", answerable=False)


@pytest.fixture
def context(tmp_path: Path, settings: Settings, garden: Domain) -> Callable[..., RunContext]:
    rows = [{"question": f"What is thing {n} made of?", "answer": f"Thing {n} is made of stuff {n}.", "focus": f"thing {n // 2}"} for n in range(40)]
    (tmp_path / "things.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

    def make(*items: EvalItem) -> RunContext:
        return RunContext(
            domain=garden, folder=tmp_path / "run", sources=tmp_path, data=tmp_path, settings=settings, items=items, command="train",
            progress=lambda name, done, total: None,
        )  # fmt: skip

    return make


def plan(**more: object) -> RetrievalPlan:
    return RetrievalPlan.model_validate({"task": "retrieval", "data": [{"file": "things.jsonl", "valid": 6, "test": 8}]} | more)


def test_parts_share_no_entity_and_are_counted(context: Callable[..., RunContext], garden_library: Library) -> None:
    found = assemble(plan(), context(), library=garden_library)
    parts = [{pair.entity for pair in part} for part in (found.train, found.valid, found.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    (count,) = found.counts
    assert (count.name, count.train, count.valid, count.test, count.leaks) == ("things.jsonl", 26, 6, 8, 0)


def test_question_of_an_eval_set_stops_training(context: Callable[..., RunContext], garden_library: Library) -> None:
    with pytest.raises(CheckFailed, match=r"asks what e1 asks\); remove them"):
        assemble(plan(), context(ITEM), library=garden_library)


def test_question_of_an_eval_set_is_dropped_where_the_plan_says_so(context: Callable[..., RunContext], garden_library: Library) -> None:
    found = assemble(plan(leaks="drop"), context(ITEM), library=garden_library)
    assert found.counts[0].leaks == 1
    assert ITEM.question not in {pair.question for part in (found.train, found.valid, found.test) for pair in part}


def test_limit_draws_the_same_pairs_each_time(context: Callable[..., RunContext], garden_library: Library) -> None:
    limited = plan(data=[{"file": "things.jsonl", "valid": 6, "test": 8, "limit": 10}])
    first, second = (assemble(limited, context(), library=garden_library) for _ in range(2))
    assert len(first.train) == 10 and first == second


def test_question_that_one_entry_holds_out_is_not_learned_from_another(context: Callable[..., RunContext], garden_library: Library, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tmp_path / "things.jsonl").read_text("utf-8").splitlines()]
    other = [row | {"answer": f"Topic: {row['focus']}.", "focus": str(n)} for n, row in enumerate(rows)]
    (tmp_path / "topics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in other), "utf-8")
    both = assemble(plan(data=[{"file": "things.jsonl", "valid": 6, "test": 8}, {"file": "topics.jsonl"}]), context(), library=garden_library)
    held = {pair.question for pair in (*both.valid, *both.test)}
    assert len(held) == 14 and not held & {pair.question for pair in both.train}
    assert [(count.train, count.held_elsewhere) for count in both.counts] == [(26, 0), (26, 14)]


def test_own_pairs_are_the_training_questions_beside_what_the_encoder_reads(garden_library: Library) -> None:
    (pair,) = own_pairs(garden_library, ("en", "zh"), ())
    assert pair.question == "best time of year to put tulips in"
    assert pair.text.startswith("Tulips › When to plant tulips (tulip bulbs)\nPlant tulip bulbs in October")
    assert own_pairs(garden_library, ("zh",), ()) == own_pairs(garden_library, ("en",), ("other.jsonl",)) == []


def test_plan_without_validation_is_refused(context: Callable[..., RunContext], garden_library: Library) -> None:
    with pytest.raises(UsageError, match="state `valid`"):
        assemble(plan(data=[{"file": "things.jsonl"}]), context(), library=garden_library)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('task = "retrieval"\ndata = []', "data"),
        ('task = "retrieval"\n[[data]]\nset = "a"\nown = true', "exactly one of set, file and own"),
        ('task = "retrieval"\n[[data]]\nset = "a"\n[training]\nranks = 3', "training.ranks"),
        ('task = "reading"\n[[data]]\nset = "a"', "task"),
        ("task = ", "is not TOML"),
    ],
)
def test_wrong_plan_is_one_clear_line(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        read_plan(text, RetrievalPlan)


def test_entry_is_called_by_its_set_or_file() -> None:
    assert [DataEntry(set="medquad").name, DataEntry(file="some/where.csv").name, DataEntry(own=True).name] == ["medquad", "where.csv", "own"]


@pytest.mark.parametrize("domain", ["medical", "finance", "education"])
def test_shipped_recipe_is_valid(domain: str) -> None:
    root = Path(__file__).resolve().parents[3]
    found = read_plan((root / "domains" / domain / "adapter" / "recipe.toml").read_text("utf-8"), RetrievalPlan)
    assert all(not entry.set or (root / "data" / "sources" / f"{entry.set}.toml").is_file() for entry in found.data)


def test_recipe_in_the_contributing_guide_is_one() -> None:
    import re

    from core.training.search import read_space

    (recipe,) = (block for block in re.findall(r"```toml\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.S) if block.startswith("task"))
    plan = read_plan(recipe, RetrievalPlan)
    assert plan.data[0].own and set(read_space(recipe, plan.training)) == {"learning_rate"}


@pytest.mark.parametrize("path", sorted((ROOT / "data" / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_of_their_task(path: Path) -> None:
    import tomllib

    from core.training.search import read_space
    from core.training.tasks import training_task

    text = path.read_text("utf-8")
    plan = read_plan(text, training_task(tomllib.loads(text)["task"]).plan)
    assert read_space(text, plan.training)  # type: ignore[attr-defined]
