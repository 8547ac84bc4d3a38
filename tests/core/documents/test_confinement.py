from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="kernel limits of Linux")


def confined(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has confined itself."""
    program = f"import os, socket, subprocess, sys\nfrom core.documents.confinement import confine, limit\nconfine()\n{code}"
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "socket.socket()",
        "socket.create_connection(('127.0.0.1', 9))",
        "socket.getaddrinfo('example.org', 80)",
        "__import__('urllib.request').request.urlopen('http://127.0.0.1:9/')",
        "subprocess.run(['true'])",
        "os.system('true')",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "open('/tmp/domainkit-never', 'w')",
        "os.open('/tmp/domainkit-never', os.O_CREAT)",
        "os.remove('/tmp/domainkit-never')",
        "os.mkdir('/tmp/domainkit-never')",
        "os.kill(os.getppid(), 0)",
        "__import__('ctypes').CDLL('libc.so.6')",
    ],
)
def test_confined_process_is_refused(code: str) -> None:
    done = confined(code)
    assert done.returncode == 1
    assert "PermissionError: a document reader may not" in done.stderr
    assert not Path("/tmp/domainkit-never").exists()


def test_confined_process_may_read() -> None:
    assert confined("print(len(open(os.__file__).read()) > 0)").stdout == "True\n"


@linux_only
def test_confined_process_cannot_grow_a_file_it_inherited(tmp_path: Path) -> None:
    program = "from core.documents.confinement import confine\nconfine()\nimport os\nos.write(1, b'x')"
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=out, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode != 0 and (tmp_path / "out").stat().st_size == 0


@linux_only
def test_confined_process_sees_no_network_device() -> None:
    done = confined("print([line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:]])")
    if done.stdout.strip() != "['lo']":
        pytest.skip("this kernel permits no network namespace here; the audit hook alone guards")


@linux_only
def test_limited_process_runs_out_of_cpu_and_memory() -> None:
    assert confined("limit(cpu_seconds=1, memory_mb=1024)\nwhile True: pass").returncode == -24
    assert "MemoryError" in confined("limit(cpu_seconds=5, memory_mb=128)\nx = bytearray(600_000_000)").stderr
