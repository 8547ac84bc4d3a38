"""The Streamlit app: frame, navigation, the chosen page. Start it with ``domainkit ui`` or ``streamlit run ui/app.py``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    # Streamlit puts the script's own folder on the path, not the repository's.
    sys.path.insert(0, str(ROOT))

from core.errors import DomainkitError  # noqa: E402
from ui import theme  # noqa: E402
from ui.components import chrome  # noqa: E402
from ui.i18n import text  # noqa: E402

_FRAMED = "app.framed"
PAGES = Path(__file__).parent / "pages"


def main() -> None:
    """Draw the frame and run the chosen page."""
    lang = chrome.current_language()
    # Symbols and emoji as page icon would be fetched from a font host: a file of our own works offline.
    st.set_page_config(page_title=text("app.name", lang), page_icon=str(theme.STATIC / "icon.svg"), layout="centered")
    st.logo(str(theme.STATIC / "icon.svg"), size="large")
    page = st.navigation(
        [
            st.Page(PAGES / "ask.py", title=text("nav.ask", lang), icon=":material/forum:", default=True),
            st.Page(PAGES / "library.py", title=text("nav.library", lang), icon=":material/library_books:"),
            st.Page(PAGES / "evaluate.py", title=text("nav.evaluate", lang), icon=":material/monitoring:"),
            st.Page(PAGES / "adapters.py", title=text("nav.adapters", lang), icon=":material/tune:"),
            st.Page(PAGES / "about.py", title=text("nav.about", lang), icon=":material/info:"),
        ]
    )
    st.session_state[_FRAMED] = True
    try:
        view = chrome.frame()
        if view.domain is not None:
            st.set_page_config(page_title=f"{view.domain.manifest.title.get(lang)} · {text('app.name', lang)}")
        page.run()
    except DomainkitError as error:
        chrome.problem(error, lang)
    finally:
        st.session_state[_FRAMED] = False


def show(render: Callable[[], None]) -> None:
    """Run a page in the frame.

    Until this app has run once, a server asked for a page's address runs that page's file alone, because the folder is called
    ``pages``; the frame is then drawn around it.
    """
    if st.session_state.get(_FRAMED):
        render()
    else:
        main()


if __name__ == "__main__":
    main()
