"""The tool contract: a domain's plain functions, one pydantic model in, one pydantic model out, each call logged.

Tools are code that a domain's author wrote: loading them runs it, in this process and with its rights. They are therefore
loaded only when asked for, by file path, from the one file that the manifest names. Knows no particular tool and no model.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import inspect
import json
import math
import sys
import time
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from core.errors import ManifestError, UsageError, unknown
from core.manifest import Manifest, explain
from core.types import Frozen

MAX_SOURCE_BYTES = 1_000_000
MAX_JSON_CHARS = 100_000
"""Longest arguments and longest result of one call, as JSON."""


class Package(Protocol):
    """What is needed of a domain: a registry's ``Domain`` is one."""

    @property
    def manifest(self) -> Manifest:
        """The validated manifest."""

    @property
    def folder(self) -> Path:
        """The folder that holds the manifest."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One function of a domain. ``function`` takes one ``parameters`` value and returns one ``returns`` value."""

    domain: str
    name: str
    description: str
    parameters: type[BaseModel]
    returns: type[BaseModel]
    function: Callable[[Any], Any]

    def schema(self) -> dict[str, Any]:
        """Return the name, description and JSON Schema of the arguments, as chat models are told about a function."""
        return {"name": self.name, "description": self.description, "parameters": self.parameters.model_json_schema()}


class ToolCall(Frozen):
    """The record of one call: JSON in, JSON out, and the numbers that an answer may therefore state.

    ``numbers`` holds every finite number of the result, unsigned, in plain decimal notation without trailing zeros; numbers
    inside returned texts do not count, for a text may merely repeat what was asked.
    """

    domain: str
    tool: str
    arguments: dict[str, Any]
    result: dict[str, Any]
    numbers: tuple[str, ...]
    milliseconds: float


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the source each time: cached bytecode is an object format, and writing it would change the domain's folder."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def load_tools(domain: Package) -> dict[str, Tool]:
    """Import a domain's tools module and return its declared functions by name, in the manifest's order.

    Calling this runs the domain's code. A domain without tools gives an empty dict and runs nothing.

    Raises:
        ManifestError: the module is missing, lies outside the folder or fails to import, or a function breaks the contract.
    """
    declared = domain.manifest.tools
    if declared is None:
        return {}
    where = f"{domain.folder.name}/{declared.module}"
    module = _import(_module_path(domain.folder, declared.module, where), where)
    return {name: _tool(domain.manifest.name, name, getattr(module, name, None), where) for name in declared.functions}


def find_tool(tools: Mapping[str, Tool], name: str) -> Tool:
    """Return the tool called ``name``.

    Raises:
        UsageError: unknown; the message lists the known ones.
    """
    if name not in tools:
        raise unknown("tool", name, tools)
    return tools[name]


def call(tool: Tool, arguments: Mapping[str, Any] | str) -> ToolCall:
    """Call a tool with JSON arguments and return the record of it.

    Args:
        tool: from :func:`load_tools`.
        arguments: a mapping or the text of a JSON object, as a chat model writes it.

    Raises:
        UsageError: the arguments do not fit the model, or the tool raised ValueError because it cannot compute with them.
        ManifestError: the tool failed, returned something else than it declares, or a number that is not finite.
    """
    given = _validated(tool, arguments)
    begun = time.perf_counter()
    try:
        result = tool.function(given)
    except ValueError as error:
        raise UsageError(f"tool '{tool.name}': {_one_line(error)}; change the arguments") from error
    except Exception as error:
        raise ManifestError(f"tool '{tool.name}' of '{tool.domain}' failed: {type(error).__name__}: {_one_line(error)}; mend its code") from error
    milliseconds = (time.perf_counter() - begun) * 1000
    if not isinstance(result, tool.returns):
        raise ManifestError(f"tool '{tool.name}' of '{tool.domain}' returned {type(result).__name__}; it declares {tool.returns.__name__}")
    return ToolCall(
        domain=tool.domain,
        tool=tool.name,
        arguments=_as_json(given, tool, "arguments"),
        result=_as_json(result, tool, "result"),
        numbers=tuple(dict.fromkeys(map(_spell, _numbers(result.model_dump())))),
        milliseconds=round(milliseconds, 3),
    )


def _validated(tool: Tool, arguments: Mapping[str, Any] | str) -> BaseModel:
    try:
        if isinstance(arguments, str):
            if len(arguments) > MAX_JSON_CHARS:
                raise UsageError(f"tool '{tool.name}': arguments are longer than {MAX_JSON_CHARS:,} characters; shorten them")
            return tool.parameters.model_validate_json(arguments)
        return tool.parameters.model_validate(dict(arguments))
    except ValidationError as error:
        raise UsageError(explain(error, file=f"tool '{tool.name}'")) from error


def _as_json(value: BaseModel, tool: Tool, what: str) -> dict[str, Any]:
    data = value.model_dump(mode="json")
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ManifestError(f"tool '{tool.name}' of '{tool.domain}': its {what} hold a number that is not finite; bound the model's fields") from error
    if len(text) > MAX_JSON_CHARS:
        raise ManifestError(f"tool '{tool.name}' of '{tool.domain}': its {what} are longer than {MAX_JSON_CHARS:,} characters of JSON; return less")
    return data


def _numbers(value: Any) -> Iterator[Decimal]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value):
        yield abs(Decimal(str(value)))


def _spell(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _module_path(folder: Path, module: str, where: str) -> Path:
    path = (folder / module).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ManifestError(f"{where}: lies outside the domain's folder; tools must be a file of the domain")
    if not path.is_file():
        raise ManifestError(f"{where}: missing, but the manifest declares tools; add the file or remove [tools]")
    if path.stat().st_size > MAX_SOURCE_BYTES:
        raise ManifestError(f"{where}: larger than {MAX_SOURCE_BYTES:,} bytes; keep tools short and data in files")
    return path


def _import(path: Path, where: str) -> ModuleType:
    digest = hashlib.sha256(str(path).encode() + b"\0" + path.read_bytes()).hexdigest()
    name = f"_domainkit_tools_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    if spec is None or spec.loader is None:
        raise ManifestError(f"{where}: is not a Python file; name a .py file in [tools]")
    module = importlib.util.module_from_spec(spec)
    # Pydantic resolves a model's annotations through sys.modules, so the module must be listed while it runs.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ManifestError(f"{where}: cannot be imported: {type(error).__name__}: {_one_line(error)}; mend the file") from error
    return module


def _tool(domain: str, name: str, function: Any, where: str) -> Tool:
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise ManifestError(f"{where}: '{name}' is not a plain function; define `def {name}(arguments: Model) -> Model`")
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError) as error:
        raise ManifestError(f"{where}: annotations of '{name}' cannot be resolved: {_one_line(error)}") from error
    parameters = list(inspect.signature(function).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) != 1 or parameters[0].kind not in positional or not _is_model(hints.get(parameters[0].name)):
        raise ManifestError(f"{where}: '{name}' must take exactly one parameter, annotated with a pydantic model")
    if not _is_model(hints.get("return")):
        raise ManifestError(f"{where}: '{name}' must be annotated to return a pydantic model")
    description = " ".join((inspect.getdoc(function) or "").split("\n\n", 1)[0].split())
    return Tool(domain=domain, name=name, description=description, parameters=hints[parameters[0].name], returns=hints["return"], function=function)


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
