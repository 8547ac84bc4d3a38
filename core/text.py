"""Text → index terms, the same at index and query time: English stems, Chinese words (jieba), numbers. Knows no library.

The terms feed the keyword index, the word-overlap part of sentence selection, and the coverage features of abstention.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Set
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.settings import get_settings

_TOKEN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+|\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)?", re.UNICODE)
_ACCENT = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_HAN_START = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")

STOP_EN = frozenset(
    "a an and any are as at be been being but by can could did do does doing for from had has have having he her hers him his how i if in into is it "
    "its itself just let may me might must my myself no nor not of off on once or our ours out over own same shall she should so some such than that "
    "the their theirs them then there these they this those through to too under until up upon us very was we were what whats when where which while "
    "who whom why will with would you your yours im ive id youre dont doesnt cant isnt tell explain please there's it's what's i'm don't can't "
    "exactly actually really about mean means meaning get gets got one someone something thing things".split()
)
STOP_ZH = frozenset(
    "的 了 和 是 在 我 有 就 不 人 都 一 一个 上 也 很 到 说 要 去 你 会 着 没有 看 好 自己 这 那 吗 呢 吧 啊 呀 么 什么 怎么 怎样 怎么办 如何 哪些 哪个 哪 为什么 "
    "为何 多少 几 是否 能 可以 可 能不能 该 应该 应 需要 需 请问 请 想 问 知道 告诉 解释 一下 它 他 她 我们 你们 他们 这个 那个 这种 那种 与 及 或 或者 还是 而 但 但是 "
    "因为 所以 如果 则 被 把 让 对 对于 从 由 以 用 为 之 其 中 里 时 时候 后 前 来 得 地 过 给 跟 等 又 再 才 只 最 更 比 吗 有没有 是不是 会不会 到底 究竟 意思 叫 叫做 "
    "算 做 有 个 种 些 次 什么样 怎么样 哪里 哪儿 谁 何时 多久 多长 多 少 大 小".split()
)


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """Return the Snowball (Porter2) stem of a lower-case English word. Source: M. F. Porter, snowballstem.org."""
    return str(_stemmer().stemWord(word))


_segmenter_lock = threading.Lock()
_segmenter: Any = None


class PackedFrequencies:
    """jieba's prefix dictionary as two sorted arrays in one file: opened in a millisecond, where the dict of it takes half a second to load.

    Words are known by 64-bit hashes; that any of half a million collides with a word looked up has odds of one in 10^13.

    Args:
        data: 8 bytes with the number of words, their hashes ascending (uint64), their frequencies (int32), all little-endian.
    """

    def __init__(self, data: bytes) -> None:
        count = int.from_bytes(data[:8], "little")
        if len(data) != 8 + 12 * count:
            raise ValueError("not a packed dictionary")
        self._hashes = memoryview(data)[8 : 8 + 8 * count].cast("Q")
        self._values = memoryview(data)[8 + 8 * count :].cast("i")

    @staticmethod
    def pack(words: Mapping[str, int]) -> bytes:
        """Return the bytes that the constructor reads."""
        rows = sorted((_word_hash(word), value) for word, value in words.items())
        return len(rows).to_bytes(8, "little") + array("Q", [key for key, _ in rows]).tobytes() + array("i", [value for _, value in rows]).tobytes()

    def get(self, word: str, default: int | None = None) -> int | None:
        """Return the frequency of ``word`` (0 for a mere prefix of words), ``default`` when it is neither."""
        key = _word_hash(word)
        at = bisect_left(self._hashes, key)
        return self._values[at] if at < len(self._hashes) and self._hashes[at] == key else default

    def __contains__(self, word: str) -> bool:
        return self.get(word) is not None

    def __getitem__(self, word: str) -> int:
        found = self.get(word)
        if found is None:
            raise KeyError(word)
        return found


def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def _jieba() -> Any:
    """Return a jieba tokenizer whose prefix dictionary is kept packed: jieba's own cache is a marshal file in /tmp."""
    global _segmenter
    if _segmenter is not None:
        return _segmenter
    with _segmenter_lock:
        if _segmenter is None:
            import logging

            import jieba

            jieba.setLogLevel(logging.WARNING)
            tokenizer = jieba.Tokenizer()
            cache = get_settings().home / "segmenter" / f"jieba-{jieba.__version__}.words"
            tokenizer.FREQ, tokenizer.total = _frequencies(tokenizer, cache)
            tokenizer.initialized = True
            _segmenter = tokenizer
    return _segmenter


