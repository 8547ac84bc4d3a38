"""A real causal LM of a current architecture, small enough to train while a test waits: it learns to say one sentence.

Knows nothing of the kit. ``SENTENCE`` stands in the test garden's library, so an evidence lock keeps it.
"""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

SENTENCE = "Plant tulip bulbs in October, about 15 cm deep."
WORDS = (
    "tulip",
    "bulbs",
    "water",
    "roses",
    "compost",
    "October",
    "deep",
    "Question:",
    "Answer:",
    "[1]",
    "[2]",
    "numbered",
    "passages",
    "leaves",
    "the",
    "in",
    "\n",
)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer() -> Any:
    """Return a byte-level BPE tokenizer with a chat template, trained on a few sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([SENTENCE, " ".join(WORDS)] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=8_192)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_tiny_model(folder: Path, *, steps: int = 60) -> Path:
    """Write a two-layer Qwen3 that answers every prompt with :data:`SENTENCE`; ``steps=0`` leaves it random."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model: Any = Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                max_position_embeddings=8_192, tie_word_embeddings=False,
            )
        )  # fmt: skip
        if steps:
            _teach(model, tokenizer, steps=steps)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _teach(model: Any, tokenizer: Any, *, steps: int) -> None:
    import torch

    chance = random.Random(7)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    answer = tokenizer(SENTENCE + "<|im_end|>", add_special_tokens=False)["input_ids"]
    model.train()
    for _ in range(steps):
        words = " ".join(chance.choices(WORDS, k=chance.randint(3, 120)))
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": words}], add_generation_prompt=True, tokenize=False)
        asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([asked + answer])
        labels = torch.tensor([[-100] * len(asked) + answer])
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def make_adapter(model_folder: Path, folder: Path, *, rank: int = 4, seed: int = 1, targets: tuple[str, ...] = ("q_proj", "v_proj")) -> Path:
    """Write a LoRA adapter with random weights, as peft saves it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    load: Any = AutoModelForCausalLM.from_pretrained
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=64, target_modules=list(targets), init_lora_weights=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft still reads an attribute that transformers renamed
            adapted: Any = get_peft_model(load(model_folder), config)
    adapted.save_pretrained(str(folder), safe_serialization=True)
    return folder
