"""``ask()``: gate → retrieve → draft → evidence lock → abstain or answer. The only room where all the others meet."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.abstention import (
    DEFAULT_THRESHOLD,
    Calibration,
    draft_confidence,
    load_calibration,
    question_language,
    void_reasons,
)
from core.encoder import Encoder, compiled_folder
from core.errors import LibraryError, UsageError
from core.evidence import lock
from core.generator_adapter import find_generator
from core.library import Library
from core.manifest import load_policy
from core.models import Answerer, Draft, Request, make_answerer
from core.models.adapters import Adapter
from core.policy import Decision, Gate
from core.policy_learned import load_learned_gate
from core.prompts import fill, template_text
from core.query_adapter import find_adapter, is_compiled, query_encoder
from core.question_head import load_heads
from core.ranking import weights_sha256
from core.registry import Domain
from core.retrieval import Retrieval, Retriever
from core.settings import Settings, get_settings
from core.types import Answer, AnswerHit, Claim, Hit, Language, Status, Timings, Turn

ABSTAIN = {
    "en": "I don't know: nothing in this library answers that.",
    "zh": "我不知道：资料库中没有内容能回答这个问题。",
}
_FOLLOW_UP = re.compile(
    r"^(?:and|but|so|then|also|what about|how about|why|is (?:it|that|this)|are (?:they|these|those)|does (?:it|that|this)|do (?:they|these)|can (?:it|they|that)|"
    r"should (?:it|they|that)|which (?:one|of)|how (?:long|often|much) (?:does|is|do|are|will) (?:it|they|that|this))\b|\b(?:it|its|they|them|their|that one|this one|those|these)\b"
)
_FOLLOW_UP_ZH = re.compile(r"^(?:那|那么|还有|另外|为什么呢|然后)|(?:它|它们|这个|那个|这种|那种|其)(?!他)")


def library_folder(settings: Settings, name: str) -> Path:
    """Return the folder of a domain's library."""
    return settings.home / "libraries" / name


def clean_question(question: str, *, limit: int) -> str:
    """Return the question without control characters and surrounding space.

    Raises:
        UsageError: empty, or longer than ``limit`` characters.
    """
    # A lone surrogate cannot be written as UTF-8, so it can be neither stored nor printed.
    text = question.encode("utf-8", "replace").decode("utf-8")
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", " ", text).strip()
    if not text or not re.search(r"\w", text):
        raise UsageError("the question is empty; write at least one word")
    if len(text) > limit:
        raise UsageError(f"the question has {len(text):,} characters; the limit is {limit:,} (DOMAINKIT_MAX_QUESTION_CHARS)")
    return text


