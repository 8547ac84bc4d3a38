"""Checks a domain folder as a whole and says, one line each, what is wrong. Runs no domain code, loads no model, writes nothing.

``report`` collects problems; ``files``, ``package``, ``corpus`` and ``questions`` each look at one kind of content.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from core.checking.corpus import check_corpus
from core.checking.files import check_files
from core.checking.package import check_calibration, check_manifest, check_policy, check_prompts, check_tools
from core.checking.questions import Elsewhere, check_questions
from core.checking.report import CheckReport, Findings, Problem
from core.registry import Domain

__all__ = ["CheckReport", "Elsewhere", "Problem", "check_domain", "check_folder"]


def check_domain(domain: Domain, *, elsewhere: Elsewhere | None = None, today: datetime.date | None = None) -> CheckReport:
    """Check a domain that the registry found. See :func:`check_folder`."""
    return check_folder(domain.folder, elsewhere=elsewhere, today=today)


def check_folder(folder: Path, *, elsewhere: Elsewhere | None = None, today: datetime.date | None = None) -> CheckReport:
    """Check a domain folder; a manifest that is not valid is a problem of the report, not an exception.

    Args:
        folder: holds ``domain.toml``.
        elsewhere: looks up documents that eval items name and the corpus does not hold, usually in the domain's library.
        today: the day that review dates are compared with; by default the machine's.
    """
    findings = Findings(folder=folder.resolve())
    manifest = check_manifest(findings)
    check_files(findings, manifest)
    if manifest is None:
        return findings.report(folder.resolve().name, articles=0, items=0)
    check_policy(findings, manifest)
    check_prompts(findings, manifest)
    check_calibration(findings, manifest)
    check_tools(findings, manifest)
    articles = check_corpus(findings, manifest, today=today or datetime.date.today())
    items = check_questions(findings, manifest, articles, elsewhere=elsewhere or (lambda document, page: None))
    return findings.report(manifest.name, articles=len(articles), items=len(items))
