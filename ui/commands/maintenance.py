"""``domains add remove restore status reindex doctor schema``: keeping libraries in order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import CheckFailed, UsageError
from ui import output
from ui.commands.answering import DomainArgument, JsonOption


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("domains")(domains)
    app.command("add")(add)
    app.command("remove")(remove)
    app.command("status")(status)
    app.command("reindex")(reindex)
    app.command("doctor")(doctor)
    app.command("schema")(schema)


def domains(as_json: JsonOption = False) -> None:
    """List the domains: languages, documents, passages, adapter, gate; broken ones with the reason."""
    from core.library import Library
    from core.registry import discover
    from core.settings import get_settings

    settings = get_settings()
    registry = discover(settings)
    rows: list[dict[str, Any]] = []
    for domain in registry.domains.values():
        library = Library(settings.home / "libraries" / domain.name)
        documents, passages = library.counts() if library.exists() else (0, 0)
        adapter = domain.folder / domain.manifest.paths.adapter / "adapter_model.safetensors"
        rows.append(
            {
                "name": domain.name,
                "title": domain.manifest.title.en,
                "version": domain.manifest.version,
                "languages": list(domain.manifest.languages),
                "documents": documents,
                "passages": passages,
                "adapter": "yes" if adapter.is_file() else "",
                "gate": "not run",
                "calibrated": (domain.folder / domain.manifest.paths.calibration).is_file(),
                "door": domain.door,
            }
        )
    broken = [{"name": item.name, "door": item.door, "reason": item.reason} for item in registry.broken]
    if as_json:
        output.emit({"domains": rows, "broken": broken})
        return
    for row in rows:
        state = f"{row['documents']:>6} documents {row['passages']:>7} passages" if row["documents"] else "no library: `domainkit reindex`"
        output.say(f"{row['name']:<14} {row['title']:<22} {row['version']:<7} {','.join(row['languages']):<6} {state}  {row['door']}")
    for item in broken:
        output.say(f"{item['name']:<14} BROKEN: {item['reason']}")


def open_library(name: str) -> tuple[Any, Any, Any, Any]:
    """Return settings, domain, encoder and library, compiling the encoder when that was not done yet."""
    from core.encoder import Encoder, compiled_folder
    from core.library import Library
    from core.registry import discover
    from core.settings import get_settings

    settings = get_settings()
    domain = discover(settings).get(name)
    if not (compiled_folder(settings) / "encoder.json").is_file():
        from core.encoder_compile import ensure_compiled

        output.note("compiling the sentence encoder (once, about 20 s)")
        ensure_compiled(settings)
    encoder = Encoder(compiled_folder(settings))
    return settings, domain, encoder, Library(settings.home / "libraries" / domain.name, encoder_id=encoder.id)


def _report_json(name: str, report: Any, library: Any) -> dict[str, Any]:
    documents, passages = library.counts()
    return {
        "domain": name,
        "added": report.added,
        "unchanged": report.unchanged,
        "erased": report.erased,
        "failed": [{"file": file, "reason": reason} for file, reason in report.failed],
        "skipped": [{"file": file, "reason": reason} for file, reason in report.skipped],
        "documents": documents,
        "passages": passages,
        "generation": library.generation().number,
    }


def _show_report(name: str, report: Any, library: Any, *, as_json: bool) -> None:
    result = _report_json(name, report, library)
    if as_json:
        output.emit(result)
    else:
        output.say(
            f"{name}: {result['added']} added, {result['unchanged']} unchanged, {result['erased']} erased; now {result['documents']} documents, "
            f"{result['passages']} passages"
        )
        for item in result["failed"]:
            output.note(f"  not added: {item['reason']}")
        for item in result["skipped"]:
            if item["reason"] != "hidden":
                output.note(f"  skipped {item['file']}: {item['reason']}")


def add(
    domain: DomainArgument,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders: pdf docx html md txt csv xlsx pptx epub jsonl.")],
    scope: Annotated[str, typer.Option("--scope", help="Name of the collection the documents go to.")] = "added",
    as_json: JsonOption = False,
) -> None:
    """Add files or folders to a domain's library. Unchanged files cost nothing; an interrupted run resumes."""
    from core.ingest import Ingest

    settings, found, encoder, library = open_library(domain)
    if not scope or len(scope) > 80 or not scope.isprintable():
        raise UsageError("--scope is a short printable name")
    for path in paths:
        if not path.exists():
            raise UsageError(f"no such file or folder: '{path.name or path}'; check the path")
    with output.progress(f"adding to {found.name}", quiet=as_json) as progress:
        report = Ingest(library, encoder, settings=settings, progress=progress).add_paths(paths, scope=scope)
    _show_report(found.name, report, library, as_json=as_json)
    if report.failed and not report.added and not report.unchanged:
        raise UsageError(f"nothing was added: {len(report.failed)} file(s) could not be read")


