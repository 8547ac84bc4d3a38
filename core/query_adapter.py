"""A domain's query adapter: found, checked, and run as a compiled encoder of its own that turns a question into what passages are sought by.

The base encoder still compares questions with questions and feeds the gate: what decides about emergencies does not depend on an adapter.
"""

from __future__ import annotations

from core.encoder import Encoder, compiled_folder
from core.errors import ModelError
from core.models.adapters import CONFIG, WEIGHTS, Adapter, check_adapter
from core.registry import Domain
from core.settings import Settings


def find_adapter(domain: Domain, settings: Settings) -> Adapter | None:
    """Return a domain's adapter, checked against its card; None when it has none or ``DOMAINKIT_ADAPTERS`` is off.

    Raises:
        ModelError: its files say something that is not allowed. IntegrityError: a file does not have the hash that the card states.
    """
    folder = domain.folder / domain.manifest.paths.adapter
    if not settings.adapters or not ((folder / CONFIG).exists() or (folder / WEIGHTS).exists()):
        return None
    return check_adapter(domain.name, folder, task="FEATURE_EXTRACTION")


def is_compiled(adapter: Adapter | None, settings: Settings) -> bool:
    """Whether a query encoder is ready; there is nothing to compile where there is no adapter."""
    return adapter is None or (compiled_folder(settings, adapter_sha256=adapter.sha256) / "encoder.json").is_file()


def query_encoder(adapter: Adapter | None, settings: Settings) -> Encoder | None:
    """Return the compiled query encoder of an adapter, None without one.

    Raises:
        ModelError: it is not compiled yet. IntegrityError: a compiled file was changed on disk.
    """
    if adapter is None:
        return None
    if not is_compiled(adapter, settings):
        raise ModelError(f"adapter '{adapter.name}' is not compiled yet: run `domainkit reindex {adapter.name}` (once, about 15 s)")
    return Encoder(compiled_folder(settings, adapter_sha256=adapter.sha256))


def ensure_query_encoder(adapter: Adapter | None, settings: Settings) -> Encoder | None:
    """Return the query encoder of an adapter, compiled first where it was not.

    Raises:
        ModelError: the adapter does not fit the base. IntegrityError: weights do not have the hash stated for them.
    """
    if adapter is not None and not is_compiled(adapter, settings):
        from core.encoder_compile import compile_encoder

        compile_encoder(settings, adapter=adapter)
    return query_encoder(adapter, settings)
