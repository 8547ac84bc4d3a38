"""The killable child: reads requests from stdin, parses one file at a time, writes answers to stdout.

Runs as ``python -m core.documents.worker PARENT_PID``. Messages are JSON behind an eight-byte big-endian length. Knows the
readers; knows no library, no settings and no user.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from pathlib import Path
from typing import BinaryIO

from core.documents.confinement import confine, die_with_parent, limit, peak_memory_mb
from core.documents.parsed import Limits
from core.documents.readers import read_here
from core.errors import DocumentError

LENGTH = struct.Struct(">Q")
MAX_REQUEST_BYTES = 65_536


def main() -> None:
    """Serve requests until stdin ends."""
    die_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = _private_pipes()
    # openpyxl and others would load it for type checks alone: 100 MB of address space for nothing.
    sys.modules["numpy"] = None  # type: ignore[assignment]
    confine()
    while (header := requests.read(LENGTH.size)) and len(header) == LENGTH.size:
        (length,) = LENGTH.unpack(header)
        if length > MAX_REQUEST_BYTES:
            raise SystemExit(2)
        answer = _answer(json.loads(requests.read(length)))
        answers.write(LENGTH.pack(len(answer)))
        answers.write(answer)
        answers.flush()


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the protocol off the standard streams, so that a library's stray print cannot corrupt it."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    return requests, answers


def _answer(request: dict[str, object]) -> bytes:
    """Return one answer: the parsed document, or what went wrong; never raises for anything a document can do."""
    body: dict[str, object]
    document = ""
    try:
        limits = Limits.model_validate(request["limits"])
        limit(cpu_seconds=limits.cpu_seconds, memory_mb=limits.memory_mb)
        document = read_here(Path(str(request["path"])), limits).model_dump_json()
        body = {"status": "ok"}
    except DocumentError as error:
        body = {"status": "refused", "reason": str(error)}
    except MemoryError:
        body = {"status": "memory"}
    except OSError as error:
        body = {"status": "damaged", "reason": f"{type(error).__name__}: {error.strerror or ''}"}
    except Exception as error:  # a parser may raise anything; it becomes one clear refusal in the parent
        body = {"status": "damaged", "reason": f"{type(error).__name__}: {error}"[:200]}
    body["peak_mb"] = peak_memory_mb()
    head = json.dumps(body).encode()
    try:
        return head + b"\n" + document.encode("utf-8", "replace")
    except MemoryError:
        return json.dumps({"status": "memory", "peak_mb": peak_memory_mb()}).encode() + b"\n"


if __name__ == "__main__":
    main()
