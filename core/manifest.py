"""The schema of a domain package: ``domain.toml``, policy files, eval items. Unknown keys are refused.

Knows the shape of a domain, never a particular one; reads files, loads no model.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from core.errors import ManifestError
from core.types import Language

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Version = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=400)]
Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]


def _inside(value: str) -> str:
    if value.startswith("/") or ".." in value.split("/"):
        raise ValueError("must be a path inside the domain's folder, without '..' and not starting with '/'")
    return value


RelativePath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./-]{1,200}$"), AfterValidator(_inside)]
MANIFEST = "domain.toml"


class Part(BaseModel):
    """Base of every part of a manifest: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Localized(Part):
    """One text per language; English is required because it is the fallback."""

    en: str = Field(min_length=1, max_length=4_000)
    zh: str = Field(default="", max_length=4_000)

    def get(self, lang: Language) -> str:
        """Return the text in ``lang``, in English where there is none."""
        return (self.zh if lang == "zh" else self.en) or self.en


class LocalizedLines(Part):
    """A list of lines per language."""

    en: tuple[Line, ...] = ()
    zh: tuple[Line, ...] = ()

    def get(self, lang: Language) -> tuple[str, ...]:
        """Return the lines in ``lang``, in English where there are none."""
        return (self.zh if lang == "zh" else self.en) or self.en


class Appearance(Part):
    """How the app shows the domain."""

    color: Color = "#3b5bdb"
    icon: str = Field(default="📘", max_length=8)


class Tools(Part):
    """Python functions that the domain brings: names in ``module``, each pydantic in, pydantic out."""

    module: RelativePath = "tools.py"
    functions: tuple[Name, ...] = Field(min_length=1)


class Abstention(Part):
    """What the domain promises: the largest share of wrong answers among all questions answered."""

    max_wrong_rate: float = Field(default=0.05, gt=0, lt=1)
    delta: float = Field(default=0.1, gt=0, lt=1)
    """Probability with which the promise may fail over the draw of the items that thresholds are fitted on."""


class Gate(Part):
    """What a run must keep to take another's place: floors of metrics in [0, 1] (ceilings where lower is better), and bounds against a baseline."""

    floors: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    max_worse_p: float = Field(default=0.05, gt=0, lt=1)
    """A metric or slice that got worse with a smaller p, adjusted for how many are tested, is refused."""
    max_drop: float = Field(default=0.03, ge=0, le=1)
    """So is a metric that falls by more, whatever its p."""
    max_latency_ratio: float = Field(default=3.0, ge=1, le=1_000)
    """Median time of an answer against the baseline's, on a like machine."""
    max_memory_ratio: float = Field(default=1.5, ge=1, le=1_000)
    max_tokens_ratio: float = Field(default=1.5, ge=1, le=1_000)


class Paths(Part):
    """Where the parts of the package lie, relative to its folder."""

    corpus: RelativePath = "corpus"
    prompts: RelativePath = "prompts"
    adapter: RelativePath = "adapter"
    generator: RelativePath = "generator"
    """Of the adapter for a language model, of the profiles that have one."""
    policy: RelativePath = "policy"
    evals: RelativePath = "evals"
    training: RelativePath = "training"
    calibration: RelativePath = "calibration.json"
    card: RelativePath = "README.md"


class Manifest(Part):
    """The contents of ``domain.toml``."""

    name: Name
    version: Version
    languages: Annotated[tuple[Language, ...], Field(min_length=1)]
    title: Localized
    description: Localized
    license: str = Field(min_length=1, max_length=100)
    maintainers: tuple[Line, ...] = ()
    appearance: Appearance = Appearance()
    starters: LocalizedLines = LocalizedLines()
    paths: Paths = Paths()
    tools: Tools | None = None
    abstention: Abstention = Abstention()
    gate: Gate = Gate()

    @field_validator("languages")
    @classmethod
    def _languages_once(cls, value: tuple[Language, ...]) -> tuple[Language, ...]:
        if len(set(value)) != len(value):
            raise ValueError("each language once")
        return value


class ArticleSource(Part):
    """Where the facts of an article come from. ``read``: the day the source was read, absent when it was only named."""

    title: Line
    publisher: Line
    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=500)]
    read: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}$")


class ArticleFrontMatter(Part):
    """Front matter of a corpus article. ``topic`` is shared by the article's languages and is its file stem."""

    title: Line
    lang: Language
    topic: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=100)]
    group: Line
    aliases: tuple[Line, ...] = ()
    reviewed: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    sources: Annotated[tuple[ArticleSource, ...], Field(min_length=1)]


class Rule(Part):
    """A gate: acts when every group of ``all`` has a term in the question and no group of ``none`` has one."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,59}$")]
    action: Literal["escalate", "refuse", "notice"]
    notice: Name
    all: Annotated[tuple[Name, ...], Field(min_length=1, max_length=6)]
    none: Annotated[tuple[Name, ...], Field(max_length=6)] = ()
    final: bool = False
    """Never overruled by the gate fitted on the domain's examples."""


