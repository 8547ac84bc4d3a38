"""No loader that can turn bytes into code or objects: read from the syntax trees of every module we ship."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from core.settings import ROOT

FOLDERS = ("core", "ui", "evals", "benchmarks", "domains")
MODULES = frozenset(
    {"pickle", "cPickle", "_pickle", "joblib", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "pandas.io.pickle", "langchain_classic"}
)
CALLS = frozenset(
    {"eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "torch.hub.load", "numpy.load", "np.load", "pandas.read_pickle", "pd.read_pickle", "os.system", "os.popen"}
)  # fmt: skip
ATTRIBUTES = frozenset({"allow_dangerous_deserialization", "read_pickle", "load_pickle"})
UNSAFE_WHEN_TRUE = frozenset({"trust_remote_code", "allow_dangerous_deserialization", "allow_pickle", "shell", "unsafe_allow_html"})
SAFE_YAML = frozenset({"SafeLoader", "CSafeLoader"})
LANGCHAIN_LOADERS = frozenset({"load", "loads", "load_prompt", "load_chain", "loading", "serializable"})
HTML_ALLOWED = frozenset({"ui"})  # its own tests hold that only our own markup reaches it


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` of a name or attribute chain, empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def alternatives(node: ast.expr, assigned: dict[str, ast.expr]) -> list[str]:
    """Return the last names of what an expression may be: through one assignment, and both ways of ``getattr(module, name, default)``."""
    node = assigned.get(node.id, node) if isinstance(node, ast.Name) else node
    if isinstance(node, ast.Call) and dotted(node.func) == "getattr" and isinstance(node.args[1], ast.Constant):
        return [str(node.args[1].value), *(dotted(default).rsplit(".", 1)[-1] for default in node.args[2:])]
    return [dotted(node).rsplit(".", 1)[-1]]


def faults(source: str, *, where: str = "") -> list[str]:
    """Return what a module does that it must not, one line each."""
    found = []
    tree = ast.parse(source)
    assigned = {node.targets[0].id: node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
    names: dict[str, str] = {}  # what a local name stands for: ``from torch import load as l`` → torch.load
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        line = f"{where}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            found += [f"{line}: imports {alias.name}" for alias in node.names if MODULES & {alias.name, alias.name.split(".")[0]}]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if MODULES & {module, module.split(".")[0]}:
                found.append(f"{line}: imports from {module}")
            if module.split(".")[0].startswith("langchain") and (LANGCHAIN_LOADERS & {*module.split("."), *(alias.name for alias in node.names)}):
                found.append(f"{line}: a LangChain loader")
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            head, _, rest = name.partition(".")
            full = names.get(head, head) + (f".{rest}" if rest else "")
            if name in CALLS or full in CALLS:
                found.append(f"{line}: calls {full}")
            if full in {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}:
                given = [*node.args[1:], *(keyword.value for keyword in node.keywords if keyword.arg == "Loader")]
                loaders = [loader for value in given for loader in alternatives(value, assigned)]
                if full.endswith(("unsafe_load", "full_load")) or not loaders or not set(loaders) <= SAFE_YAML:
                    found.append(f"{line}: {full} without a safe loader")
            for keyword in node.keywords:
                if keyword.arg in UNSAFE_WHEN_TRUE and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
                    if keyword.arg == "unsafe_allow_html" and where.split("/")[0] in HTML_ALLOWED:
                        continue
                    found.append(f"{line}: {keyword.arg} is not False")
        elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            found.append(f"{line}: {node.attr}")
    return found


def modules() -> list[Path]:
    """Return every module we ship."""
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts)


def test_scan_sees_the_whole_program() -> None:
    seen = {path.relative_to(ROOT).as_posix() for path in modules()}
    assert len(seen) > 60
    assert {"core/library.py", "core/index/faiss.py", "ui/cli.py", "evals/runner.py"} <= seen


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module_has_no_unsafe_loader(path: Path) -> None:
    assert faults(path.read_text("utf-8"), where=path.relative_to(ROOT).as_posix()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "import joblib",
        "def f():\n    import marshal",
        "import shelve",
        "import torch\ntorch.load('x')",
        "from torch import load as l\nl('x')",
        "import torch as t\nt.load('x')",
        "eval('1')",
        "exec('1')",
        "import yaml\nyaml.load(x)",
        "import yaml\nyaml.load(x, Loader=yaml.Loader)",
        "import yaml\nyaml.load(x, yaml.UnsafeLoader)",
        "import yaml\nl = getattr(yaml, 'CLoader', yaml.SafeLoader)\nyaml.load(x, Loader=l)",
        "from yaml import unsafe_load\nunsafe_load(x)",
        "from yaml import load\nload(x)",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=chosen)",
        "FAISS.load_local(p, e, allow_dangerous_deserialization=True)",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy\nnumpy.load('x')",
        "from langchain_core.load import loads",
        "from langchain_core import load",
        "from langchain_core.prompts.loading import load_prompt",
        "import subprocess\nsubprocess.run(c, shell=True)",
        "import os\nos.system('x')",
        "__import__('pickle')",
    ],
)
def test_scan_finds(source: str) -> None:
    assert faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "import yaml\nyaml.load(x, Loader=yaml.CSafeLoader)",
        "import yaml\nyaml.safe_load(x)",
        "import yaml\nl = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)\nyaml.load(x, Loader=l)",
        "f(trust_remote_code=False)",
        "import re\nre.compile('x')",
        "model.eval()",
        "import json\njson.load(f)",
        "from safetensors.torch import load_file\nload_file(p)",
        "# pickle.load(x)",
        "'eval(1)'",
        "from langchain_core.prompts import PromptTemplate",
    ],
)
def test_scan_lets_pass(source: str) -> None:
    assert faults(source) == []
