"""What the gate lets through and what it refuses, on a shipped domain with everything real.

    python -m benchmarks.gate DOMAIN --into EMPTY_FOLDER [--runs 20] [--share 0.05]

Twenty runs of the unchanged domain, each with another seed, against the first; then a corpus of which a share of the articles holds another
article's text (both languages); then an adapter trained on pairs that were shuffled. The domain itself is not touched.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from pathlib import Path

from core.assistant import Assistant, library_folder
from core.encoder import Encoder, base_folder, compiled_folder
from core.encoder_compile import compile_encoder
from core.errors import UsageError
from core.ingest import bring_up_to_date
from core.library import Library
from core.manifest import load_manifest, split_front_matter
from core.models.adapters import Adapter, check_adapter
from core.registry import Domain, discover
from core.settings import Settings, get_settings
from core.training.adapter_files import save_adapter
from core.training.pairs import Pair, split_by_entity
from core.training.plan import own_pairs
from core.training.retrieval import RetrievalRecipe, train_retrieval
from evals.gate import Verdict, check_gate
from evals.runner import run_domain
from evals.runs import Run

RECIPE = RetrievalRecipe(steps=60, warmup=10, validate_every=30, batch=64, seed=1)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def swapped(domain: Domain, folder: Path, *, share: float) -> Domain:
    """Copy a domain and give a share of its articles the body of another one, in every language."""
    shutil.copytree(domain.folder, folder)
    made = Domain(manifest=load_manifest(folder), folder=folder, door="benchmark")
    names = sorted(path.name for path in (made.corpus / "en").glob("*.md"))
    chosen = random.Random(7).sample(names, max(2, round(share * len(names))))
    for lang in domain.manifest.languages:
        paths = [path for name in chosen if (path := made.corpus / lang / name).is_file()]
        texts = [path.read_text("utf-8") for path in paths]
        bodies = [split_front_matter(text)[1] for text in texts]
        for path, text, own, other in zip(paths, texts, bodies, [*bodies[1:], *bodies[:1]], strict=True):
            path.write_text(text[: len(text) - len(own)] + other, "utf-8")
    say(f"articles exchanged ({len(chosen)} of {len(names)}): {', '.join(chosen)}")
    return made


def shuffled_adapter(domain: Domain, folder: Path, *, settings: Settings, encoder: Encoder) -> Adapter:
    """Train an adapter on the domain's questions, each beside another question's text."""
    base = base_folder(settings)
    if base is None:
        raise UsageError("no base encoder is installed")
    library = Library(library_folder(settings, domain.name), encoder_id=encoder.id)
    split = split_by_entity(random.Random(1).sample(own_pairs(library, domain.manifest.languages, ()), 4_000), held_out=300, seed=1)
    texts = random.Random(2).sample([pair.text for pair in split.train], len(split.train))
    pairs = [Pair(id=pair.id, question=pair.question, text=text, entity=pair.entity) for pair, text in zip(split.train, texts, strict=True)]
    trained = train_retrieval(pairs, split.held_out, base=base, recipe=RECIPE, folder=folder / "run", encode=encoder.encode)
    if trained is None:
        raise UsageError("training was stopped")
    manifest = encoder.manifest
    save_adapter(
        folder / "adapter", trained, recipe=RECIPE, base=manifest.base, base_sha256=manifest.base_sha256, tokenizer_sha256=manifest.files["tokenizer.json"],
        facts={"domain": domain.name},
    )  # fmt: skip
    return check_adapter(domain.name, folder / "adapter", task="FEATURE_EXTRACTION")


def verdict(run: Run, domain: Domain, baseline: Run, *, seed: int = 0) -> Verdict:
    """Judge a run against the baseline alone: the domain's floors are not what is tried here."""
    return check_gate(run, domain.manifest.gate.model_copy(update={"floors": {}}), baseline=baseline, seed=seed)


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("domain")
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.05)
    options = parser.parse_args()
    settings = get_settings()
    domain = discover(settings).get(options.domain)
    encoder = Encoder(compiled_folder(settings))
    assistant = Assistant(domain, settings=settings, encoder=encoder)
    baseline = run_domain(domain, settings=settings, assistant=assistant, out=options.into / "baseline")
    begun = time.monotonic()
    passed = 0
    for seed in range(1, options.runs + 1):
        again = run_domain(domain, settings=settings, assistant=assistant, out=options.into / f"same-{seed}", seed=seed)
        passed += verdict(again, domain, baseline, seed=seed).passed
    say(f"unchanged: {passed} of {options.runs} runs pass ({len(baseline.items)} items, {time.monotonic() - begun:.0f} s)")

    home = options.into / "home"
    home.mkdir(parents=True, exist_ok=True)
    (home / "encoders").symlink_to((settings.home / "encoders").resolve())
    elsewhere = settings.model_copy(update={"home": home})
    changed = swapped(domain, options.into / domain.name, share=options.share)
    bring_up_to_date(changed, Library(library_folder(elsewhere, domain.name), encoder_id=encoder.id), encoder, settings=elsewhere)
    found = verdict(run_domain(changed, settings=elsewhere, out=options.into / "swapped"), domain, baseline)
    say(f"exchanged articles: {'passes' if found.passed else 'refused'}\n" + "\n".join(f"  {reason.rule}: {reason.text}" for reason in found.reasons))

    adapter = shuffled_adapter(domain, options.into / "shuffled", settings=settings, encoder=encoder)
    compile_encoder(settings, adapter=adapter)
    other = Assistant(domain, settings=settings, encoder=encoder, adapter=adapter)
    found = verdict(run_domain(domain, settings=settings, assistant=other, out=options.into / "shuffled-run"), domain, baseline)
    say(f"adapter of shuffled pairs: {'passes' if found.passed else 'refused'}\n" + "\n".join(f"  {reason.rule}: {reason.text}" for reason in found.reasons))


if __name__ == "__main__":
    main()
