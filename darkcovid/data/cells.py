"""How is what a manifest says written in one way? The names of its columns, and its cells, whatever program wrote them.

Tables of one cohort come out of several programs: `3` and `3.0`, `images\\a.png`, `nan`, `male`. Rows that mean the same must not
count as two patients or two images.
"""

import re
import unicodedata
from collections.abc import Sequence

import pandas as pd

AGE = re.compile(r"(\d+(?:\.\d*)?)\s*(y|m|w|d|years?|months?|weeks?|days?)?", re.IGNORECASE)
PER_YEAR = {"y": 1.0, "m": 12.0, "w": 365.25 / 7, "d": 365.25}
MAX_AGE = 130.0

NO_VALUE = {"nan", "none", "<na>", "nat", "null", "n/a", "#n/a", "na"}
MAY_BE_MISSING = ("patient_id", "view", "sex", "age", "lung_mask", "width", "height", "bytes", "sha256", "url")
SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F", "w": "F"}
VIEWS = ("PA", "AP")
WHOLE_FLOAT = re.compile(r"(\d+)\.0+")
ROUNDED_BY_SPREADSHEET = re.compile(r"\d(?:[.,]\d+)?[eE]\+\d+")


def normalize_column_names(header: Sequence[str], known: Sequence[str]) -> list[str]:
    """The header with every column that is a known one but for capitals, blanks or hyphens called by its known name."""
    names = [name.strip() for name in header]
    spelled = {name: re.sub(r"[\s-]+", "_", name).casefold() for name in names}
    return [spelled[name] if spelled[name] in known and spelled[name] not in names else name for name in names]


def normalize_path(text: str) -> str:
    """A path in POSIX form, without `.` and doubled slashes, in Unicode's composed form (NFC): a file's spellings become one."""
    path = unicodedata.normalize("NFC", text).replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def normalize_patient_id(text: str) -> str:
    """`3` for `3.0`, as pandas writes whole numbers of a column with gaps."""
    match = WHOLE_FLOAT.fullmatch(text)
    return match[1] if match else text


def patient_key(text: str) -> str:
    """Equal for ids that differ in capitals, leading zeros or the kind and number of blanks."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return plain.lstrip("0") or "0" if plain.isdecimal() else plain


def unify_patient_ids(ids: pd.Series) -> tuple[pd.Series, list[tuple[str, ...]]]:
    """(n,) patient ids with one spelling of each, the first in order of text, and the groups of spellings that became one."""
    spellings: dict[str, list[str]] = {}
    for text in sorted(set(ids) - {""}):
        spellings.setdefault(patient_key(text), []).append(text)
    several = [tuple(group) for group in spellings.values() if len(group) > 1]
    return ids.replace({text: group[0] for group in several for text in group}), several


def normalize_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with blanks around cells removed, `nan` and the like emptied where a value may be missing, and paths, patient ids,
    checksums, sexes and views written in one way. rows: (n) of text, with every column of a manifest."""
    rows = rows.apply(lambda column: column.str.strip())
    for name in MAY_BE_MISSING:
        rows[name] = rows[name].where(~rows[name].str.lower().isin(NO_VALUE), "")
    for name in ("path", "lung_mask"):
        rows[name] = rows[name].map(normalize_path)
    rows["patient_id"] = rows.patient_id.map(normalize_patient_id)
    rows["sha256"] = rows.sha256.str.lower()
    rows["sex"] = rows.sex.map(lambda text: SEXES.get(text.lower(), text))
    rows["view"] = rows["view"].map(lambda text: text.upper() if text.upper() in VIEWS else text)
    return rows


def parse_age(text: object) -> float:
    """An age in years: a number of 0 to 130, or DICOM's Age String (PS3.5, 6.2: three digits and D, W, M or Y for days, weeks,
    months or years); nan where it is neither."""
    match = AGE.fullmatch(str(text).strip())
    years = float(match[1]) / PER_YEAR[(match[2] or "y")[0].lower()] if match else float("nan")
    return years if years <= MAX_AGE else float("nan")
