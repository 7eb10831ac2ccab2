"""Predictions of DICOM files as DICOM objects, for the hospital's own systems."""
