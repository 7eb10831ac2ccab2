"""What a run says of its cohort before it trains."""

from dataclasses import replace

from rich.console import Console

from darkcovid.report.progress import Progress


def test_what_is_odd_about_a_cohort_is_said_first(cohort):
    manifest = replace(cohort.manifest, merged_patients=(("P1", "p1"), ("03", "3")))
    odd = replace(cohort, manifest=manifest, excluded_by_label={"flu": 3, "": 2})
    console = Console(record=True, width=200)
    Progress(console).cohort(odd)
    text = console.export_text()
    assert "patient ids: 2 are spelled in several ways, such as P1 and p1; each is one patient" in text
    assert "excluded, being of no class: 5 images (3 flu, 2 without a label)" in text
    plain = Console(record=True, width=200)
    Progress(plain).cohort(cohort)
    assert "patient ids" not in plain.export_text()
