"""What a manifest says of each image without showing it, and counting over that: by pandas here, by Spark in `scale/facts.py`.

Whatever an audit asks is a sum over images, so an archive can be counted in parts, on any machine, with one answer.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

import numpy as np
import pandas as pd

from darkcovid.data.splits import patient_groups
from darkcovid.data.table_cells import parse_age

CATEGORIES = ("extension", "patient_prefix", "view", "sex", "manufacturer", "quality", "license", "source")
NUMBERS = ("width", "height", "aspect", "bytes", "bytes_per_pixel", "age")
FOLDS = 5
DIGITS = 3
MAX_CATEGORIES = 20
UNKNOWN = "nan"


@dataclass(frozen=True, slots=True)
class PatientCounts:
    """Patients of a cohort, an image of unknown patient being one of its own.

    Attributes:
        total: All.
        repeated: Those of several images.
        straddling: Those in several sets.
        with_several_labels: Those.
        unknown: Images whose patient is not known.
    """

    total: int
    repeated: int
    straddling: tuple[str, ...]
    with_several_labels: int
    unknown: int


class MetadataCounts(Protocol):
    """n images' facts, wherever they are."""

    def patients(self) -> PatientCounts:
        """Their counts."""
        ...

    def copies(self) -> pd.DataFrame:
        """Columns sha256, path, label, side, in that order sorted: every image whose file is also another's."""

    def counts(self) -> pd.DataFrame:
        """Columns variable, value (text), label, fold, images, patients: `count_values` of all, without categories of more than
        20 values."""

    def some(self, most: int) -> pd.DataFrame:
        """At most so many images' facts, always the same ones, however they are ordered."""


def metadata_table(rows: pd.DataFrame, labels: Sequence[str], sides: Sequence[str] | str) -> pd.DataFrame:
    """What is counted of each image.

    Args:
        rows: (n) rows of a manifest.
        labels: (n) classes.
        sides: (n) sets, or one for all.

    Returns:
        (n) rows: `identities`, fold (of its patient), CATEGORIES as text ('' unknown), NUMBERS as float (nan unknown).
    """
    table = identities(rows, labels, sides)
    table["fold"] = [zlib.crc32(patient.encode()) % FOLDS for patient in table.patient]
    return table.join(metadata(rows).reset_index(drop=True))


def identities(rows: pd.DataFrame, labels: Sequence[str], sides: Sequence[str] | str) -> pd.DataFrame:
    """Which image is whose: all that leaks are looked for by.

    Args:
        rows: (n) rows of a manifest.
        labels: (n) classes.
        sides: (n) sets, or one for all.

    Returns:
        (n) rows: path, patient, known (bool), label, side (the set), sha256.
    """
    table = pd.DataFrame({"path": rows.path.to_numpy(), "patient": patient_groups(rows).to_numpy()})
    table["known"] = (rows.patient_id != "").to_numpy()
    table["label"], table["side"], table["sha256"] = list(labels), sides, rows.sha256.to_numpy()
    return table


def metadata(rows: pd.DataFrame) -> pd.DataFrame:
    """(n) rows of a manifest to CATEGORIES and NUMBERS, see `metadata_table`."""
    table = pd.DataFrame(index=rows.index)
    table["extension"] = [PurePosixPath(path).suffix.lower().replace("jpeg", "jpg") for path in rows.path]
    table["patient_prefix"] = rows.patient_id.str.split("-").str[0].where(rows.patient_id.str.contains("-"), "")
    for name in ("view", "sex", "manufacturer", "quality", "license", "source"):
        table[name] = rows[name]
    for name in ("width", "height", "bytes"):
        table[name] = pd.to_numeric(rows[name], errors="coerce").astype(float)
    table["age"] = [parse_age(text) for text in rows.age]
    table["aspect"] = table.width / table.height
    table["bytes_per_pixel"] = table.bytes / (table.width * table.height)
    return table[[*CATEGORIES, *NUMBERS]]


