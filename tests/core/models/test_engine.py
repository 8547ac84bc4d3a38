"""The engine's rules with small runtimes: one owner, bounded queue, cancelling, faults, rebuilding."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from core.errors import ModelError
from core.models.engine import Busy, Cancelled, Engine, Generation, Job


class Echo:
    """Says its prompt word by word; some prompts make trouble. Notes which threads called it."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.left: list[str] = []
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.done: list[str] = []

    def run(self, job: Job, *, emit: Callable[[str], None], cancelled: Callable[[], bool]) -> Generation:
        self.threads.add(threading.get_ident())
        if job.prompt == "raise":
            raise RuntimeError("line one\nline two")
        if job.prompt == "leave a hook":
            self.left = ["hook left on layer 0"]
            raise ValueError("in the middle")
        if job.prompt == "exit":
            raise SystemExit(3)
        if job.prompt == "block":
            self.entered.set()
            while not self.gate.wait(0.005):
                if cancelled():
                    raise Cancelled
        for word in job.prompt.split():
            emit(word + " ")
        self.done.append(job.prompt)
        return Generation(text=job.prompt, prompt_tokens=1, completion_tokens=len(job.prompt.split()), finish="stop")

    def problems(self) -> list[str]:
        return self.left


@pytest.fixture
def built() -> list[Echo]:
    return []


@pytest.fixture
def engine(built: list[Echo]) -> Iterator[Engine]:
    def build() -> Echo:
        built.append(Echo())
        return built[-1]

    made = Engine(build, capacity=4)
    yield made
    if built:
        built[-1].gate.set()
    made.close()


def say(prompt: str) -> Job:
    return Job(prompt=prompt, max_tokens=10)


def test_engine_runs_every_job_in_one_thread(engine: Engine, built: list[Echo]) -> None:
    texts: list[str] = []

    def caller(number: int) -> None:
        while True:
            try:
                texts.append(engine.submit(say(f"job {number}")).result(10).text)
                return
            except Busy:
                time.sleep(0.002)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts) == sorted(f"job {number}" for number in range(40))
    assert len(built) == 1
    assert len(built[0].threads) == 1
    assert threading.get_ident() not in built[0].threads


def test_engine_streams_pieces_in_order(engine: Engine) -> None:
    assert "".join(engine.submit(say("one two three")).pieces()) == "one two three "


def test_engine_survives_whatever_a_job_raises(engine: Engine, built: list[Echo]) -> None:
    for prompt in ("raise", "exit"):
        with pytest.raises(ModelError) as caught:
            engine.submit(say(prompt)).result(10)
        assert "\n" not in str(caught.value)
        assert engine.submit(say("still here")).result(10).text == "still here"
    assert engine.builds == 1


def test_engine_builds_anew_when_a_job_left_something_behind(engine: Engine, built: list[Echo]) -> None:
    engine.submit(say("fine")).result(10)
    with pytest.raises(ModelError, match="in the middle"):
        engine.submit(say("leave a hook")).result(10)
    assert engine.faults == ["hook left on layer 0"]
    assert engine.submit(say("fine again")).result(10).text == "fine again"
    assert engine.builds == 2
    assert built[1].done == ["fine again"]


def test_engine_tries_to_build_again_after_a_failure() -> None:
    tries: list[int] = []

    def build() -> Echo:
        tries.append(1)
        if len(tries) == 1:
            raise ModelError("no such model")
        return Echo()

    engine = Engine(build)
    with pytest.raises(ModelError, match="no such model"):
        engine.submit(say("x")).result(10)
    assert engine.submit(say("x")).result(10).text == "x"
    engine.close()


def test_engine_refuses_what_does_not_fit_its_queue(engine: Engine, built: list[Echo]) -> None:
    blocked = engine.submit(say("block"))
    while not built:
        time.sleep(0.002)
    assert built[0].entered.wait(10)
    waiting = [engine.submit(say(f"waiting {number}")) for number in range(4)]
    with pytest.raises(Busy, match="4 requests are waiting"):
        engine.submit(say("one more"))
    built[0].gate.set()
    assert [ticket.result(10).text for ticket in waiting] == [f"waiting {number}" for number in range(4)]
    assert blocked.result(10).text == "block"


def test_engine_cancels_a_waiting_and_a_running_job(engine: Engine, built: list[Echo]) -> None:
    running = engine.submit(say("block"))
    while not built:
        time.sleep(0.002)
    assert built[0].entered.wait(10)
    waiting = engine.submit(say("never"))
    waiting.cancel()
    running.cancel()
    for ticket in (running, waiting):
        with pytest.raises(ModelError, match="cancelled"):
            ticket.result(10)
    assert engine.submit(say("after")).result(10).text == "after"
    assert built[0].done == ["after"]


def test_engine_cancels_a_job_whose_reader_goes_away(engine: Engine) -> None:
    ticket = engine.submit(say("one two three"))
    pieces = ticket.pieces()
    assert next(pieces) == "one "
    pieces.close()  # type: ignore[attr-defined]
    assert ticket.cancelled


def test_engine_closes_with_jobs_in_it(engine: Engine, built: list[Echo]) -> None:
    running = engine.submit(say("block"))
    while not built:
        time.sleep(0.002)
    assert built[0].entered.wait(10)
    waiting = engine.submit(say("never"))
    engine.close()
    for ticket in (running, waiting):
        with pytest.raises(ModelError, match="cancelled"):
            ticket.result(10)
    with pytest.raises(ModelError, match="unloaded"):
        engine.submit(say("late"))
    engine.close()
