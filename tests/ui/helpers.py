"""Small values and shorthands for the tests of the app."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from core.types import Answer, Citation, Claim, Status, Timings


def citation(quote: str, *, start: int = 0, page: int | None = None, document: str = "d" * 64, title: str = "Tulips") -> Citation:
    return Citation(
        document_id=document,
        external_id=title.lower(),
        title=title,
        source=f"{title}.md",
        page=page,
        start=start,
        end=start + len(quote),
        quote=quote,
        sha256=hashlib.sha256(quote.encode()).hexdigest(),
    )


def answer(*claims: Claim, question: str = "When?", status: Status = Status.ANSWERED, **changes: Any) -> Answer:
    values: dict[str, Any] = {
        "id": "a" * 32,
        "domain": "garden",
        "question": question,
        "lang": "en",
        "status": status,
        "text": " ".join(claim.text for claim in claims),
        "notice": "",
        "claims": claims,
        "hits": (),
        "confidence": 0.9,
        "profile": "embedded",
        "model": "quoting",
        "adapter": "",
        "generation": 1,
        "timings_ms": Timings(retrieve=1, answer=1, total=2),
    }
    return Answer(**(values | changes))


def claim(text: str, *citations: Citation, support: float = 1.0) -> Claim:
    return Claim(text=text, support=support, citations=citations or (citation(text),))


def shown(at: AppTest) -> str:
    """All HTML that the app made for the page, as one text."""
    return "\n".join(str(block.value) for block in at.html)


def labels(at: AppTest) -> list[str]:
    return [button.label for button in at.button]


STONES_RECIPE = """
task = "retrieval"
leaks = "refuse"
[[data]]
file = "things.jsonl"
valid = 12
test = 12
[training]
rank = 2
alpha = 4
targets = ["query"]
learning_rate = 0.02
batch = 8
steps = {steps}
warmup = 1
validate_every = 2
patience = 1000
"""


def write_stones(path: Path) -> None:
    """Write sixty questions about stones, each with its answer, to train on."""
    colours = "red blue green grey black white pink brown".split()
    rows = [{"question": f"What colour is stone {n}?", "answer": f"Stone {n} is {colours[n % 8]}.", "focus": f"stone {n}"} for n in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
