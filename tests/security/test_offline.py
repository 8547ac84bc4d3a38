"""Answering needs no network and loads no heavy library; help needs next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from command_line import CommandLine, command_line

from core.library import Library
from core.registry import Domain
from core.settings import ROOT

pytestmark = pytest.mark.slow
HEAVY = (
    "torch",
    "transformers",
    "peft",
    "langchain",
    "streamlit",
    "sklearn",
    "pandas",
    "scipy",
    "fastapi",
    "onnx",
    "huggingface_hub",
    "openai",
    "requests",
    "httpx",
)
RUN = """
    import sys
    from ui.cli import main
    sys.argv = ["domainkit", *sys.argv[1:]]
    try:
        main()
    except SystemExit as done:
        code = done.code or 0
    sys.stderr.write("MODULES " + " ".join(sorted(sys.modules)))
    sys.exit(code)
"""
NO_SOCKETS = """
    import sys
    def watch(event, arguments):
        if event.startswith("socket."):
            raise AssertionError(f"a socket call: {event} {arguments!r}")
    sys.addaudithook(watch)
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory, home: Path, garden: Domain, garden_library: Library) -> CommandLine:
    return command_line(tmp_path_factory.mktemp("offline") / "home", home=home, garden=garden, library=garden_library)


def run(cli: CommandLine, *arguments: str, before: str = "") -> tuple[int, str, set[str]]:
    code = textwrap.dedent(before) + textwrap.dedent(RUN)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=cli.environment, cwd=ROOT, timeout=120)
    notes, _, modules = done.stderr.partition("MODULES ")
    assert "Traceback" not in notes, notes
    return done.returncode, done.stdout, set(modules.split())


def loaded(modules: set[str], names: tuple[str, ...]) -> set[str]:
    return {module for module in modules for name in names if module == name or module.startswith((name + ".", name + "_"))}


@pytest.mark.parametrize("question", ["When should tulip bulbs be planted?", "玫瑰应在几月修剪？", "I want to die"])
def test_ask_makes_no_socket_call_and_loads_no_heavy_library(cli: CommandLine, question: str) -> None:
    code, out, modules = run(cli, "ask", "garden", question, "--json", before=NO_SOCKETS)
    assert code == 0
    assert json.loads(out)["question"] == question
    assert loaded(modules, HEAVY) == set()
    assert {"onnxruntime", "tokenizers", "faiss"} <= modules or question == "I want to die"


def test_search_and_status_and_domains_make_no_socket_call(cli: CommandLine) -> None:
    for arguments in (["search", "garden", "tulips", "--json"], ["status", "garden", "--json"], ["domains", "--json"]):
        code, out, modules = run(cli, *arguments, before=NO_SOCKETS)
        assert code == 0
        assert json.loads(out)
        assert loaded(modules, HEAVY) == set()


def test_add_and_reindex_make_no_socket_call(tmp_path: Path, home: Path, garden: Domain) -> None:
    own = command_line(tmp_path / "home", home=home, garden=garden, library=None)
    (tmp_path / "mint.md").write_text("# Mint\n\nMint spreads by runners.\n")
    for arguments in (["reindex", "garden", "--json"], ["add", "garden", str(tmp_path / "mint.md"), "--json"]):
        code, out, modules = run(own, *arguments, before=NO_SOCKETS)
        assert code == 0
        assert json.loads(out)["documents"] >= 5
        assert loaded(modules, ("torch", "transformers", "langchain", "streamlit", "sklearn")) == set()


def test_refusal_of_sockets_works() -> None:
    for call in ("import socket; socket.socket()", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')", "import _socket; _socket.socket()"):
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(NO_SOCKETS) + call], capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and "a socket call" in done.stderr


def test_help_imports_no_numpy(cli: CommandLine) -> None:
    for arguments in (["--help"], ["ask", "--help"], ["add", "--help"], ["eval", "--help"]):
        code, out, modules = run(cli, *arguments)
        assert code == 0
        assert out.startswith("Usage: ")
        assert loaded(modules, (*HEAVY, "numpy", "faiss", "onnxruntime", "tokenizers", "jieba", "bs4", "lxml", "sqlite3")) == set()


@pytest.mark.parametrize(
    "name", ["core.types", "core.errors", "core.settings", "core.manifest", "core.registry", "core.policy", "core.memory", "core.documents.sentences"]
)
def test_light_modules_stay_light(name: str) -> None:
    code = f"import sys, {name}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    assert loaded(set(done.stdout.split()), (*HEAVY, "faiss", "onnxruntime", "tokenizers", "jieba")) == set()
