"""``pack`` and ``unpack``: a vertical as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import UsageError
from ui import output
from ui.commands.answering import JsonOption
from ui.commands.verticals import library_lookup

if TYPE_CHECKING:
    from core.packing import PackSummary


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("pack")(pack)
    app.command("unpack")(unpack)


def pack(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a domain.")],
    out: Annotated[Path | None, typer.Option("--out", help="The file, or a folder for it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a domain into one file: corpus, adapter, prompts, policy, evals and thresholds, hashed. Documents that were added stay here."""
    from core.checking import check_domain
    from core.packing import pack as write
    from core.registry import discover
    from core.settings import get_settings

    settings = get_settings()
    domain = discover(settings).get(name)
    with output.progress(f"pack {name}", quiet=as_json) as progress:
        made = write(domain, out=out, progress=progress, report=check_domain(domain, elsewhere=library_lookup(name, settings)))
    if as_json:
        output.emit(summary_json(made))
        return
    size = made.path.stat().st_size
    output.say(f"packed {made.domain} {made.version}: {made.files} files, {made.bytes:,} bytes, into {made.path} ({size:,} bytes)")
    if made.code:
        output.say(f"  it holds code ({made.code}); whoever unpacks it has to allow that")
    output.say(f"  sha256 {made.sha256}")


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A pack that `domainkit pack` wrote.")],
    into: Annotated[Path | None, typer.Option("--into", help="Folder that shall hold the domain; by default DOMAINKIT_HOME/domains.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a domain of that name.")] = False,
    allow_code: Annotated[bool, typer.Option("--allow-code", help="Accept a pack whose tools are Python code.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a pack byte by byte and install the domain in it."""
    from core.packing import read_index
    from core.packing import unpack as install
    from core.registry import BUILT_IN, UNPACKED, discover, unpacked_folder
    from core.settings import get_settings

    settings = get_settings()
    index = read_index(file)
    target = (into or unpacked_folder(settings)).expanduser()
    known = discover(settings).domains.get(index.domain)
    if known is not None and not replace:
        raise UsageError(f"there is a domain '{index.domain}' {known.manifest.version} already ({known.door}); --replace puts the pack in its place")
    if known is not None and known.door not in {BUILT_IN, UNPACKED} and known.folder.parent.resolve() != target.resolve():
        raise UsageError(f"'{index.domain}' lies in {known.folder.parent}; --into that folder replaces it there, or remove it first")
    with output.progress(f"unpack {index.domain}", quiet=as_json) as progress:
        made = install(file, into=target, replace=replace, allow_code=allow_code, progress=progress)
    if as_json:
        output.emit(summary_json(made))
        return
    output.say(f"unpacked {made.domain} {made.version}: {made.files} files, {made.bytes:,} bytes, into {made.path}")
    if made.domain not in discover(settings).domains:
        output.say(f"  it is not found there yet: export DOMAINKIT_DOMAINS={target}")
    output.say(f"next: domainkit reindex {made.domain}")


def summary_json(made: PackSummary) -> dict[str, Any]:
    """Return a summary as ``pack --json`` prints it."""
    return made.model_dump(mode="json")
