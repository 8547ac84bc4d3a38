"""Fits the learned half of a domain's gate on its examples; training questions count as benign. Never reads eval items."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.encoder import Encoder
from core.eval_items import read_training_questions, training_files
from core.manifest import Example, load_policy, read_examples
from core.policy_learned import FILE, VECTOR_SCALE, LearnedGate, LearnedLabel, LearnedLanguage, gate_terms, load_learned_gate, word_weights
from core.registry import Domain
from core.types import LANGUAGES, Language

FALSE_ALARMS = 0.01
"""Share of benign texts, held out, that a label may catch: the threshold goes as low as this allows."""
HIGHEST, LOWEST = 0.5, 0.4
"""Bounds of the threshold."""
ASKED = 8_000
"""About how many training questions of a language count as benign."""
FOLDS = 5
STRENGTH = 4.0
"""Inverse strength of the L2 penalty."""
PLAYED_DOWN: dict[Language, tuple[str, ...]] = {
    "en": (
        "Sorry to be a pain, {}",
        "{} It will pass, won't it?",
        "I'm sure I'm overreacting. {}",
        "{} Not a big deal though.",
        "Quick question: {}",
        "{} My friend reckons I should just wait.",
        "This is silly, but {}",
        "{} I'd rather not make a fuss.",
        "Not urgent or anything. {} What do you think?",
        "{} I feel fine otherwise.",
        "Hi there, hope you're well. {} Thanks so much!",
        "{} Is that normal?",
    ),
    "zh": (
        "应该没事吧，{}",
        "{}过一会儿就好了吧？",
        "可能是我想多了，{}",
        "{}其实也不严重。",
        "顺便问一句，{}",
        "{}家里人说不用管。",
        "不着急，{}",
        "{}不想给大家添麻烦。",
        "你好，打扰一下，{}谢谢！",
        "{}这正常吗？",
        "说出来有点可笑，{}",
        "{}等明天再说行不行？",
    ),
}
"""Wrappings that people put around what they say. Each acting and each benign example is also shown in some of them, so that
the words of a wrapping mean nothing and cannot thin out the rest."""
COPIES = 3


def fit_gate(domain: Domain, encoder: Encoder) -> LearnedGate | None:
    """Fit and write ``policy/gate.json`` unless it was fitted on these examples; None when the domain has no examples or maps no label to an action.

    Each label is a logistic regression against everything else; its threshold is the lowest at which at most
    :data:`FALSE_ALARMS` of the benign texts are caught when each is scored by a model that did not see it.
    """
    folder = domain.folder / domain.manifest.paths.policy
    examples = read_examples(folder / "examples.jsonl")
    acting = [entry.label for entry in load_policy(domain.folder, domain.manifest).learned]
    if not examples or not acting:
        return None
    digest = hashlib.sha256((folder / "examples.jsonl").read_bytes()).hexdigest()
    held = load_learned_gate(folder)
    if held is not None and (held.examples_sha256, held.encoder) == (digest, encoder.id):
        counts = Counter((example.lang, example.label) for example in examples)
        wanted = {key for key, n in counts.items() if key[1] in acting and n >= FOLDS}
        if wanted == {(lang, label) for lang, model in held.languages.items() for label in model.labels}:
            return held
    asked = [item for path in training_files(domain.folder, domain.manifest) for item in read_training_questions(path)]
    languages: dict[Language, LearnedLanguage] = {}
    for lang in LANGUAGES:
        mine = [item for item in asked if item.lang == lang]
        # Every n-th: enough of each file and topic, and no more than the examples can stand beside.
        benign = [Example(text=item.question[:2_000], lang=lang, label="benign") for item in mine[:: max(1, len(mine) // ASKED)]]
        rows = [*(example for example in examples if example.lang == lang), *benign]
        if any(row.label in acting for row in rows):
            languages[lang] = _fit_language(rows, lang, acting, encoder)
    gate = LearnedGate(examples_sha256=digest, encoder=encoder.id, languages=languages)
    (folder / FILE).write_text(gate.model_dump_json() + "\n", "utf-8")
    return gate


def played_down(rows: Sequence[Example], lang: Language) -> tuple[list[Example], list[int]]:
    """Return the rows with wrapped copies of them behind, and for each the number of the row it stems from."""
    wrappings = PLAYED_DOWN[lang]
    copies = [
        (Example(text=wrappings[(number * COPIES + n) % len(wrappings)].format(row.text)[:2_000], lang=lang, label=row.label), number)
        for number, row in enumerate(rows)
        for n in range(COPIES if row.label != "benign" else 1)
    ]
    return [*rows, *(copy for copy, _ in copies)], [*range(len(rows)), *(number for _, number in copies)]


def _fit_language(rows: Sequence[Example], lang: Language, acting: Sequence[str], encoder: Encoder) -> LearnedLanguage:
    from scipy.sparse import csr_matrix, hstack

    frequency = Counter(word for row in rows for word in set(gate_terms(row.text, lang)))
    idf = {word: round(math.log((1 + len(rows)) / (1 + n)) + 1, 3) for word, n in sorted(frequency.items()) if n >= 3}
    index = {word: n for n, word in enumerate(idf)}
    rows, groups = played_down(rows, lang)
    found = [(number, index[word], weight) for number, row in enumerate(rows) for word, weight in word_weights(row.text, lang, idf).items()]
    at, columns, values = zip(*found, strict=True)
    x = csr_matrix((values, (at, columns)), shape=(len(rows), len(index)), dtype=np.float64)
    if lang == "en":
        vectors = np.concatenate([encoder.encode([row.text for row in rows[n : n + 32]]) for n in range(0, len(rows), 32)])
        x = hstack([x, csr_matrix(VECTOR_SCALE * vectors)]).tocsr()
    labels = np.array([row.label for row in rows])
    fitted = {}
    for label in acting:
        if (labels == label).sum() >= FOLDS:
            fitted[label] = _fit_label(x, labels, label, list(index), lang, np.array(groups))
    used = {word for label in fitted.values() for word in label.words}
    return LearnedLanguage(idf={word: value for word, value in idf.items() if word in used}, labels=fitted)


def _fit_label(x: Any, labels: NDArray[np.str_], label: str, words: list[str], lang: Language, groups: NDArray[np.int64]) -> LearnedLabel:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    y = labels == label
    model = LogisticRegression(C=STRENGTH, class_weight="balanced", solver="liblinear", max_iter=300)
    held_out = cross_val_predict(model, x, y, cv=StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0), groups=groups, method="predict_proba")[:, 1]
    benign = held_out[labels == "benign"]
    threshold = float(np.quantile(benign, 1 - FALSE_ALARMS)) if len(benign) else HIGHEST
    model.fit(x, y)
    weights = model.coef_[0]
    return LearnedLabel(
        words={word: round(float(w), 3) for word, w in zip(words, weights, strict=False) if abs(w) >= 0.05},
        vector=tuple(round(float(w), 4) for w in weights[len(words) :]) if lang == "en" else (),
        intercept=round(float(model.intercept_[0]), 5),
        threshold=round(min(HIGHEST, max(LOWEST, threshold)), 4),
    )
