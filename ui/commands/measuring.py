"""``eval`` and ``calibrate``: what an assistant scores, and when it should say that it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import CheckFailed, UsageError
from ui import output
from ui.commands.answering import DomainArgument, JsonOption, profile_settings

if TYPE_CHECKING:
    from core.registry import Domain
    from core.settings import Settings
    from evals.comparison import Comparison
    from evals.gate import Verdict
    from evals.runs import Run

SHOWN = (
    "source_right", "passage_right", "recall_at_5", "mrr_at_10", "sought_mrr", "wrong_sources", "wrong_answers", "abstention", "escalation", "refusal", "false_alarm",
    "exact_match", "answer_f1", "numeric_match", "accuracy", "macro_f1", "citation_precision", "status", "spans_hold",
)  # fmt: skip
FLIPS_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("eval")(evaluate)
    app.command("calibrate")(calibrate)


def evaluate(
    domain: DomainArgument,
    set_file: Annotated[Path | None, typer.Option("--set", help="A file of eval items instead of the domain's own.")] = None,
    split: Annotated[str, typer.Option("--split", help="dev, test or all.")] = "test",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="About how many items, spread over the set.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; by default under DOMAINKIT_HOME/runs. With --compare: where to write report.html.")
    ] = None,
    profile: Annotated[str, typer.Option("--profile", help="embedded, local or server.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=32, help="Questions asked at a time.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the order of asking and of the intervals.")] = 0,
    gate: Annotated[bool, typer.Option("--gate", help="Exit 1 when the run is below the manifest's floors or worse than --baseline.")] = False,
    baseline: Annotated[str, typer.Option("--baseline", help="A run (folder, id or `latest`) that this one must not be worse than.")] = "",
    compare: Annotated[tuple[str, str] | None, typer.Option("--compare", help="Two runs to compare; asks nothing.", metavar="A B")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a domain's evals and print its scores with 95 % intervals; compare runs; gate a change."""
    from core.registry import discover
    from evals.comparison import compare as compare_runs
    from evals.datasets import Split
    from evals.gate import check_gate
    from evals.junit import write_junit
    from evals.report import write_report
    from evals.runner import run_domain
    from evals.runs import GATE, find_run, load_run, write_json

    if split not in {"dev", "test", "all"}:
        raise UsageError(f"unknown split '{split[:20]}': use dev, test or all")
    if junit is not None and not junit.absolute().parent.is_dir():
        raise UsageError(f"cannot write '{junit.name}': its folder does not exist")
    chosen: Split = "dev" if split == "dev" else "test" if split == "test" else "all"
    settings = profile_settings(profile)
    found = discover(settings).get(domain)
    if compare is not None:
        show_comparison(found, settings, compare, out=out, as_json=as_json)
        return
    if set_file is not None and split == "test":
        chosen = "all"
    before = load_run(find_run(settings, found.name, baseline)) if baseline else None  # a wrong name should not cost a run
    with output.progress(f"eval {found.name}", quiet=as_json) as progress:
        run = run_domain(
            found, settings=settings, split=chosen, limit=limit, progress=progress, file=set_file, out=out, resume=resume, jobs=jobs, seed=seed, alone=True
        )
    folder = out or settings.home / "runs" / found.name / run.id
    verdict = check_gate(run, found.manifest.gate, baseline=before, seed=seed) if gate or before is not None else None
    if verdict is not None:
        write_json(folder / GATE, verdict)
    page = write_report(folder, run, verdict=verdict, comparison=compare_runs(before, run) if before is not None else None)
    if junit is not None:
        write_junit(junit, run, verdict)
    if as_json:
        output.emit(
            {
                "domain": run.domain,
                "run": run.id,
                "split": run.split,
                "items": len(run.items),
                "scores": [score.model_dump() for score in run.scores],
                "lock": run.lock.model_dump() if run.lock else None,
                "cost": run.cost.model_dump() if run.cost else None,
                "gate": {"checked": verdict is not None, "failed": [reason.text for reason in verdict.reasons] if verdict else []},
            }
        )
    else:
        show_run(run, verdict)
        output.say(f"  report: {page}")
    if gate and verdict is not None and verdict.reasons:
        raise CheckFailed(f"gate: {'; '.join(reason.text for reason in verdict.reasons)}")


