"""The Grad-CAM overlay as a secondary capture, and the lungs as a segmentation (PS3.3 A.8.4 and A.51), made by highdicom."""

from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from darkcovid.data.resize import mask_to_image
from darkcovid.inference.dicom_results.source import COMPRESSION, METHOD, SourceImage
from darkcovid.inference.predictor import Prediction
from darkcovid.lungs.box import lung_box
from darkcovid.report.overlays import downscale, heatmap_overlay

NOT_FOR_DIAGNOSIS = "Research software, not for diagnosis"
MANUFACTURER = "darkcovid"
LONG_SIDE, SHORT_SIDE = 1024, 512
BLACKENED = "pixels outside the lungs' box black"
BOX_MARGIN = 0.05
LONGEST_LINE = 64  # letters of the caption


@dataclass(frozen=True)
class ModelIdentity:
    """How objects name the model that made them.

    Attributes:
        name: Of the recipe and the fit, at most 64 letters.
        version: Of darkcovid and the first digits of the weights' SHA-256.
        device_uid: The same for the same weights.
        run: The run folder's name.
        classes: In the order of the probabilities.
    """

    name: str
    version: str
    device_uid: str
    run: str
    classes: tuple[str, ...]


def overlay_picture(image: Image.Image, prediction: Prediction, only_lungs: bool) -> Image.Image:
    """The radiograph under its heatmap, over a line that says what it is, so that nobody takes the picture for more.

    Args:
        image: Mode L.
        prediction: With a heatmap.
        only_lungs: Whether what lies outside the lungs' box, where names are burned in, is black.

    Returns:
        RGB, the long side 512 to 1024 px, and a strip of text below.
    """
    assert prediction.heat is not None
    heat = prediction.heat
    if only_lungs:
        top, left, bottom, right = lung_box(prediction.lungs, BOX_MARGIN).fractions(prediction.lungs.shape)
        rows, columns = np.arange(image.height) / image.height, np.arange(image.width) / image.width
        kept = ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))
        image, heat = Image.fromarray(np.where(kept, np.asarray(image), 0).astype(np.uint8)), np.where(kept, heat, 0)
    if max(image.size) < SHORT_SIDE:
        scale = SHORT_SIDE / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.BILINEAR)
        heat = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    small, heat = downscale(image, heat.astype(np.float32), LONG_SIDE)
    caption = f"Grad-CAM for {prediction.label}; answer: {prediction.answer}"
    lines = [line for text in (caption, *prediction.gravest, NOT_FOR_DIAGNOSIS) for line in wrap(text, LONGEST_LINE)]
    return _captioned(heatmap_overlay(np.asarray(small), heat), "\n".join(lines))


