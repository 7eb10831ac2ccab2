"""What a result takes over from the radiograph that it is about: patient, study, and how the image is referred to."""

import warnings
from dataclasses import dataclass
from hashlib import sha256
from os import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO

from darkcovid.core.errors import DataError, one_line
from darkcovid.data.dicom_tags import PatientIds

PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY = ("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
IMAGE = ("PixelSpacing", "ImagerPixelSpacing", "ImageType", "PatientOrientation", "ImageOrientationPatient")
COMPRESSION = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
KEPT_WITHOUT_IDENTITY = ("PatientSex", "PixelSpacing", "ImagerPixelSpacing", "PatientOrientation", *COMPRESSION)
LOSSY_SYNTAXES = {  # transfer syntax to the method's name (PS3.3 C.7.6.1.1.5.1), and whether it may also lose nothing
    "1.2.840.10008.1.2.4.50": ("ISO_10918_1", False),
    "1.2.840.10008.1.2.4.51": ("ISO_10918_1", False),
    "1.2.840.10008.1.2.4.81": ("ISO_14495_1", True),
    "1.2.840.10008.1.2.4.91": ("ISO_15444_1", True),
    "1.2.840.10008.1.2.4.93": ("ISO_15444_2", True),
    "1.2.840.10008.1.2.4.203": ("ISO_15444_15", True),
}
SEXES = ("", "M", "F", "O")
METHOD = ("ids and UIDs replaced", "names and dates emptied")


@dataclass(frozen=True)
class SourceImage:
    """A radiograph that results refer to.

    Attributes:
        header: A pydicom data set of its patient, study, series and image tags, without pixels; every value is valid DICOM.
        deidentified: Whether ids are hashed and names and dates are gone from it.
        burnt_in: BurnedInAnnotation of the file: `YES`, `NO`, or '' where it does not say.
    """

    header: Any
    deidentified: bool
    burnt_in: str


def read_source(file: Path | BinaryIO, ids: PatientIds | None, name: str | None = None) -> SourceImage:
    """The tags of a radiograph that its results need.

    Args:
        file: A DICOM file.
        ids: By which ids and UIDs are replaced, and names and dates emptied; None: they stay.
        name: For messages; None: the file's.

    Returns:
        The source.

    Raises:
        DataError: Not a DICOM, or one without valid identifiers, of which no object can be made that belongs to its study.
    """
    import pydicom

    name = str(file) if name is None else name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            header, burnt_in = _checked(read), str(read.get("BurnedInAnnotation", ""))
            _note_compression(header, read, file)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except Exception as error:  # noqa: BLE001 (a damaged file fails in many ways, none of which is ours)
        raise DataError(f"{name}: its DICOM header cannot be read ({one_line(error)[:120]})") from None
    if ids is not None:
        header = _without_identity(header, ids)
    return SourceImage(header, ids is not None, burnt_in if burnt_in in ("YES", "NO") else "")


def _checked(read: Any) -> Any:
    """A new data set of the valid values among the tags that results take over.

    Raises:
        DataError: An identifier is missing or not valid, so that a result would belong to nobody or to somebody else.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    for keyword in UIDS:
        text = str(read.get(keyword, "") or "")
        if not text or not UID(text).is_valid:
            raise DataError(f"a DICOM with {'an invalid' if text else 'no'} {keyword}, so no result can refer to it")
        setattr(header, keyword, text)
    for keyword in (*PATIENT, *STUDY):
        text = _valid_text(read, keyword)
        if text is None and keyword in ("PatientID", "PatientName", "AccessionNumber"):
            raise DataError(f"a DICOM with an invalid {keyword}, so no result can be given to its patient")
        setattr(header, keyword, text or "")
    if header.PatientSex not in SEXES:
        header.PatientSex = ""
    for keyword in IMAGE:
        if (value := _valid_text(read, keyword)) not in (None, ""):
            setattr(header, keyword, value)
    header.Modality = _valid_text(read, "Modality") or "OT"
    header.Rows, header.Columns = int(read.Rows), int(read.Columns)
    return header


def _note_compression(header: Any, read: Any, file: Path | BinaryIO) -> None:
    """Note in `header` how the radiograph lost detail, which all that is made of it has lost too (PS3.3 C.7.6.1.1.5)."""
    ratio, method = (_valid_text(read, keyword) or None for keyword in COMPRESSION[1:])
    said, now = str(read.get(COMPRESSION[0], "")), str(read.file_meta.get("TransferSyntaxUID", ""))
    in_file, may_keep_all = LOSSY_SYNTAXES.get(now, (None, True))
    if said != "01" and (in_file is None or (may_keep_all and said == "00")):
        return
    if in_file and not (ratio and method):
        stored = (file.stat().st_size if isinstance(file, Path) else file.seek(0, SEEK_END)) or 1
        pixels = header.Rows * header.Columns * int(read.get("SamplesPerPixel") or 1) * int(read.get("BitsAllocated") or 8) // 8
        ratio, method = ratio or f"{max(1.0, pixels / stored):.2f}", method or in_file
    header.LossyImageCompression = "01"
    for keyword, value in zip(COMPRESSION[1:], (ratio, method), strict=True):
        if value is not None:
            setattr(header, keyword, value)


def _valid_text(read: Any, keyword: str) -> Any:
    """A tag's value as text, several as a list; '' where it is absent, None where it is not valid."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import validate_value

    kind = dictionary_VR(keyword)
    try:
        value = read.get(keyword)
        several = not isinstance(value, str) and hasattr(value, "__iter__") and kind != "PN"
        texts = [str(each) for each in value] if several else ["" if value is None else str(value)]
        for text in texts:
            if any(ord(letter) < ord(" ") for letter in text) or "\ufffd" in text:
                return None
            validate_value(kind, text.encode("ascii", "replace").decode() if kind == "PN" else text, RAISE)
    except Exception:  # noqa: BLE001 (pydicom converts a value when it is asked for, and a damaged one fails in many ways)
        return None
    return texts if several else texts[0]


def _without_identity(header: Any, ids: PatientIds) -> Any:
    from pydicom.dataset import Dataset

    cleaned = Dataset()
    cleaned.SpecificCharacterSet = header.SpecificCharacterSet
    for keyword in (*PATIENT, *STUDY):
        setattr(cleaned, keyword, "")
    for keyword in KEPT_WITHOUT_IDENTITY:
        if keyword in header:
            setattr(cleaned, keyword, header[keyword].value)
    cleaned.PatientID = ids.shown(str(header.PatientID))
    for keyword in UIDS[:3]:
        setattr(cleaned, keyword, uid_of(ids.shown(str(header[keyword].value))))
    cleaned.SOPClassUID, cleaned.Modality = header.SOPClassUID, header.Modality
    cleaned.Rows, cleaned.Columns = header.Rows, header.Columns
    return cleaned


def uid_of(text: str) -> str:
    """A UID that is the same for the same text (PS3.5 B.2)."""
    return f"2.25.{int.from_bytes(sha256(text.encode()).digest()[:16])}"
