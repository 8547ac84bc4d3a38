"""The About page: the three promises, the domain's card, and what runs it."""

from __future__ import annotations

from ui import state
from ui.app import show
from ui.components import facts, html
from ui.i18n import text


def render() -> None:
    """Show the page."""
    view = state.view()
    lang, domain = view.lang, view.domain
    html.heading(text("about.title", lang), domain.manifest.title.get(lang) if domain else text("app.name", lang))
    promises = (
        html.tag(
            "article",
            html.icon(symbol),
            html.tag("h3", text(f"about.promise_{n}", lang)),
            html.tag("p", text(f"about.promise_{n}_text", lang)),
            cls="dk-promise",
        )
        for n, symbol in enumerate(("lock", "folder_managed", "monitoring"), start=1)
    )
    html.show(html.tag("section", *promises, cls="dk-promises"))
    if domain is not None:
        html.section(text("about.system", lang))
        html.show(_list(facts.facts(domain, view.settings, lang)))
        html.section(text("about.card", lang))
        card = facts.card_text(domain)
        html.show(html.markdown(card) if card else html.tag("p", text("about.no_card", lang), cls="dk-small dk-quiet"))
    html.section(text("about.libraries", lang))
    html.show(_list(facts.versions()))


def _list(rows: list[tuple[str, str]]) -> html.Safe:
    return html.tag("dl", *(html.join(html.tag("dt", term), html.tag("dd", value)) for term, value in rows), cls="dk-facts")


if __name__ == "__main__":
    show(render)
