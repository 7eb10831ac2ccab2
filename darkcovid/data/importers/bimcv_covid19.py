"""BIMCV-COVID19+ and BIMCV-COVID19- (Vaya et al. 2020, arXiv:2006.01174): `sub-S03047/ses-E06164/mod-rx/..._vp-pa_dx.png` below
folders of any name, and the reports' findings in `derivatives/labels/*.tsv`. CT volumes (`mod-ct`) are left out."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.padchest import quoted_texts
from darkcovid.data.importers.read_table import table_rows

LABELS = "derivatives/labels/*.tsv"
PLACE = re.compile(r"(sub-S\d+)/(ses-E\d+)/(?:mod-rx/)?[^/]+$")
VIEW = re.compile(r"_vp-(pa|ap|ll|lateral)(?:_|$)")
VIEWS = {"pa": "PA", "ap": "AP", "ll": "L", "lateral": "L"}


def _tables(folder: Path) -> list[Path]:
    return sorted([*folder.glob(LABELS), *folder.glob(f"*/{LABELS}")])


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    findings = {
        (_prefixed("sub-", row["PatientID"]), _prefixed("ses-", row["ReportID"])): "|".join(quoted_texts(row["Labels"]))
        for table in _tables(folder)
        for row in table_rows(table, ("PatientID", "ReportID", "Labels"))
    }
    for path in files:
        place = PLACE.search(path.as_posix())
        if place and (place[1], place[2]) in findings:
            view = VIEW.search(path.stem)
            columns = {"view": VIEWS[view[1]] if view else "", "study_id": place[2]}
            yield ImportedImage(path.as_posix(), findings[place[1], place[2]], place[1], columns)


def _prefixed(prefix: str, text: str) -> str:
    return text if text.startswith(prefix) else prefix + text


BIMCV_COVID19 = Importer(
    "bimcv-covid19",
    "BIMCV-COVID19 (Vaya et al. 2020)",
    lambda folder: bool(_tables(folder)),
    _images,
    note="labels are findings of the report of a study, not results of PCR tests; sessions without a report are not listed",
)
