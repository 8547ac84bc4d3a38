"""The Adapters page: a domain's adapter with its gain, matrix, proof and card, and the training of another."""

from __future__ import annotations

from ui import state
from ui.app import show
from ui.components.adapter import show_adapter
from ui.components.page import begin


def render() -> None:
    """Show the page."""
    domain = begin("adapters.title", intro="adapters.intro", needs="evals.proof")
    if domain is None:
        return
    from ui.components.training import show_training

    view = state.view()
    show_adapter(domain, view.settings, view.lang)
    show_training(domain, view.settings, view.lang)


if __name__ == "__main__":
    show(render)
