"""``eval`` and ``calibrate``: what an assistant scores, and when it should say that it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import CheckFailed, UsageError
from ui import output
from ui.commands.answering import DomainArgument, JsonOption, profile_settings

SHOWN = (
    "source_right", "passage_right", "wrong_sources", "wrong_answers", "abstention", "escalation", "refusal", "false_alarm", "status", "spans_hold",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("eval")(evaluate)
    app.command("calibrate")(calibrate)


def evaluate(
    domain: DomainArgument,
    set_file: Annotated[Path | None, typer.Option("--set", help="A JSONL file of eval items instead of the domain's own.")] = None,
    split: Annotated[str, typer.Option("--split", help="dev, test or all.")] = "test",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="About how many items, spread over the set.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run; by default under DOMAINKIT_HOME/runs.")] = None,
    profile: Annotated[str, typer.Option("--profile", help="embedded, local or server.")] = "",
    gate: Annotated[bool, typer.Option("--gate", help="Exit 1 when a metric is below the manifest's floor.")] = False,
    baseline: Annotated[str, typer.Option("--baseline", help="Comes with the adapters release.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Run a domain's evals and print its scores with 95 % intervals."""
    from core.registry import discover
    from evals.datasets import Split
    from evals.runner import run_domain

    if baseline:
        raise CheckFailed("comparing with --baseline comes with the adapters release; --gate alone checks the manifest's floors")
    if split not in {"dev", "test", "all"}:
        raise UsageError(f"unknown split '{split[:20]}': use dev, test or all")
    chosen: Split = "dev" if split == "dev" else "test" if split == "test" else "all"
    settings = profile_settings(profile)
    found = discover(settings).get(domain)
    if set_file is not None and split == "test":
        chosen = "all"
    with output.progress(f"eval {found.name}", quiet=as_json) as progress:
        run = run_domain(found, settings=settings, split=chosen, limit=limit, progress=progress, file=set_file, out=out)
    failed = below_floors(run, found.manifest.gate.floors) if gate else []
    if as_json:
        output.emit(
            {
                "domain": run.domain,
                "run": run.id,
                "split": run.split,
                "items": len(run.items),
                "scores": [score.model_dump() for score in run.scores],
                "gate": {"checked": gate, "failed": failed},
            }
        )
    else:
        output.say(f"{run.domain}, {run.split}: {len(run.items)} items, run {run.id}")
        for score in run.scores:
            if score.metric in SHOWN:
                output.say(f"  {score.slice:<4} {score.metric:<14} {score.value:.3f}  [{score.low:.3f}, {score.high:.3f}]  n={score.n}")
    if failed:
        raise CheckFailed(f"gate: {'; '.join(failed)}")


def below_floors(run: Any, floors: dict[str, float]) -> list[str]:
    """Return one line per metric of the manifest that is below its floor or missing."""
    lines = []
    for metric, floor in floors.items():
        score = run.score(metric)
        if score is None:
            lines.append(f"{metric} is missing from the run")
        elif score.value < floor:
            lines.append(f"{metric} {score.value:.3f} is below {floor}")
    return lines


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
