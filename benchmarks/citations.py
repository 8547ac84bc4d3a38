"""Are quotes where they say they are? Quotes random sentences of a library's PDFs back and looks for them with another extractor.

    python -m benchmarks.citations DOMAIN FOLDER_OF_PDFS [--sentences 300]

The library reads PDFs with pypdf; the check reads the same page with pypdfium2, an independent extractor.
"""

from __future__ import annotations

import argparse
import random
import re
import unicodedata
from pathlib import Path

from core.assistant import library_folder
from core.library import Library
from core.settings import get_settings


def squeezed(text: str) -> str:
    """Return letters and digits only: extractors differ in spaces, hyphens and ligatures."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text)).casefold()


def main() -> None:
    """Run the check and print the share found."""
    import pypdfium2

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("domain")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sentences", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    library = Library(library_folder(get_settings(), options.domain))
    rows = [row for row in library.documents() if row.source.lower().endswith(".pdf")]
    places = []
    for row in rows:
        for stored in library.passages_of(row.id):
            places += [(row.source, stored.document_id, stored.page, span) for span in stored.sentences]
    chosen = random.Random(options.seed).sample(places, min(options.sentences, len(places)))
    pages: dict[tuple[str, int | None], str] = {}
    found = holds = 0
    for source, document_id, page, span in chosen:
        quote = library.page_text(document_id, page)[span.start : span.end]
        holds += bool(quote)
        if (source, page) not in pages:
            with pypdfium2.PdfDocument(options.folder / source) as pdf:
                pages[source, page] = squeezed(pdf[(page or 1) - 1].get_textpage().get_text_bounded())
        if squeezed(quote) in pages[source, page]:
            found += 1
        else:
            print(f"not found: {source} p. {page}: {quote[:100]!r}")
    print(f"{len(rows)} PDFs, {len(chosen)} sentences: {found} found on the stated page by pypdfium2 ({found / max(1, len(chosen)):.1%})")


if __name__ == "__main__":
    main()
