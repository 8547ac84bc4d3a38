from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui import theme

colors = st.integers(0, 0xFFFFFF).map(lambda value: f"#{value:06x}")


@given(colors)
def test_theme_accents_can_be_read_on_both_backgrounds(color: str) -> None:
    light, dark = theme.accents(color)
    assert theme.contrast(light, theme.LIGHT_BACKGROUND) >= theme.READABLE
    assert theme.contrast(dark, theme.DARK_BACKGROUND) >= theme.READABLE


def test_theme_keeps_a_colour_that_can_be_read() -> None:
    assert theme.accents("#0b7a75")[0] == "#0b7a75"


def test_theme_contrast_matches_the_standards_examples() -> None:
    assert theme.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert theme.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("color", ["red", "#fff", "#12345g", "#123456;}body{display:none", ""])
def test_theme_refuses_what_is_not_a_colour(color: str) -> None:
    with pytest.raises(ValueError, match="not a colour"):
        theme.style(color)


def test_theme_style_cannot_be_left_by_its_texts() -> None:
    style = theme.style("#0b7a75", upload='"}</style><script>')
    assert style.count("</style>") == 1 and "<script>" not in style
