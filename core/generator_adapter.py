"""A domain's generator adapter: found, checked, and named to the answerer of a language model. Loads no model."""

from __future__ import annotations

from core.models.adapters import CONFIG, WEIGHTS, Adapter, check_adapter
from core.registry import Domain
from core.settings import Settings


def find_generator(domain: Domain, settings: Settings) -> Adapter | None:
    """Return the adapter that the profile's language model drafts a domain's answers with, checked against its card.

    ``local``: the domain's ``generator`` folder, put on the process's shelf under the domain's name. ``server``: the same, where
    ``DOMAINKIT_SERVER_ADAPTERS`` says that the server has loaded it under the domain's name. None otherwise, and where
    ``DOMAINKIT_ADAPTERS`` is off.

    Raises:
        ModelError: its files say something that is not allowed. IntegrityError: a file does not have the hash that the card states.
    """
    folder = domain.folder / domain.manifest.paths.generator
    used = settings.profile == "local" or (settings.profile == "server" and settings.server_adapters)
    if not used or not settings.adapters or not ((folder / CONFIG).exists() or (folder / WEIGHTS).exists()):
        return None
    if settings.profile == "server":
        return check_adapter(domain.name, folder, task="CAUSAL_LM")
    from core.models.huggingface import shelf

    return shelf.register(domain.name, folder)
