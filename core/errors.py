"""The kit's error classes. Each message is one line that says what is wrong and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DomainkitError(Exception):
    """Base class. ``exit_code`` is what the command line exits with: 2 bad input, 1 a domain-level "no"."""

    exit_code = 2


class UsageError(DomainkitError):
    """The call itself is wrong: an unknown name, an impossible value."""


class ManifestError(DomainkitError):
    """A domain package is not valid. Names the file, the key and the allowed values."""


class DocumentError(DomainkitError):
    """A document cannot be read: encrypted, empty, scanned, corrupt, too large or mislabelled."""


class LibraryError(DomainkitError):
    """A library is missing, damaged or locked by another writer."""


class IntegrityError(DomainkitError):
    """Bytes do not have the hash that a trusted manifest states; they were not parsed."""


class ModelError(DomainkitError):
    """A model or adapter cannot be loaded or does not belong here."""


class CheckFailed(DomainkitError):
    """A check or gate said no."""

    exit_code = 1


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return an error that answers a wrong name with the right ones.

    Example: ``unknown domain 'medcal': did you mean 'medical'? known: education, finance, medical``.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" did you mean '{close[0]}'?" if close else ""
    return UsageError(f"unknown {kind} '{name[:80]}':{hint} known: {', '.join(names) or 'none'}")
