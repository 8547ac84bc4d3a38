"""``new`` and ``check``: making a vertical and validating one."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import CheckFailed, UsageError
from ui import output
from ui.commands.answering import JsonOption

if TYPE_CHECKING:
    from core.checking import CheckReport, Elsewhere
    from core.registry import Domain
    from core.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("new")(new)
    app.command("check")(check)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and _.")],
    into: Annotated[Path | None, typer.Option("--into", help="Folder that shall hold it; by default the first of DOMAINKIT_DOMAINS, else this folder.")] = None,
    no_build: Annotated[bool, typer.Option("--no-build", help="Write the folder only; do not build its library.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a new domain: a folder of documents, prompts, policy and eval questions that answers at once."""
    from core.encoder import compiled_folder
    from core.manifest import load_manifest
    from core.registry import Domain, discover
    from core.scaffold import write_domain
    from core.settings import get_settings

    settings = get_settings()
    registry = discover(settings)
    parent = into if into is not None else _default_parent(settings)
    folder = write_domain(name, into=parent.expanduser(), taken={*registry.domains, *(broken.name for broken in registry.broken)})
    domain = Domain(manifest=load_manifest(folder), folder=folder, door=str(folder.parent))
    built = False
    documents = passages = 0
    if not no_build and (compiled_folder(settings) / "encoder.json").is_file():
        documents, passages = _build(domain, settings, quiet=as_json)
        built = True
    export = "" if _is_listed(folder, settings) else _export_line(folder, settings)
    if as_json:
        output.emit({"domain": name, "folder": str(folder.resolve()), "built": built, "documents": documents, "passages": passages, "export": export})
        return
    output.say(f"made {folder}")
    if built:
        output.say(f"its library holds {documents} documents, {passages} passages")
    steps = [export] if export else []
    steps += [] if built else [f"domainkit reindex {name}"]
    steps += [f'domainkit ask {name} "{domain.manifest.starters.en[0]}"', f"domainkit add {name} YOUR-FILES…", f"domainkit check {name}"]
    output.say("next:\n" + "\n".join(f"  {step}" for step in steps))


def _default_parent(settings: Settings) -> Path:
    from core.manifest import MANIFEST

    entries = [Path(entry).expanduser() for entry in settings.domains.split(os.pathsep) if entry]
    return next((entry for entry in entries if not (entry / MANIFEST).is_file()), Path())


def _is_listed(folder: Path, settings: Settings) -> bool:
    from core.settings import ROOT

    places = [ROOT / "domains", *(Path(entry).expanduser() for entry in settings.domains.split(os.pathsep) if entry)]
    return folder.parent.resolve() in {place.resolve() for place in places}


def _export_line(folder: Path, settings: Settings) -> str:
    paths = [*filter(None, settings.domains.split(os.pathsep)), str(folder.parent.resolve())]
    return f"export DOMAINKIT_DOMAINS={shlex.quote(os.pathsep.join(paths))}"


def _build(domain: Domain, settings: Settings, *, quiet: bool) -> tuple[int, int]:
    from core.encoder import Encoder, compiled_folder
    from core.ingest import bring_up_to_date
    from core.library import Library
    from core.text import prepare_segmenter

    prepare_segmenter(bulk=True)
    encoder = Encoder(compiled_folder(settings))
    library = Library(settings.home / "libraries" / domain.name, encoder_id=encoder.id)
    with output.progress(domain.name, quiet=quiet) as progress:
        bring_up_to_date(domain, library, encoder, settings=settings, progress=progress)
    return library.counts()


def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a domain, or the path of a domain folder.")],
    as_json: JsonOption = False,
) -> None:
    """Check a domain's files and say what is wrong, one line each; exits 1 when something must be mended."""
    report = _report(name)
    if as_json:
        output.emit(report_json(report))
    else:
        for problem in report.problems:
            output.say(str(problem))
        state = "ok" if report.ok else "not valid"
        output.say(
            f"{report.name}: {state}; {report.articles} articles, {report.items} eval items, {len(report.errors)} errors, {len(report.warnings)} warnings"
        )
    if not report.ok:
        raise CheckFailed(f"{report.name}: {len(report.errors)} error(s); mend what the lines above name, then check again")


def _report(name: str) -> CheckReport:
    from core.checking import CheckReport, Problem, check_domain, check_folder
    from core.registry import discover
    from core.settings import get_settings

    settings = get_settings()
    registry = discover(settings)
    if name in registry.domains:
        return check_domain(registry.domains[name], elsewhere=library_lookup(name, settings))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return check_folder(folder)
    if os.sep in name:
        raise UsageError(f"no such folder: '{folder.name}'; give a domain's name or the path of its folder")
    reasons = [broken.reason for broken in registry.broken if broken.name == name]
    if reasons:
        return CheckReport(name=name, problems=tuple(Problem(severity="error", file=name, message=reason) for reason in reasons))
    return check_domain(registry.get(name))


def library_lookup(name: str, settings: Settings) -> Elsewhere:
    """Return a look-up of documents in a domain's library, which finds nothing while there is no library."""
    from core.library import Library

    library = Library(settings.home / "libraries" / name)

    def look(document: str, page: int | None) -> str | None:
        if not library.exists():
            return None
        try:
            found = library.find(document)
        except UsageError:
            return None
        texts = []
        for document_id in found:
            try:
                texts.append(library.page_text(document_id, page))
            except UsageError:
                continue  # this one has no such page; another document of the same name may
        return "\n".join(texts)

    return look


def report_json(report: CheckReport) -> dict[str, Any]:
    """Return a report as ``check --json`` prints it."""
    return {
        "domain": report.name,
        "ok": report.ok,
        "articles": report.articles,
        "items": report.items,
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "problems": [{"severity": problem.severity, "file": problem.file, "line": problem.line, "message": problem.message} for problem in report.problems],
    }
