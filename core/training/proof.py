"""Proof that a query adapter belongs to its base and is really applied: hashes, modules, and how far it moves a probe. Judges no answers.

Peft loads an adapter whose keys match nothing, whose B is zero, or that was trained on another base of the same shape, without a word;
here each is refused in words. Neither torch nor peft is imported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from core.encoder import Encoder, sha256_file
from core.errors import IntegrityError, ModelError
from core.models.adapters import CARD, Adapter, read_weights
from core.types import Frozen

EPSILON = 0.01
"""Least mean distance (1 − cosine) by which an adapter must move the probe; rounding to int8 alone moves it by less than 0.005."""
PROBE = (
    "What are the symptoms?",
    "How is it treated?",
    "How much does it cost per year?",
    "Explain the difference between the two terms.",
    "Which value is larger, and why?",
    "When should I ask for help?",
)


class Binding(Frozen):
    """What an adapter is bound to, all by hash, and what it changes."""

    domain: str
    adapter_sha256: str
    weights_sha256: str
    base_sha256: str
    tokenizer_sha256: str
    modules: int
    """Of the base that the adapter changes: every one that its config names."""


class _Card(Frozen, extra="ignore"):
    domain: str
    base_sha256: str
    tokenizer_sha256: str


def bind(adapter: Adapter, *, domain: str, base: Path) -> Binding:
    """Check that an adapter belongs to a domain and a base, and that it changes every module it names.

    Args:
        adapter: checked by :func:`core.models.adapters.check_adapter`.
        domain: whose it should be.
        base: folder of the base encoder (safetensors).

    Raises:
        ModelError: no card, another domain, base or tokenizer; a key that is no module of the base, a module that is missing or of another
            shape; or nothing would change. IntegrityError: the weights were changed since they were checked.
    """
    name = adapter.name
    try:
        card = _Card.model_validate(json.loads((adapter.folder / CARD).read_text("utf-8")))
    except FileNotFoundError as error:
        raise ModelError(f"adapter '{name}': no {CARD}: nothing says which base and domain it belongs to; train it with `domainkit train`") from error
    except (ValidationError, ValueError) as error:
        raise ModelError(f"adapter '{name}': {CARD} does not state domain, base_sha256 and tokenizer_sha256; train it with `domainkit train`") from error
    if card.domain != domain:
        raise ModelError(f"adapter '{name}' belongs to domain '{card.domain[:60]}', not to '{domain}'; put it there or train one for this domain")
    weights, tokenizer = sha256_file(base / "model.safetensors"), sha256_file(base / "tokenizer.json")
    for what, stated, found in (("base weights", card.base_sha256, weights), ("tokenizer", card.tokenizer_sha256, tokenizer)):
        if stated != found:
            raise ModelError(f"adapter '{name}' was trained with another {what} ({stated[:12] or 'none stated'}, here {found[:12]}); train it on this base")
    modules = _applied(adapter, _linear_modules(base))
    return Binding(
        domain=domain, adapter_sha256=adapter.sha256, weights_sha256=adapter.weights_sha256, base_sha256=weights, tokenizer_sha256=tokenizer, modules=modules
    )


def _linear_modules(base: Path) -> dict[str, tuple[int, int]]:
    """Return the shape (out, in) of every matrix of the base by its module, read from the header of the safetensors file."""
    with (base / "model.safetensors").open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return {
        key.removesuffix(".weight"): (entry["shape"][0], entry["shape"][1])
        for key, entry in header.items()
        if key.endswith(".weight") and len(entry["shape"]) == 2
    }


def _applied(adapter: Adapter, modules: dict[str, tuple[int, int]]) -> int:
    """Return how many modules of the base the adapter changes; every module that its config names must be among them."""
    from safetensors.numpy import load

    halves: dict[str, dict[str, np.ndarray]] = {}
    for key, tensor in load(read_weights(adapter)).items():
        module, half = key.removeprefix("base_model.model.").removesuffix(".weight").rsplit(".lora_", 1)
        halves.setdefault(module, {})[half] = np.asarray(tensor, dtype=np.float32)
    strange = sorted(set(halves) - set(modules))
    if strange:
        raise ModelError(f"adapter '{adapter.name}': '{strange[0]}' is no module of the base ({len(strange)} such keys); it would be left out in silence")
    # A pooler has no part in a mean of token states, so no adapter is trained for it.
    named = {module for module in modules if module.rsplit(".", 1)[-1] in adapter.config.target_modules and not module.startswith("pooler.")}
    missing = sorted(named - {module for module, pair in halves.items() if set(pair) == {"A", "B"}})
    if missing:
        raise ModelError(f"adapter '{adapter.name}': '{missing[0]}' has no adapter or only half of one ({len(missing)} of {len(named)} modules)")
    for module, pair in sorted(halves.items()):
        shape = (pair["B"].shape[0], pair["A"].shape[1])
        if shape != modules[module]:
            raise ModelError(f"adapter '{adapter.name}': '{module}' is {modules[module]} in the base, {shape} in the adapter")
    idle = [module for module, pair in sorted(halves.items()) if not np.any(pair["B"]) or not np.any(pair["A"])]
    if len(idle) == len(halves):
        raise ModelError(f"adapter '{adapter.name}' changes nothing: every B is zero; it was never trained")
    if not all(np.isfinite(half).all() for pair in halves.values() for half in pair.values()):
        raise ModelError(f"adapter '{adapter.name}' holds numbers that are not finite; train it again with a lower learning rate")
    return len(halves) - len(idle)


def probe(base: Encoder, tuned: Encoder, texts: Sequence[str] = PROBE) -> float:
    """Return by how much an adapter moves what it is given: the mean of 1 − cosine between the two encoders' vectors.

    Raises:
        ModelError: less than :data:`EPSILON`; the adapter is not applied. IntegrityError: the encoders are of different bases.
    """
    if base.manifest.base_sha256 != tuned.manifest.base_sha256:
        raise IntegrityError("the two encoders were compiled from different bases; run `domainkit reindex`")
    moved = float(1 - (base.encode(texts) * tuned.encode(texts)).sum(axis=1).mean())
    if moved < EPSILON:
        raise ModelError(f"the adapter moves the probe by {moved:.4f}, less than {EPSILON}: it is not applied, or was hardly trained")
    return round(moved, 4)
