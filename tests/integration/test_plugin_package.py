"""A stranger's vertical from its sources to cited answers: built as a wheel, installed by pip, found, checked, asked, removed."""

from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.encoder import compiled_folder
from core.manifest import load_manifest
from core.registry import Domain
from core.settings import ROOT, Settings
from core.tools import call, load_tools

pytestmark = pytest.mark.slow
SOURCE = ROOT / "tests" / "plugin_package"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


def build_wheel(work: Path, *, change: Callable[[Path], None] = lambda source: None) -> Path:
    """Build a wheel from a copy of the stranger's sources."""
    source = work / "source"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    change(source)
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(work / "dist"), str(source))
    (wheel,) = (work / "dist").glob("*.whl")
    return wheel


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments, "--no-index"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def install(wheel: Path, site: Path) -> Path:
    pip("install", "--no-deps", "--quiet", "--target", str(site), str(wheel))
    return site


def rename(name: str) -> Callable[[Path], None]:
    """Change a copy of the sources into a package of another name that holds the same domain."""

    def change(source: Path) -> None:
        package = name.replace("-", "_")
        (source / "src" / "acme_gardening").rename(source / "src" / package)
        project = source / "pyproject.toml"
        project.write_text(project.read_text("utf-8").replace("acme_gardening", package).replace("acme-gardening", name), "utf-8")

    return change


