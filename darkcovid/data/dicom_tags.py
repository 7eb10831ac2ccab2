"""What the tags of a DICOM file say of its image and its patient, as columns of a manifest."""

import hmac
import secrets
import warnings
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from darkcovid.core.errors import DataError, one_line
from darkcovid.core.io import write_text

COLUMNS = {  # column of a manifest: DICOM keyword (PS3.6)
    "view": "ViewPosition",
    "sex": "PatientSex",
    "age": "PatientAge",
    "manufacturer": "Manufacturer",
    "body_part": "BodyPartExamined",
    "modality": "Modality",
}
READ = ("PatientID", "StudyInstanceUID", "Rows", "Columns", "NumberOfFrames", *COLUMNS.values())
NO_RADIOGRAPHS = (
    *("CT", "MR", "US", "NM", "PT", "MG", "XC", "SM", "ECG"),
    *("SR", "SEG", "PR", "KO", "DOC", "RTSTRUCT", "RTPLAN", "RTDOSE"),
)
SALT_BYTES = 32
ID_LETTERS = 16


class PatientIds:
    """Patient and study ids of DICOM files as a manifest may show them: HMAC-SHA256 with a secret salt, so that nobody without
    the salt can try known ids."""

    def __init__(self, salt_file: Path | None):
        """`salt_file`: read, or written with random bytes when the first id is asked for; None: ids stay as they are."""
        self._file, self._salt, self._lock = salt_file, b"", Lock()
        self.lasting = salt_file is None or salt_file.exists()  # whether ids shown before are those shown now

    @property
    def fingerprint(self) -> str:
        """How ids are shown: `raw`, or `hashed` and by which salt, where there is one yet."""
        if self._file is None:
            return "raw"
        known = self._file.read_bytes() if self._file.is_file() else b""
        return f"hashed {sha256(known).hexdigest()[:8]}" if known else "hashed"

    def shown(self, identifier: str) -> str:
        """The id that stands in the manifest, 16 hexadecimal letters where it is hashed; '' for ''.

        Raises:
            DataError: The salt's file is damaged.
        """
        if self._file is None or not identifier:
            return identifier
        with self._lock:
            self._salt = self._salt or _read_or_make_salt(self._file)
        return hmac.new(self._salt, identifier.encode(), sha256).hexdigest()[:ID_LETTERS]


def _read_or_make_salt(file: Path) -> bytes:
    if not file.exists():
        write_text(file, secrets.token_hex(SALT_BYTES) + "\n")
        file.chmod(0o600)
    try:
        salt = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except (ValueError, OSError) as error:
        raise DataError(f"{file}: not a salt of patient ids ({one_line(error)}); restore it, or remove it for new ids") from None
    if len(salt) != SALT_BYTES:
        raise DataError(f"{file}: not a salt of patient ids ({len(salt)} bytes); restore it, or remove it for new ids")
    return salt


def read_header(file: Path) -> Any:
    """The tags named by READ as a pydicom data set, without pixels.

    Raises:
        DataError: The header is damaged.
    """
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(READ), force=True)
    except Exception as error:  # noqa: BLE001 (a damaged file fails in many ways, none of which is ours)
        raise DataError(f"{file}: its DICOM header cannot be read ({one_line(error)[:120]})") from None


def why_no_radiograph(header: Any) -> str | None:
    """Why a file with this header is left out of a manifest; None where it may be a radiograph."""
    modality = _text_of(header, "Modality").upper()
    if modality in NO_RADIOGRAPHS:
        return f"a DICOM of modality {modality}"
    try:
        frames = int(_text_of(header, "NumberOfFrames") or 1)
    except ValueError:
        frames = 1
    return "a DICOM of several frames" if frames > 1 else None


def image_size(header: Any) -> tuple[int, int]:
    """(width, height) in pixels. Raises ValueError where the header does not say."""
    return int(_text_of(header, "Columns")), int(_text_of(header, "Rows"))


def manifest_columns(header: Any, ids: PatientIds) -> dict[str, str]:
    """`patient_id`, `study` and the columns of COLUMNS, those that the header has.

    Args:
        header: As `read_header` gives it.
        ids: How ids are shown.

    Returns:
        Text by column.
    """
    columns = {column: _text_of(header, keyword) for column, keyword in COLUMNS.items()}
    columns["patient_id"] = ids.shown(_text_of(header, "PatientID"))
    columns["study"] = ids.shown(_text_of(header, "StudyInstanceUID"))
    return {column: text for column, text in columns.items() if text}


def _text_of(header: Any, keyword: str) -> str:
    """A tag's value as text on one line; '' where it is absent, empty or damaged."""
    try:
        value = header.get(keyword)
        return "" if value is None else " ".join(str(value).split())
    except Exception:  # noqa: BLE001 (pydicom converts a value when it is asked for, and a damaged one fails in many ways)
        return ""
