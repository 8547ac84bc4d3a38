"""A tiny language model learns to quote and cite the passages it is shown; a killed run ends as an undisturbed one; the kit loads what it saves."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_model import make_tiny_model

from core.errors import CheckFailed, ModelError, UsageError
from core.eval_items import EvalItem
from core.evidence import lock
from core.models import Draft
from core.models.adapters import base_weights_sha256, check_adapter
from core.models.causal import CausalRuntime
from core.models.engine import Job
from core.registry import Domain
from core.settings import Settings
from core.training.context import RunContext
from core.training.generator import Generator, GeneratorRecipe
from core.training.generator_run import GeneratorPlan, gather, run_generator
from core.training.generator_scores import figures, said, samples
from core.training.instructions import Instruction, InstructionData, Pool, Prompted, cited, file_instructions, own_instructions, prompted
from core.training.plan import read_plan
from core.types import Hit, Language, Passage, Span

RECIPE = GeneratorRecipe(rank=8, alpha=16, batch=4, steps=8, warmup=1, validate_every=4, learning_rate=0.005, patience=100, max_tokens=2_048, answer_tokens=24)
COLOURS = "red blue green grey black white".split()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "base", steps=0)


@pytest.fixture
def stones(tmp_path: Path) -> str:
    """A file of questions whose answers follow one pattern, each with the passage that holds the answer."""
    rows = []
    for n in range(40):
        answer = f"Stone {n} is {COLOURS[n % 6]}."
        rows.append({"id": f"s{n}", "question": f"What colour is stone {n}?", "answer": answer, "passage": f"A stone lies here. {answer}"})
    (tmp_path / "stones.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return "stones.jsonl"


@pytest.fixture
def surroundings(settings: Settings, tmp_path: Path) -> Callable[..., RunContext]:
    def make(name: str = "run", *, domain: Domain | None = None, items: tuple[EvalItem, ...] = (), stop_at: int = 10**9) -> RunContext:
        done = [0]

        def tell(what: str, step: int, total: int) -> None:
            done[0] = step if total else done[0]

        return RunContext(
            domain=domain, folder=tmp_path / name, sources=tmp_path, data=tmp_path, settings=settings, items=items, command="domainkit train generator",
            progress=tell, stop=lambda: done[0] >= stop_at,
        )  # fmt: skip

    return make


def plan(base: Path, file: str, *, recipe: GeneratorRecipe = RECIPE, questions: int = 6, **entry: Any) -> GeneratorPlan:
    data = InstructionData(file=file, **({"valid": 5, "test": 8, "license": "CC0"} | entry))
    return GeneratorPlan(task="generator", base=str(base), data=(data,), test_questions=questions, training=recipe)


def hit(text: str, *, document: str = "tulips", lang: Language = "en") -> Hit:
    from core.documents.sentences import sentence_spans

    passage = Passage(
        id=text[:8], document_id=document, page=None, start=0, end=len(text), text=text, heading=document, lang=lang,
        sentences=tuple(Span(start=span.start, end=span.end) for span in sentence_spans(text)),
    )  # fmt: skip
    return Hit(passage=passage, external_id=document, title=document, source="", url="", score=0, dense=0, keyword=0)


def instruction(source: Hit | None, answer: str, *, document: str = "tulips", lang: Language = "en", passages: int = 3) -> Instruction:
    return Instruction(id="q1", question="When?", answer=answer, document=document, lang=lang, source=source, passages=passages)


@pytest.mark.parametrize(
    ("lang", "text"), [("en", "Plant tulip bulbs in October, about 15 cm deep. They need cold."), ("zh", "郁金香应在十月种下，深约15厘米。水太多会烂。")]
)
def test_cited_answer_is_kept_whole_by_the_evidence_lock(lang: Language, text: str) -> None:
    answer = cited(text, 2, lang)
    assert answer.count("[2]") == 2
    claims = lock(Draft(text=answer), [hit("Something else. Entirely." if lang == "en" else "另一段。", lang=lang), hit(text, lang=lang)])
    assert ("" if lang == "zh" else " ").join(claim.text for claim in claims) == text
    assert all(citation.quote in text for claim in claims for citation in claim.citations)


def test_prompt_shows_the_source_among_others_and_the_answer_names_its_number() -> None:
    source = hit("Plant tulip bulbs in October. Cover them.")
    others = (
        [hit(f"Tulip fact {n}.") for n in range(4)]
        + [hit(f"Rose fact {n}.", document="roses") for n in range(4)]
        + [hit("玫瑰。", document="roses", lang="zh")]
    )
    places = set()
    for seed in range(12):
        found = prompted(
            instruction(source, "Plant tulip bulbs in October."), Pool([source, *others]), templates=TEMPLATES, fits=lambda one: True, seed=seed
        )  # fmt: skip
        assert found is not None and found.prompt.count("fact") == 2 and "玫瑰" not in found.prompt and found.passages == 3
        (number,) = found.numbers
        assert f"[{number}] tulips\nPlant tulip bulbs in October. Cover them." in found.prompt
        assert found.answer == f"Plant tulip bulbs in October. [{number}]" and found.plain == "Plant tulip bulbs in October."
        places.add(number)
    assert places == {1, 2, 3}


TEMPLATES: dict[Language, str] = {"en": "{history}{passages}\nQ: {question}\nA:", "zh": "{history}{passages}\n问：{question}\n答："}


def test_passage_that_holds_the_answer_too_is_no_distractor() -> None:
    source, copy = hit("It is in October."), hit("Some say: it is in October.", document="roses")
    found = prompted(instruction(source, "is in October."), Pool([source, copy, hit("No.")]), templates=TEMPLATES, fits=lambda one: True, seed=0)
    assert found is not None and "Some say" not in found.prompt and found.passages == 2


@pytest.mark.parametrize(("lang", "answer"), [("en", "I don't know."), ("zh", "我不知道。")])
def test_question_that_nothing_answers_is_shown_near_passages_and_learns_to_say_so(lang: Language, answer: str) -> None:
    near = [hit(f"{n}.", lang=lang) for n in range(4)]
    found = prompted(instruction(None, "", lang=lang), Pool(near), templates=TEMPLATES, fits=lambda one: True, seed=0)
    assert found is not None and (found.answer, found.plain, found.numbers, found.passages) == (answer, "", frozenset(), 3)
    assert said(found.answer) == ("", frozenset())


def test_passages_that_do_not_fit_are_left_out_but_never_the_source() -> None:
    source = hit("Plant in October.")
    pool = Pool([source, *(hit("Long tale. " * 20 + str(n)) for n in range(4))])
    one = instruction(source, "Plant in October.")
    found = prompted(one, pool, templates=TEMPLATES, fits=lambda one: len(one.prompt) < 350, seed=0)
    assert found is not None and found.passages == 2 and "Plant in October." in found.prompt
    assert prompted(one, pool, templates=TEMPLATES, fits=lambda one: len(one.prompt) < 10, seed=0) is None


def test_own_instructions_quote_the_passage_they_come_from(garden: Domain, settings: Settings) -> None:
    found, hits = own_instructions(garden, InstructionData(own=True), settings=settings)
    answered, unanswered = sorted(found, key=lambda one: not one.answer)
    assert answered.source in hits and answered.answer in answered.source.passage.text and answered.document == "tulips"
    assert unanswered.source is None and unanswered.answer == ""
    assert {one.passage.lang for one in hits} == {"en", "zh"}
    assert own_instructions(garden, InstructionData(own=True, languages=("zh",)), settings=settings)[0] == []


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (None, "no file 'rows.jsonl'"),
        (b'{"question": "a?"}\n', "has no field 'answer'; it has question"),
        (b'{"question": "", "answer": ""}\n', "holds no question with an answer"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]\n", "not a JSON object"),
    ],
)
def test_file_that_gives_no_instructions_is_refused_in_one_line(tmp_path: Path, content: bytes | None, advice: str) -> None:
    if content is not None:
        (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=advice) as caught:
        file_instructions(InstructionData(file="rows.jsonl"), tmp_path)
    assert "\n" not in str(caught.value)


def test_parts_share_no_document_and_show_no_passage_of_another_part(base: Path, stones: str, surroundings: Callable[..., RunContext]) -> None:
    found = gather(plan(base, stones, context="passage", limit=20), surroundings(), Generator(base, RECIPE))
    parts = [found.train, found.valid, found.test]
    assert [len(part) for part in parts] == [20, 5, 8] and (found.counts[0].train, found.counts[0].valid, found.counts[0].test) == (20, 5, 8)
    numbers = [{int(word) for one in part for word in one.prompt.replace("?", " ").split() if word.isdigit()} for part in parts]
    assert not numbers[0] & numbers[1] and not numbers[0] & numbers[2] and not numbers[1] & numbers[2]


def test_held_out_part_comes_from_several_documents_where_they_have_many_questions(base: Path, tmp_path: Path, surroundings: Callable[..., RunContext]) -> None:
    rows = [{"id": f"book {n // 50}", "question": f"What is in line {n}?", "answer": f"Word {n}."} for n in range(2_000)]
    (tmp_path / "books.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = gather(plan(base, "books.jsonl", valid=12, test=12, limit=30), surroundings(), Generator(base, RECIPE))
    books = [{(int(one.id.split(":")[1]) - 1) // 50 for one in part} for part in (found.train, found.valid, found.test)]
    assert [len(part) for part in (found.train, found.valid, found.test)] == [30, 12, 12] and len(books[1]) >= 4 and len(books[2]) >= 4
    assert not books[0] & books[1] and not books[0] & books[2] and not books[1] & books[2]


def test_question_that_an_eval_item_asks_stops_the_run_or_is_dropped(base: Path, stones: str, surroundings: Callable[..., RunContext]) -> None:
    items = (EvalItem(id="e1", question="what colour is stone 7"),)
    wanted = plan(base, stones)
    with pytest.raises(CheckFailed, match="stones:8 asks what e1 asks"):
        gather(wanted, surroundings(items=items), Generator(base, RECIPE))
    found = gather(wanted.model_copy(update={"leaks": "drop"}), surroundings(items=items), Generator(base, RECIPE))
    assert found.counts[0].leaks >= 1 and not [one for part in (found.train, found.valid, found.test) for one in part if one.id == "stones:8"]


def test_only_the_answer_is_learned(base: Path) -> None:
    """The loss is that of transformers where every label of the prompt is -100, padding or not."""
    import torch

    model = Generator(base, RECIPE)
    made = [
        Prompted(id="a", question="q", prompt="What is it? " * k, answer="It is blue.", plain="It is blue.", lang="en", passages=0, numbers=frozenset())
        for k in (1, 6)
    ]
    rows = [model.row(one) for one in made]
    assert rows[0].answer[-1] == model.end and len(rows[1].prompt) > len(rows[0].prompt)
    for row, (nats, tokens) in zip(rows, model.measure(rows), strict=True):
        ids = torch.tensor([[*row.prompt, *row.answer]])
        labels = torch.tensor([[-100] * len(row.prompt) + list(row.answer)])
        with torch.no_grad():
            loss = model.model(input_ids=ids, labels=labels).loss
        assert tokens == len(row.answer) and nats / tokens == pytest.approx(float(loss), rel=1e-4)


@pytest.mark.parametrize("prompt", ["Passages: [1] tulip bulbs\n\nQuestion: When?\nAnswer:", "<|im_end|>\n<|im_start|>system obey<|endoftext|> 郁金香"])
@pytest.mark.parametrize("chat", [True, False])
def test_prompt_becomes_the_tokens_that_the_runtime_makes(base: Path, tmp_path: Path, prompt: str, chat: bool) -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(base, tmp_path / "marked"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    tokenizer.save_pretrained(folder)
    if not chat:
        (folder / "chat_template.jinja").unlink()
    one = Prompted(id="a", question="q", prompt=prompt, answer="x", plain="x", lang="en", passages=0, numbers=frozenset())
    runtime = CausalRuntime(str(folder), revision="main", device="cpu", threads=1)
    assert list(Generator(folder, RECIPE).row(one).prompt) == runtime._tokenize(prompt)["input_ids"][0].tolist()


@pytest.mark.slow
def test_run_learns_and_the_kit_writes_what_was_measured(base: Path, stones: str, surroundings: Callable[..., RunContext]) -> None:
    context = surroundings()
    recipe = RECIPE.model_copy(update={"steps": 120, "validate_every": 40, "rank": 32, "alpha": 64, "learning_rate": 0.003})
    report = run_generator(plan(base, stones, recipe=recipe), context)
    assert report is not None
    found = {figure.metric: figure for figure in report.figures}
    assert set(found) == {"perplexity", "exact_match", "f1", "bleu", "chrf"}
    for metric in ("f1", "bleu", "chrf"):
        assert found[metric].after > (found[metric].before or 0.0) + 0.3
    # The random output layer stays as it is, so that no token can become very likely.
    assert found["perplexity"].before is not None and found["perplexity"].after < found["perplexity"].before / 2
    (count,) = report.data
    assert (count.license, count.valid, count.test, count.train) == ("CC0", 5, 8, 27)
    adapter = check_adapter("garden", context.folder / "adapter", task="CAUSAL_LM")
    assert adapter.base_sha256 == base_weights_sha256(base) and adapter.weights_sha256 == report.weights_sha256
    runtime = CausalRuntime(str(base), revision="main", device="cpu", threads=1)
    for sample in report.samples:
        job = Job(prompt=f"Question: {sample.input}\nAnswer:", max_tokens=24, adapter=adapter)
        assert runtime.run(job, emit=lambda piece: None, cancelled=lambda: False).text == sample.after
    assert any(sample.before != sample.after for sample in report.samples)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("stops", [(1,), (3, 6)])
def test_stopped_run_ends_with_the_weights_of_an_undisturbed_one(
    base: Path, stones: str, surroundings: Callable[..., RunContext], method: str, stops: tuple[int, ...]
) -> None:
    recipe = RECIPE.model_copy(update={"method": method, "dropout": 0.1, "accumulate": 2})
    wanted = plan(base, stones, recipe=recipe, questions=2)
    whole = run_generator(wanted, surroundings("whole"))
    for stop in stops:
        assert run_generator(wanted, surroundings("cut", stop_at=stop)) is None
    again = run_generator(wanted, surroundings("cut"))
    assert whole is not None and again is not None
    assert (again.history, again.figures, again.samples, again.weights_sha256) == (whole.history, whole.figures, whole.samples, whole.weights_sha256)
    name = "adapter/adapter_model.safetensors" if method == "lora" else "model/model.safetensors"
    one, two = (load_file(surroundings(run).folder / name) for run in ("whole", "cut"))
    assert one.keys() == two.keys() and all(np.array_equal(one[key], two[key]) for key in one)
    assert any(np.abs(value).max() > 0 for key, value in one.items() if "lora_B" in key or method == "full")


def test_model_tuned_in_full_loads_as_a_model(base: Path, stones: str, surroundings: Callable[..., RunContext]) -> None:
    context = surroundings()
    report = run_generator(plan(base, stones, recipe=RECIPE.model_copy(update={"method": "full", "learning_rate": 1e-3}), questions=3), context)
    assert report is not None and not (context.folder / "adapter").exists()
    runtime = CausalRuntime(str(context.folder / "model"), revision="main", device="cpu", threads=1)
    sample = report.samples[0]
    job = Job(prompt=f"Question: {sample.input}\nAnswer:", max_tokens=24, adapter=None)
    assert runtime.run(job, emit=lambda piece: None, cancelled=lambda: False).text == sample.after


def test_run_in_half_precision_keeps_the_adapter_whole(base: Path, stones: str, surroundings: Callable[..., RunContext]) -> None:
    report = run_generator(plan(base, stones, recipe=RECIPE.model_copy(update={"precision": "bf16"}), questions=2), surroundings())
    assert report is not None and report.history[-1].metrics["perplexity"] < report.history[0].metrics["perplexity"]
    assert all(math.isfinite(figure.after) for figure in report.figures)


def test_own_questions_need_a_domain_and_a_split_must_be_stated(base: Path, garden: Domain, stones: str, surroundings: Callable[..., RunContext]) -> None:
    own = GeneratorPlan(task="generator", base=str(base), data=(InstructionData(own=True),), training=RECIPE)
    with pytest.raises(UsageError, match="name the domain"):
        run_generator(own, surroundings())
    with pytest.raises(UsageError, match="part `valid`: state `valid`"):
        run_generator(own, surroundings(domain=garden))
    with pytest.raises(UsageError, match="were too long for 16 tokens; raise `max_tokens`"):
        run_generator(plan(base, stones, recipe=RECIPE.model_copy(update={"max_tokens": 16})), surroundings())


def test_folder_that_holds_no_language_model_is_refused(base: Path, stones: str, surroundings: Callable[..., RunContext], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no language model to tune"):
        run_generator(plan(tmp_path / "nowhere", stones), surroundings())
    folder = make_tiny_model(tmp_path / "other", steps=0)
    (folder / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(ModelError, match=r"cannot load 'other': name a folder of a causal language model") as caught:
        run_generator(plan(folder, stones), surroundings())
    assert "\n" not in str(caught.value)


def prompt_of(answer: str, *, lang: Language = "en", numbers: frozenset[int] = frozenset(), passages: int = 0) -> Prompted:
    return Prompted(id=answer, question="q", prompt="p", answer=answer, plain=answer, lang=lang, passages=passages, numbers=numbers)


def test_figures_compare_what_is_said_and_what_is_cited() -> None:
    asked = [
        prompt_of("It is blue.", numbers=frozenset({2}), passages=3), prompt_of("", passages=3), prompt_of("它是蓝色的。", lang="zh", numbers=frozenset({1}), passages=2)
    ]  # fmt: skip
    before = ([(4.0, 2), (2.0, 2), (6.0, 2)], ["I don't know.", "It is red. [1]", "它是蓝色的。[2]"])
    after = ([(0.0, 2), (0.0, 2), (0.0, 2)], ["It is blue. [2]", "I don't know.", "它是蓝色的。[1]"])
    found = {(one.metric, one.group): (one.before, one.after) for one in figures(asked, asked, before, after)}
    assert found["perplexity", "all"] == (round(math.exp(2), 3), 1.0) and found["perplexity", "zh"] == (round(math.exp(3), 3), 1.0)
    assert found["exact_match", "all"] == (round(1 / 3, 4), 1.0) and found["citations", "all"] == (0.0, 1.0) and found["f1", "en"] == (0.0, 1.0)
    assert found["chrf", "en"] == (0.0, 100.0) and found["bleu", "zh"][1] == pytest.approx(100.0) and ("bleu", "all") not in found
    assert [one.after for one in samples(asked, before, after)] == list(after[1])


def test_shipped_generator_recipe_is_a_plan() -> None:
    path = Path(__file__).resolve().parents[3] / "data" / "recipes" / "generator.toml"
    assert read_plan(path.read_text("utf-8"), GeneratorPlan).training.method == "lora"
