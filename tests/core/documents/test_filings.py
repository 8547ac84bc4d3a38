from __future__ import annotations

import pytest

from core.documents.filings import filing_context
from core.types import Page

SEC = "UNITED STATES\nSECURITIES AND EXCHANGE COMMISSION\nWashington, D.C. 20549\n"
PURSUANT = "REPORT PURSUANT TO SECTION 13 OR 15(d) OF THE SECURITIES EXCHANGE ACT OF 1934\n"
NAME = "(Exact name of registrant as specified in its charter)\nDelaware\n"


def pages(*texts: str) -> list[Page]:
    return [Page(number=number, text=text, blocks=()) for number, text in enumerate(texts, start=1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{SEC}FORM 10-K\n☒ ANNUAL {PURSUANT}For the fiscal year ended\u00a0December 28, 2024\nCommission file number 1-1\nEXAMPLE CO.\n{NAME}",
            "EXAMPLE CO. · 10-K · fiscal year ended December 28, 2024",
        ),
        (
            f"{SEC}FORM 10-Q\nQUARTERLY {PURSUANT}For the quarterly period ended Commission file\nMarch 31, 2021 number 1-5805\nBank & Co.\n{NAME}",
            "Bank & Co. · 10-Q · quarter ended March 31, 2021",
        ),
        (
            f"{SEC}FORM 8-K\n{PURSUANT}Date of Report (Date of earliest event reported): August 16, 2023\nEXAMPLE WHOLESALE\nCORPORATION\n{NAME}",
            "EXAMPLE WHOLESALE CORPORATION · 8-K · August 16, 2023",
        ),
        (
            f"{SEC}FORM 10-K\n{PURSUANT}FOR THE FISCAL YEAR ENDED MAY 31, 2020\nCommission File No. 1-10635 ____ EXAMPLE, Inc.\n{NAME}",
            "EXAMPLE, Inc. · 10-K · fiscal year ended May 31, 2020",
        ),
        (
            f"{SEC}FORM 10-K\n{PURSUANT}For the fiscal year ended May 1, 2020\nCommission file number 1-1\n{NAME}",
            "10-K · fiscal year ended May 1, 2020",
        ),
        (
            "\nExample Corporation Reports First-Quarter 2023 Financial Results\nNews",
            "Example Corporation · earnings release · First-Quarter 2023",
        ),
        (
            "NEWS RELEASE\nExample Reports Fourth Quarter\nand Full-Year 2022 Operating Results",
            "Example · earnings release · Fourth Quarter and Full-Year 2022",
        ),
        ("Example 2022 Annual Report\nTo our shareholders", "annual report · 2022"),
        ("The Securities and Exchange Commission asks for a Form 10-K each year.", ""),
        ("A guide to blood pressure.", ""),
        ("", ""),
    ],
)
def test_filing_context_names_company_form_and_period(text: str, expected: str) -> None:
    assert filing_context(pages(text)) == expected


def test_filing_context_finds_the_cover_behind_a_letter() -> None:
    cover = f"{SEC}FORM 10-K\n{PURSUANT}For the fiscal year ended June 30, 2020\nExample Inc.\n{NAME}"
    assert filing_context(pages("Dear shareholders", "More words", cover)).startswith("Example Inc. · 10-K")


def test_filing_context_reads_a_name_set_one_word_per_line() -> None:
    words = f"{SEC}FORM 10-K {PURSUANT} For the fiscal year ended December 31, 2017 Commission File Number 001-37622 EXAMPLE, INC. {NAME}"
    assert filing_context(pages("\n".join(words.split()))) == "EXAMPLE, INC. · 10-K · fiscal year ended December 31, 2017"