class Learned(Part):
    """A label of ``policy/examples.jsonl`` that acts when the fitted gate recognises it in a question."""

    label: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,59}$")]
    action: Literal["escalate", "refuse", "notice"]
    notice: Name


class Example(Part):
    """A line of ``policy/examples.jsonl``: what a person might write, and what it is; ``benign`` means that nothing acts."""

    text: str = Field(min_length=1, max_length=2_000)
    lang: Language
    label: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,59}$")]


Term = Annotated[str, StringConstraints(min_length=1, max_length=80)]


class Terms(Part):
    """Terms of a group per language. In English ``*`` ends a word stem and ``..`` allows up to four words between; in
    Chinese ``..`` allows up to eight characters between. Everything else is literal: no regular expressions.
    """

    en: tuple[Term, ...] = ()
    zh: tuple[Term, ...] = ()


class Policy(Part):
    """``policy/rules.toml``: term groups, rules in order of precedence, notices."""

    groups: dict[Name, Terms] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    learned: tuple[Learned, ...] = ()
    notices: dict[Name, Localized] = Field(default_factory=dict)
    disclaimer: Localized | None = None

    @model_validator(mode="after")
    def _names_exist(self) -> Policy:
        for rule in self.rules:
            for group in (*rule.all, *rule.none):
                if group not in self.groups:
                    raise ValueError(f"rule '{rule.id}' names group '{group}'; known: {', '.join(sorted(self.groups))}")
            if rule.notice not in self.notices:
                raise ValueError(f"rule '{rule.id}' names notice '{rule.notice}'; known: {', '.join(sorted(self.notices))}")
        for entry in self.learned:
            if entry.notice not in self.notices:
                raise ValueError(f"label '{entry.label}' names notice '{entry.notice}'; known: {', '.join(sorted(self.notices))}")
        return self


def explain(error: ValidationError, *, file: str) -> str:
    """Return one line naming file, key, what is wrong, and the allowed values where pydantic knows them."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "(whole file)"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{file}: unknown key '{key}'; remove it or see CONTRIBUTING.md for the allowed keys{more}"
    given = "" if first["type"] == "missing" else f", got {str(first['input'])[:60]!r}"
    return f"{file}: {key}: {first['msg']}{given}{more}"


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of at most 1 MB.

    Raises:
        ManifestError: missing, too large or not TOML; the message names the file and line.
    """
    try:
        if path.stat().st_size > 1_000_000:
            raise ManifestError(f"{path.name}: larger than 1 MB; a manifest is a short text file")
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ManifestError(f"{path.parent.name}/{path.name}: missing; `domainkit new` writes one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path.parent.name}/{path.name}: not valid TOML: {error}") from error


def load_manifest(folder: Path) -> Manifest:
    """Read and validate ``domain.toml`` of a domain folder.

    Raises:
        ManifestError: one line naming file, key and the allowed values.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate(read_toml(path))
    except ValidationError as error:
        raise ManifestError(explain(error, file=f"{folder.name}/{MANIFEST}")) from error


def load_policy(folder: Path, manifest: Manifest) -> Policy:
    """Read ``policy/rules.toml``; a domain without one has no gates and no notices."""
    path = folder / manifest.paths.policy / "rules.toml"
    if not path.exists():
        return Policy()
    try:
        return Policy.model_validate(read_toml(path))
    except ValidationError as error:
        raise ManifestError(explain(error, file=f"{folder.name}/{manifest.paths.policy}/rules.toml")) from error


def read_examples(path: Path) -> list[Example]:
    """Read ``policy/examples.jsonl``; empty where there is none.

    Raises:
        ManifestError: naming file and line.
    """
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text("utf-8").split("\n"), start=1):
        if line.strip():
            try:
                found.append(Example.model_validate_json(line))
            except ValidationError as error:
                raise ManifestError(explain(error, file=f"{path.name}:{number}")) from error
    return found


_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)


def split_front_matter(text: str) -> tuple[str, str]:
    """Return ``(yaml, body)``; the first is empty where there is no front matter."""
    match = _FRONT_MATTER.match(text)
    return (match.group(1), text[match.end() :]) if match else ("", text)


def read_front_matter(path: Path) -> ArticleFrontMatter:
    """Read the front matter of a corpus article.

    Raises:
        ManifestError: missing, not YAML, or not of the schema.
    """
    import yaml

    where = f"{path.parent.name}/{path.name}"
    source, _ = split_front_matter(path.read_text("utf-8"))
    if not source:
        raise ManifestError(f"{where}: no front matter; start the file with '---' and the keys title, lang, topic, group, reviewed, sources")
    try:
        data = yaml.safe_load(source)
        return ArticleFrontMatter.model_validate(_dates_as_text(data))
    except yaml.YAMLError as error:
        raise ManifestError(f"{where}: front matter is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise ManifestError(explain(error, file=where)) from error


def _dates_as_text(value: Any) -> Any:
    """YAML reads 2026-11-23 as a date; the schema wants the ten characters."""
    if isinstance(value, dict):
        return {key: _dates_as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_dates_as_text(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
