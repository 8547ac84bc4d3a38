"""A run as JUnit XML, which continuous-integration servers show: one case per item, one per rule of the gate."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement

from core.errors import UsageError
from evals.gate import Verdict
from evals.runs import Run

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What XML 1.0 cannot hold."""


def write_junit(path: Path, run: Run, verdict: Verdict | None = None) -> None:
    """Write a run, and what the gate said of it, as JUnit XML.

    Raises:
        UsageError: the file cannot be written.
    """
    suites = Element("testsuites")
    cases = SubElement(suites, "testsuite", name=f"{run.domain} items", tests=str(len(run.items)), failures=str(sum(not item.right for item in run.items)))
    for item in run.items:
        case = SubElement(cases, "testcase", classname=f"{run.domain}.{item.lang}.{item.kind}", name=_clean(item.id), time=f"{item.milliseconds / 1_000:.4f}")
        if not item.right:
            failure = SubElement(case, "failure", message=_clean(item.reason))
            failure.text = _clean(f"{item.question}\n\nanswered: {item.answer}\nexpected: {'; '.join(item.expected)}")
    if verdict is not None:
        gate = SubElement(suites, "testsuite", name=f"{run.domain} gate", tests=str(max(1, len(verdict.reasons))), failures=str(len(verdict.reasons)))
        for reason in verdict.reasons:
            case = SubElement(gate, "testcase", classname=f"{run.domain}.gate.{reason.rule}", name=reason.metric or reason.rule)
            SubElement(case, "failure", message=_clean(reason.text))
        if not verdict.reasons:
            SubElement(gate, "testcase", classname=f"{run.domain}.gate", name="passed")
    try:
        ElementTree(suites).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise UsageError(f"cannot write '{path.name}' ({error.strerror}); name a file in a folder that exists") from error


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
