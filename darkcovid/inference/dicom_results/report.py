"""The answer as a structured report (TID 1500, Measurement Report, PS3.16): probabilities, conformal set, answer or refusal,
and what it is not for."""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from darkcovid.inference.dicom_results.images import MANUFACTURER, NOT_FOR_DIAGNOSIS, ModelIdentity, finished, new_uid
from darkcovid.inference.dicom_results.source import SourceImage
from darkcovid.inference.predictor import Prediction
from darkcovid.metrics.conformal import NOT_SURE, UNLIKE

SCHEME = "99DARKCOVID"
LONGEST_MEANING = 64
LONGEST_TEXT = 1024


def structured_report(
    source: SourceImage, prediction: Prediction, model: ModelIdentity, others: Sequence[Any], series: int
) -> Any:
    """What the model says of a radiograph.

    Args:
        source: The radiograph.
        prediction: Of it.
        model: What made it.
        others: Objects made of the same prediction, kept as evidence.
        series: Its number.

    Returns:
        A `highdicom.sr.ComprehensiveSR`.
    """
    from highdicom import sr
    from pydicom.sr.codedict import codes

    observer = sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            model.device_uid, name=model.name, manufacturer_name=MANUFACTURER, model_name=model.name, serial_number=model.version
        ),
    )
    algorithm = sr.AlgorithmIdentification(
        model.name, model.version, [f"run {model.run}"], codes.DCM.ArtificialIntelligence, MANUFACTURER
    )
    image = sr.SourceImageForMeasurementGroup(source.header.SOPClassUID, source.header.SOPInstanceUID)
    group = sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(new_uid(), "radiograph"),
        algorithm_id=algorithm,
        finding_sites=[sr.FindingSite(sr.CodedConcept("51185008", "SCT", "Thorax"))],
        measurements=[
            sr.Measurement(_concept(f"Probability of {name}"), round(share, 6), codes.UCUM.NoUnits)
            for name, share in prediction.probabilities.items()
        ],
        qualitative_evaluations=[sr.QualitativeEvaluation(_concept(name), _concept(value)) for name, value in _said(prediction)],
        source_images=[image],
    )
    for text in (NOT_FOR_DIAGNOSIS, *prediction.warnings):
        comment = sr.TextContentItem(codes.DCM.Comment, _clean(text)[:LONGEST_TEXT], sr.RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(comment)
    content = sr.MeasurementReport(
        sr.ObservationContext(observer_device_context=observer),
        sr.CodedConcept("399208008", "SCT", "Plain chest X-ray"),
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = sr.ComprehensiveSR(
        [source.header, *others],
        content[0],
        new_uid(),
        series,
        new_uid(),
        1,
        MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        manufacturer_model_name=model.name,
        software_versions=model.version,
        device_serial_number=model.device_uid.rsplit(".", 1)[-1],
        specific_character_set="ISO_IR 192",
        series_description=NOT_FOR_DIAGNOSIS,
    )
    return finished(report, source)


def _said(prediction: Prediction) -> list[tuple[str, str]]:
    """Each statement in words from a list, and its value."""
    refused = prediction.answer in (NOT_SURE, UNLIKE)
    return [
        ("Answer", prediction.answer),
        ("Answer refused", "yes" if refused else "no"),
        ("Most probable class", prediction.label),
        *[("Class in the conformal set", name) for name in prediction.class_set],
        ("Lung mask", "accepted" if prediction.lungs_trusted else "rejected"),
    ]


def _concept(meaning: str) -> Any:
    """A concept of darkcovid's own scheme; its code is the same for the same words."""
    from highdicom.sr import CodedConcept

    meaning = _clean(meaning)
    return CodedConcept(sha256(meaning.encode()).hexdigest()[:16], SCHEME, meaning[:LONGEST_MEANING])


def _clean(text: str) -> str:
    """Text without what DICOM gives a meaning of its own."""
    return re.sub(r"[\x00-\x1f\\]+", " ", text).strip() or "unnamed"
