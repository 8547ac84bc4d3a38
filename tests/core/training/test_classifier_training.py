"""A tiny encoder learns to tell texts apart; groups are kept whole; a killed run ends as an undisturbed one; what is saved is what was trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tiny_bert import make_tiny_bert

from core.errors import CheckFailed, IntegrityError, ModelError, UsageError
from core.eval_items import EvalItem
from core.registry import Domain
from core.settings import Settings
from core.training.classifier import Classifier, ClassifierRecipe, Labelled, balanced, majority
from core.training.classifier_run import ClassifierPlan, LabelledData, _pair, gather, run_classifier
from core.training.context import RunContext
from core.training.loop import put
from core.training.parting import Amounts, divided
from core.training.plan import read_plan

RECIPE = ClassifierRecipe(method="full", learning_rate=3e-3, batch=16, steps=60, warmup=4, validate_every=20, patience=50, max_tokens=16, seed=1)
COLOURS, ANIMALS = "red blue green cold warm gold".split(), "cat dog bird fish tree wool".split()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("classifier") / "base")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Things to tell apart: colours and animals."""
    rows = [
        {"text": f"it is {word} number {n}", "label": label, "about": f"g{n}"}
        for n in range(20)
        for label, words in (("colour", COLOURS), ("animal", ANIMALS))
        for word in words[n % 3 :: 3]
    ]
    (tmp_path / "things.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return tmp_path


@pytest.fixture
def surroundings(settings: Settings, tmp_path: Path) -> Callable[..., RunContext]:
    def make(name: str = "run", *, items: tuple[EvalItem, ...] = (), domain: Domain | None = None, stop_at: int = 10**9, trial: bool = False) -> RunContext:
        done = [0]

        def tell(what: str, step: int, total: int) -> None:
            done[0] = step if total else done[0]

        return RunContext(
            domain=domain, folder=tmp_path / name, sources=tmp_path, data=tmp_path, settings=settings, items=items, command="domainkit train classifier",
            progress=tell, stop=lambda: done[0] >= stop_at, trial=trial,
        )  # fmt: skip

    return make


def plan(base: Path, *, recipe: ClassifierRecipe = RECIPE, **entry: Any) -> ClassifierPlan:
    return ClassifierPlan(
        task="classifier",
        base=str(base),
        training=recipe,
        data=(LabelledData(**({"file": "things.jsonl", "group": "about", "valid": 12, "test": 16} | entry)),),
    )


@pytest.mark.parametrize("method", ["full", "lora"])
def test_classifier_learns_and_what_is_saved_says_the_same(base: Path, data: Path, surroundings: Callable[..., RunContext], method: str) -> None:
    recipe = RECIPE.model_copy(
        update={"method": method, "rank": 4, "alpha": 8, "steps": 60 if method == "full" else 200, "learning_rate": 3e-3 if method == "full" else 5e-3}
    )
    report = run_classifier(plan(base, recipe=recipe), surroundings())
    assert report is not None
    found, spread = report.figure("accuracy"), report.figure("macro_f1")
    assert found is not None and spread is not None and found.before is not None
    assert found.after >= 0.9 and spread.after >= 0.9 and found.before <= 0.6 and (found.worse, report.goal) == (0, "macro_f1")
    assert found.p is not None and found.p < 0.05 and {one.before for one in report.samples} <= {"animal", "colour"}
    assert set(report.confusion) == {"animal", "colour"} and sum(map(sum, (row.values() for row in report.confusion.values()))) == found.n
    classifier = Classifier(data / "run" / "model", max_tokens=16)
    (colour, animal) = classifier.classify(["it is red number 3", "it is cat number 2"])
    assert (colour.label, animal.label) == ("colour", "animal") and abs(sum(colour.probabilities.values()) - 1) < 1e-4
    assert classifier.classify([]) == []


@pytest.mark.slow
def test_killed_run_ends_with_the_weights_of_an_undisturbed_one(base: Path, data: Path, surroundings: Callable[..., RunContext]) -> None:
    recipe = RECIPE.model_copy(update={"steps": 12, "validate_every": 6, "dropout": 0.1})
    straight = run_classifier(plan(base, recipe=recipe), surroundings("straight"))
    assert run_classifier(plan(base, recipe=recipe), surroundings("cut", stop_at=7)) is None
    resumed = run_classifier(plan(base, recipe=recipe), surroundings("cut"))
    assert straight is not None and resumed is not None and straight.weights_sha256 == resumed.weights_sha256
    one, two = (load_file(data / name / "model" / "model.safetensors") for name in ("straight", "cut"))
    assert all((one[key] == two[key]).all() for key in one)


def test_trial_looks_at_nothing_that_is_held_out(base: Path, data: Path, surroundings: Callable[..., RunContext]) -> None:
    recipe = RECIPE.model_copy(update={"steps": 4, "validate_every": 2})
    assert run_classifier(plan(base, recipe=recipe), surroundings("trial", trial=True)) is None
    assert (data / "trial" / "progress.json").is_file() and not (data / "trial" / "report.json").exists() and not (data / "trial" / "model").exists()


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["a b", "c", "d e f", "g"])), min_size=30, max_size=60), st.integers(1, 6))
@settings(deadline=None, max_examples=40)
def test_groups_and_equal_texts_are_never_parted(rows: list[tuple[int, str]], number: int) -> None:
    examples = [Labelled(id=str(n), text=f"{text} {n if text != 'g' else ''}", label=text[0], group=f"g{group}") for n, (group, text) in enumerate(rows)]
    try:
        parts = divided(examples, Amounts(test=number), _pair, seed=0)
    except UsageError:
        return
    rest, held = parts.train, parts.test
    assert len(held) >= number and {one.id for one in (*rest, *held)} == {one.id for one in examples}
    assert not {one.group for one in rest} & {one.group for one in held} and not {one.text for one in rest} & {one.text for one in held}