def show_run(run: Run, verdict: Verdict | None) -> None:
    """Print a run's scores over all items and by language, its worst slices and what it cost."""
    from evals.aggregate import worst_slices

    output.say(f"{run.domain}, {run.split}: {len(run.items)} items, run {run.id}")
    for score in run.scores:
        if score.metric in SHOWN and "=" not in score.slice:
            output.say(f"  {score.slice:<4} {score.metric:<18} {score.value:.3f}  [{score.low:.3f}, {score.high:.3f}]  n={score.n}")
    for worst in worst_slices(run.scores):
        if worst.metric in {"passage_right", "wrong_answers", "status"}:
            output.say(f"  worst {worst.metric}: {worst.value:.3f} on {worst.slice} (n={worst.n}; {worst.overall:.3f} over all)")
    if run.cost is not None:
        cost = run.cost
        output.say(
            f"  {cost.milliseconds / max(1, len(run.items)):.0f} ms an item, {cost.tokens_read:,} + {cost.tokens_written:,} tokens, "
            f"{cost.peak_memory_mb:.0f} MB, {cost.energy_joules:.0f} J ({cost.energy_source})"
        )
    if verdict is not None and verdict.passed:
        output.say("  gate: passed" + (f" against {verdict.baseline}" if verdict.baseline else ""))


def show_comparison(domain: Domain, settings: Settings, names: tuple[str, str], *, out: Path | None, as_json: bool) -> None:
    """Print what flipped between two runs, with the paired tests; write it as a page too where a folder is named."""
    from evals.comparison import compare
    from evals.report import write_report
    from evals.runs import find_run, load_run

    one, two = (load_run(find_run(settings, domain.name, name)) for name in names)
    found = compare(one, two)
    page = write_report(out, two, comparison=found) if out is not None else None
    if as_json:
        output.emit(found.model_dump(mode="json"))
        return
    _say_comparison(found)
    if page is not None:
        output.say(f"  report: {page}")


def _say_comparison(found: Comparison) -> None:
    output.say(f"{found.a} → {found.b}: {found.items} items" + (f"; changed: {', '.join(found.changed)}" if found.changed else "; nothing changed"))
    for note in found.notes:
        output.say(f"  note: {note}")
    for change in found.changes:
        if change.better or change.worse:
            output.say(
                f"  {change.metric:<18} {change.a:.3f} → {change.b:.3f}  [{change.low:+.3f}, {change.high:+.3f}]  {change.better} better, {change.worse} worse, "
                f"p = {change.p_adjusted:.2g}  n={change.n}"
            )
    if not found.flips:
        output.say("  no item flipped")
    for flip in found.flips[:FLIPS_SHOWN]:
        output.say(f"  {'+' if flip.better else '-'} {flip.id}: {flip.question[:80]}  ({flip.before or 'right'} → {flip.after or 'right'})")
    if len(found.flips) > FLIPS_SHOWN:
        output.say(f"  … and {len(found.flips) - FLIPS_SHOWN} more; --json shows all")


def calibrate(domain: DomainArgument, as_json: JsonOption = False) -> None:
    """Fit a domain's abstention thresholds on its dev items and write calibration.json into its folder."""
    from core.registry import discover
    from core.settings import get_settings
    from evals.calibration import calibrate_domain

    settings = get_settings()
    found = discover(settings).get(domain)
    with output.progress(f"calibrate {found.name}", quiet=as_json) as progress:
        calibration = calibrate_domain(found, settings=settings, progress=progress)
    if as_json:
        output.emit(calibration.model_dump(mode="json"))
    else:
        for lang, threshold in calibration.thresholds.items():
            output.say(
                f"  {lang}: answer at confidence ≥ {threshold.value:.3f}; on {threshold.items} dev items {threshold.coverage:.1%} of the answerable "
                f"are answered, {threshold.wrong_rate:.1%} of the answers are wrong"
            )
        promise = calibration.promise
        if promise is not None and promise.answered:
            output.say(
                f"  at most {promise.risk:.0%} of the answers are wrong, with probability {1 - promise.delta:.0%} ({promise.wrong} of {promise.answered} were)"
            )
        elif promise is not None:
            output.say(
                f"  {promise.items} dev items are too few, or too often wrong, to promise that at most {promise.risk:.0%} of the answers are: answers say that they are uncalibrated"
            )
