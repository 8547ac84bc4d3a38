"""Every knob of the kit, its unit and its bound; read from ``DOMAINKIT_*`` environment variables."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent

Profile = Literal["embedded", "local", "server", "scripted"]


class Settings(BaseSettings):
    """Settings of one process. Field ``x`` is read from the environment variable ``DOMAINKIT_X``."""

    model_config = SettingsConfigDict(env_prefix="DOMAINKIT_", frozen=True, extra="ignore")

    home: Path = Field(default=ROOT / "data" / "home", description="run-time state: libraries, compiled encoders, conversations")
    domains: str = Field(default="", description=f"extra domain folders, separated by '{os.pathsep}'; each holds one domain or several")
    encoder: str = Field(default="", description="folder or hub id of the sentence encoder; empty: the MiniLM wheel")
    adapters: bool = Field(default=True, description="whether a domain's adapters are applied; each belongs to one base")
    profile: Profile = "embedded"
    model: str = Field(default="", description="local: folder or hub id of a causal LM; server: model name")
    model_revision: str = Field(default="main", description="pinned revision of a hub model")
    server_url: str = Field(default="http://127.0.0.1:8000/v1", description="OpenAI-compatible endpoint of the server profile")
    server_key: str = Field(default="", description="bearer token sent to the server; never logged")
    server_adapters: bool = Field(default=False, description="the server has loaded each domain's generator adapter under the domain's name")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: Annotated[int, Field(ge=1, le=64)] = min(4, os.cpu_count() or 1)
    top_k: Annotated[int, Field(ge=1, le=100)] = 6
    max_question_chars: Annotated[int, Field(ge=1, le=100_000)] = 4_000
    max_answer_tokens: Annotated[int, Field(ge=1, le=8_192)] = 512
    max_sentences: Annotated[int, Field(ge=1, le=20)] = 4
    parse_seconds: Annotated[int, Field(ge=1, le=600, description="CPU seconds per document")] = 60
    parse_memory_mb: Annotated[int, Field(ge=128, le=16_384)] = 1_024
    parse_output_mb: Annotated[int, Field(ge=1, le=1_024)] = 64
    max_file_mb: Annotated[int, Field(ge=1, le=2_048)] = 100
    upload_mb: Annotated[int, Field(ge=1, le=200)] = 20
    batch_tokens: Annotated[int, Field(ge=256, le=65_536, description="tokens per encoder batch when ingesting")] = 4_096


@cache
def get_settings() -> Settings:
    """Return the process's settings, read once.

    Raises:
        UsageError: an environment variable is out of bounds; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "DOMAINKIT_" + "_".join(str(part) for part in first["loc"]).upper()
        raise UsageError(f"{name}: {first['msg']}; got {str(first['input'])[:60]!r}") from error
