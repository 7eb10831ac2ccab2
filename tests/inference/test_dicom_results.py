"""Results as DICOM: read back by pydicom and highdicom, and checked by dciodvfy (Debian's dicom3tools) where it is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEG2000, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from darkcovid.core.errors import UsageError
from darkcovid.data.dicom_tags import PatientIds
from darkcovid.inference.dicom_results.images import BLACKENED, NOT_FOR_DIAGNOSIS, ModelIdentity, overlay_picture
from darkcovid.inference.dicom_results.source import COMPRESSION, read_source
from darkcovid.inference.dicom_results.write import CAPTURE, LUNGS, REPORT, DicomWriter, result_objects, salt_beside
from darkcovid.inference.image_files import ImageRef
from darkcovid.inference.predictor import OF_PHANTOMS, TRAINED_ON, Prediction

from ..dicom_files import IDENTITY, write_radiograph

MODEL = ModelIdentity("segmented small", "darkcovid 1 weights 0123456789ab", "2.25.99", "run-1", ("covid", "none"))
HEIGHT, WIDTH = 90, 120
BOX = slice(64, 192), slice(32, 224)  # of the lungs, on a grid of 256


def prediction(**changed):
    lungs, heat = np.zeros((256, 256), bool), np.zeros((HEIGHT, WIDTH), np.float32)
    lungs[BOX], heat[40:50, 50:60] = True, 1
    about = {
        "label": "covid",
        "probabilities": {"covid": 0.75, "none": 0.25},
        "answer": "covid",
        "class_set": ("covid",),
        "ood_score": 0.5,
        "lungs_trusted": True,
        "warnings": (),
        "lungs": lungs,
        "heat": heat,
    }
    return Prediction(**(about | changed))


def written(tmp_path, ids=None, said=(), tags=None, **changed):
    """The objects made of one radiograph, read back, and the radiograph."""
    pixels = np.full((HEIGHT, WIDTH), 200, np.uint8)
    source = write_radiograph(tmp_path / "in" / "x.dcm", pixels, **(tags or {}))
    writer = DicomWriter(tmp_path / "out", MODEL, "ab" * 32, ids)
    left_out = writer(ImageRef("x.dcm", tmp_path / "in" / "x.dcm"), Image.fromarray(pixels), prediction(**changed))
    assert len(left_out) == len(said) and all(re.search(*pair) for pair in zip(said, left_out, strict=True)), left_out
    return source, {path.name: pydicom.dcmread(path) for path in writer.written}, writer.written


def concepts(content, kind):
    """(name, value) of every CODE, NUM or TEXT item below."""
    for item in content:
        if item.ValueType == kind:
            value = {
                "CODE": lambda item: item.ConceptCodeSequence[0].CodeMeaning,
                "NUM": lambda item: float(item.MeasuredValueSequence[0].NumericValue),
                "TEXT": lambda item: str(item.TextValue),
            }[kind](item)
            yield item.ConceptNameCodeSequence[0].CodeMeaning, value
        yield from concepts(item.get("ContentSequence", []), kind)


def test_all_objects_belong_to_the_patient_and_study_of_the_radiograph(tmp_path):
    source, made, _ = written(tmp_path)
    assert list(made) == [CAPTURE, LUNGS, REPORT]
    for dataset in made.values():
        for keyword in ("StudyInstanceUID", "PatientSex", *IDENTITY):
            assert dataset[keyword].value == source[keyword].value
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
        assert NOT_FOR_DIAGNOSIS in dataset.SeriesDescription and dataset.SoftwareVersions == MODEL.version
        assert "PatientIdentityRemoved" not in dataset
    assert len({dataset.SeriesInstanceUID for dataset in made.values()}) == 3


def test_the_report_has_probabilities_conformal_set_model_and_what_it_is_not_for(tmp_path):
    source, _, paths = written(tmp_path, answer="not sure", class_set=("covid", "none"), warnings=("brightness is odd",))
    report = highdicom.sr.srread(paths[2])
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert dict(concepts(report.ContentSequence, "NUM")) == {"Probability of covid": 0.75, "Probability of none": 0.25}
    codes = list(concepts(report.ContentSequence, "CODE"))
    assert [value for name, value in codes if name == "Class in the conformal set"] == ["covid", "none"]
    assert {("Answer", "not sure"), ("Answer refused", "yes"), ("Lung mask", "accepted")} <= set(codes)
    texts = list(concepts(report.ContentSequence, "TEXT"))
    assert {("Algorithm Name", MODEL.name), ("Algorithm Version", MODEL.version)} <= set(texts)
    assert [text for name, text in texts if name == "Comment"] == [NOT_FOR_DIAGNOSIS, "brightness is odd"]
    (group,) = report.content.get_image_measurement_groups()
    (image,) = group.source_images
    assert image.referenced_sop_instance_uid == source.SOPInstanceUID
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert len(evidence) == 3


def test_the_caption_has_the_gravest_warnings():
    image = Image.new("L", (WIDTH, HEIGHT))
    plain = overlay_picture(image, prediction(warnings=("brightness is odd",)), only_lungs=False)
    grave = overlay_picture(image, prediction(warnings=("brightness is odd", OF_PHANTOMS, TRAINED_ON)), only_lungs=False)
    assert grave.height > plain.height == overlay_picture(image, prediction(), only_lungs=False).height


def test_the_segmentation_lies_on_the_radiograph_s_own_pixels(tmp_path):
    source, _, paths = written(tmp_path)
    segmentation = highdicom.seg.segread(paths[1])
    (mask,) = segmentation.get_pixels_by_source_instance([source.SOPInstanceUID])[..., 0]
    assert mask.shape == (HEIGHT, WIDTH)
    rows, columns = np.nonzero(mask)
    box = rows.min() / HEIGHT, (rows.max() + 1) / HEIGHT, columns.min() / WIDTH, (columns.max() + 1) / WIDTH
    np.testing.assert_allclose(box, [64 / 256, 192 / 256, 32 / 256, 224 / 256], atol=0.01)
    assert segmentation.get_segment_description(1).segmented_property_type.meaning == "Lung"


def test_the_capture_shows_the_heatmap(tmp_path):
    _, made, _ = written(tmp_path)
    shown = made[CAPTURE].pixel_array.astype(int)
    scale = shown.shape[1] / WIDTH
    hot = shown[round(45 * scale), round(55 * scale)]
    assert hot[0] - hot[2] > 50 and np.ptp(shown[round(10 * scale), round(10 * scale)]) == 0
    assert shown.shape[0] > HEIGHT * scale + 20  # the caption's lines


def test_a_rejected_lung_mask_is_not_written(tmp_path):
    _, made, _ = written(tmp_path, lungs_trusted=False)
    assert list(made) == [CAPTURE, REPORT]
    assert ("Lung mask", "rejected") in set(concepts(made[REPORT].ContentSequence, "CODE"))


@pytest.mark.parametrize("burnt", ["YES", "NO", None])
def test_without_identity_nothing_names_the_patient(tmp_path, burnt):
    ids = PatientIds(tmp_path / "salt")
    tags = {"BurnedInAnnotation": burnt} if burnt else {}
    source, made, paths = written(tmp_path, ids, tags=tags)
    originals = [*IDENTITY.values(), source.StudyInstanceUID, source.SOPInstanceUID, source.SeriesInstanceUID, "Änne"]
    for path in paths:
        content = path.read_bytes()
        assert not [text for text in originals for code in ("utf-8", "latin-1") if text.encode(code) in content]
        assert not [text for text in originals if text in str(path.relative_to(tmp_path))] and "x.dcm" not in str(path)
    for dataset in made.values():
        assert dataset.PatientIdentityRemoved == "YES" and dataset.PatientID and not dataset.StudyDate
        assert dataset.PatientID == ids.shown(IDENTITY["PatientID"])
    studies = {dataset.StudyInstanceUID for dataset in made.values()}
    assert len(studies) == 1 and source.StudyInstanceUID not in studies
    assert {read_source(tmp_path / "in" / "x.dcm", ids).header.StudyInstanceUID} == studies  # the same the next time


def test_without_identity_only_the_lungs_box_is_shown(tmp_path):
    _, made, _ = written(tmp_path, PatientIds(tmp_path / "salt"))
    shown = made[CAPTURE].pixel_array
    scale = shown.shape[1] / WIDTH
    assert shown[: round(HEIGHT * 0.2 * scale)].max() == 0 and shown[round(HEIGHT / 2 * scale), shown.shape[1] // 2].max() > 100
    _, made, _ = written(tmp_path, PatientIds(tmp_path / "salt"), ["no Grad-CAM in DICOM"], lungs_trusted=False)
    assert list(made) == [REPORT]


@pytest.mark.parametrize("identified", [True, False])
@pytest.mark.parametrize(
    ("syntax", "tags", "expected"),
    [
        (ExplicitVRLittleEndian, {}, ("", "", "")),
        (ExplicitVRLittleEndian, {"LossyImageCompression": "00"}, ("", "", "")),
        (
            ExplicitVRLittleEndian,
            {"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5", "LossyImageCompressionMethod": "ISO_15444_1"},
            ("01", "12.5", "ISO_15444_1"),
        ),
        (JPEGBaseline8Bit, {}, ("01", None, "ISO_10918_1")),
        (JPEG2000, {}, ("01", None, "ISO_15444_1")),
        (JPEG2000, {"LossyImageCompression": "00"}, ("", "", "")),
        (JPEG2000Lossless, {}, ("", "", "")),
    ],
)
def test_what_the_radiograph_lost_its_results_have_lost_too(tmp_path, identified, syntax, tags, expected):
    pixels = np.full((HEIGHT, WIDTH), 200, np.uint8)
    made = write_radiograph(tmp_path / "x.dcm", pixels, **tags)
    made.file_meta.TransferSyntaxUID = syntax
    if syntax.is_compressed:
        made.PixelData = pydicom.encaps.encapsulate([b"\0" * 900])
    made.save_as(tmp_path / "x.dcm")
    source = read_source(tmp_path / "x.dcm", None if identified else PatientIds(tmp_path / "salt"))
    objects, _ = result_objects(source, Image.fromarray(pixels), prediction(), MODEL, "ab" * 32)
    for name in (CAPTURE, LUNGS):
        flag, ratio, method = (str(objects[name].get(keyword, "")) for keyword in COMPRESSION)
        assert (flag.replace("00", ""), method) == (expected[0], expected[2])
        assert ratio == expected[1] if expected[1] is not None else float(ratio) >= 1


def test_the_capture_says_of_which_image_it_was_made(tmp_path):
    source, made, _ = written(tmp_path)
    (image,), (series,) = made[CAPTURE].SourceImageSequence, made[CAPTURE].ReferencedSeriesSequence
    assert image.PurposeOfReferenceCodeSequence[0].CodeValue == "121322" and series.SeriesInstanceUID == source.SeriesInstanceUID
    for each in (image, series.ReferencedInstanceSequence[0]):
        assert (each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID) == (source.SOPClassUID, source.SOPInstanceUID)


def test_only_the_capture_is_said_to_have_black_pixels(tmp_path):
    _, made, _ = written(tmp_path, PatientIds(tmp_path / "salt"))
    assert [BLACKENED in each.DeidentificationMethod for each in made.values()] == [True, False, False]


def test_the_salt_lies_beside_the_folder_however_that_is_named(tmp_path, monkeypatch):
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    for name, salt in ((".", "outer/inner.salt"), ("..", "outer.salt"), ("../inner/", "outer/inner.salt"), ("new", "new.salt")):
        assert salt_beside(Path(name)) == (inner if name == "new" else tmp_path) / salt
    with pytest.raises(UsageError, match="beside the folder"):
        salt_beside(Path("/"))


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"StudyInstanceUID": None}, "a DICOM with no StudyInstanceUID"),
        ({"SOPInstanceUID": ""}, "a DICOM with no SOPInstanceUID"),
        ({"SeriesInstanceUID": "1.2.x"}, "a DICOM with an invalid SeriesInstanceUID"),
        ({"PatientID": "x" * 65}, "a DICOM with an invalid PatientID"),
        ({"PatientID": "a\x1b[31m"}, "a DICOM with an invalid PatientID"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_belongs_to_no_patient_gets_no_results(tmp_path, tags, said):
    _, made, _ = written(tmp_path, None, [f"^no DICOM results: {said}"], tags)
    assert not made


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_odd_tags_that_name_nobody_are_left_empty(tmp_path):
    odd = {"StudyDate": "yesterday", "PatientSex": "X", "PixelSpacing": None, "PatientBirthDate": "", "Modality": ""}
    _, made, _ = written(tmp_path, tags=odd | {"PixelSpacing": [0.1, 0.2]})
    for dataset in made.values():
        assert not dataset.StudyDate and not dataset.PatientSex and dataset.PatientID == IDENTITY["PatientID"]


def test_class_names_and_warnings_of_any_kind_fit(tmp_path):
    names = ("a\\b", "x" * 200, "größer\nals 5 mm")
    shares = dict(zip(names, (0.5, 0.25, 0.25), strict=True))
    _, _, paths = written(tmp_path, probabilities=shares, label=names[0], class_set=names, warnings=("w" * 5000,))
    values = dict(concepts(highdicom.sr.srread(paths[2]).ContentSequence, "NUM"))
    assert list(values.values()) == [0.5, 0.25, 0.25] and "Probability of größer als 5 mm" in values


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_pydicom_s_own_files_get_results_or_one_line(tmp_path):
    writer, said = DicomWriter(tmp_path / "out", MODEL, "ab" * 32, None), []
    for number, path in enumerate(sorted((Path(pydicom.__path__[0]) / "data").rglob("*.dcm"))):
        said += writer(ImageRef(f"{number}.dcm", path), Image.new("L", (WIDTH, HEIGHT)), prediction())
    assert len(writer.written) > 100 and said
    assert all("\n" not in line and line.startswith("no DICOM results: ") for line in said)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian: dicom3tools)")
@pytest.mark.parametrize("identified", [True, False])
def test_dciodvfy_finds_no_error(tmp_path, identified):
    ids = None if identified else PatientIds(tmp_path / "salt")
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "9", "LossyImageCompressionMethod": "ISO_10918_1"}
    _, _, paths = written(tmp_path, ids, (), lossy, answer="not sure", class_set=(), warnings=("odd",))
    for path, kind in zip(paths, ("SCImage", "Segmentation", "ComprehensiveSR"), strict=True):
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        assert kind in lines and not [line for line in lines if line.startswith("Error")], lines
