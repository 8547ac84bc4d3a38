"""``adapter``: proves that a domain's adapter is applied, wins at home and harms nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import CheckFailed
from ui import output
from ui.commands.answering import DomainArgument, JsonOption

if TYPE_CHECKING:
    from evals.proof import Proof


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(help="A domain's adapter: what it is bound to and what it changes.", no_args_is_help=True)
    group.command("prove")(prove)
    group.callback()(lambda: None)
    app.add_typer(group, name="adapter")


def prove(
    domain: DomainArgument,
    save: Annotated[bool, typer.Option("--save", help="Write the proof into the adapter's card.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check hashes and modules, move a probe, and ask every domain's dev questions with every adapter; exits 1 when it is refused."""
    from core.registry import discover
    from core.settings import get_settings
    from evals import proof

    settings = get_settings()
    registry = discover(settings)
    found = registry.get(domain)
    with output.progress(f"prove {found.name}", quiet=as_json) as progress:
        result = proof.prove(found, list(registry.domains.values()), settings=settings, progress=progress)
    if save:
        save_proof(found.folder / found.manifest.paths.adapter, result)
    if as_json:
        output.emit(result.model_dump(mode="json"))
    else:
        show_proof(result)
    if not result.passed:
        raise CheckFailed(f"adapter of '{found.name}': {'; '.join(result.reasons)}")


def show_proof(result: Proof) -> None:
    """Print a proof for people."""
    binding = result.binding
    output.say(f"{result.domain}: adapter {binding.adapter_sha256[:12]} on base {binding.base_sha256[:12]}, tokenizer {binding.tokenizer_sha256[:12]}")
    output.say(f"  changes {binding.modules} modules, moves the probe by {result.probe:.3f}")
    for cell in result.matrix:
        output.say(
            f"  {cell.domain:<12} questions, {cell.adapter:<12} adapter: MRR {cell.base:.3f} → {cell.value:.3f}  "
            f"[{cell.low:+.3f}, {cell.high:+.3f}]  p = {cell.p:.2g}  {cell.verdict}  (n = {cell.n})"
        )
    if result.pipeline is not None:
        found = result.pipeline
        output.say(f"  whole assistant at home: {found.base:.3f} → {found.value:.3f}, {found.better} better, {found.worse} worse, p = {found.p:.2g}")
    output.say(f"  {'proved' if result.passed else 'NOT proved'} in {result.seconds:.0f} s")


def save_proof(folder: Path, result: Proof) -> None:
    """Write a proof into the card of the adapter that it is of."""
    from core.models.adapters import CARD
    from core.training.checkpoint import write_whole

    card = json.loads((folder / CARD).read_text("utf-8")) | {"proof": result.model_dump(mode="json")}
    write_whole(folder / CARD, (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())
