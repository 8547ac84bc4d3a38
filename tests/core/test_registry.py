from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from core.errors import ManifestError, UsageError
from core.registry import discover
from core.scaffold import write_domain
from core.settings import ROOT, Settings


def settings(*entries: Path | str) -> Settings:
    return Settings(domains=os.pathsep.join(str(entry) for entry in entries))


def package(site: Path, name: str, *, value: str | None = None, point: str = "garden") -> Path:
    """Lay out an installed distribution that declares one domain entry point; returns the package's folder."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[domainkit.domains]\n{point} = {value or name}\n")
    folder = site / name
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('the registry must not import packages')\n")
    return folder


def fill(folder: Path, name: str, tmp_path: Path) -> None:
    for path in write_domain(name, into=tmp_path / "source").iterdir():
        path.rename(folder / path.name)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_discover_finds_the_shipped_domains_as_built_in() -> None:
    registry = discover(settings())
    assert {"medical", "finance", "education"} <= set(registry.domains)
    assert registry.domains["medical"].door == "built-in"
    assert registry.domains["medical"].corpus == ROOT / "domains/medical/corpus"


def test_discover_finds_a_folder_of_domains_and_a_single_domain(tmp_path: Path) -> None:
    write_domain("law", into=tmp_path / "many")
    write_domain("tax", into=tmp_path / "many")
    alone = write_domain("music", into=tmp_path)
    registry = discover(settings(tmp_path / "many", alone))
    assert {"law", "tax", "music"} <= set(registry.domains)
    assert registry.broken == ()


def test_discover_lists_names_in_order_whatever_the_order_of_doors(tmp_path: Path) -> None:
    write_domain("zoo", into=tmp_path / "a")
    write_domain("art", into=tmp_path / "b")
    one, two = discover(settings(tmp_path / "a", tmp_path / "b")), discover(settings(tmp_path / "b", tmp_path / "a"))
    assert list(one.domains) == list(two.domains) == sorted(one.domains)


def test_discover_reports_a_broken_domain_and_keeps_the_others(tmp_path: Path) -> None:
    write_domain("law", into=tmp_path)
    broken = write_domain("tax", into=tmp_path)
    (broken / "domain.toml").write_text("name = ")
    registry = discover(settings(tmp_path))
    assert "law" in registry.domains
    assert [(item.name, "tax/domain.toml" in item.reason) for item in registry.broken] == [("tax", True)]


def test_discover_reports_an_entry_that_is_no_folder(tmp_path: Path) -> None:
    (reported,) = discover(settings(tmp_path / "nowhere")).broken
    assert "is not a folder" in reported.reason
    assert "DOMAINKIT_DOMAINS" in reported.reason


def test_discover_leaves_out_two_domains_of_one_name_and_names_both(tmp_path: Path) -> None:
    one = write_domain("law", into=tmp_path / "a")
    two = write_domain("law", into=tmp_path / "b")
    registry = discover(settings(tmp_path / "a", tmp_path / "b"))
    assert "law" not in registry.domains
    (reported,) = registry.broken
    assert str(one) in reported.reason
    assert str(two) in reported.reason
    with pytest.raises(ManifestError, match="two domains are called 'law'"):
        registry.get("law")


def test_discover_takes_one_folder_listed_twice_as_one_domain(tmp_path: Path) -> None:
    folder = write_domain("law", into=tmp_path)
    registry = discover(settings(tmp_path, folder))
    assert "law" in registry.domains
    assert registry.broken == ()


def test_discover_does_not_let_a_stranger_replace_a_shipped_domain(tmp_path: Path) -> None:
    write_domain("medical", into=tmp_path)
    registry = discover(settings(tmp_path))
    assert "medical" not in registry.domains
    assert "finance" in registry.domains


def test_discover_finds_an_installed_package_without_importing_it(site: Path, tmp_path: Path) -> None:
    fill(package(site, "acme_garden"), "garden", tmp_path)
    domain = discover(settings()).get("garden")
    assert domain.door == "package acme-garden"
    assert domain.folder == site / "acme_garden"
    assert "acme_garden" not in sys.modules


def test_discover_finds_a_package_inside_a_package(site: Path, tmp_path: Path) -> None:
    inner = package(site, "acme", value="acme.garden") / "garden"
    inner.mkdir()
    fill(inner, "garden", tmp_path)
    assert discover(settings()).get("garden").folder == inner
    assert "acme" not in sys.modules


def test_discover_reports_an_entry_point_whose_package_is_gone(site: Path) -> None:
    package(site, "acme_garden", value="no_such_package")
    (reported,) = discover(settings()).broken
    assert reported.name == "garden"
    assert "'no_such_package' is not installed" in reported.reason


def test_discover_reports_a_package_without_a_manifest(site: Path) -> None:
    package(site, "acme_garden")
    (reported,) = discover(settings()).broken
    assert "acme_garden/domain.toml: missing" in reported.reason


def test_get_answers_a_wrong_name_with_the_right_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown domain 'medcal': did you mean 'medical'\? known: education, finance, medical"):
        discover(settings()).get("medcal")


def test_get_of_a_broken_domain_says_why(tmp_path: Path) -> None:
    (write_domain("tax", into=tmp_path) / "domain.toml").write_text("name = 3")
    with pytest.raises(ManifestError, match=r"tax/domain\.toml: "):
        discover(settings(tmp_path)).get("tax")
