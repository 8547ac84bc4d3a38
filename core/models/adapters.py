"""Adapters of language models and encoders: a folder is checked against our own schema and hashed before peft or safetensors see it.

Knows the files of a LoRA adapter, never a model. What peft is told is built from the checked values, not from the file.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import stat
import threading
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from core.errors import IntegrityError, ModelError, unknown

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "card.json"
MAX_CONFIG_BYTES = 64_000
MAX_WEIGHTS_BYTES = 4 * 1024**3
MAX_HEADER_BYTES = 16_000_000
UNSAFE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".py", ".so"})
"""Files that other loaders would execute or unpickle; a folder that holds one is refused whole."""

Module = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]{1,100}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
_T = TypeVar("_T", bound=BaseModel)
_KEY = re.compile(r"^base_model\.model\.(?P<module>[A-Za-z0-9_.]{1,300})\.lora_(?P<half>[AB])\.weight$")
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


class AdapterConfig(BaseModel):
    """The keys of ``adapter_config.json`` that matter to a LoRA adapter; everything else must be absent, null or false.

    Patterns that peft would read as regular expressions (a ``target_modules`` string, ``rank_pattern``, ``layers_pattern``)
    are refused: a hostile one hangs the process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM", "FEATURE_EXTRACTION"]
    r: int = Field(ge=1, le=256, strict=True)
    lora_alpha: float = Field(gt=0, le=4_096)
    target_modules: Annotated[tuple[Module, ...], Field(min_length=1, max_length=64)]
    use_rslora: bool = False
    fan_in_fan_out: Literal[False] = False
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    bias: Literal["none"] = "none"
    base_model_name_or_path: str | None = Field(default=None, max_length=500)
    revision: str | None = Field(default=None, max_length=200)
    peft_version: str = Field(default="", max_length=60)
    inference_mode: bool = True
    init_lora_weights: bool | Literal["gaussian"] = True

    @model_validator(mode="before")
    @classmethod
    def _drop_what_says_nothing(cls, data: Any) -> Any:
        """Peft writes some forty keys; an unknown one may only say "off". Two carry a default that LoRA never reads."""
        if not isinstance(data, dict):
            return data
        idle: dict[str, Any] = {"megatron_core": "megatron.core", "qalora_group_size": 16}
        return {
            key: value
            for key, value in data.items()
            if key in cls.model_fields or not (value is None or value is False or value == {} or value == [] or idle.get(key) == value)
        }


class AdapterCard(BaseModel):
    """``card.json``, the trusted manifest of an adapter: hash per file, and of the base weights it was trained on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    files: dict[str, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]] = Field(default_factory=dict)
    base_sha256: Sha256 = ""


class Adapter(BaseModel):
    """A checked adapter. ``sha256`` covers what peft is told and the weights, so equal ids mean equal answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    folder: Path
    config: AdapterConfig
    weights_sha256: str
    base_sha256: str
    sha256: str

    @property
    def id(self) -> str:
        """What an answer's ``adapter`` field shows: ``medical@`` and the start of the hash."""
        return f"{self.name}@{self.sha256[:12]}"


class AdapterShelf:
    """The adapters that requests may name. Any thread may register and look up; a name registered again is replaced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._adapters: dict[str, Adapter] = {}

    def register(self, name: str, folder: Path, *, weights_sha256: str = "") -> Adapter:
        """Check a folder and put it on the shelf.

        Raises:
            ModelError, IntegrityError: as :func:`check_adapter`.
        """
        adapter = check_adapter(name, folder, weights_sha256=weights_sha256)
        with self._lock:
            self._adapters[name] = adapter
        return adapter

    def get(self, name: str) -> Adapter:
        """Return the adapter called ``name``.

        Raises:
            ModelError: unknown; the message lists the known ones.
        """
        with self._lock:
            found = self._adapters.get(name)
            known = list(self._adapters)
        if found is None:
            raise ModelError(str(unknown("adapter", name, known)))
        return found


def check_adapter(name: str, folder: Path, *, weights_sha256: str = "", task: Literal["CAUSAL_LM", "FEATURE_EXTRACTION"] = "CAUSAL_LM") -> Adapter:
    """Check an adapter folder without loading it.

    Args:
        name: what requests call it.
        folder: holds ``adapter_config.json``, ``adapter_model.safetensors`` and perhaps ``card.json``.
        weights_sha256: hash the weights must have; by default the card's. With neither, the bytes seen now are pinned.
        task: what it must be for: a causal language model, or an encoder.

    Raises:
        ModelError: a file is missing, of another format, or says something that is not allowed.
        IntegrityError: a file does not have the hash that is stated.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise ModelError(f"adapter name {name[:40]!r}: use letters, digits, '_', '.' and '-'")
    try:
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise ModelError(f"adapter '{name}': no readable folder '{folder.name}'; train one or name the folder that peft saved") from error
    unsafe = [entry for entry in entries if Path(entry).suffix.lower() in UNSAFE_SUFFIXES]
    if unsafe:
        raise ModelError(f"adapter '{name}': {unsafe[0]} is not loaded, only {WEIGHTS}; save with safetensors and delete it")
    card = _read(AdapterCard, folder / CARD, name=name) if CARD in entries else AdapterCard()
    config = _read(AdapterConfig, folder / CONFIG, name=name)
    if config.task_type != task:
        raise ModelError(f"adapter '{name}': {CONFIG}: task_type is {config.task_type}, wanted {task}; name an adapter of that kind")
    weights = _read_regular(folder / WEIGHTS, limit=MAX_WEIGHTS_BYTES, name=name)
    digest = hashlib.sha256(weights).hexdigest()
    stated = {weights_sha256, card.files.get(WEIGHTS, "")} - {""}
    if stated - {digest}:
        raise IntegrityError(f"adapter '{name}': {WEIGHTS} does not have the stated hash; it was not parsed. Fetch or train it again")
    if CONFIG in card.files and card.files[CONFIG] != hashlib.sha256(_read_regular(folder / CONFIG, limit=MAX_CONFIG_BYTES, name=name)).hexdigest():
        raise IntegrityError(f"adapter '{name}': {CONFIG} does not have the hash its card states; fetch or train it again")
    check_header(weights, config=config, name=name)
    told = json.dumps([config.r, config.lora_alpha, sorted(config.target_modules), config.use_rslora, digest])
    return Adapter(
        name=name,
        folder=folder,
        config=config,
        weights_sha256=digest,
        base_sha256=card.base_sha256,
        sha256=hashlib.sha256(told.encode()).hexdigest(),
    )


