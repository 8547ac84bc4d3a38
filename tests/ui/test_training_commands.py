"""``train`` and ``adapter prove`` over the garden: a recipe becomes an adapter that is installed, compiled, applied and judged."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
from command_line import CommandLine, command_line

from core.library import Library
from core.registry import Domain
from tests.ui.helpers import STONES_RECIPE as RECIPE
from tests.ui.helpers import write_stones


@pytest.fixture
def cli(tmp_path: Path, home: Path, garden: Domain, garden_library: Library) -> CommandLine:
    """A command line whose home and domain folder the test may change, beside some things to train on."""
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    write_stones(tmp_path / "things.jsonl")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(steps=4), "utf-8")
    return command_line(tmp_path / "home", home=home, garden=Domain(manifest=garden.manifest, folder=folder, door="test"), library=garden_library)


def test_unknown_task_is_answered_with_the_known_ones(cli: CommandLine) -> None:
    found = cli("train", "retreival", "garden")
    assert found.code == 2 and "did you mean 'retrieval'?" in found.advice


def test_domain_without_a_recipe_says_what_to_name(cli: CommandLine) -> None:
    found = cli("train", "retrieval", "garden")
    assert found.code == 2 and found.advice.startswith("no recipe 'recipe.toml' for domain 'garden'; name one with --recipe")


def test_training_question_that_an_eval_item_asks_is_a_no(cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "things.jsonl"
    path.write_text(path.read_text() + json.dumps({"question": "How do I get rid of slugs?", "answer": "With beer."}) + "\n")
    found = cli("train", "retrieval", "garden", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(tmp_path))
    assert found.code == 1 and "asks what g2 asks" in found.advice


def test_task_that_is_no_domains_names_what_it_lacks(cli: CommandLine, tmp_path: Path) -> None:
    assert "name one with --recipe" in cli("train", "reader").advice
    limited = cli("train", "retrieval", "garden", "--recipe", str(tmp_path / "recipe.toml"), "--minutes", "3")
    assert limited.code == 2 and "say with --search how many trials" in limited.advice
    refused = cli("train", "reader", "garden", "--recipe", str(tmp_path / "recipe.toml"), "--install")
    assert refused.code == 2 and "only `domainkit train retrieval DOMAIN` and `train generator DOMAIN` make one" in refused.advice


def test_run_stopped_while_it_encodes_goes_on_where_it_was(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("train", "retrieval", "garden", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(tmp_path), "--out", str(tmp_path / "run"))
    with monkeypatch.context() as patch:
        patch.setattr("ui.commands.training.stop_at_interrupt", lambda: nullcontext(lambda: True))
        assert cli(*arguments).code == 130
    assert not (tmp_path / "run" / "progress.json").exists()
    assert cli(*arguments, "--json").json["best_step"] > 0


@pytest.mark.slow
def test_search_writes_the_best_into_the_recipe_and_goes_on(cli: CommandLine, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(steps=4) + "[search]\nlearning_rate = {low = 0.001, high = 0.05, log = true}\n", "utf-8")
    arguments = ("train", "retrieval", "garden", "--recipe", str(recipe), "--data", str(tmp_path), "--out", str(tmp_path / "run"))
    found = cli(*arguments, "--search", "2", "--json").json
    assert len(found["trials"]) == 2 and found["goal"] == "mrr_at_10" and found["trials"][0]["values"] == {"learning_rate": 0.02}
    assert not list((tmp_path / "run").glob("trial-*/report.json")) and len(list((tmp_path / "run").glob("texts-*.vectors"))) > 0
    again = cli(*arguments, "--search", "2")
    assert again.code == 0 and "stays as it is" in again.out  # the best of the two is in the recipe, and there is no third
    refused = cli(*arguments, "--search", "2", "--install")
    assert refused.code == 2 and "train with them, and --install, afterwards" in refused.advice


def test_recipe_in_a_format_that_the_processor_emulates_is_told_so(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("train", "retrieval", "garden", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(tmp_path))
    monkeypatch.setattr("ui.commands.training.stop_at_interrupt", lambda: nullcontext(lambda: True))
    monkeypatch.setattr("core.models.device.emulates_bf16", lambda: True)
    assert "bf16" not in cli(*arguments).err
    (tmp_path / "recipe.toml").write_text(RECIPE.format(steps=4) + 'precision = "bf16"\n', "utf-8")
    assert 'precision = "fp32"` in the recipe makes the run quicker' in cli(*arguments).err


def test_domain_without_an_adapter_cannot_be_proved(cli: CommandLine) -> None:
    found = cli("adapter", "prove", "garden")
    assert found.code == 1 and "has no adapter; train one with `domainkit train retrieval garden`" in found.advice


@pytest.mark.slow
def test_recipe_becomes_an_adapter_that_is_installed_applied_and_judged(cli: CommandLine, tmp_path: Path) -> None:
    command = ("train", "retrieval", "garden", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(tmp_path), "--json")
    report = cli(*command, "--install").json
    first = next(figure for figure in report["figures"] if figure["metric"] == "recall_at_1")
    assert (first["n"], report["history"][-1]["step"], len(report["samples"])) == (12, 4, 12)
    card = json.loads((tmp_path / "garden" / "adapter" / "card.json").read_text())
    assert card["domain"] == "garden" and card["figures"] == report["figures"] and card["data"][0]["name"] == "things.jsonl"
    again = cli(*command).json
    assert again["weights_sha256"] == report["weights_sha256"] and again["seconds"] == report["seconds"]

    measured = ("adapter", "measure", "garden", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(tmp_path))
    assert cli(*measured, "--json").json["figures"] == card["figures"]  # asked again, without training
    # An older card names fewer hyperparameters: those had their defaults.
    older = {name: value for name, value in card["recipe"].items() if name != "anchor_batch"}
    (tmp_path / "garden" / "adapter" / "card.json").write_text(json.dumps(card | {"recipe": older, "figures": []}))
    assert "recall_at_1" in cli(*measured, "--save").out
    assert json.loads((tmp_path / "garden" / "adapter" / "card.json").read_text()) == card | {"recipe": older}

    answer = cli("ask", "garden", "when do I plant tulips", "--json").json
    assert answer["adapter"].startswith("garden@")
    proof = cli("adapter", "prove", "garden", "--save", "--json")
    # Four steps on stones teach nothing about gardens, and the garden has no dev questions that could show it.
    assert proof.code == 1 and "has no dev questions at home" in proof.advice
    assert json.loads((tmp_path / "garden" / "adapter" / "card.json").read_text())["proof"]["binding"]["modules"] == 6

    # Another file, or other hyperparameters, would hold out what this adapter has learned from.
    (tmp_path / "recipe.toml").write_text(RECIPE.format(steps=5), "utf-8")
    assert "states other hyperparameters" in cli(*measured).advice
    (tmp_path / "recipe.toml").write_text(RECIPE.format(steps=4), "utf-8")
    path = tmp_path / "things.jsonl"
    path.write_text(path.read_text() + json.dumps({"question": "What is a pebble?", "answer": "A small stone."}) + "\n")
    refused = cli(*measured)
    assert refused.code == 1 and "'things.jsonl' is not the data that its card states" in refused.advice


def test_domain_without_an_adapter_has_nothing_to_measure(cli: CommandLine, tmp_path: Path) -> None:
    assert "no recipe 'recipe.toml'" in cli("adapter", "measure", "garden").advice
    found = cli("adapter", "measure", "garden", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(tmp_path))
    assert found.code == 2 and "there is no adapter to measure" in found.advice
