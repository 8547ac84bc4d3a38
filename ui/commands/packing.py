"""``pack`` and ``unpack``: a vertical as one file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import DomainkitError, UsageError
from ui import output
from ui.commands.answering import JsonOption
from ui.commands.verticals import library_lookup

if TYPE_CHECKING:
    from core.library import Library
    from core.packing import PackSummary
    from core.registry import Domain
    from core.settings import Settings

DOCUMENTS = "unpacked-documents.jsonl"
"""Beside a library while the documents of a pack go into it; gone when they are in."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("pack")(pack)
    app.command("unpack")(unpack)


def pack(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a domain.")],
    out: Annotated[Path | None, typer.Option("--out", help="The file, or a folder for it.")] = None,
    with_documents: Annotated[
        bool, typer.Option("--with-documents", help="Pack the documents that were added too; asks first, they may be confidential.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a domain into one file: corpus, adapter, prompts, policy, evals and thresholds, hashed. Documents that were added stay here unless asked for."""
    from core.checking import check_domain
    from core.packing import pack as write
    from core.registry import discover
    from core.settings import get_settings

    settings = get_settings()
    domain = discover(settings).get(name)
    library = _confirmed(domain, settings, yes=yes, as_json=as_json) if with_documents else None
    # What is not in the pack cannot be looked up where it is unpacked.
    report = check_domain(domain, elsewhere=library_lookup(name, settings) if library else None)
    if not report.ok and not with_documents and check_domain(domain, elsewhere=library_lookup(name, settings)).ok:
        raise UsageError(f"evals of '{name}' name documents that were added ({report.errors[0].message}); pack them as well with --with-documents")
    with output.progress(f"pack {name}", quiet=as_json) as progress:
        made = write(domain, out=out, progress=progress, report=report, encoder=base_sha256(settings), library=library)
    if as_json:
        output.emit(summary_json(made))
        return
    size = made.path.stat().st_size
    output.say(f"packed {made.domain} {made.version}: {made.files} files, {made.bytes:,} bytes, into {made.path} ({size:,} bytes)")
    if made.documents:
        output.say(f"  it holds {made.documents} added document(s), readable by whoever has the file")
    if made.code:
        output.say(f"  it holds code ({made.code}); whoever unpacks it has to allow that")
    output.say(f"  sha256 {made.sha256}")


def _confirmed(domain: Domain, settings: Settings, *, yes: bool, as_json: bool) -> Library | None:
    """Return the library whose documents shall be packed, once a person said so; None where nothing was added."""
    from core.library import Library

    library = Library(settings.home / "libraries" / domain.name)
    added = [row for row in library.documents() if row.scope != "corpus"] if library.exists() else []
    if not added:
        output.note(f"no document was added to '{domain.name}': the pack holds none")
        return None
    if yes:
        return library
    scopes = ", ".join(sorted({row.scope for row in added}))
    output.note(f"{len(added)} document(s) were added to '{domain.name}' (collections: {scopes}), for instance '{added[0].title[:60]}'.")
    output.note("They may be confidential. The pack is not encrypted: whoever has the file can read their whole text.")
    if as_json or not sys.stdin.isatty():
        raise UsageError("nobody is here to confirm that documents leave this machine; say --yes if they may")
    if not typer.confirm("Pack them?", err=True):
        raise UsageError("nothing was packed; leave --with-documents away to pack the domain alone")
    return library


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A pack that `domainkit pack` wrote.")],
    into: Annotated[Path | None, typer.Option("--into", help="Folder that shall hold the domain; by default DOMAINKIT_HOME/domains.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a domain of that name.")] = False,
    allow_code: Annotated[bool, typer.Option("--allow-code", help="Accept a pack whose tools are Python code.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a pack byte by byte and install the domain in it; documents that were packed with it go into its library."""
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
    documents = settings.home / "libraries" / index.domain / DOCUMENTS
    with output.progress(f"unpack {index.domain}", quiet=as_json) as progress:
        made = install(
            file, into=target, replace=replace, allow_code=allow_code, documents=documents, elsewhere=library_lookup(index.domain, settings), progress=progress,
        )  # fmt: skip
    found = discover(settings).domains.get(made.domain)
    listed = found is not None and found.folder.resolve() == made.path.resolve()
    stored = _store(made, documents, settings, listed=listed, as_json=as_json) if made.documents else None
    here = base_sha256(settings)
    same = not (made.encoder and here) or made.encoder == here
    if not same:
        output.note("  it was made with another base encoder than the one here: heads, adapter and thresholds do not hold; domainkit calibrate fits them anew")
    if as_json:
        output.emit(summary_json(made) | {"found": listed, "same_encoder": same, "documents_stored": stored or 0})
        return
    output.say(f"unpacked {made.domain} {made.version}: {made.files} files, {made.bytes:,} bytes, into {made.path}")
    if stored is not None:
        output.say(f"  {stored} of {made.documents} added document(s) stored, the others were there already; its library is ready")
    if not listed:
        output.say(f"  it is not found there yet: export DOMAINKIT_DOMAINS={target}")
    output.say(f'next: domainkit ask {made.domain} "…"' if stored is not None else f"next: domainkit reindex {made.domain}")


def _store(made: PackSummary, documents: Path, settings: Settings, *, listed: bool, as_json: bool) -> int | None:
    """Build the library and put the packed documents into it; returns how many are new, None where the domain is not found and nothing was done."""
    if not listed:
        documents.unlink(missing_ok=True)
        output.note(
            f"  its {made.documents} added document(s) were left out, since the domain is not found there; set DOMAINKIT_DOMAINS, unpack with --replace"
        )
        return None
    from core.ingest import bring_up_to_date
    from core.packing import restore_documents
    from core.query_adapter import ensure_query_encoder, find_adapter
    from core.text import prepare_segmenter
    from ui.commands.maintenance import open_library

    prepare_segmenter(bulk=True)
    try:
        _, domain, encoder, library = open_library(made.domain)
        with output.progress(made.domain, quiet=as_json) as progress:
            # The corpus first, as where it was packed: passages of equal score keep their order.
            bring_up_to_date(domain, library, encoder, settings=settings, progress=progress)
            stored, _ = restore_documents(documents, library=library, encoder=encoder, settings=settings, progress=progress)
            bring_up_to_date(domain, library, encoder, settings=settings, progress=progress)
        ensure_query_encoder(find_adapter(domain, settings), settings)
    except DomainkitError as error:
        raise type(error)(f"the domain is installed, its added documents are not all stored: {error}; then unpack with --replace again") from error
    finally:
        documents.unlink(missing_ok=True)
    return stored


def base_sha256(settings: Settings) -> str:
    """Return the SHA-256 of the base encoder's weights, empty where another than the default one is not compiled yet."""
    from core.encoder import MINILM_SHA256, Encoder, compiled_folder

    if not settings.encoder:
        return MINILM_SHA256
    folder = compiled_folder(settings)
    return Encoder(folder).manifest.base_sha256 if (folder / "encoder.json").is_file() else ""


def summary_json(made: PackSummary) -> dict[str, Any]:
    """Return a summary as ``pack --json`` prints it."""
    return made.model_dump(mode="json")