def broken(source: Path) -> None:
    rename("acme-broken")(source)
    (source / "src" / "acme_broken" / "domain.toml").write_text('name = "gardening\n', "utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def site(wheel: Path, tmp_path: Path) -> Path:
    return install(wheel, tmp_path / "site")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Path:
    """A DOMAINKIT_HOME of its own that shares the session's compiled encoder."""
    folder = tmp_path_factory.mktemp("state")
    (folder / "encoders").symlink_to(compiled_folder(settings).parent)
    return folder


@pytest.fixture
def kit(state: Path, tmp_path: Path) -> Callable[..., Run]:
    """Run the command line as a process that sees the packages of ``sites``."""

    def run(*arguments: str, sites: tuple[Path, ...] = (), domains: str = "") -> Run:
        paths = os.pathsep.join(str(path) for path in (*sites, ROOT))
        environment = {**os.environ, "PYTHONPATH": paths, "DOMAINKIT_HOME": str(state), "DOMAINKIT_DOMAINS": domains, "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run([sys.executable, "-m", "ui.cli", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
        return Run(code=done.returncode, out=done.stdout, err=done.stderr)

    return run


def names(run: Run) -> dict[str, str]:
    return {row["name"]: row["door"] for row in run.json["domains"]}


def test_package_does_not_import_the_kit() -> None:
    for path in (SOURCE / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {str(name).split(".")[0] for name in imported} & {"core", "domains", "evals", "ui", "domainkit"}


def test_package_is_listed_checked_indexed_and_answers_with_citations(site: Path, kit: Callable[..., Run]) -> None:
    assert names(kit("domains", "--json", sites=(site,)))["gardening"] == "package acme-gardening"

    checked = kit("check", "gardening", "--json", sites=(site,))
    assert (checked.code, checked.json["ok"], checked.json["errors"]) == (0, True, 0), checked.out

    built = kit("reindex", "gardening", "--json", sites=(site,))
    assert (built.code, built.json["documents"]) == (0, 4), built.err

    for question, part in (("How much water do tomato plants need a week?", "25 to 40 mm"), ("番茄每周需要多少水？", "25 到 40 毫米")):
        asked = kit("ask", "gardening", question, "--json", sites=(site,))
        assert asked.code == 0, asked.err
        answer = asked.json
        assert (answer["status"], answer["domain"]) == ("answered", "gardening")
        assert part in answer["text"]
        citation = answer["claims"][0]["citations"][0]
        assert citation["external_id"] == "watering-tomatoes"
        assert citation["quote"] in (site / "acme_gardening/corpus" / answer["lang"] / "watering-tomatoes.md").read_text("utf-8")

    urgent = kit("ask", "gardening", "My dog ate a lot of slug pellets", "--json", sites=(site,)).json
    assert (urgent["status"], "poison centre" in urgent["text"]) == ("escalated", True)


def test_package_is_never_imported_by_listing_checking_or_asking(site: Path, kit: Callable[..., Run]) -> None:
    for file in ("__init__.py", "tools.py"):
        path = site / "acme_gardening" / file
        future = "from __future__ import annotations\n"
        path.write_text(future + "raise SystemExit('foreign code ran')\n" + path.read_text("utf-8").replace(future, ""), "utf-8")
    assert "gardening" in names(kit("domains", "--json", sites=(site,)))
    assert kit("check", "gardening", sites=(site,)).code == 0
    assert kit("reindex", "gardening", "--json", sites=(site,)).code == 0
    assert kit("ask", "gardening", "How long does compost take?", "--json", sites=(site,)).code == 0


def test_package_brings_a_tool_that_can_be_called(site: Path) -> None:
    folder = site / "acme_gardening"
    tools = load_tools(Domain(manifest=load_manifest(folder), folder=folder, door="test"))
    assert call(tools["watering_volume"], {"area_m2": 4, "depth_mm": 30}).numbers == ("120", "12")


def test_package_is_gone_once_it_is_uninstalled(site: Path, kit: Callable[..., Run]) -> None:
    (record,) = site.glob("acme_gardening-*.dist-info/RECORD")
    for row in list(csv.reader(record.read_text("utf-8").splitlines())):
        (site / row[0]).unlink(missing_ok=True)
    listed = kit("domains", "--json", sites=(site,))
    assert "gardening" not in names(listed)
    assert listed.json["broken"] == []
    asked = kit("ask", "gardening", "How long does compost take?", "--json", sites=(site,))
    assert asked.code == 2
    assert "unknown domain 'gardening'" in asked.err
    assert "Traceback" not in asked.err


def test_broken_package_is_reported_and_the_others_work(site: Path, kit: Callable[..., Run], tmp_path: Path) -> None:
    other = install(build_wheel(tmp_path / "broken", change=broken), tmp_path / "broken-site")
    listed = kit("domains", "--json", sites=(site, other))
    assert {"gardening", "medical"} <= set(names(listed))
    (reported,) = listed.json["broken"]
    assert reported["door"] == "package acme-broken"
    assert "acme_broken/domain.toml: not valid TOML" in reported["reason"]
    assert kit("check", "gardening", sites=(site, other)).code == 0
    checked = kit("check", "acme_broken", "--json", sites=(site, other))
    assert (checked.code, checked.json["ok"]) == (1, False)
    assert kit("check", str(other / "acme_broken"), "--json", sites=(site, other)).json["problems"][0]["file"] == "domain.toml"


def test_two_packages_with_one_domain_name_are_an_error_that_names_both(site: Path, kit: Callable[..., Run], tmp_path: Path) -> None:
    twin = install(build_wheel(tmp_path / "twin", change=rename("rival-gardening")), tmp_path / "twin-site")
    listed = kit("domains", "--json", sites=(site, twin))
    assert "gardening" not in names(listed)
    (reported,) = listed.json["broken"]
    assert "package acme-gardening" in reported["reason"]
    assert "package rival-gardening" in reported["reason"]
    for command in (("ask", "gardening", "How long does compost take?"), ("check", "gardening")):
        run = kit(*command, sites=(site, twin))
        assert run.code in (1, 2)
        assert "two domains are called 'gardening'" in run.out + run.err
        assert "Traceback" not in run.err


def test_new_domain_answers_at_once_and_takes_documents(kit: Callable[..., Run], tmp_path: Path) -> None:
    made = kit("new", "law", "--into", str(tmp_path / "mine"), "--json")
    assert made.code == 0, made.err
    assert (made.json["built"], made.json["documents"]) == (True, 4)
    assert made.json["export"] == f"export DOMAINKIT_DOMAINS={tmp_path / 'mine'}"
    assert kit("check", str(tmp_path / "mine" / "law")).code == 0

    records = tmp_path / "records.jsonl"
    rows = [{"id": f"case-{n}", "title": f"Case {n}", "text": f"In case {n} the court awarded {n * 7} dollars to the tenant."} for n in range(300)]
    records.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    mine = str(tmp_path / "mine")
    asked = kit("ask", "law", "Which file formats can I add?", "--json", domains=mine).json
    assert asked["status"] == "answered"
    assert asked["claims"][0]["citations"][0]["external_id"] == "adding-documents"
    assert kit("add", "law", str(records), "--json", domains=mine).json["added"] == 300
    assert kit("search", "law", "case 123 tenant award", "--json", domains=mine).json["hits"][0]["external_id"] == "case-123"


def test_new_domain_refuses_a_name_that_is_taken_or_not_a_name(kit: Callable[..., Run], tmp_path: Path) -> None:
    for name in ("medical", "Not-A-Name"):
        run = kit("new", name, "--into", str(tmp_path / "mine"))
        assert run.code == 2
        assert run.err.startswith("error: ")
        assert not (tmp_path / "mine").exists()


def test_new_domain_goes_to_the_first_listed_folder_and_can_wait_with_its_library(kit: Callable[..., Run], tmp_path: Path) -> None:
    made = kit("new", "tax", "--no-build", "--json", domains=str(tmp_path / "listed"))
    assert (made.json["built"], made.json["export"]) == (False, "")
    assert (tmp_path / "listed" / "tax" / "domain.toml").is_file()