def read_weights(adapter: Adapter) -> bytes:
    """Return the bytes of the adapter's weights, which are the ones that were checked.

    Raises:
        IntegrityError: they were changed since. ModelError: they are gone.
    """
    data = _read_regular(adapter.folder / WEIGHTS, limit=MAX_WEIGHTS_BYTES, name=adapter.name)
    if hashlib.sha256(data).hexdigest() != adapter.weights_sha256:
        raise IntegrityError(f"adapter '{adapter.name}' was changed on disk after it was registered; register it again")
    return data


def base_weights_sha256(folder: Path) -> str:
    """Return the hash that a card's ``base_sha256`` states.

    For one ``*.safetensors`` file its SHA-256; for several the SHA-256 of their ``name``, NUL, hash and newline in name order.

    Raises:
        ModelError: the folder holds no safetensors.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"model folder '{folder.name}' holds no safetensors; other weight formats are not loaded")
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(files) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{path.name}\0{digest}\n" for path, digest in zip(files, digests, strict=True)).encode()).hexdigest()


def check_header(data: bytes, *, config: AdapterConfig, name: str) -> None:
    """Check the header of safetensors bytes against the config: only LoRA halves of the targets, of the stated rank, no gaps.

    Layout: https://github.com/huggingface/safetensors#format. Raises:
        ModelError: anything else stands there.
    """
    bad = ModelError(f"adapter '{name}': {WEIGHTS} is not a LoRA checkpoint of rank {config.r} for its target modules; save it again with peft")
    size = int.from_bytes(data[:8], "little") if len(data) >= 8 else 0
    if not 2 <= size <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise bad
    try:
        header = json.loads(data[8 : 8 + size])
    except (ValueError, RecursionError) as error:
        raise bad from error
    if not isinstance(header, dict):
        raise bad
    spans = []
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        match = _KEY.match(key)
        try:
            dtype, (rows, columns), (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            exact = all(type(number) is int and number >= 0 for number in (rows, columns, start, end))
            fits = exact and end - start == rows * columns * _BYTES[dtype]
        except (KeyError, TypeError, ValueError) as error:
            raise bad from error
        targeted = match is not None and any(match["module"] == target or match["module"].endswith("." + target) for target in config.target_modules)
        rank = rows if match is not None and match["half"] == "A" else columns
        if not (targeted and fits and rank == config.r):
            raise bad
        spans.append((start, end))
    spans.sort()
    if not spans or spans[0][0] != 0 or spans[-1][1] != len(data) - 8 - size or any(a[1] != b[0] for a, b in itertools.pairwise(spans)):
        raise bad


def _read_regular(path: Path, *, limit: int, name: str) -> bytes:
    try:
        # Non-blocking, so that a named pipe in the place of a file cannot hold the reader for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
                raise ModelError(f"adapter '{name}': {path.name} is not a file of at most {limit:,} bytes")
            return file.read(limit + 1)
    except OSError as error:
        raise ModelError(f"adapter '{name}': cannot read {path.name} ({error.strerror}); save the adapter with peft and safetensors") from error


def _read(schema: type[_T], path: Path, *, name: str) -> _T:
    try:
        return schema.model_validate(json.loads(_read_regular(path, limit=MAX_CONFIG_BYTES, name=name)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ModelError(f"adapter '{name}': {path.name}: {where}: {first['msg']}; got {str(first['input'])[:60]!r}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"adapter '{name}': {path.name} is not JSON; save the adapter again with peft") from error
