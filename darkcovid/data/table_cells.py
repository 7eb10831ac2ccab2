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

NO_VALUE = {"nan", "<na>", "nat", "null", "n/a", "#n/a", "na"}  # as pandas, R and Excel write a missing cell
NONE_IS_A_VALUE = ("label", "etiology", "finding")
INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff]")
SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F", "w": "F"}
VIEWS = ("PA", "AP")
WHOLE_FLOAT = re.compile(r"(\d+)\.0+")
ROUNDED_BY_SPREADSHEET = re.compile(r"\d[.,]\d+[eE]\+?\d+|\d[eE]\+\d+")
LARGEST_WHOLE_FLOAT = 2**53


def normalize_column_names(header: Sequence[str], known: Sequence[str]) -> list[str]:
    """The header with every column that is a known one but for capitals, blanks or hyphens called by its known name.

    Args:
        header: Names as they are written.
        known: Names that a manifest has.

    Returns:
        One name per column.
    """
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
    """Equal for ids that differ in case, leading zeros, invisible characters or the kind and number of blanks."""
    plain = " ".join(INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold().split())
    return plain.lstrip("0") or "0" if plain.isdecimal() else plain


def unify_patient_ids(ids: pd.Series) -> tuple[pd.Series, list[tuple[str, ...]]]:
    """(n,) patient ids with one spelling of each, the first in order of text, and the groups of spellings that became one."""
    spellings: dict[str, list[str]] = {}
    for text in sorted(set(ids) - {""}):
        spellings.setdefault(patient_key(text), []).append(text)
    several = [tuple(group) for group in spellings.values() if len(group) > 1]
    unified = {text: group[0] for group in several for text in group}
    return ids.map(lambda text: unified.get(text, text)), several


def number_text(number: float | None) -> str:
    """A number of a typed table as an id is written: `3` for 3.0, '' for a missing one."""
    if number is None or number != number:
        return ""
    return str(int(number)) if number == int(number) and abs(number) < LARGEST_WHOLE_FLOAT else repr(number)


def normalize_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with blanks around cells removed, invisible characters too, `nan` and the like emptied, and paths, patient ids,
    checksums, sexes and views written in one way. rows: (n) of text, with every column of a manifest."""
    rows = rows.apply(lambda column: column.str.strip().str.replace(INVISIBLE, "", regex=True))
    for name in rows:
        missing = NO_VALUE if name in NONE_IS_A_VALUE else NO_VALUE | {"none"}
        rows[name] = rows[name].where(~rows[name].str.lower().isin(missing), "")
    for name in ("path", "lung_mask"):
        rows[name] = rows[name].map(normalize_path)
    rows["patient_id"] = rows.patient_id.map(normalize_patient_id)
    rows["sha256"] = rows.sha256.str.lower()
    for name in ("sex", "view"):
        rows[name] = rows[name].map(lambda text, name=name: normalize_value(name, text))
    return rows


def normalize_value(column: str, text: str) -> str:
    """A value as `normalize_cells` writes it: `F` for `female`, `PA` for `pa`.

    Args:
        column: `sex` or `view`.
        text: The value as it is written.

    Returns:
        The normalized value; `text` itself where it is none that is known.
    """
    if column == "sex":
        return SEXES.get(text.lower(), text)
    return text.upper() if column == "view" and text.upper() in VIEWS else text


def parse_age(text: object) -> float:
    """An age in years: a number of 0 to 130, or DICOM's Age String (PS3.5, 6.2: three digits and D, W, M or Y for days, weeks,
    months or years); nan where it is neither."""
    match = AGE.fullmatch(str(text).strip())
    years = float(match[1]) / PER_YEAR[(match[2] or "y")[0].lower()] if match else float("nan")
    return years if years <= MAX_AGE else float("nan")
