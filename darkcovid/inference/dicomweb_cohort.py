"""A cohort from a DICOMweb server: the radiographs of studies in a folder, with a manifest that shows no identity."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.io import write_text
from darkcovid.data.dicom_tags import PatientIds
from darkcovid.data.download.fetch import DownloadListener, DownloadResult
from darkcovid.data.file_info import file_facts
from darkcovid.data.importers.read_table import table_rows
from darkcovid.data.manifest import OPTIONAL, REQUIRED
from darkcovid.data.table_cells import normalize_cells
from darkcovid.inference.dicomweb import listed_instances, parse_address, retrieve

MANIFEST, SALT = "manifest.csv", "manifest.salt"


def read_studies(path: Path) -> dict[str, str]:
    """A list of studies.

    Args:
        path: A CSV with the columns `study`, a UID, and, where it is known, `label`.

    Returns:
        Each study's label, '' where it has none.

    Raises:
        DataError: It cannot be read, or has no study.
        UsageError: A study has two labels.
    """
    labels: dict[str, str] = {}
    for row in table_rows(path, ("study",)):
        study, label = row["study"].strip(), (row.get("label") or "").strip()
        if study and labels.setdefault(study, label) != label:
            raise UsageError(
                f"{path}: study {study[:80]} has two labels, {labels[study]!r} and {label!r}; keep one row per study"
            )
    if not labels:
        raise DataError(f"{path}: no study in it; write UIDs in a column `study`")
    return labels


def fetch_cohort(address: str, studies: Mapping[str, str], folder: Path, watcher: DownloadListener) -> list[DownloadResult]:
    """Fetch the radiographs of studies, and write the manifest of all that came, after each study and where it breaks off.

    A file is named after its hashed SOPInstanceUID. One that is there is not fetched again, so what was interrupted goes on, and
    rows of earlier fetches stay. Files keep their tags, patient and name included; the manifest shows hashed ids.

    Args:
        address: Of the service, or of a study, series or instance of it.
        studies: Label of each study, '' where none is known; with an address that names a study, that one's.
        folder: Where files, `manifest.csv` and the salt of ids go.
        watcher: Told of what is fetched.

    Returns:
        What became of each image, in order.

    Raises:
        UsageError: No study is named, or twice.
        DataError: A study has no radiograph, or none came.
        DarkCovidError: As `fetched_radiographs` does.
    """
    parsed = parse_address(address)
    if (parsed.study is None) == (not studies):
        raise UsageError(
            f"{parsed.service}: name a study in the address (/studies/UID) or studies with --studies FILE, and not both; "
            "so no other patient's images are fetched"
        )
    client, ids = parsed.client(), PatientIds(folder / SALT)
    labels = studies or {parsed.study or "": ""}
    wanted = {study: listed_instances(client, parsed.of_study(study)) for study in labels}
    watcher.begin(sum(map(len, wanted.values())), None)
    rows, done = _known_rows(folder), []
    for study, instances in wanted.items():
        try:
            for instance in instances:
                name = f"{ids.shown(instance[2])}.dcm"
                known = (folder / name).is_file()
                fault = None if known else retrieve(client, parsed.service, instance, folder / name)
                facts = fault or file_facts(folder / name, ids)
                if isinstance(facts, str):
                    fetched = DownloadResult(name, 0, facts)
                else:
                    label = labels[study] or rows.get(name, {}).get("label", "")
                    rows[name] = {"label": label, "dataset": folder.resolve().name} | facts | {"path": name, "label": label}
                    fetched = DownloadResult(name, int(facts["bytes"]), None)
                    watcher.bytes(0 if known else fetched.length)
                watcher.file(fetched)
                done.append(fetched)
        finally:
            if rows:
                write_text(folder / MANIFEST, _table(rows).to_csv(index=False, lineterminator="\n"))
    return done


def _known_rows(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / MANIFEST
    return {row["path"]: dict(row) for row in table_rows(path, REQUIRED)} if path.is_file() else {}


def _table(rows: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    table = pd.DataFrame(list(rows.values()))
    known = [*REQUIRED, *OPTIONAL]
    columns = known + sorted(set(table.columns) - set(known))
    return normalize_cells(table.reindex(columns=columns, fill_value="").fillna(""))
