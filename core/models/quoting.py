"""The embedded answerer: selects the sentences that answer, verbatim, in reading order. Never invents a word."""

from __future__ import annotations

from collections.abc import Iterator

from core.models import Draft, Quote, Request

RELATIVE_FLOOR = 0.62
"""A further sentence is quoted when its score reaches this share of the best sentence's."""


class QuotingAnswerer:
    """Quotes the best sentence of the best passage, and its fellows there.

    One passage, because an answer assembled from several reads as a collage and cites what was only similar.
    """

    needs_prompt = False

    def __init__(self, *, encoder_id: str = "") -> None:
        self.name = f"quoting/{encoder_id}" if encoder_id else "quoting"

    def answer(self, request: Request) -> Draft:
        """Return the quotes, in reading order; none when there are no hits."""
        n = next((n for n, hit in enumerate(request.hits) if hit.sentence_scores), None)
        if n is None:
            return Draft()
        scores = request.hits[n].sentence_scores
        m = max(range(len(scores)), key=lambda s: (scores[s], -s))
        chosen = {m}
        # The sentence after the best one usually completes it; others must earn their place.
        ranked = sorted(range(len(scores)), key=lambda s: (-(scores[s] + (0.08 if s == m + 1 else 0.0)), s))
        for s in ranked:
            if len(chosen) >= min(request.max_sentences, 3):
                break
            if scores[s] + (0.08 if s == m + 1 else 0.0) >= RELATIVE_FLOOR * scores[m]:
                chosen.add(s)
        return Draft(quotes=tuple(Quote(hit=n, sentence=s) for s in sorted(chosen)))

    def stream(self, request: Request) -> Iterator[str]:
        """Yield the quoted sentences one by one."""
        for quote in self.answer(request).quotes:
            passage = request.hits[quote.hit].passage
            span = passage.sentences[quote.sentence]
            yield passage.text[span.start - passage.start : span.end - passage.start] + " "
