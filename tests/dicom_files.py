"""Radiographs as DICOM files, as a hospital's archive has them."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
IDENTITY = {
    "PatientName": "Müller^Änne",
    "PatientID": "MRN-12345",
    "PatientBirthDate": "19600102",
    "StudyID": "STUDY7",
    "StudyDate": "20200304",
    "StudyTime": "101500",
    "AccessionNumber": "ACC-9",
    "ReferringPhysicianName": "House^Gregory",
}


def write_radiograph(path: Path, pixels: np.ndarray, **tags) -> Dataset:
    """pixels: (h, w) uint8; a tag of None is left out. Returns the data set."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SpecificCharacterSet = "ISO_IR 100"
    made.SOPClassUID, made.SOPInstanceUID = COMPUTED_RADIOGRAPHY, generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.Modality, made.PatientSex = "CR", "F"
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelData = pixels.tobytes()
    for keyword, value in (IDENTITY | tags).items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    made.file_meta.MediaStorageSOPClassUID = made.get("SOPClassUID") or COMPUTED_RADIOGRAPHY
    made.file_meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID") or generate_uid()
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return made
