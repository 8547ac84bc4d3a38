"""``convert`` and ``export``: eval sets from and to the field's formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from core.errors import UsageError
from ui import output
from ui.commands.answering import DomainArgument, JsonOption

ITEMS, DOCUMENTS = "items.jsonl", "documents.jsonl"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("convert")(convert)
    app.command("export")(export)


def convert(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file or folder of an eval set.")],
    into: Annotated[Path, typer.Option("--into", help="Folder for items.jsonl and documents.jsonl.")],
    form: Annotated[str, typer.Option("--format", help="Name of the format; by default the one that fits.")] = "",
    split: Annotated[str, typer.Option("--split", help="What the items become: dev or test.")] = "test",
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many items, spread over the set; 0: all.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Turn an eval set of another format into eval items, and the documents that answer them."""
    from evals.exporters import write_files
    from evals.readers import read_set

    if split not in {"dev", "test"}:
        raise UsageError(f"unknown split '{split[:20]}': use dev or test")
    chosen: Literal["dev", "test"] = "dev" if split == "dev" else "test"
    found = read_set(path, name=form, split=chosen, limit=limit)
    files = {ITEMS: "".join(item.model_dump_json(exclude_defaults=True, exclude={"split"})[:-1] + f',"split":"{item.split}"}}\n' for item in found.items)}
    if found.documents:
        files[DOCUMENTS] = "".join(document.model_dump_json(exclude_defaults=True) + "\n" for document in found.documents)
    write_files(files, into=into)
    if as_json:
        output.emit({"format": found.format, "items": len(found.items), "documents": len(found.documents), "notes": list(found.notes), "files": sorted(files)})
        return
    output.say(f"{found.format}: {len(found.items):,} items, {len(found.documents):,} documents in {into}")
    for note in found.notes:
        output.say(f"  note: {note}")
    if found.documents:
        output.say(f"  1. domainkit add DOMAIN {into / DOCUMENTS} --scope {found.format}")
    else:
        output.say("  this format brings no documents: the domain's library has to hold what answers")
    output.say(f"  {'2' if found.documents else '1'}. domainkit eval DOMAIN --set {into / ITEMS}")


def export(
    domain: DomainArgument,
    form: Annotated[str, typer.Option("--format", help="beir, lm-eval or squad.")],
    into: Annotated[Path, typer.Option("--into", help="An empty folder.")],
    split: Annotated[str, typer.Option("--split", help="dev, test or all.")] = "test",
    as_json: JsonOption = False,
) -> None:
    """Write a domain's eval items, and its documents where the format has them, in one of the field's formats."""
    from core.assistant import library_folder
    from core.errors import LibraryError
    from core.library import Library
    from core.registry import discover
    from core.settings import get_settings
    from evals.datasets import Split, load_items
    from evals.exporters import export as write

    if split not in {"dev", "test", "all"}:
        raise UsageError(f"unknown split '{split[:20]}': use dev, test or all")
    chosen: Split = "dev" if split == "dev" else "test" if split == "test" else "all"
    settings = get_settings()
    found = discover(settings).get(domain)
    library = Library(library_folder(settings, found.name))
    if not library.exists():
        raise LibraryError(f"domain '{found.name}' has no library yet: run `domainkit reindex {found.name}`")
    items = load_items(found, split=chosen)
    files = write(form, found, library, items, into=into)
    if as_json:
        output.emit({"domain": found.name, "format": form, "items": len(items), "files": files})
    else:
        output.say(f"{found.name}: {len(items):,} items as {form} in {into}: {', '.join(files)}")
        if form == "lm-eval":
            output.say(f"  cd {into} && lm_eval --include_path . --tasks domainkit_{found.name} --model hf --model_args pretrained=MODEL")
