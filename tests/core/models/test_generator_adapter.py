"""A domain's generator adapter drafts its answers in the profiles that have a language model, and is named in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.assistant import Assistant
from core.errors import IntegrityError, ModelError
from core.generator_adapter import find_generator
from core.library import Library
from core.models import Draft, Request
from core.models.adapters import CARD, WEIGHTS, base_weights_sha256
from core.models.huggingface import shelf
from core.registry import Domain
from core.settings import Settings
from core.training.model_files import write_card


@pytest.fixture
def own(garden: Domain, adapter_folder: Path, tiny_model: Path, tmp_path: Path) -> Domain:
    """The garden with a generator adapter for the tiny model."""
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    target = Path(shutil.copytree(adapter_folder, folder / "generator"))
    for path in (target / "README.md", target / CARD):
        path.unlink(missing_ok=True)
    write_card(target, [target / WEIGHTS, target / "adapter_config.json"], {"base_sha256": base_weights_sha256(tiny_model)})
    return Domain(manifest=garden.manifest, folder=folder, door="test")


class Listening:
    """Notes what it is asked for."""

    name = "listening"
    needs_prompt = False

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def answer(self, request: Request) -> Draft:
        self.requests.append(request)
        return Draft(text="Plant tulip bulbs in October, about 15 cm deep.")

    def stream(self, request: Request) -> list[str]:
        return []


def local(settings: Settings, tiny_model: Path, **more: object) -> Settings:
    return settings.model_copy(update={"profile": "local", "model": str(tiny_model), "device": "cpu", **more})


def test_local_profile_drafts_with_the_generator_and_says_so(own: Domain, settings: Settings, tiny_model: Path, garden_library: Library) -> None:
    listening = Listening()
    assistant = Assistant(own, settings=local(settings, tiny_model), answerer=listening)
    answer = assistant.ask("when do I plant tulip bulbs")
    assert [request.adapter for request in listening.requests] == ["garden"]
    assert assistant.generator is not None and answer.model == f"listening+{assistant.generator.id}" and answer.model.startswith("listening+garden@")
    assert shelf.get("garden").sha256 == assistant.generator.sha256


@pytest.mark.parametrize("change", [{"profile": "embedded"}, {"adapters": False}, {"profile": "server"}])
def test_profile_without_a_language_model_of_its_own_has_no_generator(own: Domain, settings: Settings, tiny_model: Path, change: dict[str, object]) -> None:
    assert find_generator(own, local(settings, tiny_model, **change)) is None


def test_server_is_asked_for_the_domains_name_where_it_has_loaded_it(own: Domain, settings: Settings, tiny_model: Path) -> None:
    found = find_generator(own, local(settings, tiny_model, profile="server", server_adapters=True))
    assert found is not None and found.name == "garden"


def test_domain_without_a_generator_drafts_with_the_model_alone(garden: Domain, settings: Settings, tiny_model: Path, garden_library: Library) -> None:
    listening = Listening()
    answer = Assistant(garden, settings=local(settings, tiny_model), answerer=listening).ask("when do I plant tulip bulbs")
    assert listening.requests[0].adapter == "" and answer.model == "listening"


def test_generator_that_was_changed_or_is_of_another_kind_is_refused(own: Domain, settings: Settings, tiny_model: Path) -> None:
    weights = own.folder / "generator" / WEIGHTS
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError):
        find_generator(own, local(settings, tiny_model))
    weights.write_bytes(data)
    config = own.folder / "generator" / "adapter_config.json"
    config.write_text(config.read_text().replace("CAUSAL_LM", "FEATURE_EXTRACTION"))
    with pytest.raises(ModelError):
        find_generator(own, local(settings, tiny_model))


def test_generator_really_changes_what_the_model_drafts(own: Domain, settings: Settings, tiny_model: Path, request_for: Request) -> None:
    from core.models.huggingface import HuggingFaceAnswerer, close_engines

    chosen = local(settings, tiny_model)
    answerer = HuggingFaceAnswerer(chosen)
    try:
        found = find_generator(own, chosen)
        assert found is not None
        plain, tuned = (answerer.answer(request_for.model_copy(update={"adapter": name})).text for name in ("", found.name))
        assert plain != tuned
    finally:
        close_engines()
