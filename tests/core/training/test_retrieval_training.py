"""A tiny encoder learns which text answers; a killed run ends as an undisturbed one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_bert import make_tiny_bert

from core.errors import IntegrityError, UsageError
from core.training.checkpoint import PROGRESS
from core.training.loop import Trained
from core.training.pairs import Pair
from core.training.plan import read_plan
from core.training.retrieval import QueryModel, RetrievalRecipe, TrainingSet, base_vectors, rank_metrics, right_rows, train_retrieval

pytestmark = pytest.mark.usefixtures("home")
THINGS = "cat dog bird fish tree bread moon rain salt iron gold wool".split()
RECIPE = RetrievalRecipe(rank=4, alpha=8, batch=12, steps=12, warmup=2, validate_every=4, learning_rate=0.02, temperature=0.1)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def fresh(bert: Path) -> QueryModel:
    return QueryModel(bert, RECIPE)


def data(*, starts: tuple[str, ...], seed: int = 0) -> TrainingSet:
    """Questions about twelve things; each thing's text has a random direction, which the encoder has to learn."""
    pairs = [Pair(id=f"{start}-{thing}", question=f"{start} {thing}", text=thing, entity=thing) for start in starts for thing in THINGS]
    vectors = np.random.default_rng(seed).standard_normal((len(THINGS), 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return TrainingSet(pairs=tuple(pairs), rows=np.array([THINGS.index(p.text) for p in pairs], dtype=np.int64), vectors=vectors)


TRAIN, VALID = data(starts=("what is the", "why is a", "how do")), data(starts=("when is the",))


def directions(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors that stand for the base's."""
    return TRAIN.vectors[[THINGS.index(text) for text in texts]]


def trained(bert: Path, folder: Path, *, recipe: RetrievalRecipe = RECIPE, stop_at: int = 0, anchors: Sequence[str] = ()) -> Trained | None:
    """Train; with ``stop_at``, die at that step instead."""

    def tell(what: str, done: int, total: int) -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    try:
        return train_retrieval(TRAIN.pairs, VALID.pairs, base=bert, recipe=recipe, folder=folder, encode=directions, anchors=anchors, progress=tell)
    except KeyboardInterrupt:
        return None


@pytest.fixture(scope="module")
def undisturbed(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    found = trained(bert, tmp_path_factory.mktemp("run"))
    assert found is not None
    return found


def test_training_brings_new_questions_to_their_texts(bert: Path, tmp_path: Path) -> None:
    found = trained(bert, tmp_path, recipe=RECIPE.model_copy(update={"steps": 60, "patience": 100}))
    assert found is not None
    assert found.history[0].step == 4
    assert found.best.metrics["recall_at_1"] > 0.8 > 0.3 > rank_metrics(np.ones((12, 32), dtype=np.float32), right_rows(VALID), VALID.vectors)["recall_at_1"]


@pytest.mark.parametrize("stops", [(1,), (6,), (4, 9), (5, 7, 8)])
def test_killed_run_ends_with_the_weights_of_an_undisturbed_one(bert: Path, tmp_path: Path, undisturbed: Trained, stops: tuple[int, ...]) -> None:
    for stop in stops:
        assert trained(bert, tmp_path, stop_at=stop) is None
    again = trained(bert, tmp_path)
    assert again is not None
    assert again.history == undisturbed.history
    assert all(np.array_equal(again.tensors[name], tensor) for name, tensor in undisturbed.tensors.items())


def test_finished_run_started_again_trains_nothing(bert: Path, tmp_path: Path) -> None:
    first = trained(bert, tmp_path)
    steps: list[int] = []
    second = train_retrieval(
        TRAIN.pairs, VALID.pairs, base=bert, recipe=RECIPE, folder=tmp_path, encode=lambda texts: pytest.fail("encoded"),
        progress=lambda what, done, total: steps.append(done),
    )  # fmt: skip
    assert first is not None and second is not None and steps == [] and second.history == first.history and second.best == first.best
    assert all(np.array_equal(second.tensors[name], tensor) for name, tensor in first.tensors.items())


def moved(found: Trained | None, bert: Path, questions: Sequence[str]) -> float:
    """Return how far training moved questions: the mean of 1 - cosine."""
    import torch

    assert found is not None
    model = QueryModel(bert, RECIPE)
    before = model.encode(questions)
    for name, parameter in model.parameters.items():
        parameter.data.copy_(torch.from_numpy(found.tensors[name]))
    return float(1 - (model.encode(questions) * before).sum(1).mean())


def test_anchor_questions_stay_where_the_base_has_them(bert: Path, tmp_path: Path) -> None:
    others = ["red blue green", "cold warm red", "on the blue", "green to warm"]
    recipe = RECIPE.model_copy(update={"steps": 40, "patience": 100})
    free = moved(trained(bert, tmp_path / "free", recipe=recipe), bert, others)
    held = moved(trained(bert, tmp_path / "held", recipe=recipe.model_copy(update={"anchor": 20.0}), anchors=others), bert, others)
    assert held < free / 3


def test_dropout_follows_from_seed_and_step_and_is_off_in_validation(bert: Path, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"dropout": 0.3})
    whole = trained(bert, tmp_path / "whole", recipe=recipe)
    assert trained(bert, tmp_path / "cut", recipe=recipe, stop_at=6) is None
    again = trained(bert, tmp_path / "cut", recipe=recipe)
    assert whole is not None and again is not None and again.history == whole.history
    plain = trained(bert, tmp_path / "plain")
    assert plain is not None and any(not np.array_equal(plain.tensors[name], tensor) for name, tensor in whole.tensors.items())
    model = QueryModel(bert, recipe)
    assert np.array_equal(model.encode(["what is the cat"]), model.encode(["what is the cat"]))


def test_base_vectors_are_those_of_a_fresh_adapter(bert: Path) -> None:
    texts = ["what is the cat", "dog", "why is a tree on the moon"]
    assert np.allclose(base_vectors(bert, texts, max_tokens=64), QueryModel(bert, RECIPE).encode(texts), atol=1e-6)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=70))
@examples(max_examples=20, deadline=None)
def test_vector_of_a_text_does_not_depend_on_what_passes_through_beside_it(fresh: QueryModel, lengths: list[int]) -> None:
    texts = [" ".join((THINGS * 2)[n % 12 :][:n]) for n in lengths]
    together = fresh.encode(texts)
    assert together.shape == (len(texts), 32)
    alone = {text: fresh.encode([text])[0] for text in set(texts)}
    np.testing.assert_allclose(together, np.stack([alone[text] for text in texts]), atol=1e-5)


def test_run_ends_when_validation_no_longer_gains(bert: Path, tmp_path: Path) -> None:
    found = trained(bert, tmp_path, recipe=RECIPE.model_copy(update={"steps": 200, "patience": 2, "validate_every": 1, "learning_rate": 1e-7}))
    assert found is not None and len(found.history) == 3


def test_folder_of_another_run_is_refused(bert: Path, tmp_path: Path) -> None:
    trained(bert, tmp_path, stop_at=5)
    with pytest.raises(UsageError, match="other data, base or recipe"):
        trained(bert, tmp_path, recipe=RECIPE.model_copy(update={"seed": 1}))


def test_changed_checkpoint_is_not_parsed(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(bert, tmp_path, stop_at=5)
    (path,) = tmp_path.glob("state-*.safetensors")
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    monkeypatch.setattr("safetensors.numpy.load", lambda data: pytest.fail("parsed"))
    with pytest.raises(IntegrityError, match="was changed on disk"):
        trained(bert, tmp_path)


def test_damaged_progress_is_one_clear_line(bert: Path, tmp_path: Path) -> None:
    trained(bert, tmp_path, stop_at=5)
    (tmp_path / PROGRESS).write_text("{}")
    with pytest.raises(IntegrityError, match="delete the folder to train anew"):
        trained(bert, tmp_path)


def test_rank_metrics_by_hand() -> None:
    texts = np.eye(3, dtype=np.float32)
    questions = np.array([[1, 0.5, 0], [1, 0.5, 0]], dtype=np.float32)
    assert rank_metrics(questions, [{0}, {1}], texts) == {"recall_at_1": 0.5, "recall_at_5": 1.0, "mrr_at_10": 0.75}
    assert rank_metrics(questions, [{0, 2}, {1, 0}], texts)["recall_at_1"] == 1.0


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 100))
@examples(max_examples=60, deadline=None)
def test_rank_metrics_lie_between_0_and_1_and_grow_with_what_is_right(count: int, texts: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    questions, vectors = chance.standard_normal((count, 4)).astype(np.float32), chance.standard_normal((texts, 4)).astype(np.float32)
    one = [{int(chance.integers(texts))} for _ in range(count)]
    more = [rows | {int(chance.integers(texts))} for rows in one]
    few, many = rank_metrics(questions, one, vectors), rank_metrics(questions, more, vectors)
    assert all(0 <= few[name] <= many[name] <= 1 for name in few)


def test_same_question_beside_several_texts_has_all_of_them_right() -> None:
    pairs = tuple(Pair(id=str(n), question=question, text=str(n), entity="e") for n, question in enumerate(["What is salt?", "what is salt?", "what is gold?"]))
    found = TrainingSet(pairs=pairs, rows=np.arange(3), vectors=np.eye(3, dtype=np.float32))
    assert right_rows(found) == [{0, 1}, {0, 1}, {2}]


def test_recipe_reads_toml_and_refuses_what_it_does_not_know() -> None:
    assert read_plan("rank = 8\nlearning_rate = 0.002", RetrievalRecipe).rank == 8
    for text, reason in (("rank = 8\nranks = 3", "ranks"), ("rank = 1000", "rank"), ("rank =", "not TOML"), ('targets = ["q.*"]', "targets.0")):
        with pytest.raises(UsageError, match=reason):
            read_plan(text, RetrievalRecipe)
