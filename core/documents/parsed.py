"""What a reader returns and the limits it works under. Knows no format, no sandbox and no library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from core.errors import DocumentError
from core.types import Frozen, Language, Page

if TYPE_CHECKING:
    from core.settings import Settings


class Limits(Frozen):
    """What one document may cost. Wall time is :data:`WALL_FACTOR` times the CPU time."""

    cpu_seconds: int = Field(default=60, ge=1)
    memory_mb: int = Field(default=1_024, ge=128)
    output_mb: int = Field(default=64, ge=1)
    file_mb: int = Field(default=100, ge=1)

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits that the settings state."""
        return cls(
            cpu_seconds=settings.parse_seconds,
            memory_mb=settings.parse_memory_mb,
            output_mb=settings.parse_output_mb,
            file_mb=settings.max_file_mb,
        )


WALL_FACTOR = 3


class ParsedDocument(Frozen):
    """One file (or one record of a jsonl file) as its reader understood it; empty strings where the file does not say.

    Documents without page numbers have exactly one page, whose ``number`` is None.
    """

    title: str
    lang: Language | None = None
    url: str = ""
    aliases: tuple[str, ...] = ()
    external_id: str = ""
    context: str = ""
    pages: tuple[Page, ...]

    @model_validator(mode="after")
    def _spans_lie_in_their_page(self) -> Self:
        for page in self.pages:
            at = 0
            for block in page.blocks:
                if not at <= block.start < block.end <= len(page.text):
                    raise ValueError(f"block {block.start}..{block.end} lies outside its page or overlaps the one before")
                at = block.end
        return self


class OutputBudget:
    """Counts the UTF-8 bytes that a reader has produced, so that it stops early instead of filling memory."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.output_mb * 1_048_576
        self._megabytes = limits.output_mb
        self._spent = 0

    def spend(self, text: str) -> None:
        """Count ``text``.

        Raises:
            DocumentError: the document holds more text than the limit allows.
        """
        self._spent += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if self._spent > self._limit:
            raise DocumentError(f"holds more than {self._megabytes} MB of text; split it or raise DOMAINKIT_PARSE_OUTPUT_MB")


def as_language(value: Any) -> Language | None:
    """Return the language of a tag such as ``zh-CN`` or ``en_US``; None when it is not one of ours."""
    tag = str(value or "").strip().lower().replace("_", "-").split("-")[0]
    return "en" if tag == "en" else "zh" if tag == "zh" else None
