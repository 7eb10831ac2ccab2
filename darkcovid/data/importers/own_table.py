"""Images with a table of one's own beside them: which columns hold the path, the label and the patient is said by options."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.core.errors import UsageError
from darkcovid.data.csv_table import csv_form, rows_of_csv
from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.files_by_name import FilesByName
from darkcovid.data.importers.read_table import check_size
from darkcovid.data.manifest import OPTIONAL

KEPT = (*OPTIONAL, "split")


def table_importer(table: Path, path_column: str, label_column: str, patient_column: str | None) -> Importer:
    """An importer for any folder whose images a CSV lists. Columns with a manifest's own names, such as `view`, are kept.

    Args:
        table: The CSV.
        path_column: Of paths or file names.
        label_column: Of labels.
        patient_column: Of patients; None: the column `patient_id` where there is one.

    Returns:
        The importer.

    Raises:
        UsageError: The table has no such column, or has it twice.
        DataError: It is not a readable CSV.
    """
    check_size(table)
    form = csv_form(table, {name.lower() for name in (path_column, label_column, patient_column) if name})
    columns = {"--path-column": path_column, "--label-column": label_column, "--patient-column": patient_column}
    for option, column in columns.items():
        if column is not None and column not in form.header:
            raise UsageError(f"{option} {column}: {table} has no such column; it has {', '.join(form.header)}")

    doubled = [name for name in {*columns.values(), "patient_id", *KEPT} if name and form.header.count(name) > 1]
    if doubled:
        raise UsageError(f"{table}: column {min(doubled)!r} is in the header more than once; rename or remove all but one")

    def images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
        by_name = FilesByName(files)
        for _, cells in rows_of_csv(table, form, len(form.header)):
            row = dict(zip(form.header, (cell.strip() for cell in cells), strict=True))
            kept = {name: row[name] for name in KEPT if name in row and name not in columns.values()}
            patient = row.get(patient_column or "patient_id", "")
            if kept.get("lung_mask"):
                kept["lung_mask"] = kept["lung_mask"].replace("\\", "/").removeprefix("./")
            yield ImportedImage(by_name.find(row[path_column]), row[label_column], patient, kept)

    known = patient_column or "patient_id" in form.header
    note = "" if known else "no --patient-column: patients are not known"
    return Importer("table", f"{table.name}", lambda folder: True, images, note)
