"""Checks the articles of a corpus: front matter, languages, dates, sources, length, duplicates. Knows no eval set."""

from __future__ import annotations

import datetime
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from core.checking.report import Findings
from core.documents import markdown
from core.documents.files import SUPPORTED_SUFFIXES
from core.documents.parsed import Limits
from core.errors import DocumentError, ManifestError
from core.manifest import ArticleFrontMatter, Manifest, read_front_matter, split_front_matter
from core.text import normalize
from core.types import LANGUAGES, Language

REVIEW_YEARS = 3
DUPLICATE = 0.8
NEAR_DUPLICATE = 0.5
BOILERPLATE = 100
"""Runs of words in more articles than this are a house formula, not a copy: they do not count in the comparison."""
SHINGLE: dict[Language, int] = {"en": 4, "zh": 6}
"""Length of the word runs (Chinese: character runs) that articles are compared by."""
LENGTH: dict[Language, tuple[int, int]] = {"en": (40, 4_000), "zh": (80, 8_000)}
"""Words (Chinese: characters) that an article should have: fewer answer little, more are several topics."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_ZH_UNIT = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[a-z0-9]+")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, kw_only=True)
class Article:
    """A readable article: its front matter, its Markdown, the text that ingest extracts from it, and that text's words."""

    path: Path
    front: ArticleFrontMatter
    body: str
    text: str
    units: tuple[str, ...]

    @property
    def topic(self) -> str:
        """The name that eval items and the other language use for it."""
        return self.front.topic


def units(text: str, lang: Language) -> tuple[str, ...]:
    """Return the words of an English text, the characters of a Chinese one (Latin words and numbers whole), folded."""
    return tuple((_ZH_UNIT if lang == "zh" else _WORD).findall(normalize(text)))


