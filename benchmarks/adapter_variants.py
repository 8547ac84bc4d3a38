"""Two other ways to fine-tune for retrieval, on MedQuAD: an adapter on both sides, and a cross-encoder over the base's best twenty.

    python -m benchmarks.adapter_variants --data FOLDER [--steps 500] [--rerank-steps 300]

Prints Recall@1 on 1,000 held-out questions over 4,000 answers, no disease shared with training; minutes on a GPU, hours on a CPU. With
``--cost`` it only times what reranking twenty passages takes the compiled encoder, beside one question.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.encoder import Encoder, base_folder, compiled_folder
from core.errors import UsageError
from core.settings import ROOT, get_settings
from core.training.pairs import Pair, split_by_entity
from core.training.quiet import quiet
from core.training.retrieval import QueryModel, RetrievalRecipe, Vectors, base_vectors, question_ranks, rank_figures, right_rows, training_set
from core.training.sources import all_pairs, read_source

TOP, CANDIDATES = 20, 12
TEXT_TOKENS, READ_TOKENS = 192, 256
RECIPE = RetrievalRecipe(rank=16, alpha=32, max_tokens=TEXT_TOKENS, precision="bf16", seed=1)


def say(*parts: object) -> None:
    """Print a line at once."""
    sys.stdout.write(" ".join(map(str, parts)) + "\n")
    sys.stdout.flush()


def gradient_step(loss: Any, optimizer: Any, parameters: Sequence[Any], *, rate: float) -> None:
    """Take one step of AdamW with the gradient clipped to norm 1."""
    import torch

    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(list(parameters), 1.0)
    optimizer.step()


def rate(step: int, steps: int, highest: float) -> float:
    """Return the learning rate: 30 steps of warm-up, then linear decay."""
    return highest * min(1.0, (step + 1) / 30) * max(0.02, 1 - step / steps)


def both_sides(base: Path, train: Sequence[Pair], *, steps: int, batch: int = 192) -> QueryModel:
    """Train one adapter for questions and texts alike, the other texts of a batch as negatives."""
    import torch

    model = QueryModel(base, RECIPE)
    optimizer = torch.optim.AdamW(list(model.parameters.values()), lr=1e-3, weight_decay=0.01)
    chance = np.random.default_rng(1)
    for step in range(steps):
        chosen = [train[n] for n in chance.choice(len(train), batch, replace=False)]
        logits = model([pair.question for pair in chosen]) @ model([pair.text for pair in chosen]).T / RECIPE.temperature
        same = [[a is not b and (a.question == b.question or a.text == b.text) for b in chosen] for a in chosen]
        logits = logits.masked_fill(torch.tensor(same, device=logits.device), -1e4)
        loss = torch.nn.functional.cross_entropy(logits, torch.arange(batch, device=logits.device))
        gradient_step(loss, optimizer, list(model.parameters.values()), rate=rate(step, steps, 1e-3))
    model.max_tokens = READ_TOKENS
    return model


class CrossEncoder:
    """Reads question and text together and says how well they fit; LoRA of rank 32 on the base, a new head."""

    def __init__(self, base: Path) -> None:
        import torch
        from accelerate import Accelerator
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        torch.manual_seed(1)
        self.device = Accelerator().device
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base, local_files_only=True)
        with quiet():
            net: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, local_files_only=True)
        config = LoraConfig(r=32, lora_alpha=64, target_modules=["query", "key", "value", "dense"], modules_to_save=["classifier"])
        self.net: Any = get_peft_model(net, config).to(self.device)

    def scores(self, pairs: Sequence[tuple[str, str]]) -> Any:
        """Return a score (n,) for each question and text, with gradients."""
        import torch

        questions, texts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        encoded = self.tokenizer(questions, texts, padding=True, truncation="only_second", max_length=TEXT_TOKENS, return_tensors="pt").to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            return self.net(**encoded).logits.float()[:, 0]

    def train(self, pairs: Sequence[Pair], texts: Sequence[str], right: Sequence[set[int]], near: Any, *, steps: int, batch: int = 24) -> None:
        """Train each question's text apart from texts that the base finds near (n, 30)."""
        import torch

        learned = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=5e-4, weight_decay=0.01)
        chance = np.random.default_rng(2)
        self.net.train()
        for step in range(steps):
            rows: list[tuple[str, str]] = []
            for n in chance.choice(len(pairs), batch, replace=False):
                wrong = [m for m in near[n] if m not in right[n]]
                rows += [(pairs[n].question, pairs[n].text), *((pairs[n].question, texts[m]) for m in chance.choice(wrong, CANDIDATES - 1, replace=False))]
            logits = self.scores(rows).reshape(batch, CANDIDATES)
            loss = torch.nn.functional.cross_entropy(logits, torch.zeros(batch, dtype=torch.long, device=self.device))
            gradient_step(loss, optimizer, learned, rate=rate(step, steps, 5e-4))
        self.net.eval()


