"""A run as JUnit XML."""

from __future__ import annotations

from pathlib import Path

import defusedxml.ElementTree as Xml
import pytest
from run_samples import item, run_of

from core.errors import UsageError
from core.manifest import Gate
from evals.gate import check_gate
from evals.junit import write_junit


def test_every_item_is_a_case_and_every_reason_of_the_gate_too(tmp_path: Path) -> None:
    run = run_of([item("a"), item("b\x00\ud800", right=False, question="<tag> & \x1b")])
    write_junit(tmp_path / "j.xml", run, check_gate(run, Gate(floors={"passage_right": 0.9})))
    items, gate = Xml.parse(tmp_path / "j.xml").getroot()
    assert (items.get("tests"), items.get("failures")) == ("2", "1")
    assert "<tag> & \ufffd" in items.findall("testcase")[1].find("failure").text
    assert gate.get("failures") == "1" and "below 0.9" in gate.find("testcase/failure").get("message")


def test_gate_that_passed_is_a_case_that_passed(tmp_path: Path) -> None:
    run = run_of([item("a")])
    write_junit(tmp_path / "j.xml", run, check_gate(run, Gate()))
    gate = Xml.parse(tmp_path / "j.xml").getroot()[1]
    assert (gate.get("failures"), gate.find("testcase/failure")) == ("0", None)


def test_file_in_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write 'j.xml'"):
        write_junit(tmp_path / "none" / "j.xml", run_of([item("a")]))
