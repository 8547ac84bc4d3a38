"""Colours: a domain's accent, made readable on light and dark, and the app's style sheet. Knows no page and no domain."""

from __future__ import annotations

import colorsys
import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"
NEUTRAL = "#334155"
LIGHT_BACKGROUND = "#ffffff"
DARK_BACKGROUND = "#15181c"
READABLE = 4.5
"""Least contrast of text with its background (WCAG 2.2, success criterion 1.4.3)."""
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def _channels(color: str) -> tuple[int, int, int]:
    if not _COLOR.fullmatch(color):
        raise ValueError(f"'{color[:20]}' is not a colour like #3b5bdb")
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def mix(color: str, other: str, share: float) -> str:
    """Return ``color`` with ``share`` in [0, 1] of ``other`` in it."""
    mixed = (round(a + (b - a) * share) for a, b in zip(_channels(color), _channels(other), strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def luminance(color: str) -> float:
    """Return the relative luminance in [0, 1] of an sRGB colour (WCAG 2.2, definition of relative luminance)."""

    def linear(channel: int) -> float:
        value = channel / 255
        return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)

    red, green, blue = (linear(channel) for channel in _channels(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio in [1, 21] of two colours (WCAG 2.2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def readable(color: str, background: str) -> str:
    """Return ``color``, moved towards black or white until text in it can be read on ``background``."""
    towards = "#000000" if luminance(background) > 0.4 else "#ffffff"
    for step in range(21):
        tried = mix(color, towards, step / 20)
        if contrast(tried, background) >= READABLE:
            return tried
    return towards


def hue_distance(one: str, other: str) -> float:
    """Return how far apart the hues of two colours are, in [0, 0.5] of the colour circle."""
    first, second = (colorsys.rgb_to_hls(*(channel / 255 for channel in _channels(color)))[0] for color in (one, other))
    return min(abs(first - second), 1 - abs(first - second))


def accents(color: str) -> tuple[str, str]:
    """Return a domain's accent for the light and for the dark theme."""
    return readable(color, LIGHT_BACKGROUND), readable(color, DARK_BACKGROUND)


@cache
def _sheet() -> str:
    return (STATIC / "app.css").read_text("utf-8")


def _quoted(text: str) -> str:
    """Return a CSS string: every character but letters and digits as an escape."""
    return '"' + "".join(c if c.isalnum() else f"\\{ord(c):x} " for c in text) + '"'


def style(color: str = NEUTRAL, *, upload: str = "Choose files") -> str:
    """Return the ``<style>`` element of the app with a domain's accent; ``upload`` is what the upload button says."""
    light, dark = accents(color)
    on_light = "#ffffff" if contrast("#ffffff", light) >= READABLE else "#000000"
    on_dark = "#000000" if contrast("#000000", dark) >= contrast("#ffffff", dark) else "#ffffff"
    variables = (
        f":root{{--dk-light:{light};--dk-dark:{dark};--dk-on-light:{on_light};--dk-on-dark:{on_dark};--dk-accent:{light};--dk-on-accent:{on_light};"
        f"--dk-upload:{_quoted(upload)}}}"
    )
    return f"<style>{variables}\n{_sheet()}</style>"
