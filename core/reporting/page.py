"""Templates → one self-contained HTML file: everything escaped, nothing fetched, the one script bound by its hash. Knows no result."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
SCRIPT = (TEMPLATES / "filter.js").read_text("utf-8")


@cache
def _environment(folder: Path) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(loader=FileSystemLoader([folder, TEMPLATES]), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def render_page(folder: Path, name: str, **values: Any) -> str:
    """Return the page that a template of a folder makes; it extends ``base.html``.

    The page's content security policy forbids all loading, and every script but the filter's.

    Args:
        folder: of the template.
        name: of the template.
        values: what it shows; text is escaped.
    """
    from markupsafe import Markup

    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    page: str = _environment(folder).get_template(name).render(script=Markup(SCRIPT), script_hash=digest, **values)
    return page


def picture(chart: Any, *, width: int = 640) -> Any:
    """Return a chart as SVG that a template shows unescaped; see :func:`core.reporting.charts.svg`."""
    from markupsafe import Markup

    from core.reporting.charts import svg

    return Markup(svg(chart, width=width))
