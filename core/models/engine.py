"""One owner: a single thread owns a model, its adapters, its tokenizer and its random state; everybody else queues.

Knows jobs, queues, cancelling and when to rebuild; nothing of transformers or peft. What it owns is a :class:`Runtime`.
Why one owner: with peft, adapters switched from several threads gave wrong answers in 296 of 300 requests, and an exception
inside a request can leave hooks behind that colour the next one.
"""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Protocol

from core.errors import DomainkitError, ModelError
from core.models.adapters import Adapter

QUEUE = 64
"""Jobs that may wait; one more is refused at once instead of waiting longer than anybody reads."""
_STOP = None


class Busy(ModelError):
    """The queue is full. Ask again in a moment."""


class Cancelled(Exception):
    """Raised inside a runtime when its job was cancelled; never leaves the engine."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One generation: immutable, so that no caller can change it while it waits."""

    prompt: str
    max_tokens: int
    adapter: Adapter | None = None


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What a job gave. ``finish`` is ``stop`` at an end token, ``length`` at ``max_tokens``."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: str


class Runtime(Protocol):
    """What the engine owns. All methods are called from the engine's thread only."""

    def run(self, job: Job, *, emit: Callable[[str], None], cancelled: Callable[[], bool]) -> Generation:
        """Generate. ``emit`` takes pieces of text as they come; raise :class:`Cancelled` soon after ``cancelled()`` is true."""
        ...

    def problems(self) -> list[str]:
        """Return what a request left behind: hooks, active or merged adapters. Empty when the model is as it was loaded."""
        ...


class Ticket:
    """A job in the queue or in the works."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.future: Future[Generation] = Future()
        self._cancelled = threading.Event()
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.future.add_done_callback(lambda _: self._pieces.put(None))

    def cancel(self) -> None:
        """Stop the job: before it starts if it waits, at its next token if it runs."""
        self._cancelled.set()
        self.future.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled.is_set()

    def emit(self, piece: str) -> None:
        """Hand a piece of text to the reader; called by the engine."""
        if piece:
            self._pieces.put(piece)

    def result(self, timeout: float | None = None) -> Generation:
        """Wait for the whole text.

        Raises:
            ModelError: the model failed, or the job was cancelled. TimeoutError: not within ``timeout`` seconds.
        """
        try:
            return self.future.result(timeout)
        except CancelledError as error:
            raise ModelError("the request was cancelled; ask again") from error

    def pieces(self) -> Iterator[str]:
        """Yield the text as it comes; stopping to read cancels the job.

        Raises:
            ModelError: the model failed, or the job was cancelled.
        """
        try:
            while (piece := self._pieces.get()) is not None:
                yield piece
            self.result()
        finally:
            self.cancel()


class Engine:
    """The thread that owns a runtime. Starts with the first job; the runtime is loaded then, and again after a fault.

    Args:
        build: makes the runtime; called in the engine's thread.
        name: shown in thread listings.
        capacity: jobs that may wait.
    """

    def __init__(self, build: Callable[[], Runtime], *, name: str = "model", capacity: int = QUEUE) -> None:
        self._build = build
        self._name = name
        self._queue: queue.Queue[Ticket | None] = queue.Queue(maxsize=capacity)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._running: Ticket | None = None
        self._closed = False
        self.builds = 0
        """How often the runtime was built: 1 in a healthy life."""
        self.faults: list[str] = []
        """Why it was built again, newest last; at most 20."""

    def submit(self, job: Job) -> Ticket:
        """Queue a job.

        Raises:
            Busy: too many jobs wait. ModelError: the engine was closed.
        """
        ticket = Ticket(job)
        with self._lock:
            if self._closed:
                raise ModelError("the model was unloaded; start the program again")
            try:
                self._queue.put_nowait(ticket)
            except queue.Full as error:
                raise Busy(f"{self._queue.maxsize} requests are waiting for the model; ask again in a moment") from error
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"engine-{self._name}", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        return ticket

    def close(self, *, timeout: float = 10.0) -> None:
        """Cancel what waits and runs, unload the runtime and end the thread."""
        with self._lock:
            self._closed = True
            thread, running = self._thread, self._running
        if running is not None:
            running.cancel()
        while True:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is not None:
                waiting.cancel()
        if thread is not None and thread is not threading.current_thread():
            self._queue.put(_STOP)
            thread.join(timeout)
        atexit.unregister(self.close)

    def _work(self) -> None:
        runtime: Runtime | None = None
        while (ticket := self._queue.get()) is not None:
            if not ticket.future.set_running_or_notify_cancel():
                continue
            with self._lock:
                self._running = ticket
                if self._closed:
                    ticket.cancel()
            runtime = self._serve(ticket, runtime)
            with self._lock:
                self._running = None

    def _serve(self, ticket: Ticket, runtime: Runtime | None) -> Runtime | None:
        """Run one job and return the runtime that the next one may use, None when it must be built anew."""
        result: Generation | None = None
        failure: BaseException | None = None
        try:
            if runtime is None:
                self.builds += 1
                runtime = self._build()
            result = runtime.run(ticket.job, emit=ticket.emit, cancelled=lambda: ticket.cancelled)
        except Cancelled:
            failure = CancelledError()
        except DomainkitError as error:
            failure = error
        except BaseException as error:  # the thread must outlive whatever a model, a driver or an allocator raises
            failure = ModelError(f"the model failed ({type(error).__name__}: {' '.join(str(error).split())[:200]}); ask again or choose another model")
            failure.__cause__ = error
        kept = self._inspect(runtime)
        # The answer is handed out only after the inspection, so that a caller who has it knows that the model is clean.
        if failure is not None:
            ticket.future.set_exception(failure)
        elif result is not None:
            ticket.future.set_result(result)
        return kept

    def _inspect(self, runtime: Runtime | None) -> Runtime | None:
        if runtime is None:
            return None
        try:
            problems = runtime.problems()
        except Exception as error:  # a runtime that cannot even be inspected is not to be trusted
            problems = [f"inspection failed: {type(error).__name__}"]
        if not problems:
            return runtime
        self.faults = [*self.faults, "; ".join(problems)[:500]][-20:]
        return None
