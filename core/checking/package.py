"""Checks the parts of a package that are neither corpus nor questions: manifest, policy, prompts, calibration, tools, card."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from string import Formatter

from pydantic import ValidationError

from core.checking.report import Findings
from core.errors import ManifestError
from core.manifest import MANIFEST, Example, Localized, Manifest, Policy, load_manifest, load_policy
from core.policy_learned import FILE, load_learned_gate
from core.prompts import VARIABLES
from core.types import LANGUAGES


def check_manifest(findings: Findings) -> Manifest | None:
    """Read the manifest; None when it is not valid."""
    path = findings.folder / MANIFEST
    try:
        manifest = load_manifest(findings.folder)
    except ManifestError as error:
        findings.invalid(path, error)
        return None
    for key in ("title", "description"):
        text: Localized = getattr(manifest, key)
        if "zh" in manifest.languages and not text.zh:
            findings.warn(path, f"{key} has no zh text; English is shown instead")
    for lang in manifest.languages:
        if not getattr(manifest.starters, lang):
            findings.warn(path, f"no starter questions in {lang}; the app shows none")
    if not (findings.folder / manifest.paths.card).is_file():
        findings.warn(findings.folder / manifest.paths.card, "missing; a card says what the domain covers and what it does not")
    return manifest


def check_policy(findings: Findings, manifest: Manifest) -> None:
    """Check the policy's schema, and that all it defines is used and has terms and texts in the manifest's languages."""
    path = findings.folder / manifest.paths.policy / "rules.toml"
    if not path.is_file():
        findings.warn(path, "missing; the domain has no emergency gate and no disclaimer")
        return
    try:
        policy = load_policy(findings.folder, manifest)
    except ManifestError as error:
        findings.invalid(path, error)
        return
    ids = [rule.id for rule in policy.rules]
    for twin in sorted({name for name in ids if ids.count(name) > 1}):
        findings.error(path, f"two rules are called '{twin}'; audit records name rules", line=_line(path, f'"{twin}"'))
    _check_groups(findings, path, manifest, policy)
    _check_learned(findings, path.parent, policy)
    used = {rule.notice for rule in policy.rules} | {entry.notice for entry in policy.learned}
    for name, notice in policy.notices.items():
        if name not in used:
            findings.warn(path, f"notice '{name}' is not used by any rule", line=_line(path, f"notices.{name}"))
        if "zh" in manifest.languages and not notice.zh:
            findings.warn(path, f"notice '{name}' has no zh text; English is shown instead", line=_line(path, f"notices.{name}"))
    if policy.disclaimer and "zh" in manifest.languages and not policy.disclaimer.zh:
        findings.warn(path, "the disclaimer has no zh text; English is shown instead", line=_line(path, "disclaimer"))


def _check_groups(findings: Findings, path: Path, manifest: Manifest, policy: Policy) -> None:
    used = {group for rule in policy.rules for group in (*rule.all, *rule.none)}
    speaks = {name: {lang for lang in LANGUAGES if getattr(terms, lang)} for name, terms in policy.groups.items()}
    for name, terms in policy.groups.items():
        line = _line(path, f"groups.{name}")
        if name not in used:
            findings.warn(path, f"group '{name}' is not used by any rule", line=line)
        for term in (*terms.en, *terms.zh):
            # Such a term is empty once its marks are read: it would match everything or nothing.
            if not term.replace("*", "").replace(".", "").strip():
                findings.error(path, f"group '{name}': the term {term!r} holds no word", line=line)
    acts: set[str] = set()
    for rule in policy.rules:
        languages = set(LANGUAGES).intersection(*(speaks[group] for group in rule.all))
        acts |= languages
        if not languages:
            findings.error(path, f"rule '{rule.id}' can never act: its groups have no terms in one and the same language", line=_line(path, f'"{rule.id}"'))
    for lang in manifest.languages:
        if policy.rules and lang not in acts:
            findings.warn(path, f"no rule has terms in {lang}: nothing is gated there")


def _check_learned(findings: Findings, folder: Path, policy: Policy) -> None:
    """Check the fitted half of the gate: its examples, the labels that act, and that it was fitted on these examples."""
    examples = folder / "examples.jsonl"
    labels: set[str] = set()
    for number, row in enumerate(examples.read_text("utf-8").split("\n") if examples.is_file() else (), start=1):
        if row.strip():
            try:
                labels.add(Example.model_validate_json(row).label)
            except ValidationError as error:
                findings.invalid(examples, error, line=number)
    acting = {entry.label for entry in policy.learned}
    for label in sorted(acting - labels):
        findings.error(folder / "rules.toml", f"label '{label}' has no example in {examples.name}, so it can never be recognised")
    for label in sorted(labels - acting - {"benign"}):
        findings.warn(examples, f"label '{label}' is not listed under [[learned]] in rules.toml, so nothing acts on it")
    try:
        gate = load_learned_gate(folder)
    except ManifestError as error:
        findings.invalid(folder / FILE, error)
        return
    if gate is None and acting:
        findings.warn(folder / FILE, "missing; `domainkit calibrate` fits it on the examples")
    elif gate is not None and (not examples.is_file() or hashlib.sha256(examples.read_bytes()).hexdigest() != gate.examples_sha256):
        findings.warn(folder / FILE, f"was fitted on other examples than {examples.name} holds; run `domainkit calibrate`")


def check_prompts(findings: Findings, manifest: Manifest) -> None:
    """Check the variables of the prompt templates, without the import that filling them costs."""
    folder = findings.folder / manifest.paths.prompts
    known = {f"answer.{lang}.md" for lang in LANGUAGES}
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.name not in known:
            findings.warn(path, f"not a prompt that is read; known: {', '.join(sorted(known))}")
            continue
        try:
            fields = [(name, spec) for _, name, spec, _ in Formatter().parse(path.read_text("utf-8")) if name is not None]
        except (ValueError, UnicodeDecodeError) as error:
            findings.error(path, f"not a valid template ({error}); write literal braces as {{{{ and }}}}")
            continue
        found = sorted({name for name, _ in fields})
        if found != sorted(VARIABLES) or any(spec for _, spec in fields):
            findings.error(path, f"variables are {', '.join(found) or 'none'}; they must be exactly {', '.join(VARIABLES)}, without format codes")


def check_calibration(findings: Findings, manifest: Manifest) -> None:
    """Check that the fitted thresholds parse and belong to the manifest's languages."""
    path = findings.folder / manifest.paths.calibration
    if not path.is_file():
        return
    from core.abstention import load_calibration

    try:
        calibration = load_calibration(path)
    except ManifestError as error:
        findings.invalid(path, error)
        return
    for lang in calibration.thresholds if calibration else ():
        if lang not in manifest.languages:
            findings.warn(path, f"has a threshold for '{lang}', which is not among the manifest's languages")


