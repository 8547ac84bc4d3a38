"""Fits the ranking model that the core ships, on training questions that the bank compared with does not hold. Reads no eval item.

Questions come in files, each by one writer in one sitting. In each of three folds a head is fitted without a third of the files; each
question of those is then compared with the bank less its own file, as a stranger's question would be. Questions that a domain's adapter learned
from are sought by the base alone: by the adapter they would be found as no stranger's are, and the ranking has to serve domains without one too.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.assistant import library_folder
from core.encoder import Encoder, compiled_folder
from core.errors import UsageError
from core.library import Library
from core.library_schema import StoredQuestion
from core.models.adapters import CARD
from core.query_adapter import find_adapter, query_encoder
from core.question_head import QuestionHead
from core.questions import QuestionBank, pack
from core.ranking import FEATURES, WEIGHTS, LogisticModel, Variant, products, standardised
from core.registry import Domain, discover
from core.retrieval import RERANKED, Retriever
from core.settings import Settings, get_settings
from core.types import LANGUAGES, Language
from evals.headfit import fit_on, sentence_examples

FOLDS = 3
PER_FILE: dict[Variant, int] = {"plain": 100, "asked": 100, "learned": 300}
"""Questions of a file that are used at most."""
STRENGTH, STRENGTH_OF_PAIRS = 0.1, 0.01
"""Inverse strength of the L2 penalty, without and with products of features."""
PAIRED: frozenset[Variant] = frozenset({"learned"})
"""Variants whose model has products of features: those with enough questions behind them. Measured on held-out files (finance): the share
of answerable questions answered at 5 % wrong rises from 0.72 to 0.74 in English, from 0.68 to 0.69 in Chinese."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The features of one candidate passage of one question, and whether it answers."""

    question: int
    features: dict[str, float]
    answers: bool


def judge_candidates(domain: Domain, lang: Language, variant: Variant, *, settings: Settings, progress: Progress | None = None) -> list[Judged]:
    """Return the candidates of a domain's training questions as a library of the variant's kind would see them."""
    encoder = Encoder(compiled_folder(settings))
    library = Library(library_folder(settings, domain.name), encoder_id=encoder.id)
    adapter = find_adapter(domain, settings)
    learned_from = trained_on(domain)
    strangers = Retriever(library, encoder, tuned=query_encoder(adapter, settings))
    base = Retriever(library, encoder)
    questions = library.questions(lang)
    files = sorted({question.origin for question in questions})
    sentences = sentence_examples(library, lang) if variant == "learned" else {}
    found: list[Judged] = []
    for fold in range(FOLDS if variant == "learned" else 1):
        held = [name for n, name in enumerate(files) if variant != "learned" or n % FOLDS == fold]
        fitted = fit_on([q for q in questions if q.origin not in held], sentences, lang) if variant == "learned" else None
        head = QuestionHead(fitted, lang) if fitted is not None else None
        bank = QuestionBank(pack(questions, head=head), lang, head=head) if variant != "plain" else QuestionBank({}, lang)
        if variant == "learned" and head is None:
            continue
        for name in held:
            retriever = base if name in learned_from else strangers
            for number, question in enumerate(_some([q for q in questions if q.origin == name], PER_FILE[variant])):
                if progress is not None and number % 100 == 0:
                    progress(f"{domain.name} {lang} {variant} {name}", number, PER_FILE[variant])
                candidates = retriever.candidates(question.text, k=RERANKED, lang=lang, bank=bank, head=head, without_questions=name)
                rows = {row for row, _, _ in question.passages}
                key = len(found)
                found += [Judged(question=key, features=f, answers=fact.row in rows) for f, fact in zip(candidates.features, candidates.facts, strict=False)]
    return found


def trained_on(domain: Domain) -> frozenset[str]:
    """Return the names of the files of training questions that a domain's adapter learned from, as its card states them; none without a card."""
    path = domain.folder / domain.manifest.paths.adapter / CARD
    return frozenset(json.loads(path.read_text("utf-8")).get("own_files") or ()) if path.is_file() else frozenset()


def _some(questions: Sequence[StoredQuestion], limit: int) -> list[StoredQuestion]:
    if len(questions) <= limit:
        return list(questions)
    chosen = np.random.default_rng(0).choice(len(questions), limit, replace=False)
    return [questions[n] for n in sorted(chosen.tolist())]


def fit_model(judged: Sequence[Judged], names: Sequence[str], *, paired: bool = False) -> LogisticModel:
    """Fit a logistic model (L2) on standardised features, with their products where ``paired``.

    Raises:
        UsageError: fewer than 50 candidates, or all of one label.
    """
    from sklearn.linear_model import LogisticRegression

    x = np.array([[one.features[name] for name in names] for one in judged], dtype=np.float64)
    y = np.array([one.answers for one in judged])
    if len(y) < 50 or y.all() or not y.any():
        raise UsageError(f"{len(y)} candidates are too few, or all alike, to fit the ranking; write more training questions")
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-6] = 1.0
    x = standardised(x, mean.tolist(), scale.tolist())
    columns = np.hstack([x, products(x)]) if paired else x
    model = LogisticRegression(C=STRENGTH_OF_PAIRS if paired else STRENGTH, max_iter=3_000).fit(columns, y)
    weights = [round(float(v), 5) for v in model.coef_[0]]
    return LogisticModel(
        names=tuple(names),
        mean=tuple(round(float(v), 6) for v in mean),
        scale=tuple(round(float(v), 6) for v in scale),
        weights=tuple(weights[: len(names)]),
        pairs=tuple(weights[len(names) :]),
        intercept=round(float(model.intercept_[0]), 6),
    )


def fit_shipped(domains: Sequence[Domain], *, settings: Settings, progress: Progress | None = None) -> dict[Language, dict[Variant, LogisticModel]]:
    """Fit every variant of every language on the domains' training questions together and write ``core/ranking.json``."""
    models: dict[Language, dict[Variant, LogisticModel]] = defaultdict(dict)
    for lang in LANGUAGES:
        for variant, names in FEATURES.items():
            judged = [one for domain in domains for one in judge_candidates(domain, lang, variant, settings=settings, progress=progress)]
            models[lang][variant] = fit_model(judged, names, paired=variant in PAIRED)
    WEIGHTS.write_text(json.dumps({lang: {v: m.model_dump() for v, m in variants.items()} for lang, variants in models.items()}, indent=1) + "\n", "utf-8")
    return dict(models)


def main() -> None:
    """Fit the shipped ranking on every domain that is found; ``make ranking``."""

    def tell(name: str, done: int, total: int) -> None:
        sys.stderr.write(f"\r{name} {done} of {total}   ")

    settings = get_settings()
    fit_shipped(list(discover(settings).domains.values()), settings=settings, progress=tell)
    sys.stderr.write("\nfitted; now `domainkit calibrate` every domain, whose thresholds are void\n")


if __name__ == "__main__":
    main()