def _captioned(picture: Image.Image, text: str) -> Image.Image:
    """A picture over lines of text on black, at least wide enough for them."""
    font = ImageFont.load_default(max(14, picture.width // 40))
    drawing = ImageDraw.Draw(picture)
    _, _, right, bottom = drawing.multiline_textbbox((8, 6), text, font=font)
    sheet = Image.new("RGB", (max(picture.width, int(right) + 8), picture.height + int(bottom) + 8), "black")
    sheet.paste(picture, (0, 0))
    ImageDraw.Draw(sheet).multiline_text((8, picture.height + 6), text, fill="white", font=font)
    return sheet


def secondary_capture(source: SourceImage, picture: Image.Image, model: ModelIdentity, series: int) -> Any:
    """A picture as a secondary capture of the source's study.

    Args:
        source: The radiograph.
        picture: RGB.
        model: What made it.
        series: Its number.

    Returns:
        A `highdicom.sc.SCImage`.
    """
    from highdicom.sc import SCImage

    capture = SCImage.from_ref_dataset(
        source.header,
        np.asarray(picture),
        "RGB",
        8,
        "PATIENT",
        new_uid(),
        series,
        new_uid(),
        1,
        MANUFACTURER,
        patient_orientation=("L", "F"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **_equipment(model),
        specific_character_set="ISO_IR 192",
        series_description=NOT_FOR_DIAGNOSIS,
    )
    capture.PatientOrientation = source.header.get("PatientOrientation")  # empty where the radiograph does not say
    capture.BodyPartExamined = "CHEST"
    capture.ConversionType = "SYN"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.DerivationDescription = f"Grad-CAM of {model.name}, version {model.version}"[:1024]
    if source.burnt_in:
        capture.BurnedInAnnotation = source.burnt_in
    for keyword in COMPRESSION:
        if keyword in source.header:
            setattr(capture, keyword, source.header[keyword].value)
    _refer_to(capture, source)
    finished(capture, source)
    if source.deidentified:
        capture.DeidentificationMethod = [*METHOD, BLACKENED]
    return capture


def _refer_to(capture: Any, source: SourceImage) -> None:
    """Note of which image a capture was made, as highdicom notes it of a segmentation."""
    from highdicom.sr import CodedConcept
    from pydicom.dataset import Dataset

    image, purpose, series = Dataset(), Dataset(), Dataset()
    for each in (image, purpose):
        each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID = source.header.SOPClassUID, source.header.SOPInstanceUID
    purpose.PurposeOfReferenceCodeSequence = [CodedConcept("121322", "DCM", "Source image for image processing operation")]
    capture.SourceImageSequence = [purpose]
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = source.header.SeriesInstanceUID, [image]
    capture.ReferencedSeriesSequence = [series]


def lung_segmentation(source: SourceImage, lungs: np.ndarray, model: ModelIdentity, segmenter: str, series: int) -> Any:
    """A lung mask as a binary segmentation of the radiograph's own pixels.

    Args:
        source: The radiograph.
        lungs: (h, w) bool over the whole image.
        model: What made it.
        segmenter: SHA-256 of the lung U-Net's weights.
        series: Its number.

    Returns:
        A `highdicom.seg.Segmentation`.
    """
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    size = int(source.header.Columns), int(source.header.Rows)
    mask = np.asarray(mask_to_image(lungs).resize(size, Image.Resampling.BILINEAR)) >= 128
    algorithm = AlgorithmIdentificationSequence(
        "darkcovid lung U-Net", codes.DCM.ArtificialIntelligence, segmenter[:12], source=MANUFACTURER
    )
    lung = CodedConcept("39607008", "SCT", "Lung")
    structure = CodedConcept("123037004", "SCT", "Anatomical Structure")
    described = SegmentDescription(
        1, "Lungs", structure, lung, "AUTOMATIC", algorithm, tracking_uid=new_uid(), tracking_id="lungs"
    )
    segmentation = Segmentation(
        [source.header],
        mask[None].astype(np.uint8),
        "BINARY",
        [described],
        new_uid(),
        series,
        new_uid(),
        1,
        MANUFACTURER,
        **_equipment(model),
        content_label="LUNGS",
        content_description=NOT_FOR_DIAGNOSIS,
        content_creator_name=f"{MANUFACTURER}^",
        specific_character_set="ISO_IR 192",
        series_description=NOT_FOR_DIAGNOSIS,
    )
    segmentation.PatientOrientation = source.header.get("PatientOrientation")
    return finished(segmentation, source)


def _equipment(model: ModelIdentity) -> dict[str, Any]:
    return {
        "manufacturer_model_name": model.name,
        "software_versions": model.version,
        "device_serial_number": model.device_uid.rsplit(".", 1)[-1],
    }


def new_uid() -> str:
    """A UID that no other object has (PS3.5 B.2)."""
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix=None))


def finished(made: Any, source: SourceImage) -> Any:
    """Note an object's de-identification.

    Args:
        made: A highdicom object.
        source: The radiograph that it was made of.

    Returns:
        The object.
    """
    if source.deidentified:
        made.PatientIdentityRemoved, made.DeidentificationMethod = "YES", list(METHOD)
    return made