def runs(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """Yield every run of ``length`` consecutive words."""
    return (tuple(words[n : n + length]) for n in range(len(words) - length + 1))


def check_corpus(findings: Findings, manifest: Manifest, *, today: datetime.date) -> list[Article]:
    """Check the corpus and return its readable articles, by language and topic."""
    root = findings.folder / manifest.paths.corpus
    if not root.is_dir():
        findings.error(root, f"missing; put articles under {manifest.paths.corpus}/{manifest.languages[0]}/")
        return []
    articles = []
    others = 0
    for path in sorted(p for p in root.rglob("*") if p.is_file() and not any(part.startswith(".") for part in p.relative_to(root).parts)):
        if path.suffix.lower() in {".md", ".markdown"}:
            article = _read(findings, path)
            if article:
                _check_article(findings, article, manifest, root=root, today=today)
                articles.append(article)
        elif path.suffix.lower() in SUPPORTED_SUFFIXES:
            others += 1
        else:
            findings.warn(path, f"not read: '{path.suffix}' is not a supported format")
    if not articles and not others:
        findings.error(root, "no document in it; a domain answers only from its corpus")
    _check_topics(findings, articles, manifest)
    _check_duplicates(findings, articles)
    return articles


def _read(findings: Findings, path: Path) -> Article | None:
    try:
        front = read_front_matter(path)
        _, body = split_front_matter(path.read_text("utf-8"))
        text = markdown.read(path, Limits()).pages[0].text
    except (ManifestError, DocumentError) as error:
        findings.invalid(path, error)
        return None
    except (OSError, UnicodeDecodeError):
        findings.error(path, "cannot be read as UTF-8 text; save it as UTF-8")
        return None
    except (ValueError, RecursionError) as error:
        # YAML itself refuses a day such as 2026-02-30.
        findings.error(path, f"front matter holds a value that cannot be: {' '.join(str(error).split())[:120]}")
        return None
    return Article(path=path, front=front, body=body, text=text, units=units(text, front.lang))


def _line(path: Path, start: str) -> int | None:
    rows = path.read_text("utf-8").split("\n")
    return next((n for n, row in enumerate(rows, start=1) if row.lstrip(" -").startswith(start)), None)


def _check_article(findings: Findings, article: Article, manifest: Manifest, *, root: Path, today: datetime.date) -> None:
    path, front = article.path, article.front
    if front.topic != path.stem:
        findings.error(path, f"topic '{front.topic}' is not the file's name; call the file {front.topic}.md", line=_line(path, "topic:"))
    folder = path.relative_to(root).parts[0]
    if folder in LANGUAGES and folder != front.lang:
        findings.error(path, f"lang '{front.lang}' in folder {folder}/; move the file or mend lang", line=_line(path, "lang:"))
    if front.lang not in manifest.languages:
        findings.error(path, f"lang '{front.lang}' is not among the manifest's languages", line=_line(path, "lang:"))
    _check_dates(findings, article, today=today)
    for source in front.sources:
        if not source.url.startswith("https://"):
            findings.warn(path, f"source '{source.title[:60]}' has no https url, so the app shows no link to it", line=_line(path, f"url: {source.url}"))
    low, high = LENGTH[front.lang]
    size, unit = len(article.units), "words" if front.lang == "en" else "characters"
    if not size:
        findings.error(path, "no text below the front matter")
    elif size < low:
        findings.warn(path, f"{size} {unit}; an article below {low} answers little")
    elif size > high:
        findings.warn(path, f"{size:,} {unit}; split what is longer than {high:,} into topics")
    for target in _LINK.findall(article.body):
        if "://" not in target and not target.startswith(("#", "mailto:")) and not (path.parent / target.split("#")[0]).is_file():
            findings.warn(path, f"links to '{target[:80]}', which does not exist")


def _check_dates(findings: Findings, article: Article, *, today: datetime.date) -> None:
    path, front = article.path, article.front
    dates = [("reviewed", front.reviewed), *(("read", source.read) for source in front.sources if source.read)]
    for key, text in dates:
        line = _line(path, f"{key}: {text}") or _line(path, f"{key}:")
        try:
            date = datetime.date.fromisoformat(text)
        except ValueError:
            findings.error(path, f"{key} '{text}' is not a date", line=line)
            continue
        # One day of grace: the author may live east of this machine.
        if date > today + datetime.timedelta(days=1):
            findings.error(path, f"{key} {text} lies in the future", line=line)
        elif key == "reviewed" and date < today - datetime.timedelta(days=round(365.25 * REVIEW_YEARS)):
            findings.warn(path, f"reviewed {text}, more than {REVIEW_YEARS} years ago; read it again and set the date", line=line)


def _check_topics(findings: Findings, articles: Sequence[Article], manifest: Manifest) -> None:
    places: dict[tuple[str, str], list[Article]] = defaultdict(list)
    topics: dict[str, list[Article]] = defaultdict(list)
    for article in articles:
        places[article.topic, article.front.lang].append(article)
        topics[article.topic].append(article)
    for (topic, lang), twins in places.items():
        for twin in twins[1:]:
            findings.error(twin.path, f"topic '{topic}' ({lang}) is also in {findings.name(twins[0].path)}; topics are unique", line=_line(twin.path, "topic:"))
    for topic, found in topics.items():
        missing = [lang for lang in manifest.languages if lang not in {article.front.lang for article in found}]
        if missing and len(manifest.languages) > 1:
            findings.warn(found[0].path, f"topic '{topic}' has no article in {', '.join(missing)}")


def _check_duplicates(findings: Findings, articles: Sequence[Article]) -> None:
    for lang in LANGUAGES:
        group: dict[tuple[str, ...], Article] = {}
        for article in articles:
            if article.front.lang == lang and article.units:
                first = group.setdefault(article.units, article)
                if first is not article:
                    findings.error(article.path, f"the same text as {findings.name(first.path)}; remove one")
        _compare(findings, list(group.values()), SHINGLE[lang])


def _compare(findings: Findings, group: Sequence[Article], length: int) -> None:
    # Only articles that share a shingle are compared, so a large corpus costs what its overlaps cost.
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, article in enumerate(group):
        for shingle in set(runs(article.units, min(length, len(article.units)))):
            holders[shingle].append(number)
    sizes: Counter[int] = Counter()
    shared: Counter[tuple[int, int]] = Counter()
    for numbers in holders.values():
        if len(numbers) <= BOILERPLATE:
            sizes.update(numbers)
            shared.update(combinations(numbers, 2))
    for (one, two), common in shared.items():
        likeness = common / (sizes[one] + sizes[two] - common)
        if likeness >= NEAR_DUPLICATE:
            message = f"{likeness:.0%} the same as {findings.name(group[one].path)}; merge them"
            (findings.error if likeness >= DUPLICATE else findings.warn)(group[two].path, message)
