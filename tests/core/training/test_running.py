"""A run's folder seen from outside: one run at a time, who holds it, what it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import UsageError
from core.training import running

HOLD = """
import signal, sys, time
from pathlib import Path
from core.training.running import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    time.sleep(60)
"""


def test_second_run_in_a_folder_is_refused_and_the_first_can_be_stopped(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    try:
        assert running.holder(tmp_path) == child.pid
        with pytest.raises(UsageError, match="a run is going on in"), running.claim(tmp_path):
            pass
        assert running.stop(tmp_path)
        assert child.wait(timeout=20) == 0
    finally:
        child.kill()
        child.stdout.close()
        child.wait()
    assert running.holder(tmp_path) is None and not running.stop(tmp_path)


def test_lock_ends_with_the_process_even_when_it_is_killed(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    child.kill()
    child.stdout.close()
    child.wait()
    with running.claim(tmp_path):
        assert running.holder(tmp_path) is not None


def test_folder_without_a_run_has_no_holder(tmp_path: Path) -> None:
    assert running.holder(tmp_path / "none") is None and running.read_now(tmp_path) is None


def test_what_a_run_does_is_noted_at_most_once_a_second_and_gone_at_its_end(tmp_path: Path) -> None:
    told: list[int] = []
    with running.claim(tmp_path):
        tell = running.telling(tmp_path, lambda text, done, total: told.append(done))
        for number in range(5):
            tell("training", number, 9)
        now = running.read_now(tmp_path)
        assert now is not None and (now.text, now.done, now.total) == ("training", 0, 9)
    assert told == [0, 1, 2, 3, 4] and running.read_now(tmp_path) is None


def test_damaged_note_is_no_note(tmp_path: Path) -> None:
    (tmp_path / running.NOW).write_text("{")
    assert running.read_now(tmp_path) is None