def varying(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of `metadata` that vary, without categories of more than 20 values, or of less than two images per value: those
    are names, not groups."""
    most = min(MAX_CATEGORIES, len(table) // 2)
    kept = [name for name in CATEGORIES if 1 < table[name].nunique() <= most]
    return table[kept + [name for name in NUMBERS if table[name].nunique(dropna=False) > 1]]


def count_values(facts: pd.DataFrame, categories: Sequence[str] = CATEGORIES) -> pd.DataFrame:
    """How many images have each value of each variable, by label and fold.

    Values are text; numbers are rounded to three significant digits, so that they can be counted. A patient counts once, by
    the image
    that `stands_for_patient` (a column of `facts` where they are but a part of all).

    Args:
        facts: As `metadata_table` gives them.
        categories: Which of CATEGORIES.

    Returns:
        Columns variable, value, label, fold, images, patients.
    """
    standing = facts["stands_for_patient"] if "stands_for_patient" in facts else stands_for_patient(facts)
    parts = []
    for variable in (*categories, *NUMBERS):
        values = facts[variable] if variable in CATEGORIES else rounded(facts[variable])
        texts = facts[["label", "fold"]].assign(value=[str(value) for value in values], patients=standing)
        counted = texts.groupby(["value", "label", "fold"]).patients.agg(images="size", patients="sum")
        parts.append(counted.reset_index().assign(variable=variable))
    return pd.concat(parts, ignore_index=True)[["variable", "value", "label", "fold", "images", "patients"]]


def rounded(numbers: pd.Series) -> pd.Series:
    """Floats to three significant digits; nan and 0 stay."""
    with np.errstate(divide="ignore", invalid="ignore"):
        place = np.floor(np.log10(np.abs(numbers.to_numpy(float))))
    place = np.where(np.isfinite(place), place, 0).astype(int)
    pairs = zip(numbers.tolist(), place.tolist(), strict=True)
    return pd.Series([round(value, DIGITS - 1 - at) for value, at in pairs], dtype=float)


def draw_order(paths: Sequence[str]) -> list[int]:
    """A number for each path; the images of the smallest numbers are drawn when some have to do."""
    return [zlib.crc32(path.encode()) for path in paths]


def stands_for_patient(facts: pd.DataFrame) -> pd.Series:
    """(n,) bool: one image of each patient, the first in `draw_order`."""
    ordered = facts.assign(order=draw_order(facts.path)).sort_values(["order", "path"])
    return ~ordered.duplicated("patient").reindex(facts.index)


class PandasMetadata:
    """Facts in memory, counted by pandas."""

    def __init__(self, table: pd.DataFrame):
        self.table = table

    def patients(self) -> PatientCounts:
        """Their counts."""
        by_patient = self.table.groupby("patient")
        sides, labels = by_patient.side.nunique(), by_patient.label.nunique()
        return PatientCounts(
            total=int(by_patient.ngroups),
            repeated=int((by_patient.size() > 1).sum()),
            straddling=tuple(sides.index[sides > 1]),
            with_several_labels=int((labels > 1).sum()),
            unknown=int((~self.table.known).sum()),
        )

    def copies(self) -> pd.DataFrame:
        """Images of one checksum: sha256, path, label, side (the set), sorted."""
        known = self.table[self.table.sha256 != ""]
        copied = known[known.duplicated("sha256", keep=False)]
        return copied[["sha256", "path", "label", "side"]].sort_values(["sha256", "path"]).reset_index(drop=True)

    def counts(self) -> pd.DataFrame:
        """`count_values` of all, without categories of more than 20 values."""
        return count_values(self.table, [name for name in CATEGORIES if self.table[name].nunique() <= MAX_CATEGORIES])

    def some(self, most: int) -> pd.DataFrame:
        """At most so many images, drawn by their paths."""
        order = self.table.assign(order=draw_order(self.table.path)).sort_values(["order", "path"]).head(most)
        return order.drop(columns="order").reset_index(drop=True)