def check_tools(findings: Findings, manifest: Manifest) -> None:
    """Check by parsing, never by importing, that the declared functions exist and have the contract's shape."""
    if manifest.tools is None:
        return
    path = findings.folder / manifest.tools.module
    try:
        tree = ast.parse(path.read_bytes(), filename=path.name)
    except OSError:
        findings.error(path, "missing, but the manifest declares tools; add the file or remove [tools]")
        return
    except (SyntaxError, ValueError, RecursionError) as error:
        findings.error(path, f"not valid Python: {getattr(error, 'msg', error)}", line=getattr(error, "lineno", None))
        return
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for name in manifest.tools.functions:
        node = functions.get(name)
        if node is None:
            findings.error(path, f"has no function '{name}', which the manifest declares; it has: {', '.join(sorted(functions)) or 'none'}")
            continue
        arguments = [*node.args.posonlyargs, *node.args.args]
        if isinstance(node, ast.AsyncFunctionDef):
            findings.error(path, f"'{name}' is async; tools are plain functions", line=node.lineno)
        elif len(arguments) != 1 or node.args.kwonlyargs or node.args.vararg or node.args.kwarg or arguments[0].annotation is None:
            findings.error(path, f"'{name}' must take exactly one annotated parameter, a pydantic model", line=node.lineno)
        elif node.returns is None:
            findings.error(path, f"'{name}' must be annotated to return a pydantic model", line=node.lineno)
        elif not ast.get_docstring(node):
            findings.warn(path, f"'{name}' has no docstring; models choose tools by it", line=node.lineno)


def _line(path: Path, text: str) -> int | None:
    rows = path.read_text("utf-8").split("\n")
    return next((n for n, row in enumerate(rows, start=1) if text in row), None)
