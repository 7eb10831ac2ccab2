import json
import shutil

import docx
import pytest

import darkcovid as dc
from darkcovid.audits.checks import RunEvidence, run_checks
from darkcovid.audits.findings import parse_data_audit
from darkcovid.audits.guidelines import GUIDELINES, guideline_sheet
from darkcovid.core.errors import UsageError
from darkcovid.recipe import Recipe
from darkcovid.report.guideline_files import guideline_markdown, write_guideline
from darkcovid.report.html import read_evidence

from ..arms import ARM, comparison_of
from ..audits.test_checks import AUDIT, ENVIRONMENT
from ..conftest import RECIPES

RUN = RECIPES.parent / "docs" / "results" / "segmented"
TRIPOD_PARTS = {"3": "abc", "5": "ab", "6": "abc", "8": "abc", "9": "abc", "12": "abcdefg"} | {
    "18": "abcdef", "20": "abc", "23": "ab", "27": "abc"}  # fmt: skip


def rows(name, audit=AUDIT, **recipe):
    plain = Recipe(name="r", **recipe).model_dump(mode="json")
    evidence = RunEvidence(plain, comparison_of({"one": ARM}), audit and parse_data_audit(audit), ENVIRONMENT)
    return guideline_sheet(GUIDELINES[name], evidence, run_checks(evidence))


def test_every_published_item_is_there_once_and_in_order():
    assert [row.number for row in rows("claim")] == [str(number) for number in range(1, 45)]
    parts = [f"{number}{part}" for number in range(1, 28) for part in TRIPOD_PARTS.get(str(number), [""])]
    assert [row.number for row in rows("tripod-ai")] == parts
    domains = [row.section for row in rows("probast-ai")]
    for part in ("development", "evaluation"):
        assert [each for each in dict.fromkeys(domains) if each.startswith(part)] == [
            f"{part}: {domain}" for domain in ("participants and data", "predictors", "outcome", "analysis")
        ]


@pytest.mark.parametrize("name", GUIDELINES)
def test_each_item_is_answered_asked_or_fails(name):
    for row in rows(name) + rows(name, audit=None):
        assert row.status in ("auto", "author", "fails") and (row.answer or row.ask)
        assert (row.status == "auto") <= (not row.ask)


def test_what_only_a_person_knows_is_the_authors_and_what_the_run_knows_is_not():
    items = {row.number: row for row in rows("claim")}
    assert items["9"].status == items["23"].status == items["20"].status == "auto"
    assert items["16"].status == items["44"].status == "author" and not items["44"].answer


def test_leaked_patients_fail_the_item_of_disjoint_sets():
    leaking = AUDIT | {"patients": AUDIT["patients"] | {"on_both_sides": 4}, "leaks": True}
    items = {row.number: row for row in rows("claim", leaking)}
    assert items["20"].status == "fails" and "4 patients" in items["20"].answer
    assert {row.status for row in rows("probast-ai", leaking) if row.name == "no leakage between the sets"} == {"fails"}


@pytest.mark.filterwarnings("ignore:old names of recipe keys:FutureWarning")
def test_the_files_say_the_same(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("recipe.yaml", "comparison.json", "environment.json", "audit.json"):
        shutil.copy(RUN / name, folder / name)
    evidence, path = read_evidence(folder), folder / "claim.md"
    counts = write_guideline(evidence, run_checks(evidence), "claim", path)
    assert sum(counts.values()) == 44 and counts["fails"] > 0
    lines = [line for line in path.read_text().splitlines() if line.startswith("| ") and not line.startswith("| No.")]
    word = tmp_path / "sheet.docx"
    again = write_guideline(evidence, run_checks(evidence), "claim", word)
    (table,) = docx.Document(word).tables
    items = [[cell.text for cell in row.cells] for row in table.rows[1:] if len({cell.text for cell in row.cells}) > 1]
    assert again == counts and len(items) == len(lines) == 44
    for line, item in zip(lines, items, strict=True):
        assert line.startswith(f"| {item[0]} | ") and f"| {item[2]} |" in line
    assert "never a diagnosis" in path.read_text() and any("never a diagnosis" in p.text for p in docx.Document(word).paragraphs)


def test_words_from_outside_stay_in_their_cell():
    row = rows("claim")[0]
    odd = type(row)("1", "title", "x | y\n# z", "auto", "[a](b) <b>`", "")
    text = guideline_markdown(GUIDELINES["claim"], [], [odd])
    assert r"| 1 | x \| y # z | auto | \[a\](b) \<b>\` |  |" in text


def test_an_audit_of_predictions_says_what_it_cannot_know(darkcovid, tmp_path):
    predictions, manifest = tmp_path / "p.csv", tmp_path / "m.csv"
    labels = ["covid" if number % 2 else "rest" for number in range(40)]
    shares = [0.2 + number / 100 for number in range(40)]
    numbered = list(enumerate(zip(labels, shares, strict=True)))
    predictions.write_text("path,covid,rest\n" + "".join(f"{n}.png,{p:.2f},{1 - p:.2f}\n" for n, (_, p) in numbered))
    manifest.write_text("path,label,patient_id\n" + "".join(f"{n}.png,{label},p{n // 2}\n" for n, (label, _) in numbered))
    darkcovid("audit", "--predictions", predictions, "--manifest", manifest, "--runs-dir", tmp_path / "audits", "--no-pixels")
    (folder,) = (tmp_path / "audits").iterdir()
    said = json.loads(darkcovid("report", folder, "--sheet", "claim", "--json").stdout)
    assert sum(said["items"].values()) == 44 and "not known here" in (folder / "claim.md").read_text()
    sheet = dc.audit(predictions, cohort=manifest).save_sheet("claim", tmp_path / "python.md")
    items = [[line for line in each.read_text().splitlines() if line.startswith("| ")] for each in (sheet, folder / "claim.md")]
    assert len(items[0]) == len(items[1]) and "not known here" in sheet.read_text()
    with pytest.raises(UsageError, match="no guideline is called 'strobe'"):
        dc.audit(predictions, cohort=manifest).save_sheet("strobe")


def test_what_is_no_run_is_refused(tmp_path, darkcovid):
    assert "not a finished run" in darkcovid("report", tmp_path, "--sheet", "claim", code=2).stderr
    assert "--sheet" in darkcovid("report", tmp_path, "--format", "docx", code=2).stderr
