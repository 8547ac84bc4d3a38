from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from document_samples import ENGLISH, make_docx, make_pdf

from core.documents import sandbox
from core.documents.sandbox import parse_file, worker_pid
from core.errors import DocumentError
from core.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="kernel limits of Linux")


def note(tmp_path: Path, text: str = ENGLISH, name: str = "note.md") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_dead(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def busy_pdf(path: Path) -> Path:
    """A small PDF whose one page draws text for a very long time."""
    content = zlib.compress(b"BT /F1 9 Tf " + b"1 0 0 1 7 7 Tm (a) Tj " * 2_000_000 + b"ET", 9)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(data)
    data += b"xref\n0 6\n0000000000 65535 f \n%strailer\n<< /Root 1 0 R /Size 6 >>\nstartxref\n%d\n%%%%EOF" % (table, start)
    path.write_bytes(data)
    return path


def test_sandbox_keeps_one_warm_worker(tmp_path: Path, settings: Settings) -> None:
    path = note(tmp_path)
    parse_file(path, settings=settings)
    first = worker_pid()
    parse_file(path, settings=settings)
    assert worker_pid() == first and first not in (None, os.getpid())


def test_sandbox_replaces_the_worker_after_its_share_of_files(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_FILES_PER_WORKER", 3)
    sandbox.close()
    seen = {worker_pid() for _ in range(9) if parse_file(note(tmp_path), settings=settings)} - {None}
    assert len(seen) == 3


@linux_only
def test_sandbox_stops_a_document_that_burns_cpu_and_reads_the_next(tmp_path: Path) -> None:
    short = Settings(parse_seconds=2)
    path = busy_pdf(tmp_path / "bomb.pdf")
    assert path.stat().st_size < 200_000
    began = time.monotonic()
    with pytest.raises(DocumentError, match=r"^bomb\.pdf: took more than 2 s of CPU; split it or raise DOMAINKIT_PARSE_SECONDS$"):
        parse_file(path, settings=short)
    assert time.monotonic() - began < 8
    assert parse_file(note(tmp_path), settings=short).pages[0].text == ENGLISH


@linux_only
def test_sandbox_stops_a_document_that_needs_too_much_memory_and_reads_the_next(tmp_path: Path, settings: Settings) -> None:
    small = Settings(parse_memory_mb=128)
    path = note(tmp_path, "<p>" + "<b>x</b>" * 1_500_000, "big.html")
    with pytest.raises(DocumentError, match=r"^big\.html: (needs more than 128 MB of memory|its parser crashed)"):
        parse_file(path, settings=small)
    assert parse_file(note(tmp_path), settings=settings).pages[0].text == ENGLISH


@linux_only
def test_sandbox_stops_a_worker_that_hangs_without_cpu(tmp_path: Path, settings: Settings) -> None:
    parse_file(note(tmp_path), settings=settings)
    pid = worker_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(DocumentError, match=r"^note\.md: took more than 3 s; split it"):
        parse_file(note(tmp_path), settings=Settings(parse_seconds=1))
    assert wait_until_dead(pid)
    assert parse_file(note(tmp_path), settings=settings).pages[0].text == ENGLISH


@linux_only
def test_sandbox_recovers_from_a_killed_worker(tmp_path: Path, settings: Settings) -> None:
    parse_file(note(tmp_path), settings=settings)
    pid = worker_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_until_dead(pid)
    assert parse_file(note(tmp_path), settings=settings).pages[0].text == ENGLISH


@linux_only
def test_sandbox_names_a_worker_killed_while_it_parses(tmp_path: Path, settings: Settings) -> None:
    parse_file(note(tmp_path), settings=settings)
    pid = worker_pid()
    assert pid is not None
    # Making the file takes a while; killed meanwhile, the worker would only be replaced.
    path = busy_pdf(tmp_path / "busy.pdf")
    killer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(DocumentError, match=r"^busy\.pdf: its parser was stopped from outside"):
        parse_file(path, settings=settings)
    killer.join()


def test_sandbox_refuses_files_and_texts_that_are_too_large(tmp_path: Path) -> None:
    path = note(tmp_path, "word " * 500_000)
    with pytest.raises(DocumentError, match=r"^note\.md: 2 MB is more than the limit of 1 MB; split it or raise DOMAINKIT_MAX_FILE_MB$"):
        parse_file(path, settings=Settings(max_file_mb=1))
    with pytest.raises(DocumentError, match=r"^note\.md: holds more than 1 MB of text; split it or raise DOMAINKIT_PARSE_OUTPUT_MB$"):
        parse_file(path, settings=Settings(parse_output_mb=1))


def test_sandbox_returns_long_texts_whole(tmp_path: Path, settings: Settings) -> None:
    text = "\n\n".join(f'Paragraph {number} says "quoted" \\ 血压升高。' for number in range(60_000))
    assert parse_file(note(tmp_path, text, "long.txt"), settings=settings).pages[0].text == text


def test_sandbox_refuses_what_is_no_regular_file(tmp_path: Path, settings: Settings) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    for path in (tmp_path, tmp_path / "pipe.md"):
        with pytest.raises(DocumentError, match="not a regular file"):
            parse_file(path, settings=settings)


def test_sandbox_serves_many_threads_and_outlives_the_first(tmp_path: Path, settings: Settings) -> None:
    sandbox.close()
    texts = {note(tmp_path, f"Text {number}.", f"{number}.md"): f"Text {number}." for number in range(24)}
    for _ in range(2):  # the threads of the first round, one of which caused the worker to start, are gone in the second
        with ThreadPoolExecutor(max_workers=8) as threads:
            parsed = list(threads.map(lambda path: parse_file(path, settings=settings), texts))
        assert [document.pages[0].text for document in parsed] == list(texts.values())


def test_sandbox_never_opens_a_connection(tmp_path: Path, settings: Settings) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.2)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        page = f'<!DOCTYPE html SYSTEM "{url}"><html><head><link rel="stylesheet" href="{url}"></head>'
        page += f'<body><img src="{url}"><p>seen</p></body></html>'
        assert parse_file(note(tmp_path, page, "a.html"), settings=settings).pages[0].text == "seen"
        parse_file(note(tmp_path, f"![x]({url}) <img src='{url}'>\n\nseen", "a.md"), settings=settings)
        with pytest.raises(TimeoutError):
            listener.accept()


PARENT = """
import sys, time
from pathlib import Path
from core.documents.sandbox import parse_file, worker_pid
from core.settings import Settings
if __name__ == "__main__":
    parse_file(Path(sys.argv[1]), settings=Settings())
    print(worker_pid(), flush=True)
    if len(sys.argv) > 2:
        parse_file(Path(sys.argv[2]), settings=Settings())
"""


@linux_only
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_sandbox_leaves_no_orphan_when_the_parent_dies_in_the_middle_of_a_document(tmp_path: Path, how: signal.Signals) -> None:
    arguments = [sys.executable, "-c", PARENT, str(note(tmp_path)), str(busy_pdf(tmp_path / "busy.pdf"))]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert alive(pid)
        parent.send_signal(how)
        parent.wait(timeout=20)
    assert wait_until_dead(pid)


@linux_only
def test_sandbox_leaves_no_orphan_when_the_parent_ends(tmp_path: Path) -> None:
    arguments = [sys.executable, "-W", "error", "-c", PARENT, str(note(tmp_path))]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert wait_until_dead(int(done.stdout))


@linux_only
def test_sandbox_works_in_a_forked_child(tmp_path: Path, settings: Settings) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom core.documents.sandbox import parse_file\nfrom core.settings import Settings\n"
        "def read():\n    return parse_file(Path(sys.argv[1]), settings=Settings()).pages[0].text\n"
        "assert read()\npid = os.fork()\nif pid == 0:\n    os._exit(0 if read() else 1)\n"
        "assert os.waitpid(pid, 0)[1] == 0\nassert read()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(note(tmp_path))], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_sandbox_worker_inherits_no_secret(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    monkeypatch.setenv("DOMAINKIT_SERVER_KEY", "secret-key")
    sandbox.close()
    parse_file(note(tmp_path), settings=settings)
    assert b"secret-key" not in Path(f"/proc/{worker_pid()}/environ").read_bytes()


def test_sandbox_reads_many_files_in_one_worker(tmp_path: Path, settings: Settings) -> None:
    paths = [note(tmp_path, f"# Title {n}\n\n{ENGLISH}\n", f"{n}.md") for n in range(20)]
    parse_file(paths[0], settings=settings)
    first = worker_pid()
    for path in paths:
        parse_file(path, settings=settings)
    assert worker_pid() == first


def test_sandbox_reads_after_a_mutated_document(tmp_path: Path, settings: Settings) -> None:
    sources = [make_docx(tmp_path / "a.docx").read_bytes(), make_pdf(tmp_path / "a.pdf", [[ENGLISH]]).read_bytes()]
    for seed in range(30):
        source = bytearray(sources[seed % 2])
        for step in range(6):
            source[(seed * 7919 + step * 104_729) % len(source)] ^= 1 << (seed + step) % 8
        path = tmp_path / f"mutant{('.docx', '.pdf')[seed % 2]}"
        path.write_bytes(source)
        try:
            parse_file(path, settings=settings)
        except DocumentError as error:
            assert str(error).startswith(path.name + ": ") and "\n" not in str(error)
    assert parse_file(note(tmp_path), settings=settings).pages[0].text == ENGLISH
