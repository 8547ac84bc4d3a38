"""Parses one outside file in a killable child process with limits on CPU, wall time, memory and output.

Knows how to keep one warm worker and when to replace it; knows no document format. Nothing here is parsed in this process
but the worker's JSON, which is validated.
"""

from __future__ import annotations

import atexit
import json
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.documents.blocks import one_line
from core.documents.files import display_name
from core.documents.parsed import WALL_FACTOR, Limits, ParsedDocument
from core.errors import DocumentError

if TYPE_CHECKING:
    from core.settings import Settings

MAX_FILES_PER_WORKER = 50
MAX_GROWTH_MB = 512
_LENGTH_BYTES = 8
# JSON escapes and block spans on top of the text itself.
_OVERHEAD_FACTOR = 4
_ROOT = Path(__file__).resolve().parents[2]


def parse_file(path: Path, *, settings: Settings) -> ParsedDocument:
    """Parse one file, of any supported format but jsonl, in the sandbox.

    Safe to call from any thread; calls queue for the one warm worker.

    Raises:
        DocumentError: the file cannot be read, or it broke a limit; the message starts with the file's name.
    """
    limits = Limits.of(settings)
    name = display_name(path)
    _check_file(path, name, limits)
    return _pool().parse(path, name, limits)


def close() -> None:
    """End the warm worker, if there is one. The next :func:`parse_file` starts a fresh one."""
    global _shared
    with _guard:
        pool, _shared = _shared, None
    if pool is not None:
        pool.close()


def worker_pid() -> int | None:
    """Return the process id of the warm worker, None when none runs."""
    return _shared.pid if _shared is not None else None


def _check_file(path: Path, name: str, limits: Limits) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise DocumentError(f"{name}: cannot be opened ({error.strerror}); check the path and its permissions") from error
    if not stat.S_ISREG(status.st_mode):
        raise DocumentError(f"{name}: not a regular file; give a file")
    if status.st_size > limits.file_mb * 1_048_576:
        size = f"{status.st_size / 1_048_576:.0f} MB"
        raise DocumentError(f"{name}: {size} is more than the limit of {limits.file_mb} MB; split it or raise DOMAINKIT_MAX_FILE_MB")


class _Worker:
    """One child process and its pipes."""

    def __init__(self) -> None:
        environment = {
            "PYTHONPATH": str(_ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1",
            "OPENPYXL_LXML": "False",
            "OPENBLAS_NUM_THREADS": "1",
        }
        if sys.platform == "win32":
            environment["SYSTEMROOT"] = os.environ.get("SYSTEMROOT", "")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.documents.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.path.abspath(os.sep),
            env=environment,
        )
        self.files = 0
        self.first_peak_mb: int | None = None
        self.timed_out = False

    def ask(self, request: dict[str, Any], *, wall_seconds: float, max_bytes: int) -> tuple[dict[str, Any], bytes] | None:
        """Return the answer's head and document; None when the worker ended, was killed or answered too much."""
        if self.process.stdin is None or self.process.stdout is None:
            return None
        self.files += 1
        timer = threading.Timer(wall_seconds, self._time_out)
        timer.daemon = True
        timer.start()
        try:
            payload = json.dumps(request).encode()
            self.process.stdin.write(len(payload).to_bytes(_LENGTH_BYTES, "big") + payload)
            self.process.stdin.flush()
            header = self.process.stdout.read(_LENGTH_BYTES)
            if len(header) < _LENGTH_BYTES:
                return None
            length = int.from_bytes(header, "big")
            if length > max_bytes:
                return {"status": "output", "peak_mb": 0}, b""
            answer = self.process.stdout.read(length)
        except (OSError, ValueError):
            return None
        finally:
            timer.cancel()
        if len(answer) < length:
            return None
        head, _, document = answer.partition(b"\n")
        return json.loads(head), document

    def worn(self, peak_mb: int) -> bool:
        """Say whether the worker has served its time: files read, or memory grown since its first answer."""
        if self.first_peak_mb is None:
            self.first_peak_mb = peak_mb
        return self.files >= MAX_FILES_PER_WORKER or peak_mb - min(self.first_peak_mb, 256) > MAX_GROWTH_MB

    def end(self) -> int:
        """Kill the process, wait for it and return its exit status."""
        self.process.kill()
        status = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # unsent bytes of a worker that is gone
        return status

    def _time_out(self) -> None:
        self.timed_out = True
        self.process.kill()