def test_examples_that_an_eval_item_asks_are_refused_or_dropped(base: Path, data: Path, surroundings: Callable[..., RunContext]) -> None:
    item = EvalItem(id="asked", question="it is red number 0")
    with pytest.raises(CheckFailed, match=r"1 training question\(s\) are asked by eval sets \(things.jsonl-\d+ asks what asked asks\)"):
        gather(plan(base), surroundings(items=(item,)))
    parts = gather(plan(base).model_copy(update={"leaks": "drop"}), surroundings(items=(item,)))
    assert parts.counts[0].leaks == 1 and "it is red number 0" not in {one.text for one in (*parts.train, *parts.valid, *parts.test)}


def test_a_domains_own_examples_are_read_in_blocks(base: Path, garden: Domain, tmp_path: Path, surroundings: Callable[..., RunContext]) -> None:
    from dataclasses import replace

    (tmp_path / "policy").mkdir()
    rows = [{"text": f"the {word} number {n}", "label": "danger" if n % 2 else "benign", "lang": "en"} for n, word in enumerate(COLOURS * 8)]
    (tmp_path / "policy" / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = ClassifierPlan(task="classifier", base=str(base), data=(LabelledData(own=True, block=4, valid=8, test=8),), training=RECIPE)
    parts = gather(own, surroundings(domain=replace(garden, folder=tmp_path)))
    assert parts.labels == ("benign", "danger") and len(parts.train) + len(parts.valid) + len(parts.test) == 48
    groups = [{one.group for one in part} for part in (parts.train, parts.valid, parts.test)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    with pytest.raises(UsageError, match="`own` examples are a domain's"):
        gather(own, surroundings())


@pytest.mark.parametrize(
    ("entry", "words"),
    [({"file": "gone.jsonl"}, "no file 'gone.jsonl'"), ({"label": "kind"}, "has no field 'text' or 'kind'"), ({"labels": ("shape",)}, "holds no example of label shape"), ({"valid": 0}, "nothing to validate on")],
)  # fmt: skip
def test_data_that_cannot_be_used_says_why(base: Path, data: Path, surroundings: Callable[..., RunContext], entry: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        gather(plan(base, **entry), surroundings())


def test_changed_or_missing_classifier_is_refused(base: Path, data: Path, surroundings: Callable[..., RunContext]) -> None:
    run_classifier(plan(base, recipe=RECIPE.model_copy(update={"steps": 2, "validate_every": 1})), surroundings())
    weights = data / "run" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(IntegrityError, match="does not have the stated hash"):
        Classifier(data / "run" / "model")
    with pytest.raises(ModelError, match="holds no classifier with a card"):
        Classifier(data)


def test_loaded_classifier_gives_the_probabilities_of_the_trained_one_on_long_texts_too(
    base: Path, data: Path, surroundings: Callable[..., RunContext]
) -> None:
    from core.training.classifier import ClassifierModel
    from core.training.classifier_run import _train

    made, around = plan(base, recipe=RECIPE.model_copy(update={"steps": 6, "validate_every": 3})), surroundings()
    run_classifier(made, around)
    parts = gather(made, around)
    model = ClassifierModel(base, parts.labels, made.training)
    trained = _train(model, parts, base=base, context=around)
    assert trained is not None
    put(model.parameters, trained.tensors)
    texts = ["it is red", " ".join(COLOURS * 5 + ANIMALS * 5)]  # the second is longer than the window of 16 tokens
    found = Classifier(data / "run" / "model").classify(texts)
    for one, row in zip(found, model.probabilities(texts), strict=True):
        assert list(one.probabilities.values()) == pytest.approx(row.tolist(), abs=2e-6)


def test_what_another_entry_holds_out_is_not_learned_from(base: Path, data: Path, surroundings: Callable[..., RunContext]) -> None:
    (data / "again.jsonl").write_bytes((data / "things.jsonl").read_bytes())
    twice = plan(base).model_copy(update={"data": (*plan(base).data, LabelledData(file="again.jsonl", group="about"))})
    parts = gather(twice, surroundings())
    seen = [{one.text for one in part} for part in (parts.train, parts.valid, parts.test)]
    assert parts.train and not seen[0] & (seen[1] | seen[2]) and not seen[1] & seen[2]
    assert sum(one.train for one in parts.counts) == len(parts.train) and sum(one.valid for one in parts.counts) == len(parts.valid)


def test_file_for_measuring_alone_is_held_out_whole(base: Path, data: Path, surroundings: Callable[..., RunContext]) -> None:
    rows = [{"text": "only red", "label": "colour"}, {"text": "only cat", "label": "animal"}, {"text": "no label", "label": None}]
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entries = (LabelledData(file="things.jsonl", group="about", valid=12), LabelledData(file="test.jsonl", test_only=True))
    parts = gather(plan(base).model_copy(update={"data": entries}), surroundings())
    assert [one.text for one in parts.test] == ["only red", "only cat"]
    with pytest.raises(UsageError, match="test_only holds everything out"):
        read_plan('task = "classifier"\n[[data]]\nown = true\ntest_only = true\nvalid = 3\n', ClassifierPlan)
    (data / "test.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="test.jsonl: cannot be read"):
        gather(plan(base).model_copy(update={"data": entries}), surroundings())


def test_rare_labels_weigh_as_much_as_common_ones() -> None:
    examples = [Labelled(id=str(n), text="x", label="a" if n < 9 else "b", group="g") for n in range(12)]
    first, second = balanced(examples, ("a", "b"))
    assert first * 9 == pytest.approx(second * 3) == pytest.approx(6) and majority(examples) == "a"


def test_plan_names_one_place_of_its_examples() -> None:
    assert read_plan('task = "classifier"\n[[data]]\nown = true\n', ClassifierPlan).data[0].own
    with pytest.raises(UsageError, match="exactly one of file and own"):
        read_plan('task = "classifier"\n[[data]]\nown = true\nfile = "x.jsonl"\n', ClassifierPlan)
