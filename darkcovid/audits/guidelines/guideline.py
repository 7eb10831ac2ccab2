"""A reporting guideline filled in by a run: what its files and checks answer, what is left to the author, and what fails."""

from collections.abc import Sequence
from dataclasses import dataclass

from darkcovid.audits.checks import RunEvidence
from darkcovid.audits.checks.registry import AUTHOR, FAIL, NOT_RUN, CheckResult
from darkcovid.audits.reporting_guideline import GuidelineItem, reporting_sheet

AUTO, AUTHOR_ITEM, FAILS = "auto", "author", "fails"


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a guideline.

    Attributes:
        number: As the guideline numbers it; '' where this sheet does not follow its numbers.
        section: Of a paper, or a domain.
        name: In a few words of our own.
        topics: Names of the rows of `reporting_sheet` that answer it.
        checks: Numbers of the checks that bear on it.
        ask: What is left to the author besides what the topics leave; '' where nothing is.
    """

    number: str
    section: str
    name: str
    topics: tuple[str, ...] = ()
    checks: tuple[int, ...] = ()
    ask: str = ""


@dataclass(frozen=True, slots=True)
class Guideline:
    """title: of the guideline; source: where it was published; note: how far the sheet follows it; items: in its order."""

    title: str
    source: str
    note: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class SheetRow:
    """An item filled in.

    Attributes:
        number: As in the guideline.
        section: Of a paper, or a domain.
        name: Of the item.
        status: `auto`: the run answers all of it; `author`: a person must add something; `fails`: a check of the run failed.
        answer: What the run says, '' where it says nothing.
        ask: What is left to the author, '' where nothing is.
    """

    number: str
    section: str
    name: str
    status: str
    answer: str
    ask: str


def guideline_sheet(guideline: Guideline, evidence: RunEvidence, checks: Sequence[CheckResult]) -> list[SheetRow]:
    """Every item in the guideline's order.

    Args:
        guideline: Which.
        evidence: A run's files, read.
        checks: Results of its checks.

    Returns:
        A row per item.
    """
    topics = {topic.name: topic for topic in reporting_sheet(evidence)}
    results = {check.number: check for check in checks}
    return [
        _row(item, [topics[name] for name in item.topics], [results[number] for number in item.checks])
        for item in guideline.items
    ]


def _row(item: Item, topics: Sequence[GuidelineItem], checks: Sequence[CheckResult]) -> SheetRow:
    known = [check for check in checks if check.status not in (NOT_RUN, AUTHOR)]
    answers = [f"{topic.name}: {topic.answer}" for topic in topics if topic.answer]
    answers += [f"check {check.number}, {check.name}: {check.status}, {check.words}" for check in known]
    left = [item.ask, *(topic.ask for topic in topics)]
    left += [f"{check.name}: {check.words}" for check in checks if check.status in (NOT_RUN, AUTHOR)]
    asks = [text for text in dict.fromkeys(left) if text]
    failed = any(check.status == FAIL for check in known)
    status = FAILS if failed else AUTHOR_ITEM if asks or not answers else AUTO
    return SheetRow(item.number, item.section, item.name, status, "; ".join(answers), "; ".join(asks))
