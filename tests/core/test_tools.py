from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ManifestError, UsageError
from core.evidence import numbers
from core.manifest import Manifest, load_manifest
from core.registry import Domain
from core.tools import MAX_JSON_CHARS, call, find_tool, load_tools

STRANGER = Path(__file__).resolve().parents[1] / "plugin_package" / "src" / "acme_gardening"
HEAD = "from __future__ import annotations\nfrom pydantic import BaseModel\n\nclass In(BaseModel):\n    x: float = 1.0\n\nclass Out(BaseModel):\n    y: float\n    note: str = ''\n\n"


def stranger() -> Domain:
    return Domain(manifest=load_manifest(STRANGER), folder=STRANGER, door="test")


def domain(folder: Path, body: str, *, functions: tuple[str, ...] = ("f",), module: str = "tools.py") -> Domain:
    (folder / "tools.py").write_text(HEAD + body, "utf-8")
    manifest = Manifest.model_validate(
        {
            "name": "toy",
            "version": "1.0.0",
            "languages": ["en"],
            "title": {"en": "Toy"},
            "description": {"en": "Toy"},
            "license": "x",
            "tools": {"functions": functions, "module": module},
        }
    )
    return Domain(manifest=manifest, folder=folder, door="test")


def test_load_tools_reads_name_description_and_schema() -> None:
    tools = load_tools(stranger())
    schema = tools["watering_volume"].schema()
    assert schema["name"] == "watering_volume"
    assert schema["description"].startswith("Return the water that a bed takes")
    assert schema["parameters"]["required"] == ["area_m2", "depth_mm"]


def test_load_tools_of_a_domain_without_tools_is_empty(tmp_path: Path) -> None:
    toy = domain(tmp_path, "raise RuntimeError('imported')")
    plain = Domain(manifest=toy.manifest.model_copy(update={"tools": None}), folder=tmp_path, door="test")
    assert load_tools(plain) == {}


def test_load_tools_writes_nothing_into_the_folder(tmp_path: Path) -> None:
    load_tools(domain(tmp_path, "def f(a: In) -> Out:\n    return Out(y=a.x)\n"))
    assert [path.name for path in tmp_path.iterdir()] == ["tools.py"]


def test_load_tools_reads_changed_source(tmp_path: Path) -> None:
    first = load_tools(domain(tmp_path, "def f(a: In) -> Out:\n    return Out(y=1)\n"))
    second = load_tools(domain(tmp_path, "def f(a: In) -> Out:\n    return Out(y=2)\n"))
    assert [call(tools["f"], {}).result["y"] for tools in (first, second)] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("g = 1\n", "not a plain function"),
        ("f = 1\n", "not a plain function"),
        ("async def f(a: In) -> Out: ...\n", "not a plain function"),
        ("def f(a: In) -> Out:\n    yield\n", "not a plain function"),
        ("def f() -> Out: ...\n", "exactly one parameter"),
        ("def f(a: In, b: In) -> Out: ...\n", "exactly one parameter"),
        ("def f(*a: In) -> Out: ...\n", "exactly one parameter"),
        ("def f(a) -> Out: ...\n", "exactly one parameter"),
        ("def f(a: dict) -> Out: ...\n", "exactly one parameter"),
        ("def f(a: In): ...\n", "return a pydantic model"),
        ("def f(a: In) -> float: ...\n", "return a pydantic model"),
        ("def f(a: Missing) -> Out: ...\n", "cannot be resolved"),
        ("import no_such_module_here\n", "cannot be imported: ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "cannot be imported: SystemExit"),
        ("def f(:\n", "cannot be imported: SyntaxError"),
    ],
)
def test_load_tools_names_what_breaks_the_contract(tmp_path: Path, body: str, message: str) -> None:
    before = set(sys.modules)
    with pytest.raises(ManifestError, match=message) as caught:
        load_tools(domain(tmp_path, body))
    assert "\n" not in str(caught.value)
    assert "tools.py" in str(caught.value)
    assert not any("domainkit_tools" in name for name in set(sys.modules) - before) or "cannot be imported" not in message


def test_load_tools_refuses_a_module_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out.py").write_text("")
    (tmp_path / "in").mkdir()
    toy = domain(tmp_path / "in", "", module="link.py")
    (tmp_path / "in" / "link.py").symlink_to(tmp_path / "out.py")
    with pytest.raises(ManifestError, match="outside the domain's folder"):
        load_tools(toy)


def test_load_tools_names_a_missing_module(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="other.py: missing"):
        load_tools(domain(tmp_path, "", module="other.py"))


def test_find_tool_answers_a_wrong_name_with_the_right_ones() -> None:
    with pytest.raises(UsageError, match="did you mean 'watering_volume'"):
        find_tool(load_tools(stranger()), "watering_volum")


def test_call_records_json_in_json_out_and_numbers() -> None:
    record = call(load_tools(stranger())["watering_volume"], '{"area_m2": 3.5, "depth_mm": 12}')
    assert record.domain == "gardening"
    assert record.arguments == {"area_m2": 3.5, "depth_mm": 12.0}
    assert record.result == {"litres": 42.0, "cans": 5}
    assert record.numbers == ("42", "5")
    assert record.milliseconds >= 0


def test_call_does_not_count_numbers_inside_texts(tmp_path: Path) -> None:
    tools = load_tools(domain(tmp_path, "def f(a: In) -> Out:\n    return Out(y=2, note='99 percent')\n"))
    assert call(tools["f"], {}).numbers == ("2",)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_call_spells_numbers_as_the_evidence_lock_does(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    folder = tmp_path_factory.getbasetemp() / "spelling"
    folder.mkdir(exist_ok=True)
    tools = load_tools(domain(folder, "def f(a: In) -> Out:\n    return Out(y=a.x)\n"))
    (spelled,) = call(tools["f"], {"x": value}).numbers
    assert numbers(spelled) == {spelled}
    assert float(spelled) == abs(value)


@pytest.mark.parametrize(
    "arguments", [{"area_m2": 0, "depth_mm": 1}, {"area_m2": 1}, "not json", "[]", '{"area_m2": "NaN", "depth_mm": 1}', "1" * (MAX_JSON_CHARS + 1)]
)
def test_call_refuses_arguments_that_do_not_fit(arguments: dict[str, float] | str) -> None:
    with pytest.raises(UsageError, match="tool 'watering_volume'") as caught:
        call(load_tools(stranger())["watering_volume"], arguments)
    assert "\n" not in str(caught.value)


def test_call_turns_a_value_error_into_one_line_about_the_arguments(tmp_path: Path) -> None:
    tools = load_tools(domain(tmp_path, "def f(a: In) -> Out:\n    raise ValueError('x must be\\neven')\n"))
    with pytest.raises(UsageError, match="tool 'f': x must be even; change the arguments"):
        call(tools["f"], {})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    return Out(y=1 / 0)\n", "failed: ZeroDivisionError"),
        ("    return 3\n", "returned int; it declares Out"),
        ("    return Out(y=float('inf'))\n", "not finite"),
        ("    return Out(y=1, note='x' * 200_000)\n", "longer than 100,000 characters"),
    ],
)
def test_call_names_a_tool_that_fails(tmp_path: Path, body: str, message: str) -> None:
    tools = load_tools(domain(tmp_path, "def f(a: In) -> Out:\n" + body))
    with pytest.raises(ManifestError, match=message):
        call(tools["f"], {})