def reranked(model: CrossEncoder, asked: Sequence[str], texts: Sequence[str], right: Sequence[set[int]], best: Any) -> Any:
    """Return the rank (n,) of each question's first right text after reranking its best (n, 20); 99 where it is not among them."""
    import torch

    ranks = []
    for question, wanted, places in zip(asked, right, best, strict=True):
        with torch.no_grad():
            scores = model.scores([(question, texts[n]) for n in places]).cpu().numpy()
        order = places[np.argsort(-scores, kind="stable")]
        ranks.append(next((rank for rank, n in enumerate(order.tolist(), start=1) if n in wanted), 99))
    return np.array(ranks)


def nearest(questions: Vectors, texts: Vectors, k: int) -> Any:
    """Return the ``k`` nearest texts (n, k) of each question, the nearest first."""
    return np.stack([np.argsort(-(vector @ texts.T), kind="stable")[:k] for vector in questions])


def cost(questions: Sequence[str], texts: Sequence[str]) -> None:
    """Time encoding one question, and twenty texts with the question before each, by the compiled encoder."""
    encoder = Encoder(compiled_folder(get_settings()))
    one, twenty = [], []
    for n, question in enumerate(questions[:30]):
        begun = time.perf_counter()
        encoder.encode([question])
        between = time.perf_counter()
        encoder.encode([f"{question} {text}" for text in texts[n * TOP : (n + 1) * TOP]])
        one.append(between - begun)
        twenty.append(time.perf_counter() - between)
    say(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}: one question {statistics.median(one) * 1e3:.1f} ms,")
    say(f"twenty texts {statistics.median(twenty) * 1e3:.0f} ms, {statistics.median(twenty) / statistics.median(one):.0f} times as long (medians of 30)")


def main() -> None:
    """Train both and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rerank-steps", type=int, default=300)
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--cost", action="store_true")
    options = parser.parse_args()
    base = base_folder(get_settings())
    if base is None:
        raise UsageError("no base encoder is installed")
    split = split_by_entity(all_pairs(read_source(ROOT / "data" / "sources" / "medquad.toml"), options.data), held_out=4_000, seed=1)
    train, test = split.train, split.held_out
    if options.cost:
        cost([pair.question for pair in test], [pair.text for pair in test])
        return
    held = training_set(test, lambda some: base_vectors(base, some, max_tokens=READ_TOKENS))
    texts, right = list(dict.fromkeys(pair.text for pair in test)), right_rows(held)
    chosen = sorted(random.Random(1).sample(range(len(test)), min(options.questions, len(test))))
    asked, wanted = [test[n].question for n in chosen], [right[n] for n in chosen]
    questions = base_vectors(base, asked, max_tokens=READ_TOKENS)
    say("base", rank_figures(question_ranks(questions, wanted, held.vectors)))
    model = both_sides(base, train, steps=options.steps)
    say("both sides", rank_figures(question_ranks(model.encode(asked), wanted, model.encode(texts))))
    learned = training_set(train, lambda some: base_vectors(base, some, max_tokens=READ_TOKENS))
    near = nearest(base_vectors(base, [pair.question for pair in train], max_tokens=READ_TOKENS), learned.vectors, 30)
    cross = CrossEncoder(base)
    cross.train(train, list(dict.fromkeys(pair.text for pair in train)), right_rows(learned), near, steps=options.rerank_steps)
    say(f"cross-encoder over the base's best {TOP}", rank_figures(reranked(cross, asked, texts, wanted, nearest(questions, held.vectors, TOP))))


if __name__ == "__main__":
    main()
