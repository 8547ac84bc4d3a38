"""``train``: fine-tunes by a recipe, stops at Ctrl+C without loss, and goes on when started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UsageError
from ui import output
from ui.commands.answering import JsonOption

if TYPE_CHECKING:
    from core.training.report import Figure
    from core.training.search import SearchReport

INSTALLED = ("retrieval", "generator")
"""Tasks whose result is an adapter of a domain."""
SOURCES = Path(__file__).resolve().parents[2] / "data" / "sources"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("train")(train)


@contextmanager
def stop_at_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl+C (or a termination) was asked for: the run then ends between two steps. A second one ends at once."""
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        output.note("stopping after this step; the same command goes on from here")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(
    task: Annotated[str, typer.Argument(metavar="TASK", help="retrieval, reader, classifier, generator or pretraining.")],
    domain: Annotated[str, typer.Argument(metavar="[DOMAIN]", help="Whose adapter it becomes; a reader or a pre-trained model is no domain's.")] = "",
    recipe: Annotated[Path | None, typer.Option("--recipe", help="A TOML recipe; by default adapter/recipe.toml of the domain.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder of the public data that the recipe names.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run; by default under DOMAINKIT_HOME/training.")] = None,
    trials: Annotated[
        int,
        typer.Option(
            "--search", min=0, max=10_000, help="Try so many settings of the hyperparameters that the recipe's [search] names, and write the best back."
        ),
    ] = 0,
    minutes: Annotated[float, typer.Option("--minutes", min=0, help="End the search after so many minutes; 0: no limit.")] = 0.0,
    install: Annotated[bool, typer.Option("--install", help="Put the adapter into the domain when the run is done.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune by a recipe that holds every hyperparameter; an interrupted run goes on where it was."""
    from core.models.device import emulates_bf16
    from core.registry import discover
    from core.settings import get_settings
    from core.training.context import RunContext, every_item
    from core.training.plan import read_plan
    from core.training.report_page import write_report_page
    from core.training.running import claim, telling
    from core.training.search import Limits, SearchReport, search
    from core.training.tasks import training_task

    settings = get_settings()
    chosen = training_task(task)
    registry = discover(settings)
    found = registry.get(domain) if domain else None
    place = found.folder / (found.manifest.paths.generator if task == "generator" else found.manifest.paths.adapter) if found else Path()
    path = recipe or place / "recipe.toml"
    if not path.is_file():
        raise UsageError(
            f"no recipe '{path.name}'; name one with --recipe (data/recipes/ and CONTRIBUTING.md show examples)"
            if recipe or found is None
            else f"no recipe '{path.name}' for domain '{found.name}'; name one with --recipe (CONTRIBUTING.md shows an example)"
        )
    if install and (found is None or task not in INSTALLED):
        raise UsageError("--install puts an adapter into a domain; only `domainkit train retrieval DOMAIN` and `train generator DOMAIN` make one")
    plan = read_plan(path.read_text("utf-8"), chosen.plan)
    folder = out or settings.home / "training" / (found.name if found else "shared") / (f"{task}-search" if trials else task)
    if minutes and not trials:
        raise UsageError("--minutes limits a search; say with --search how many trials it has")
    if trials and install:
        raise UsageError("--search writes the best hyperparameters into the recipe; train with them, and --install, afterwards")
    if trials and not os.access(path, os.W_OK):
        raise UsageError(f"--search writes into '{path.name}', which cannot be written; name a copy with --recipe")
    if plan.model_dump()["training"]["precision"] == "bf16" and emulates_bf16():
        output.note('this processor does not compute in bf16 and is many times slower at it: `precision = "fp32"` in the recipe makes the run quicker')
    with output.progress(f"train {found.name if found else task}", quiet=as_json) as progress, stop_at_interrupt() as stop, claim(folder):
        context = RunContext(
            domain=found, domains=tuple(registry.domains.values()), folder=folder, sources=SOURCES, data=data or Path(), settings=settings, items=every_item(registry.domains.values()),
            progress=telling(folder, progress), stop=stop, command=f"domainkit train {task} {found.name if found else f'--recipe {path.name}'}",
        )  # fmt: skip
        report = search(chosen, plan, path, context, limits=Limits(trials=trials, minutes=minutes)) if trials else chosen.run(plan, context)
    if report is None:
        raise typer.Exit(130)
    if isinstance(report, SearchReport):
        show_search(report, path, as_json=as_json)
        return
    page = write_report_page(folder, report)
    if install and found is not None:
        from core.training.adapter_files import install_adapter

        if not (folder / "adapter").is_dir():
            raise UsageError("a model that was tuned in full is not installed; name its folder as DOMAINKIT_MODEL instead")
        install_adapter(folder / "adapter", place)
    if as_json:
        output.emit(report.model_dump(mode="json"))
    else:
        show_figures(report.figures)
        output.say(f"  {report.bytes:,} bytes of weights, {'installed' if install else 'not installed (--install does)'}")
        output.say(f"  report: {page}")


def show_figures(figures: Sequence[Figure]) -> None:
    """Print figures, before → after."""
    for figure in figures:
        before = f"{figure.before:.3f} → " if figure.before is not None else ""
        test = f", {figure.better} better, {figure.worse} worse, p = {figure.p:.2g}" if figure.p is not None else ""
        output.say(f"  {figure.group:<14} {figure.metric:<14} {before}{figure.after:.3f}  (n = {figure.n:,}{test})")


def show_search(found: SearchReport, recipe: Path, *, as_json: bool) -> None:
    """Print what a search tried, the best first, and what it wrote."""
    from core.training.loop import smaller_is_better

    if as_json:
        output.emit(found.model_dump(mode="json"))
        return
    low = smaller_is_better(found.goal)
    order = sorted(found.trials, key=lambda one: (one.score is None, (one.score or 0.0) if low else -(one.score or 0.0)))
    for one in order:
        values = ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in one.values.items())
        score = f"{found.goal} {one.score:.4f}" if one.score is not None else one.state
        output.say(f"  {one.number:>3}  {score:<24} {values}  ({one.seconds:.0f} s, {one.state})")
    best = ", ".join(f"{name} = {value}" for name, value in found.best.values.items())
    written = f"{best} written into {recipe.name}" if found.written else f"{recipe.name} stays as it is: its own values are the best"
    # Pre-training has one held-out part, by which it is also judged on the way.
    unseen = "" if found.task == "pretraining" else ": the held-out part was not looked at"
    output.say(f"  {written}; train with it{unseen}")