def _frequencies(tokenizer: Any, cache: Path) -> tuple[Any, int]:
    """Return the prefix dictionary and the sum of its frequencies: packed when the cache is there, whole when it is made now."""
    try:
        data = cache.read_bytes()
        return PackedFrequencies(data[8:]), int.from_bytes(data[:8], "little")
    except (OSError, ValueError):
        words, total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=cache.parent, delete=False) as temporary:
            temporary.write(total.to_bytes(8, "little") + PackedFrequencies.pack(words))
        os.replace(temporary.name, cache)
    except OSError:
        return words, total  # a read-only home only costs the second next time
    return words, total


def prepare_segmenter(*, bulk: bool = False) -> None:
    """Build the Chinese segmenter's dictionary now, so that the first Chinese question does not wait for it.

    Args:
        bulk: load the whole dictionary, which segments several times faster than the packed one: for work on many texts.
    """
    tokenizer = _jieba()
    if bulk and isinstance(tokenizer.FREQ, PackedFrequencies):
        tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())


def normalize(text: str) -> str:
    """Return ``text`` in NFKC, case-folded, with typographic apostrophes made plain and zero-width characters removed."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("‘", "'")
    return re.sub("[\u200b-\u200f\u2060\ufeff\u00ad]", "", folded)


def _plain_letters(text: str) -> str:
    """Return folded ``text`` with the accents of Latin letters taken off: people type "Meniere" for "Ménière"."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _ACCENT.sub("", unicodedata.normalize("NFD", text)))


def terms(text: str, *, keep_stopwords: bool = True) -> list[str]:
    """Return the index terms of ``text`` in order, repeats included.

    English words are case-folded, without accents, and stemmed; Han runs are segmented by jieba in search mode (long words also yield their
    parts); numbers keep decimal points and lose thousands separators.
    """
    found: list[str] = []
    for match in _TOKEN.finditer(_plain_letters(normalize(text))):
        token = match.group()
        if _HAN_START.match(token):
            words = [token] if len(token) == 1 else _jieba().cut_for_search(token)
            found.extend(word for word in words if keep_stopwords or word not in STOP_ZH)
        elif token[0].isdigit():
            found.append(token.replace(",", ""))
        else:
            word = token.removesuffix("'s")
            if keep_stopwords or (token not in STOP_EN and word not in STOP_EN):
                found.append(stem(word.replace("'", "")))
    return found


@lru_cache(maxsize=20_000)
def term_set(text: str) -> frozenset[str]:
    """Return the distinct index terms of ``text``; remembered, since the same sentences are asked about again and again."""
    return frozenset(terms(text))


def content_terms(text: str) -> list[str]:
    """Return the distinct terms that carry the question's content, in order; all terms when only stop words remain."""
    found = list(dict.fromkeys(terms(text, keep_stopwords=False)))
    return found or list(dict.fromkeys(terms(text)))


def match_query(words: Iterable[str]) -> str:
    """Return an FTS5 expression that matches any of ``words``; each is quoted, so no word can be an operator."""
    return " OR ".join('"' + word.replace('"', "") + '"' for word in words)


def overlap(words: Set[str], idf: Mapping[str, float]) -> float:
    """Return the idf-weighted share of the question's words that occur in ``words``; 0 for a question without words."""
    total = sum(idf.values())
    return sum(weight for word, weight in idf.items() if word in words) / total if total else 0.0
