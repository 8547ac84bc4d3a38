"""A domain's adapter as its card tells it: what it is, what it gained, how it does on every domain's questions, whether it is proved."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import streamlit as st
from pydantic import ValidationError

from core.errors import DomainkitError
from core.models.adapters import CARD, WEIGHTS, Adapter
from core.query_adapter import find_adapter
from core.registry import Domain
from core.reporting.charts import gain_chart, matrix_chart
from core.settings import Settings
from core.types import Language
from ui import state
from ui.components import charts, chrome, html
from ui.i18n import text

if TYPE_CHECKING:
    from evals.proof import Cell, Proof

STEPS = {"matrix": "adapters.step_matrix", "assistant": "adapters.step_assistant"}
LOSS, GAIN = ("#c0562f", "#e8825c"), ("#2f855a", "#69bf8f")
"""Colours of losses and gains, for the light and for the dark theme."""


def card_of(domain: Domain) -> dict[str, Any]:
    """Return the card of a domain's adapter as it stands in the file, empty where there is none that can be read."""
    try:
        found = json.loads((domain.folder / domain.manifest.paths.adapter / CARD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def proof_of(card: dict[str, Any], adapter: Adapter) -> Proof | None:
    """Return the proof in a card, None where there is none, or one of another adapter."""
    from evals.proof import Proof

    try:
        proof = Proof.model_validate(card["proof"])
    except (KeyError, ValidationError):
        return None
    return proof if proof.binding.adapter_sha256 == adapter.sha256 else None


def show_adapter(domain: Domain, settings: Settings, lang: Language) -> None:
    """Show card, gain, matrix and proof of a domain's adapter."""
    try:
        adapter = find_adapter(domain, settings.model_copy(update={"adapters": True}))
    except DomainkitError as error:
        html.show(html.card("problem", symbol="error", title=text("adapters.broken", lang), body=str(error), role="alert"))
        return
    if adapter is None:
        html.show(html.card("calm", symbol="tune", title=text("adapters.none", lang), body=text("adapters.none_body", lang)))
        return
    card = card_of(domain)
    _gain(card, domain, lang)
    _proof(domain, adapter, proof_of(card, adapter), settings, lang)
    _card(domain, adapter, card, lang)


def _card(domain: Domain, adapter: Adapter, card: dict[str, Any], lang: Language) -> None:
    html.section(text("adapters.card", lang))
    size = (adapter.folder / WEIGHTS).stat().st_size
    recipe = card.get("recipe") or {}
    steps = f"{recipe.get('steps', '?')}, {text('adapters.best', lang, step=card['best_step'])}" if "best_step" in card else str(recipe.get("steps", "?"))
    facts = [
        (text("adapters.base", lang), f"{card.get('base', '?')} {adapter.base_sha256[:12]}"),
        (text("adapters.hash", lang), adapter.id),
        (text("adapters.rank", lang), f"{adapter.config.r}"),
        (text("adapters.bytes", lang), text("adapters.bytes_value", lang, n=f"{size / 1000:,.0f}")),
        (text("adapters.steps", lang), steps),
        (text("adapters.trained", lang), str(card.get("command", "?"))),
    ]
    rows = [html.tag("dt", name) + html.tag("dd", value) for name, value in facts]
    for count in card.get("data") or ():
        pairs = text("adapters.pairs", lang, train=f"{count.get('train', 0):,}", test=f"{count.get('test', 0):,}")
        source = " · ".join(part for part in (count.get("attribution", ""), count.get("license", ""), pairs) if part)
        rows.append(html.tag("dt", text("adapters.data", lang)) + html.tag("dd", html.tag("strong", str(count.get("name", ""))), " ", source))
    html.show(html.tag("dl", *(html.Safe(row) for row in rows), cls="dk-facts"))


def gain_rows(card: dict[str, Any], lang: Language) -> list[dict[str, Any]]:
    """Return the share of held-out questions whose passage comes first, before and after, as rows of a chart: all, then each data set."""
    return [
        {
            "metric": f"{text('adapters.all', lang) if figure['group'] == 'all' else str(figure['group']).replace('_', ' ')} ({figure['n']:,})",
            "before": figure["before"], "after": figure["after"],
            "label": f"{figure['before']:.1%} → {figure['after']:.1%}" + (f", p = {figure['p']:.2g}" if figure.get("p") is not None else ""),
        }
        for figure in card.get("figures") or ()
        if figure.get("metric") == "recall_at_1" and figure.get("before") is not None
    ]  # fmt: skip


def _gain(card: dict[str, Any], domain: Domain, lang: Language) -> None:
    rows = gain_rows(card, lang)
    if not rows:
        return
    total = next((figure["n"] for figure in card["figures"] if figure["group"] == "all"), 0)
    html.section(text("adapters.gain", lang))
    html.show(html.tag("p", text("adapters.gain_hint", lang, n=f"{total:,}"), cls="dk-small dk-quiet"))
    accent, quiet, *_ = charts.series_colors(domain)
    chart = gain_chart(rows, before=text("adapters.without", lang), after=text("adapters.with", lang), colors=(quiet, accent))
    charts.show(chart, key="chart.gain")


def _proof(domain: Domain, adapter: Adapter, proof: Proof | None, settings: Settings, lang: Language) -> None:
    html.section(text("adapters.proof", lang))
    again = _prove(domain, settings, lang)
    proof = again or proof
    if proof is None:
        html.show(html.tag("p", text("adapters.no_proof", lang), cls="dk-small dk-quiet"))
        return
    good = proof.passed
    title = html.tag(
        "p", html.icon("verified" if good else "block"), " ", text("adapters.proved" if good else "adapters.not_proved", lang), cls="dk-small dk-good"
    )
    lines = [text("adapters.proof_fact", lang, modules=proof.binding.modules, probe=f"{proof.probe:.3f}"), *proof.reasons]
    if proof.pipeline is not None:
        found = proof.pipeline
        values = {"base": f"{found.base:.1%}", "value": f"{found.value:.1%}", "better": found.better, "worse": found.worse, "p": f"{found.p:.2g}"}
        lines.append(text("adapters.proof_pipeline", lang, **values))
    html.show(title, *(html.tag("p", line, cls="dk-small") for line in lines))
    _matrix(proof, lang)


def _prove(domain: Domain, settings: Settings, lang: Language) -> Proof | None:
    from evals.proof import prove

    if not st.button(text("adapters.prove", lang), icon=":material/rule:", key="adapters.prove"):
        return None
    bar = st.progress(0.0, text=text("adapters.proving", lang, step=text("adapters.step_binding", lang)))

    def progress(name: str, done: int, total: int) -> None:
        bar.progress(min(1.0, done / max(1, total)), text=text("adapters.proving", lang, step=text(STEPS.get(name, "adapters.step_binding"), lang)))

    try:
        return prove(domain, list(state.registry().domains.values()), settings=settings, progress=progress)
    except DomainkitError as error:
        chrome.problem(error, lang)
        return None
    finally:
        bar.empty()


def matrix_rows(cells: tuple[Cell, ...], titles: dict[str, str], lang: Language) -> list[dict[str, Any]]:
    """Return the domain × adapter matrix as rows of a chart: a difference within the noise has no colour."""
    return [
        {
            "down": titles.get(cell.domain, cell.domain), "across": titles.get(cell.adapter, cell.adapter),
            "difference": 0.0 if cell.verdict == "same" else cell.value - cell.base, "label": f"{cell.value - cell.base:+.3f}",
            "note": f"{cell.base:.3f} → {cell.value:.3f}, p = {cell.p:.2g}, n = {cell.n}: {text(f'adapters.{cell.verdict}', lang)}",
        }
        for cell in cells
    ]  # fmt: skip


def _matrix(proof: Proof, lang: Language) -> None:
    titles = {name: found.manifest.title.get(lang) for name, found in state.registry().domains.items()}
    rows = matrix_rows(proof.matrix, titles, lang)
    if not rows:
        return
    html.show(html.tag("p", text("adapters.matrix", lang), cls="dk-side-source"), html.tag("p", text("adapters.matrix_hint", lang), cls="dk-small dk-quiet"))
    dark = st.context.theme.type == "dark"
    chart = matrix_chart(
        rows, x=text("adapters.adapter_of", lang), y=text("adapters.questions", lang), colors=(LOSS[dark], GAIN[dark]), text="#e5e7eb" if dark else "#1e293b"
    )
    charts.show(chart, key="chart.matrix")
