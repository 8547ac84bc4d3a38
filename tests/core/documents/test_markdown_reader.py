from __future__ import annotations

from pathlib import Path

import pytest
from document_samples import HAN, ReadOne, blocks_of

from core.documents.markdown import read
from core.documents.parsed import Limits
from core.errors import DocumentError
from core.types import BlockKind

ARTICLE = f"""---
title: "Blood pressure: basics"
lang: en
topic: blood-pressure
group: Common conditions
aliases: [BP, 120/80, hypertension]
reviewed: 2026-11-23
sources:
  - title: High blood pressure
    url: https://www.example.org/bp
---
Blood *pressure* is the **force** of `blood` on the [vessel](https://example.org) walls\\*.
It has two numbers.

## How it is measured

- Rest for
  five minutes.
- Measure twice
  1. in the morning

| Stage | Systolic |
|---|---|
| normal | < 120 |

```
MAP = DBP + (SBP - DBP) / 3
```

<script>alert(1)</script>

{HAN}
血压有
两个数值。
"""


def write(tmp_path: Path, text: str, name: str = "article.md") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_markdown_front_matter_becomes_the_documents_identity(tmp_path: Path, read_one: ReadOne) -> None:
    document = read_one(write(tmp_path, ARTICLE))
    assert (document.title, document.lang, document.external_id) == ("Blood pressure: basics", "en", "blood-pressure")
    assert document.aliases == ("BP", "120/80", "hypertension")
    assert document.url == "https://www.example.org/bp"
    assert [page.number for page in document.pages] == [None]


def test_markdown_blocks_carry_their_kind_and_no_marks(tmp_path: Path, read_one: ReadOne) -> None:
    assert blocks_of(read_one(write(tmp_path, ARTICLE))) == [
        (BlockKind.TEXT, "Blood pressure is the force of blood on the vessel walls*. It has two numbers."),
        (BlockKind.HEADING, "How it is measured"),
        (BlockKind.LIST_ITEM, "Rest for five minutes."),
        (BlockKind.LIST_ITEM, "Measure twice"),
        (BlockKind.LIST_ITEM, "in the morning"),
        (BlockKind.TABLE_ROW, "Stage | Systolic"),
        (BlockKind.TABLE_ROW, "normal | < 120"),
        (BlockKind.TEXT, "MAP = DBP + (SBP - DBP) / 3"),
        (BlockKind.TEXT, f"{HAN}血压有两个数值。"),
    ]


def test_markdown_without_front_matter_is_titled_by_its_first_heading_or_name(tmp_path: Path, read_one: ReadOne) -> None:
    headed = read_one(write(tmp_path, "## Small\n\nText.\n\n# Big heading\n\nMore.\n"))
    assert (headed.title, headed.external_id, headed.lang) == ("Big heading", "article.md", "en")
    assert read_one(write(tmp_path, "---\n\nOnly 中文正文，没有标题。\n", "血压.md")).title == "血压"


def test_markdown_language_is_told_from_the_text_when_not_stated(tmp_path: Path, read_one: ReadOne) -> None:
    assert read_one(write(tmp_path, HAN)).lang == "zh"
    assert read_one(write(tmp_path, f"---\nlang: zh-CN\n---\nEnglish body.\n{HAN}")).lang == "zh"


@pytest.mark.parametrize("meta", ["title: a: b: c", "aliases: [x", "!!python/object/apply:os.system ['true']"])
def test_markdown_refuses_front_matter_that_is_not_plain_yaml(tmp_path: Path, meta: str) -> None:
    with pytest.raises(DocumentError, match=r"front matter is not valid YAML.*quote values"):
        read(write(tmp_path, f"---\n{meta}\n---\nbody\n"), Limits())


def test_markdown_drops_urls_that_are_not_web_addresses(tmp_path: Path, read_one: ReadOne) -> None:
    document = read_one(write(tmp_path, "---\nsources: [{url: 'javascript:alert(1)'}]\n---\nbody [x](javascript:alert(1)) ![pic](http://e.org/p)\n"))
    assert document.url == ""
    assert document.pages[0].text in ("body x pic", "body [x](javascript:alert(1)) pic")