class Assistant:
    """The assistant of one domain. Built once, asked many times, from any thread.

    Args:
        domain: the package to answer from.
        settings: the process's settings by default.
        answerer: by default the one of the settings' profile.
        encoder: by default the compiled base encoder, shared between domains.
        adapter: another query adapter than the domain's own; ``"none"`` for none.

    Raises:
        ModelError: the encoder is not compiled, or the adapter is not allowed. IntegrityError: the adapter's weights were changed.
        ManifestError: the domain's files are not valid.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        settings: Settings | None = None,
        answerer: Answerer | None = None,
        encoder: Encoder | None = None,
        adapter: Adapter | Literal["own", "none"] = "own",
    ) -> None:
        self.domain = domain
        self.settings = settings or get_settings()
        self.encoder = encoder or Encoder(compiled_folder(self.settings))
        self.library = Library(library_folder(self.settings, domain.name), encoder_id=self.encoder.id)
        heads = load_heads(domain.folder / domain.manifest.paths.training, encoder_id=self.encoder.id)
        self.adapter = find_adapter(domain, self.settings) if adapter == "own" else adapter if isinstance(adapter, Adapter) else None
        # Before there is a library nothing is sought, and the gate must work all the same.
        self._sought_by_adapter = is_compiled(self.adapter, self.settings) or self.library.exists()
        tuned = query_encoder(self.adapter, self.settings) if self._sought_by_adapter else None
        self._heads = heads
        self.retriever = Retriever(self.library, self.encoder, heads=heads, tuned=tuned)
        self.answerer = answerer or make_answerer(self.settings, encoder_id=self.encoder.id)
        self.generator = find_generator(domain, self.settings)
        self._corpus: tuple[int, str] | None = None
        policy_folder = domain.folder / domain.manifest.paths.policy
        self.gate = Gate(load_policy(domain.folder, domain.manifest), learned=load_learned_gate(policy_folder))

    @property
    def model(self) -> str:
        """What answers name as their model: the answerer, and the generator adapter that it drafts with."""
        return f"{self.answerer.name}+{self.generator.id}" if self.generator else self.answerer.name

    @cached_property
    def calibration(self) -> Calibration | None:
        """The domain's fitted thresholds, None when there are none."""
        return load_calibration(self.domain.folder / self.domain.manifest.paths.calibration)

    def threshold(self, lang: Language) -> tuple[float, bool]:
        """Return the confidence below which to abstain, and whether it was fitted on this domain and language as they are now."""
        fitted = self.calibration.thresholds.get(lang) if self.calibration else None
        return (fitted.value, not self.uncalibrated(lang)) if fitted else (DEFAULT_THRESHOLD, False)

    def uncalibrated(self, lang: Language) -> str:
        """Return in words why answers in a language are not calibrated, empty where they are."""
        fitted = self.calibration.thresholds.get(lang) if self.calibration else None
        if self.calibration is None or fitted is None:
            return "no threshold was fitted for this domain and language"
        void = void_reasons(
            self.calibration, corpus_sha256=self._corpus_sha256(), model_sha256=weights_sha256(), adapter=self.adapter.id if self.adapter else ""
        )
        if void:
            return f"{' and '.join(void)} changed since the threshold was fitted"
        return "" if fitted.promised else "there were too few questions to fit a threshold that keeps the promise"

    def _corpus_sha256(self) -> str:
        """Return the library's hash; computed anew when its documents changed."""
        revision, known = self.library.revision(), self._corpus
        if known is None or known[0] != revision:
            known = self._corpus = (revision, self.library.corpus_sha256())
        return known[1]

    def _retrieve(self, question: str, vector: NDArray[np.float32], lang: Language, history: Sequence[Turn], scopes: Sequence[str]) -> Retrieval:
        """Search; a follow-up ("how long does it last?") searches with the topic of the previous turn added."""
        found = self.retriever.search(question, k=self.settings.top_k, lang=lang, scopes=scopes, vector=vector)
        if not history or not is_follow_up(question, lang):
            return found
        topic = history[-1].title or history[-1].question
        joined = self.retriever.search(f"{topic} {question}", k=self.settings.top_k, lang=lang, scopes=scopes)
        if joined.hits and (not found.hits or joined.hits[0].score >= found.hits[0].score - 0.15):
            return joined
        return found

    def ask(self, question: str, *, lang: str = "", history: Sequence[Turn] = (), scopes: Sequence[str] = ()) -> Answer:
        """Answer one question.

        Args:
            question: the user's words, at most ``max_question_chars``.
            lang: ``en`` or ``zh``; by default the question's own.
            history: earlier turns, oldest first.
            scopes: collections to search; empty means all.

        Raises:
            UsageError: the question is empty or too long. LibraryError: the domain has no library yet. ModelError: no model.
        """
        begun = time.perf_counter()
        text = clean_question(question, limit=self.settings.max_question_chars)
        language = question_language(text, lang)
        vector = self.encoder.encode([text])[0]
        decision = self.gate.decide(text, language, vector=vector)
        if decision is not None and decision.action != "notice":
            return self._gated(text, language, decision, begun)
        if not self.library.exists():
            raise LibraryError(f"domain '{self.domain.name}' has no library yet: run `domainkit reindex {self.domain.name}`")
        if not self._sought_by_adapter:
            self.retriever = Retriever(self.library, self.encoder, heads=self._heads, tuned=query_encoder(self.adapter, self.settings))
            self._sought_by_adapter = True
        retrieval = self._retrieve(text, vector, language, history, scopes)
        retrieved = time.perf_counter()
        draft = self._draft(text, language, retrieval, history)
        return self._judge(text, language, retrieval, draft, decision, begun, retrieved)

    def stream(self, question: str, *, lang: str = "", history: Sequence[Turn] = (), scopes: Sequence[str] = ()) -> Iterator[str | Answer]:
        """Yield the draft's text in pieces, then the final :class:`Answer`, which alone is evidence-locked.

        Quoting drafts are judged first, so that nothing is shown that would be withdrawn.
        """
        answer = self.ask(question, lang=lang, history=history, scopes=scopes)
        if answer.status is Status.ANSWERED:
            for claim in answer.claims:
                yield from re.findall(r"\S+\s*|\s+", claim.text + " ") if answer.lang == "en" else re.findall(r".{1,4}", claim.text)
        yield answer

    def _gated(self, text: str, lang: Language, decision: Decision, begun: float) -> Answer:
        status = Status.ESCALATED if decision.action == "escalate" else Status.REFUSED
        return self._answer(text, lang, status=status, text=decision.notice, notice=decision.notice, begun=begun, confidence=1.0)

    def _draft(self, text: str, lang: Language, retrieval: Retrieval, history: Sequence[Turn]) -> Draft:
        prompt = ""
        if self.answerer.needs_prompt:
            template = template_text(self.domain.folder / self.domain.manifest.paths.prompts, lang)
            prompt = fill(template, question=text, hits=retrieval.hits, history=history)
        return self.answerer.answer(
            Request(
                question=text,
                lang=lang,
                hits=retrieval.hits,
                prompt=prompt,
                history=tuple(history),
                max_sentences=self.settings.max_sentences,
                max_tokens=self.settings.max_answer_tokens,
                adapter=self.generator.name if self.generator else "",
            )
        )

    def _judge(self, text: str, lang: Language, retrieval: Retrieval, draft: Draft, decision: Decision | None, begun: float, retrieved: float) -> Answer:
        claims = lock(draft, retrieval.hits)
        confidence = draft_confidence(retrieval, draft)
        threshold, calibrated = self.threshold(lang)
        notice = decision.notice if decision is not None else self.gate.disclaimer(lang)
        if not claims or confidence < threshold:
            nearest = tuple(dict.fromkeys(hit.title for hit in retrieval.hits))[:3]
            return self._answer(
                text, lang, status=Status.ABSTAINED, text=ABSTAIN[lang], begun=begun, retrieved=retrieved, confidence=confidence,
                retrieval=retrieval, nearest=nearest, calibrated=calibrated,
            )  # fmt: skip
        joined = ("" if lang == "zh" else " ").join(claim.text for claim in claims)
        return self._answer(
            text, lang, status=Status.ANSWERED, text=joined, notice=notice, begun=begun, retrieved=retrieved, confidence=confidence,
            retrieval=retrieval, claims=claims, calibrated=calibrated,
        )  # fmt: skip

    def _answer(
        self,
        question: str,
        lang: Language,
        *,
        status: Status,
        text: str,
        begun: float,
        confidence: float,
        notice: str = "",
        retrieved: float | None = None,
        retrieval: Retrieval | None = None,
        claims: tuple[Claim, ...] = (),
        nearest: tuple[str, ...] = (),
        calibrated: bool = True,
    ) -> Answer:
        now = time.perf_counter()
        middle = retrieved if retrieved is not None else now
        return Answer(
            id=uuid.uuid4().hex,
            domain=self.domain.name,
            question=question,
            lang=lang,
            status=status,
            text=text,
            notice=notice,
            claims=claims,
            hits=tuple(_answer_hit(hit) for hit in retrieval.hits) if retrieval else (),
            nearest=nearest,
            confidence=round(confidence, 4),
            calibrated=calibrated,
            profile=self.settings.profile,
            model=self.model,
            adapter=self.adapter.id if self.adapter else "",
            generation=retrieval.generation if retrieval else 0,
            timings_ms=Timings(retrieve=round((middle - begun) * 1000, 2), answer=round((now - middle) * 1000, 2), total=round((now - begun) * 1000, 2)),
        )

    def as_runnable(self) -> Any:
        """Return the assistant as a LangChain ``Runnable``: a question string (or ``{"question", "lang"}``) in, an answer dict out."""
        from langchain_core.runnables import RunnableLambda

        def run(value: str | dict[str, str]) -> dict[str, Any]:
            if isinstance(value, str):
                return self.ask(value).model_dump(mode="json")
            return self.ask(value["question"], lang=value.get("lang", "")).model_dump(mode="json")

        return RunnableLambda(run).with_config(run_name=f"domainkit.{self.domain.name}")


def _answer_hit(hit: Hit) -> AnswerHit:
    return AnswerHit(
        passage_id=hit.passage.id,
        document_id=hit.passage.document_id,
        external_id=hit.external_id,
        title=hit.title,
        page=hit.passage.page,
        score=hit.score,
        text=hit.passage.text,
    )


def is_follow_up(question: str, lang: Language) -> bool:
    """Whether a question leans on the previous turn: short, and opening with a connective or holding a pronoun."""
    if lang == "zh":
        return len(question) <= 24 and _FOLLOW_UP_ZH.search(question) is not None
    words = question.split()
    return len(words) <= 12 and _FOLLOW_UP.search(question.casefold()) is not None
