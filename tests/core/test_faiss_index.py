from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from passage_samples import unit_vectors

from core.errors import IntegrityError
from core.index.faiss import FaissIndex

COUNT, DIMENSION = 300, 32
IDS = np.arange(7, 7 + 3 * COUNT, 3, dtype=np.int64)
VECTORS = unit_vectors("index", COUNT, DIMENSION)


@pytest.fixture(scope="module")
def index() -> FaissIndex:
    return FaissIndex.build(IDS, VECTORS)


def brute_force(query: np.ndarray, k: int, allowed: np.ndarray | None = None) -> list[tuple[int, float]]:
    scores = VECTORS @ query
    pairs = [(int(number), float(score)) for number, score in zip(IDS, scores) if allowed is None or number in allowed]
    return sorted(pairs, key=lambda pair: -pair[1])[:k]


@given(st.integers(0, 10_000), st.integers(1, 400), st.one_of(st.none(), st.sets(st.sampled_from(IDS.tolist()), max_size=80)))
@examples(max_examples=150, deadline=None)
def test_search_equals_brute_force(index: FaissIndex, seed: int, k: int, wanted: set[int] | None) -> None:
    query = unit_vectors(f"q{seed}", 1, DIMENSION)[0]
    allowed = None if wanted is None else np.array(sorted(wanted), dtype=np.int64)
    ids, scores = index.search(query, k, allowed=allowed)
    expected = brute_force(query, k, allowed)
    assert ids.tolist() == [number for number, _ in expected]
    assert np.abs(scores - [score for _, score in expected]).max(initial=0) < 1e-5
    assert ids.dtype == np.int64 and scores.dtype == np.float32


def test_search_scores_are_cosines(index: FaissIndex) -> None:
    ids, scores = index.search(VECTORS[5], 1)
    assert ids.tolist() == [IDS[5]]
    assert abs(float(scores[0]) - 1) < 1e-5


def test_search_leaves_out_allowed_ids_that_do_not_exist(index: FaissIndex) -> None:
    ids, _ = index.search(VECTORS[0], 10, allowed=np.array([int(IDS[0]), 1, 10**12], dtype=np.int64))
    assert ids.tolist() == [IDS[0]]


def test_search_of_an_empty_index_finds_nothing() -> None:
    empty = FaissIndex.build(np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.float32))
    assert len(empty) == 0
    assert empty.search(VECTORS[0], 5)[0].tolist() == []


def test_search_with_nothing_allowed_finds_nothing(index: FaissIndex) -> None:
    assert index.search(VECTORS[0], 5, allowed=np.zeros(0, dtype=np.int64))[0].tolist() == []


def test_build_refuses_shapes_that_do_not_agree() -> None:
    with pytest.raises(ValueError, match="do not agree"):
        FaissIndex.build(IDS[:3], VECTORS[:4])
    with pytest.raises(ValueError, match="do not agree"):
        FaissIndex.build(IDS[:3], VECTORS[0][:3])


def test_saved_index_gives_equal_results(index: FaissIndex, tmp_path: Path) -> None:
    path = tmp_path / "one.index"
    index.save(path)
    again = FaissIndex.load(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(again) == COUNT
    for query in unit_vectors("saved", 10, DIMENSION):
        left, right = index.search(query, 20), again.search(query, 20)
        assert left[0].tolist() == right[0].tolist()
        assert np.array_equal(left[1], right[1])


def test_same_vectors_give_the_same_bytes(index: FaissIndex) -> None:
    assert FaissIndex.build(IDS, VECTORS).to_bytes() == index.to_bytes()


def test_load_refuses_other_bytes_before_faiss_sees_them(index: FaissIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    path = tmp_path / "one.index"
    index.save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01")
    monkeypatch.setattr(faiss, "deserialize_index", lambda data: pytest.fail("FAISS parsed bytes that nobody published"))
    with pytest.raises(IntegrityError, match="published hash"):
        FaissIndex.load(path, sha256=digest)


def test_load_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"none\.index is missing"):
        FaissIndex.load(tmp_path / "none.index", sha256="0" * 64)


def test_search_by_many_threads_equals_one(index: FaissIndex) -> None:
    queries = unit_vectors("threads", 64, DIMENSION)
    expected = [index.search(query, 10)[0].tolist() for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: index.search(query, 10)[0].tolist(), queries)) == expected
