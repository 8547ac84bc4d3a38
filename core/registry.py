"""Finds domains, one code path: the repository's ``domains/``, those unpacked under the home, DOMAINKIT_DOMAINS folders, entry points.

Lists by name and loads when asked for; a broken domain is reported and never hurts the others. Imports no domain code.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import DomainkitError, ManifestError, unknown
from core.manifest import MANIFEST, Manifest, load_manifest
from core.settings import ROOT, Settings, get_settings

ENTRY_POINT_GROUP = "domainkit.domains"
BUILT_IN, UNPACKED = "built-in", "unpacked"
"""Doors. A domain unpacked under the home takes the place of a built-in one of its name: that is how a team passes an improved one on."""
REPLACED = re.compile(r"(?P<name>[a-z][a-z0-9_]*)\.replaced-\d+")
"""Folder of a domain while another takes its place; it serves for as long as the new one does not stand."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A valid domain package: its manifest and the folder that holds it."""

    manifest: Manifest
    folder: Path
    door: str

    @property
    def name(self) -> str:
        """The domain's id."""
        return self.manifest.name

    @property
    def corpus(self) -> Path:
        """Folder of the corpus articles, one sub-folder per language."""
        return self.folder / self.manifest.paths.corpus


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A domain package that could not be used, and why, in one line."""

    name: str
    door: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Registry:
    """All domains found, by name, and what was broken."""

    domains: dict[str, Domain]
    broken: tuple[Broken, ...] = field(default=())

    def get(self, name: str) -> Domain:
        """Return the domain called ``name``.

        Raises:
            UsageError: unknown; the message lists the known ones.
            ManifestError: known but broken; the message says why.
        """
        if name in self.domains:
            return self.domains[name]
        for broken in self.broken:
            if broken.name == name:
                raise ManifestError(broken.reason)
        raise unknown("domain", name, self.domains)


def unpacked_folder(settings: Settings) -> Path:
    """Return the folder under the home that holds unpacked domains."""
    return settings.home / "domains"


def _is_domain(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _children(folder: Path) -> list[Path]:
    """Return the domain folders in a folder, sorted."""
    found = [child for child in sorted(folder.iterdir()) if _is_domain(child)]
    names = {child.name for child in found}
    return [child for child in found if not ((replaced := REPLACED.fullmatch(child.name)) and replaced["name"] in names)]


def _folders(settings: Settings) -> Iterator[tuple[Path, str] | Broken]:
    yield from ((child, BUILT_IN) for child in _children(ROOT / "domains"))
    unpacked = unpacked_folder(settings)
    if unpacked.is_dir():
        yield from ((child, UNPACKED) for child in _children(unpacked))
    for entry in filter(None, settings.domains.split(os.pathsep)):
        path = Path(entry).expanduser()
        if _is_domain(path):
            yield path, entry
        elif path.is_dir():
            yield from ((child, entry) for child in _children(path))
        else:
            reason = f"DOMAINKIT_DOMAINS: '{entry}' is not a folder; name folders that hold a {MANIFEST}, or remove it"
            yield Broken(name=path.name, door=entry, reason=reason)


def _entry_points() -> Iterator[tuple[Path, str] | Broken]:
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        door = f"package {point.dist.name if point.dist else point.value}"
        package = point.value.split(":")[0].split(".")
        # Find the package's folder without importing it: a vertical is data, and importing would run a stranger's code.
        try:
            spec = importlib.util.find_spec(package[0])
        except (ImportError, ValueError):
            spec = None
        parents = list(spec.submodule_search_locations or []) if spec else []
        if parents:
            yield Path(parents[0]).joinpath(*package[1:]), door
        else:
            yield Broken(name=point.name, door=door, reason=f"{door}: its package '{point.value}' is not installed; reinstall it")


def discover(settings: Settings | None = None) -> Registry:
    """Find every domain. Two domains of one name are both left out and reported together.

    Returns:
        A registry with valid domains sorted by name, and one entry per broken package.
    """
    chosen = settings or get_settings()
    found: list[Domain] = []
    broken: list[Broken] = []
    for item in itertools.chain(_folders(chosen), _entry_points()):
        if isinstance(item, Broken):
            broken.append(item)
            continue
        folder, door = item
        try:
            found.append(Domain(manifest=load_manifest(folder), folder=folder, door=door))
        except (DomainkitError, OSError) as error:
            broken.append(Broken(name=folder.name, door=door, reason=str(error)))
    replaced = {domain.name for domain in found if domain.door == UNPACKED}
    found = [domain for domain in found if domain.door != BUILT_IN or domain.name not in replaced]
    domains: dict[str, Domain] = {}
    for domain in sorted(found, key=lambda d: d.name):
        twins = [other for other in found if other.name == domain.name and other.folder.resolve() != domain.folder.resolve()]
        if twins:
            places = " and ".join(sorted({f"{d.folder} ({d.door})" for d in (domain, *twins)}))
            if not any(b.name == domain.name for b in broken):
                broken.append(Broken(name=domain.name, door=domain.door, reason=f"two domains are called '{domain.name}': {places}; rename one"))
        else:
            domains[domain.name] = domain
    return Registry(domains=domains, broken=tuple(broken))
