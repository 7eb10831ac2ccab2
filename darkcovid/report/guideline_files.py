"""A filled-in reporting guideline as Markdown, or as a Word document that authors complete."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkcovid import __version__
from darkcovid.audits.checks import CheckResult, RunEvidence
from darkcovid.audits.guidelines import AUTHOR_ITEM, AUTO, FAILS, GUIDELINES, Guideline, SheetRow, guideline_sheet
from darkcovid.core.errors import DarkCovidError, UsageError
from darkcovid.core.io import atomic_path, write_text
from darkcovid.report.tables import RESEARCH_ONLY
from darkcovid.report.verdict import verdict

HEADER = ("No.", "Item", "Status", "What the run says", "What is left to the author")
WIDTHS_CM = (1.2, 5.0, 1.8, 10.0, 8.0)
COLORS = {AUTO: "1B7837", AUTHOR_ITEM: "8C510A", FAILS: "B2182B"}
MEANING = f"{AUTO}: the run answers it; {AUTHOR_ITEM}: a person must add something; {FAILS}: a check of the run failed"


def write_guideline(evidence: RunEvidence, checks: Sequence[CheckResult], name: str, file: Path) -> dict[str, int]:
    """Fill in a guideline from a run or an audit, and write it.

    Args:
        evidence: What is known of it.
        checks: Results of all checks of it.
        name: `claim`, `tripod-ai` or `probast-ai`.
        file: Where to, a Word document where it ends with `.docx`, else Markdown.

    Returns:
        The number of items by status.

    Raises:
        UsageError: No such guideline.
        DarkCovidError: python-docx is not installed.
    """
    if name not in GUIDELINES:
        raise UsageError(f"no guideline is called {name!r}; there are {', '.join(GUIDELINES)}")
    guideline = GUIDELINES[name]
    rows = guideline_sheet(guideline, evidence, checks)
    counts = {status: sum(row.status == status for row in rows) for status in (AUTO, AUTHOR_ITEM, FAILS)}
    about = [
        f"Of {evidence.name}, filled in by darkcovid {__version__}. {RESEARCH_ONLY}",
        f"{guideline.source}. {guideline.note}",
        f"Verdict: {' '.join(verdict(evidence, [*checks]))}",
        f"{', '.join(f'{count} {status}' for status, count in counts.items())} ({MEANING}).",
    ]
    if file.suffix.lower() == ".docx":
        _write_docx(file, guideline, about, rows)
    else:
        write_text(file, guideline_markdown(guideline, about, rows))
    return counts


def guideline_markdown(guideline: Guideline, about: Sequence[str], rows: Sequence[SheetRow]) -> str:
    """The sheet as Markdown, a table per section.

    Args:
        guideline: Which.
        about: Paragraphs above the tables.
        rows: The items.

    Returns:
        The text.
    """
    lines, section = [f"# {guideline.title}", "", *(f"{text}\n" for text in about)], None
    for row in rows:
        if row.section != section:
            section = row.section
            lines += ["", f"## {section[0].upper()}{section[1:]}", "", f"| {' | '.join(HEADER)} |", "|---|---|---|---|---|"]
        lines.append(f"| {' | '.join(_escaped(text) for text in _cells(row))} |")
    return "\n".join(lines) + "\n"


def _cells(row: SheetRow) -> tuple[str, ...]:
    return row.number, row.name, row.status, row.answer, row.ask


def _escaped(text: str) -> str:
    """Text that stays in its cell, and is no markup of its own."""
    flat = " ".join(text.split())
    marks = "|\\*[]<" if flat.count("`") % 2 == 0 else "|\\*[]<`"  # in pairs they hold a command or a file's name
    flat = "".join(f"\\{letter}" if letter in marks else letter for letter in flat)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", flat)  # inside a word it is no markup


def _write_docx(file: Path, guideline: Guideline, about: Sequence[str], rows: Sequence[SheetRow]) -> None:
    try:
        import docx
        from docx.enum.section import WD_ORIENT
        from docx.shared import Cm, Pt, RGBColor
    except ImportError:
        raise DarkCovidError("--format docx needs python-docx; install `darkcovid[report]`") from None
    document = docx.Document()
    document.core_properties.author, document.core_properties.title = "", guideline.title
    page = document.sections[0]
    page.orientation, page.page_width, page.page_height = WD_ORIENT.LANDSCAPE, Cm(29.7), Cm(21.0)
    page.left_margin = page.right_margin = page.top_margin = page.bottom_margin = Cm(1.8)
    normal: Any = document.styles["Normal"]
    normal.font.size = Pt(9)
    document.add_heading(guideline.title, 1)
    for text in about:
        document.add_paragraph(_printable(text))
    table, section = document.add_table(rows=1, cols=len(HEADER), style="Table Grid"), None
    table.autofit = False
    for column, width in zip(table.columns, WIDTHS_CM, strict=True):
        column.width = Cm(width)
    _fill(table.rows[0], HEADER, bold=True)
    _repeat_on_every_page(table.rows[0])
    for row in rows:
        if row.section != section:
            section = row.section
            band = table.add_row()
            band.cells[0].merge(band.cells[-1]).text = ""
            band.cells[0].paragraphs[0].add_run(f"{section[0].upper()}{section[1:]}").bold = True
        line = table.add_row()
        _fill(line, _cells(row))
        line.cells[2].paragraphs[0].runs[0].font.color.rgb = RGBColor.from_string(COLORS[row.status])
    for line in table.rows:
        for cell, width in zip(line.cells, WIDTHS_CM, strict=True):
            if len(set(line.cells)) > 1:
                cell.width = Cm(width)
    with atomic_path(file) as temporary:
        document.save(str(temporary))


def _fill(row: Any, texts: Sequence[str], bold: bool = False) -> None:
    for cell, text in zip(row.cells, texts, strict=True):
        cell.paragraphs[0].add_run(_printable(text)).bold = bold


def _printable(text: str) -> str:
    """Text without the letters that XML cannot hold."""
    return "".join(letter for letter in text if letter.isprintable() or letter == " ")


def _repeat_on_every_page(row: Any) -> None:
    from docx.oxml import OxmlElement

    row._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))
