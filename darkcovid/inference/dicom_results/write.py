"""DICOM objects of predictions, as files: overlay, lungs and report of each radiograph in a folder of its own."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from darkcovid import __version__
from darkcovid.core.errors import DarkCovidError, DataError, UsageError, one_line
from darkcovid.core.io import atomic_path, sha256_file
from darkcovid.data.dicom import is_dicom
from darkcovid.data.dicom_tags import PatientIds
from darkcovid.inference.dicom_results.images import ModelIdentity, lung_segmentation, overlay_picture, secondary_capture
from darkcovid.inference.dicom_results.report import structured_report
from darkcovid.inference.dicom_results.source import SourceImage, read_source, uid_of
from darkcovid.inference.image_files import ImageRef
from darkcovid.inference.load import FittedModel
from darkcovid.inference.predictor import InferencePipeline, Prediction

CAPTURE, LUNGS, REPORT = "gradcam.dcm", "lungs.dcm", "report.dcm"
SERIES = {CAPTURE: 9001, LUNGS: 9002, REPORT: 9003}
LONGEST_NAME = 64


@dataclass
class DicomWriter:
    """Writes the results of DICOM files.

    Attributes:
        folder: Where to.
        model: What made the predictions.
        segmenter: SHA-256 of the lung U-Net's weights.
        ids: By which patients and studies are de-identified; None: results belong to the radiograph's own.
        written: Every file so far, in order.
    """

    folder: Path
    model: ModelIdentity
    segmenter: str
    ids: PatientIds | None
    written: list[Path] = field(default_factory=list)

    def __call__(self, image_ref: ImageRef, image: Image.Image, prediction: Prediction) -> list[str]:
        """Write the results of one radiograph.

        Args:
            image_ref: Its name and file.
            image: Mode L.
            prediction: With a heatmap.

        Returns:
            Why something is not written; nothing where all is.
        """
        assert image_ref.file is not None
        with image_ref.file.open("rb") as file:
            if not is_dicom(file):
                return ["no DICOM results: the image is no DICOM, so it belongs to no study"]
        try:
            source = read_source(image_ref.file, self.ids)
            made, left_out = result_objects(source, image, prediction, self.model, self.segmenter)
        except DataError as error:
            return [f"no DICOM results: {str(error).removeprefix(f'{image_ref.file}: ')}"]
        except (ValueError, TypeError, AttributeError, KeyError) as error:  # what highdicom says of values that it cannot take
            return [f"no DICOM results: its tags cannot be used ({one_line(error)[:160]})"]
        place = self.folder / (str(source.header.SOPInstanceUID) if source.deidentified else image_ref.name)
        if place / REPORT in self.written:
            return ["no DICOM results: another image has the same SOPInstanceUID"]
        for name, dataset in made.items():
            with atomic_path(place / name) as temporary:
                dataset.save_as(temporary, enforce_file_format=True)
            self.written.append(place / name)
        return left_out


def result_objects(
    source: SourceImage, image: Image.Image, prediction: Prediction, model: ModelIdentity, segmenter: str
) -> tuple[dict[str, Any], list[str]]:
    """The results of one radiograph.

    Args:
        source: The radiograph that they refer to.
        image: Its pixels, mode L.
        prediction: With a heatmap.
        model: What made it.
        segmenter: SHA-256 of the lung U-Net's weights.

    Returns:
        pydicom data sets by the names that `predict --dicom-dir` gives their files, and why one is not made.

    Raises:
        ValueError, TypeError, AttributeError, KeyError: highdicom takes a value of the source not.
    """
    made, left_out = {}, []
    if source.deidentified and not prediction.lungs_trusted:
        left_out.append("no Grad-CAM in DICOM: text may be burned in, and the lungs that are shown alone were not found")
    else:
        picture = overlay_picture(image, prediction, only_lungs=source.deidentified)
        made[CAPTURE] = secondary_capture(source, picture, model, SERIES[CAPTURE])
    if prediction.lungs_trusted:
        made[LUNGS] = lung_segmentation(source, prediction.lungs, model, segmenter, SERIES[LUNGS])
    made[REPORT] = structured_report(source, prediction, model, list(made.values()), SERIES[REPORT])
    return made, left_out


def dicom_writer(folder: Path, predictor: InferencePipeline, deidentify: bool) -> DicomWriter:
    """What writes the results of a predictor.

    Args:
        folder: Where to.
        predictor: Of a run's arm.
        deidentify: Whether ids and UIDs are hashed, names and dates emptied and only the lungs shown. The hash's salt is kept
            beside the folder, not in it, so that the folder can be given away.

    Returns:
        The writer.

    Raises:
        DarkCovidError: The extra is not installed.
        UsageError: There is no place beside the folder for the salt.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise DarkCovidError("--dicom-dir needs highdicom; install `darkcovid[dicom]`") from None
    ids = PatientIds(salt_beside(folder)) if deidentify else None
    return DicomWriter(folder, model_identity(predictor.model), predictor.segmenter.version, ids)


def salt_beside(folder: Path) -> Path:
    """Where the salt of a folder's ids is kept: never in the folder, however that is named.

    Raises:
        UsageError: There is no such place.
    """
    whole = folder.resolve()
    if whole == whole.parent:
        raise UsageError(f"--dicom-dir {folder}: --deidentify keeps a salt beside the folder; name a folder in it")
    return whole.with_name(f"{whole.name}.salt")


def model_identity(model: FittedModel) -> ModelIdentity:
    """How objects name a fitted model: by its recipe and fit, and by the checksum of its weights."""
    sums = [sha256_file(each.run / each.fit / "weights.safetensors") for each in model.networks]
    weights = sums[0] if len(sums) == 1 else sha256("".join(sums).encode()).hexdigest()
    name = f"{model.recipe.name} {model.fit}"[:LONGEST_NAME]
    return ModelIdentity(name, f"darkcovid {__version__} weights {weights[:12]}", uid_of(weights), model.run.name, model.classes)