def remove(
    domain: DomainArgument,
    documents: Annotated[list[str], typer.Argument(metavar="DOCUMENT...", help="Ids, unique id prefixes, external ids or file names.")],
    undo: Annotated[bool, typer.Option("--undo", help="Bring removed documents back.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Erase for good at once; cannot be undone.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove documents: hidden at once, erased at the next reindex, brought back until then with --undo."""
    from core.index.faiss import FaissIndex

    _, found, _, library = open_library(domain)
    ids = [document_id for name in documents for document_id in library.find(name)]
    with library.writing():
        changed = library.restore(ids) if undo else library.remove(ids)
        if purge and not undo:
            library.purge()
        library.publish(lambda rows, vectors: FaissIndex.build(rows, vectors).to_bytes())
    if as_json:
        output.emit({"domain": found.name, "restored" if undo else "removed": changed, "purged": purge})
    else:
        output.say(f"{len(changed)} document(s) {'restored' if undo else 'removed'}" + ("" if undo or purge else "; `--undo` brings them back"))


def status(
    domain: DomainArgument,
    documents: Annotated[bool, typer.Option("--documents", help="List the documents too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a library: documents, passages, generation, what is removed, size on disk."""
    from core.library import Library
    from core.registry import discover
    from core.settings import get_settings

    settings = get_settings()
    found = discover(settings).get(domain)
    library = Library(settings.home / "libraries" / found.name)
    if not library.exists():
        result: dict[str, Any] = {"domain": found.name, "documents": 0, "passages": 0, "generation": 0, "removed": 0, "scopes": {}, "bytes": 0}
        rows = []
    else:
        count, passages = library.counts()
        rows = library.documents()
        generation = library.generation()
        scopes: dict[str, int] = {}
        for row in rows:
            scopes[row.scope] = scopes.get(row.scope, 0) + 1
        result = {
            "domain": found.name,
            "documents": count,
            "passages": passages,
            "generation": generation.number if generation else 0,
            "current": generation is not None and generation.revision == library.revision(),
            "encoder": library.encoder(),
            "removed": len(library.documents(removed=True)),
            "scopes": scopes,
            "bytes": sum(path.stat().st_size for path in library.folder.rglob("*") if path.is_file()),
        }
    if documents:
        result["list"] = [row.model_dump() for row in rows]
    if as_json:
        output.emit(result)
        return
    output.say(f"{found.name}: {result['documents']} documents, {result['passages']} passages, generation {result['generation']}, {result['removed']} removed")
    for scope, number in result["scopes"].items():
        output.say(f"  {scope}: {number} documents")
    for row in rows if documents else []:
        output.say(f"  {row.id[:12]}  {row.lang}  {row.title}  ({row.source}, {row.passages} passages)")


def reindex(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="Name of a domain; all of them when left out.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Bring a domain's library up to date with its corpus, erase removed documents, publish a fresh index."""
    from core.ingest import bring_up_to_date
    from core.query_adapter import ensure_query_encoder, find_adapter, is_compiled
    from core.registry import discover
    from core.settings import get_settings
    from core.text import prepare_segmenter

    names = [domain] if domain else list(discover(get_settings()).domains)
    prepare_segmenter(bulk=True)
    for name in names:
        settings, found, encoder, library = open_library(name)
        with output.progress(f"{found.name:<12}", quiet=as_json) as progress:
            report = bring_up_to_date(found, library, encoder, settings=settings, progress=progress)
        adapter = find_adapter(found, settings)
        if not is_compiled(adapter, settings):
            output.note(f"{found.name}: compiling the query adapter (once, about 15 s)")
        ensure_query_encoder(adapter, settings)
        _show_report(found.name, report, library, as_json=as_json)


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Compile the encoder again and rebuild what is damaged.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what is installed and what is wrong; exits 1 when something is."""
    from ui.doctor import examine, repair

    if fix:
        repair()
    findings = examine()
    if as_json:
        output.emit({"findings": [finding.model_dump() for finding in findings], "ok": all(finding.ok for finding in findings)})
    else:
        for finding in findings:
            output.say(f"{'ok  ' if finding.ok else 'BAD '} {finding.name:<22} {finding.detail}" + ("" if finding.ok else f"\n     → {finding.advice}"))
    bad = [finding.name for finding in findings if not finding.ok]
    if bad:
        raise CheckFailed(f"{len(bad)} thing(s) wrong: {', '.join(bad)}")


def schema(
    name: Annotated[str, typer.Argument(help="answer, manifest, policy or eval-item.")],
) -> None:
    """Print the JSON Schema of a published object."""
    from core.errors import unknown
    from core.eval_items import EvalItem
    from core.manifest import Manifest, Policy
    from core.types import Answer

    models: dict[str, Any] = {"answer": Answer, "manifest": Manifest, "policy": Policy, "eval-item": EvalItem}
    if name not in models:
        raise unknown("schema", name, models)
    mode = "serialization" if name == "answer" else "validation"
    output.emit({"$schema": "https://json-schema.org/draft/2020-12/schema", **models[name].model_json_schema(mode=mode)})
