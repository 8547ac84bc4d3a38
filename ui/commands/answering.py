"""``ask`` and ``search``: one question, or a batch with the model loaded once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import DomainkitError, UsageError
from ui import output

if TYPE_CHECKING:
    from core.types import Hit

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
DomainArgument = Annotated[str, typer.Argument(metavar="DOMAIN", help="Name of a domain; `domainkit domains` lists them.")]
LangOption = Annotated[str, typer.Option("--lang", help="en or zh; by default the question's own language.")]
ScopeOption = Annotated[list[str] | None, typer.Option("--scope", help="Search only this collection; may be repeated.")]


def _lang(value: str) -> str:
    if value not in {"", "en", "zh"}:
        raise UsageError(f"unknown language '{value[:20]}': use en or zh")
    return value


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("ask")(ask)
    app.command("search")(search)


def ask(
    domain: DomainArgument,
    question: Annotated[str, typer.Argument(help="The question; leave out with --batch.")] = "",
    lang: LangOption = "",
    batch: Annotated[Path | None, typer.Option("--batch", help="JSONL file of objects with id, question, optional lang.")] = None,
    profile: Annotated[str, typer.Option("--profile", help="embedded, local or server; by default DOMAINKIT_PROFILE.")] = "",
    scope: ScopeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a domain's assistant; every sentence of the answer is cited."""
    from core.assistant import Assistant
    from core.registry import discover

    settings = profile_settings(profile)
    assistant = Assistant(discover(settings).get(domain), settings=settings)
    if batch is None:
        if not question:
            raise UsageError('give a question: domainkit ask DOMAIN "QUESTION", or --batch FILE.jsonl')
        answer = assistant.ask(question, lang=_lang(lang), scopes=scope or ())
        if as_json:
            output.emit(answer.model_dump(mode="json"))
        else:
            output.show_answer(answer)
            if not answer.calibrated:
                output.note(f"uncalibrated: {assistant.uncalibrated(answer.lang)}; `domainkit calibrate {answer.domain}` fits it")
        return
    bad = 0
    for item_id, item, problem in output.read_batch(batch, field="question"):
        try:
            if item is None:
                raise UsageError(problem)
            answer = assistant.ask(item["question"], lang=_lang(str(item.get("lang") or lang)), scopes=scope or ())
            output.emit(answer.model_copy(update={"id": item_id}).model_dump(mode="json"))
        except UsageError as error:
            bad += 1
            output.emit({"id": item_id, "error": str(error)})
    if bad:
        raise UsageError(f"{bad} of the batch's lines could not be asked; each has an 'error' line in the output")


def profile_settings(profile: str) -> Any:
    """Return the settings with the profile replaced when one is named."""
    from core.settings import get_settings

    settings = get_settings()
    if not profile:
        return settings
    if profile not in {"embedded", "local", "server", "scripted"}:
        raise UsageError(f"unknown profile '{profile[:20]}': use embedded, local or server")
    return settings.model_copy(update={"profile": profile})


def search(
    domain: DomainArgument,
    query: Annotated[str, typer.Argument(help="What to look for; leave out with --batch.")] = "",
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Number of passages.")] = 10,
    lang: LangOption = "",
    batch: Annotated[Path | None, typer.Option("--batch", help="JSONL file of objects with id, question, optional lang.")] = None,
    every: Annotated[bool, typer.Option("--every-passage", help="Show several passages of one page or page-less document.")] = False,
    scope: ScopeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search a domain's library: ranked passages, the best of each page or page-less document."""
    from core.documents.language import detect_language
    from core.encoder import Encoder, compiled_folder
    from core.errors import LibraryError
    from core.library import Library
    from core.query_adapter import find_adapter, query_encoder
    from core.question_head import load_heads
    from core.registry import discover
    from core.retrieval import Retriever
    from core.settings import get_settings

    settings = get_settings()
    found = discover(settings).get(domain)
    encoder = Encoder(compiled_folder(settings))
    library = Library(settings.home / "libraries" / found.name, encoder_id=encoder.id)
    if not library.exists():
        raise LibraryError(f"domain '{found.name}' has no library yet: run `domainkit reindex {found.name}`")
    heads = load_heads(found.folder / found.manifest.paths.training, encoder_id=encoder.id)
    retriever = Retriever(library, encoder, heads=heads, tuned=query_encoder(find_adapter(found, settings), settings))

    def run(text: str, language: str) -> dict[str, Any]:
        from core.assistant import clean_question

        begun = time.perf_counter()
        text = clean_question(text, limit=settings.max_question_chars)
        chosen = _lang(language) or detect_language(text)
        result = retriever.search(text, k=100 if not every else k, lang="zh" if chosen == "zh" else "en", sentences=False, scopes=scope or ())
        hits = result.hits if every else best_per_page(result.hits)
        return {
            "domain": found.name,
            "query": text,
            "lang": chosen,
            "hits": [hit_json(hit) for hit in hits[:k]],
            "generation": result.generation,
            "timings_ms": {"total": round((time.perf_counter() - begun) * 1000, 2)},
        }

    if batch is None:
        if not query:
            raise UsageError('give a query: domainkit search DOMAIN "QUERY", or --batch FILE.jsonl')
        result = run(query, lang)
        if as_json:
            output.emit(result)
        else:
            for number, hit in enumerate(result["hits"], start=1):
                page = f", p. {hit['page']}" if hit["page"] else ""
                output.say(f"{number:>2}. {hit['score']:.3f}  {hit['heading']}{page}\n      {' '.join(hit['text'].split())[:160]}")
            if not result["hits"]:
                output.say("nothing found")
        return
    bad = 0
    for item_id, item, problem in output.read_batch(batch, field="question"):
        try:
            if item is None:
                raise UsageError(problem)
            output.emit({"id": item_id, **run(item["question"], str(item.get("lang") or lang))})
        except DomainkitError as error:
            bad += 1
            output.emit({"id": item_id, "error": str(error)})
    if bad:
        raise UsageError(f"{bad} of the batch's lines could not be searched; each has an 'error' line in the output")


def best_per_page(hits: tuple[Hit, ...]) -> list[Hit]:
    """Keep the best hit of each page, and of each document without pages, in rank order."""
    seen: set[tuple[str, int | None]] = set()
    kept = []
    for hit in hits:
        key = (hit.passage.document_id, hit.passage.page)
        if key not in seen:
            seen.add(key)
            kept.append(hit)
    return kept


def hit_json(hit: Hit) -> dict[str, Any]:
    """Return a hit as ``search --json`` prints it."""
    passage = hit.passage
    return {
        "passage_id": passage.id,
        "document_id": passage.document_id,
        "external_id": hit.external_id,
        "title": hit.title,
        "source": hit.source,
        "heading": passage.heading,
        "page": passage.page,
        "start": passage.start,
        "end": passage.end,
        "score": hit.score,
        "text": passage.text,
    }