class _Pool:
    """One warm worker, owned by one thread.

    The thread lives as long as the pool: the kernel kills a worker together with the thread that started it.
    """

    def __init__(self) -> None:
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="document-parser")
        self._worker: _Worker | None = None
        self._spare: _Worker | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        return self._worker.process.pid if self._worker is not None and self._worker.process.poll() is None else None

    def parse(self, path: Path, name: str, limits: Limits) -> ParsedDocument:
        future = self._owner.submit(self._parse, path, name, limits)
        try:
            return future.result()
        except (KeyboardInterrupt, SystemExit):
            if not future.cancel() and (worker := self._worker) is not None:
                worker.process.kill()
            raise

    def close(self) -> None:
        self._closed = True
        for worker in (self._worker, self._spare):
            if worker is not None:
                worker.process.kill()
        self._owner.shutdown(wait=True)
        self._discard(spare=True)

    def _parse(self, path: Path, name: str, limits: Limits) -> ParsedDocument:
        request = {"path": str(path.absolute()), "limits": limits.model_dump()}
        max_bytes = limits.output_mb * 1_048_576 * _OVERHEAD_FACTOR + 1_048_576
        worker = self._ready()
        answer = worker.ask(request, wall_seconds=limits.cpu_seconds * WALL_FACTOR, max_bytes=max_bytes)
        if answer is None:
            timed_out = worker.timed_out
            raise DocumentError(f"{name}: {_cause_of_death(self._discard(), timed_out=timed_out, limits=limits)}")
        head, document = answer
        status = head.get("status")
        if status in ("memory", "output") or worker.worn(int(head.get("peak_mb", 0))):
            self._discard()
        elif worker.files >= MAX_FILES_PER_WORKER - 5 and self._spare is None:
            self._spare = _Worker()
        if status == "ok":
            return ParsedDocument.model_validate_json(document)
        raise DocumentError(f"{name}: {_refusal(str(status), one_line(str(head.get('reason', ''))), limits)}")

    def _ready(self) -> _Worker:
        if self._closed:
            raise DocumentError("the document parser is closed; start again")
        if self._worker is not None and self._worker.process.poll() is not None:
            self._discard()
        if self._worker is None:
            self._worker, self._spare = self._spare or _Worker(), None
        return self._worker

    def _discard(self, *, spare: bool = False) -> int:
        worker, self._worker = self._worker, None
        status = worker.end() if worker is not None else 0
        if spare and self._spare is not None:
            self._spare.end()
            self._spare = None
        return status


def _cause_of_death(status: int, *, timed_out: bool, limits: Limits) -> str:
    import signal

    if timed_out:
        wall = limits.cpu_seconds * WALL_FACTOR
        return f"took more than {wall} s; split it or raise DOMAINKIT_PARSE_SECONDS"
    if sys.platform != "win32" and status == -signal.SIGXCPU:
        return f"took more than {limits.cpu_seconds} s of CPU; split it or raise DOMAINKIT_PARSE_SECONDS"
    if sys.platform != "win32" and status in (-signal.SIGKILL, -signal.SIGTERM):
        return "its parser was stopped from outside, perhaps for lack of memory; try again"
    return f"its parser crashed (exit status {status}); the file is damaged or hostile: open it in its program and save it again"


def _refusal(status: str, reason: str, limits: Limits) -> str:
    if status == "refused":
        return reason
    if status == "memory":
        return f"needs more than {limits.memory_mb} MB of memory; split it or raise DOMAINKIT_PARSE_MEMORY_MB"
    if status == "output":
        return f"holds more than {limits.output_mb} MB of text; split it or raise DOMAINKIT_PARSE_OUTPUT_MB"
    return f"is damaged and cannot be read ({reason}); open it in its program and save it again"


_guard = threading.Lock()
_shared: _Pool | None = None


def _pool() -> _Pool:
    global _shared
    with _guard:
        if _shared is None:
            _shared = _Pool()
        return _shared


def _forget_after_fork() -> None:
    """A forked copy of this process has neither the owner thread nor the right to the worker's pipes."""
    global _guard, _shared
    _guard = threading.Lock()
    _shared = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(close)
