"""Item values become scores, slices and curves."""

from __future__ import annotations

from run_samples import item

from evals.aggregate import LEAST, aggregate, item_marks, reliability_bins, selective_curve, slices, worst_slices


def test_slices_need_enough_items_but_languages_do_not() -> None:
    items = [item(f"i{n}", topic="roses" if n < LEAST else "tulips", slice={"age": "old"} if n < 3 else {}) for n in range(LEAST + 5)] + [item("z", lang="zh")]
    assert set(slices(items)) == {"all", "en", "zh", "kind=qa", "en kind=qa", "topic=roses"}


def test_attributes_of_items_become_slices() -> None:
    items = [item(f"i{n}", slice={"age": "old" if n % 2 else "young", "near": "roses"}) for n in range(2 * LEAST)]
    assert {"age=old", "age=young"} <= set(slices(items)) and not any(name.startswith("near") for name in slices(items))


def test_worst_slice_is_named_where_higher_and_where_lower_is_better() -> None:
    items = [item(f"i{n}", right=n % 2 == 0, topic="roses") for n in range(LEAST)] + [item(f"j{n}", topic="tulips") for n in range(LEAST)]
    worst = {found.metric: found for found in worst_slices(aggregate(items))}
    assert (worst["passage_right"].slice, worst["passage_right"].value, worst["passage_right"].overall) == ("topic=roses", 0.5, 0.75)
    assert (worst["wrong"].slice, worst["wrong"].value) == ("topic=roses", 0.5)


def test_interval_of_items_about_one_document_is_wider_than_of_independent_ones() -> None:
    def width(topics: int) -> float:
        items = [item(f"i{n}", right=n % topics < topics // 2, topic=f"t{n % topics}") for n in range(80)]
        (score,) = [score for score in aggregate(items) if (score.metric, score.slice) == ("passage_right", "all")]
        return score.high - score.low

    assert width(4) > 1.5 * width(80)


def test_macro_f1_counts_an_answer_without_a_class_as_wrong() -> None:
    def classified(name: str, expected: str, label: str) -> object:
        return item(name, kind="classification", expected_label=expected, label=label)

    items = [classified("a", "high", "high"), classified("b", "low", ""), classified("c", "low", "low")]
    (score,) = [score for score in aggregate(items) if (score.metric, score.slice) == ("macro_f1", "all")]  # type: ignore[arg-type]
    assert 0.5 < score.value < 0.9


def test_run_of_an_older_version_has_the_marks_that_its_fields_tell() -> None:
    old = item("a", right=False, marks={})
    assert item_marks(old) == {
        "right": 0.0, "status": 1.0, "spans_hold": 1.0, "source_right": 0.0, "passage_right": 0.0, "quote_right": 0.0, "coverage": 1.0, "wrong_answers": 1.0,
        "wrong_sources": 1.0, "false_alarm": 0.0, "wrong": 1.0,
    }  # fmt: skip


def test_curve_answers_the_surest_first_and_ends_at_the_share_answered() -> None:
    items = [item(f"i{n}", right=n > 2, confidence=n / 20) for n in range(20)] + [item("none", answerable=False)]
    curve = selective_curve(items)
    assert (curve[0].wrong_rate, curve[0].coverage) == (0.0, 1 / 21)
    assert curve[-1].answered == 20 and curve[-1].wrong_rate == 3 / 20
    assert sum(each.n for each in reliability_bins(items)) == 20
    assert selective_curve([item("none", answerable=False)]) == () and reliability_bins([]) == ()
