import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from darkcovid.core.errors import DataError, UsageError
from darkcovid.data.decode import load_grayscale
from darkcovid.inference.image_files import ImageRef
from darkcovid.inference.load import load_fitted
from darkcovid.inference.predict_files import predict_images
from darkcovid.inference.predictor import InferencePipeline, load_pipeline
from darkcovid.lungs.crop import CropTransform
from darkcovid.metrics.calibration import apply_temperature

from ..commands import error_of
from ..dicom_files import write_radiograph

KEYS = ["image", "label", "probabilities", "answer", "class_set", "ood_score", "lungs_trusted", "warnings"]


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["unsegmented", "small", "segmented"])
def test_an_image_is_seen_as_in_training(fitted_run, phantom_files, arm):
    predictor = load_pipeline(fitted_run, arm, "cpu")
    table = pd.read_csv(fitted_run / arm / "predictions.csv").set_index("image")
    found = predictor([load_grayscale(path) for path in phantom_files.values()])
    wanted = table.loc[list(phantom_files), [f"probability_{name}" for name in predictor.model.classes]].to_numpy()
    wanted = apply_temperature(wanted, predictor.model.temperature)
    np.testing.assert_allclose([list(one.probabilities.values()) for one in found], wanted, atol=2e-4)
    assert [one.label for one in found] == [predictor.model.classes[best] for best in wanted.argmax(1)]


def test_one_image_alone_and_among_others_gets_the_same(fitted_run, phantom_files):
    predictor = load_pipeline(fitted_run, "segmented", "cpu")
    images = [load_grayscale(path) for path in list(phantom_files.values())[:3]]
    alone = predictor(images[2:])[0].probabilities
    assert predictor(images)[2].probabilities == pytest.approx(alone, abs=1e-5)
    assert predictor([]) == []


def test_an_explanation_lies_over_the_image(fitted_run, phantom_files):
    image = load_grayscale(next(iter(phantom_files.values()))).resize((150, 120))
    for arm in ("unsegmented", "segmented"):
        (found,) = load_pipeline(fitted_run, arm, "cpu")([image], explain=True)
        assert found.heat.shape == (120, 150)
        assert (found.heat >= 0).all() and np.isfinite(found.heat).all()


def test_a_map_of_a_crop_goes_back_to_where_the_crop_was():
    seen = np.zeros((40, 40), np.float32)
    seen[:20, :20] = 1  # the upper left quarter of what was seen
    box = (0.25, 0.5, 0.75, 1.0)  # of an image 200 wide and 100 high: rows 25..75, columns 100..200
    squashed = CropTransform([box], (40, 40), "squash").over_image(0, seen, (200, 100))
    assert squashed.shape == (100, 200)
    assert squashed[26:48, 102:148].min() > 0.9 and squashed[:24].max() == 0 and squashed[:, :99].max() == 0
    assert squashed[54:74].max() == 0
    padded = CropTransform([box], (40, 40), "letterbox").over_image(
        0, seen, (200, 100)
    )  # 50x100 becomes 20x40, with 10 black rows above
    assert padded[26:46, 102:148].min() > 0.9 and padded[54:].max() == 0


def test_what_is_no_radiograph_is_doubted(fitted_run):
    predictor = load_pipeline(fitted_run, "unsegmented", "cpu")
    white, noise = Image.new("L", (96, 96), 255), Image.fromarray(np.random.RandomState(0).randint(0, 256, (96, 96), np.uint8))
    for found in predictor([white, noise]):
        assert not found.lungs_trusted
        assert any(warning.startswith("lung mask rejected: ") for warning in found.warnings)
    said = " ".join(predictor([white])[0].warnings)
    assert "brightness 1.00 is unlike the training images'" in said and "contrast 0.00 is unlike" in said


def test_the_best_arm_a_named_arm_and_an_arm_s_folder(fitted_run):
    scores = {
        arm: json.loads((fitted_run / arm / "metrics.json").read_text())["balanced_accuracy"]
        for arm in ("unsegmented", "small", "segmented")
    }
    assert scores[load_fitted(fitted_run).fit] == max(scores.values())
    assert load_fitted(fitted_run, "small").fit == load_fitted(fitted_run / "small").fit == "small"


def test_a_run_that_cannot_be_used_says_why(fitted_run, tmp_path):
    with pytest.raises(UsageError, match="not a run folder"):
        load_fitted(tmp_path)
    with pytest.raises(UsageError, match="--arm other: the run has no such arm; it has: unsegmented, small, segmented"):
        load_fitted(fitted_run, "other")
    copy = tmp_path / "copy"
    shutil.copytree(fitted_run, copy)
    weights = copy / "small" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"weights\.safetensors: not a fitted classifier's weights"):
        load_fitted(copy, "small")
    weights.unlink()
    with pytest.raises(UsageError, match="no finished fit"):
        load_fitted(copy, "small")


def test_classes_are_called_by_the_thresholds_of_a_sensitivity(fitted_run, phantom_files):
    files = [load_grayscale(path) for path in phantom_files.values()]
    table = pd.read_csv(fitted_run / "small" / "predictions.csv").set_index("image").loc[list(phantom_files)]
    points = load_fitted(fitted_run, "small").scores.metrics.valid.operating_points
    for place, sensitivity in enumerate((0.9, 0.95)):
        found = load_pipeline(fitted_run, "small", "cpu", sensitivity)(files)
        for name, of_class in points.items():
            called = np.array([name in one.positive for one in found])
            sure = (table[f"probability_{name}"] - of_class[place].threshold).abs().to_numpy() > 1e-3
            assert (called == (table[f"probability_{name}"] >= of_class[place].threshold).to_numpy())[sure].all()
    assert load_pipeline(fitted_run, "small", "cpu")(files[:1])[0].positive is None
    with pytest.raises(UsageError, match=r"^--sensitivity 0\.8: thresholds are known for 0\.9 and 0\.95$"):
        load_pipeline(fitted_run, "small", "cpu", 0.8)


def test_an_answer_is_a_class_or_says_why_there_is_none(fitted_run, phantom_files):
    predictor = load_pipeline(fitted_run, "small", "cpu")
    conformal, distance = predictor.model.scores.metrics.valid.conformal, predictor.model.distance
    raw = pd.read_csv(fitted_run / "small" / "predictions.csv").set_index("image").loc[list(phantom_files)]
    found = predictor([load_grayscale(path) for path in phantom_files.values()])
    np.testing.assert_allclose([one.ood_score for one in found], raw.ood_score, rtol=0.02)
    for one, (_, row) in zip(found, raw.iterrows(), strict=True):
        for name, threshold in conformal.thresholds.items():
            if abs(row[f"probability_{name}"] - threshold) > 1e-3:
                assert (name in one.class_set) == (row[f"probability_{name}"] >= threshold)
        answer = one.label if one.class_set == (one.label,) else "not sure"
        assert one.answer == ("not like the training images" if one.ood_score > 1 else answer)
    far = replace(predictor.model, distance=replace(distance, limit=distance.limit / 1e6))
    image = load_grayscale(next(iter(phantom_files.values())))
    (one,) = InferencePipeline(far, predictor.segmenter, predictor.compute)([image])
    assert one.answer == "not like the training images" and one.ood_score > 1
    older = replace(predictor.model, distance=None, class_thresholds=None)
    (one,) = InferencePipeline(older, predictor.segmenter, predictor.compute)(
        [load_grayscale(next(iter(phantom_files.values())))]
    )
    assert one.ood_score is None and one.class_set == () and one.answer == one.label


def test_a_training_image_is_said_to_be_one(fitted_run, fitted_cohort, phantom_files):
    predictor = load_pipeline(fitted_run, "small", "cpu")
    train = fitted_cohort.files[np.flatnonzero(fitted_cohort.train)[0]]
    refs = [ImageRef("train.png", train), ImageRef("valid.png", next(iter(phantom_files.values()))), ImageRef("gone.png", None)]
    trained, other, gone = predict_images(predictor, refs)
    assert trained["warnings"][0].startswith("in the training set")
    assert not any("training set" in warning for answer in (other, gone) for warning in answer["warnings"])
    assert gone["warnings"] == ["missing"]


@pytest.mark.slow
def test_the_command_on_a_folder(darkcovid, fitted_run, phantom_files, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(next(iter(phantom_files.values())), folder / "a.png")
    (folder / "b.png").write_text("no image")
    words = ["predict", fitted_run, folder, "--gradcam-dir", tmp_path / "maps", "--output", tmp_path / "answers.csv"]
    answers = json.loads(darkcovid(*words, "--json").stdout)
    assert [list(one) for one in answers] == [KEYS] * 2
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1)
    assert (answers[1]["label"], answers[1]["warnings"]) == (None, ["not a PNG, JPEG or DICOM image"])
    assert Image.open(tmp_path / "maps" / "a.png").size == (96, 96)
    table = pd.read_csv(tmp_path / "answers.csv")
    assert table.image.tolist() == ["a.png", "b.png"]
    assert table.probability_covid[0] == pytest.approx(answers[0]["probabilities"]["covid"], abs=1e-6)
    twice = json.loads(darkcovid("predict", fitted_run, folder / "a.png", folder, "--json").stdout)
    assert [one["image"] for one in twice] == [(folder / "a.png").as_posix()] * 2 + ["b.png"]
    assert twice[0] == twice[1] and twice[0]["probabilities"] == answers[0]["probabilities"]
    done = darkcovid("predict", fitted_run, folder / "a.png")
    shown = done.stdout
    (warning,) = [line for line in done.stderr.splitlines() if "phantoms" in line]
    assert warning.startswith("warning: ") and warning.endswith("what it says of a radiograph means nothing")
    assert answers[0]["answer"] in shown and "never a diagnosis" in shown
    assert "no image could be read" in error_of(darkcovid("predict", fitted_run, folder / "b.png", code=3))
    assert "not a run folder" in error_of(darkcovid("predict", tmp_path, folder, code=2))


@pytest.mark.slow
def test_the_command_writes_dicom_results_of_dicom_files(darkcovid, fitted_run, phantom_files, tmp_path):
    folder, results = tmp_path / "study", tmp_path / "results"
    pixels = np.asarray(load_grayscale(next(iter(phantom_files.values()))))
    source = write_radiograph(folder / "x.dcm", pixels)
    Image.fromarray(pixels).save(folder / "y.png")
    words = ["predict", fitted_run, folder, "--arm", "small", "--dicom-dir", results, "--deidentify"]
    dicom, png = json.loads(darkcovid(*words, "--json").stdout)
    assert list(dicom) == KEYS and "the image is no DICOM" in png["warnings"][-1]
    report = pydicom.dcmread(next(results.glob("*/report.dcm")))
    assert "weights" in report.SoftwareVersions and source.PatientID not in str(report)
    assert not list(results.glob("*.salt")) and (tmp_path / "results.salt").is_file()
    words = ["predict", fitted_run, folder / "y.png", "--dicom-dir", tmp_path / "none"]
    assert "no DICOM results; the first image is y.png" in error_of(darkcovid(*words, code=3))
    assert "--dicom-dir" in error_of(darkcovid("predict", fitted_run, folder, "--deidentify", code=2))


def test_others_are_answered_alike_between_the_batches_of_a_comparison(fitted_run, phantom_files):
    predictor = load_pipeline(fitted_run, "small", "cpu")
    image, other = (load_grayscale(path) for path in list(phantom_files.values())[:2])
    found = []
    (compared,) = predictor([image], True, True, lambda: found.extend([] if len(found) > 1 else predictor([other], explain=True)))
    (alone,), (plain,) = predictor([other], explain=True), predictor([image], explain=True, compare=True)
    for each in found:
        np.testing.assert_allclose(each.heat, alone.heat, atol=1e-5)
    assert len(found) == 2 and found[0].probabilities == pytest.approx(alone.probabilities)
    for name, heat in plain.explanations.maps.items():
        np.testing.assert_allclose(compared.explanations.maps[name], heat, atol=1e-4)


@pytest.mark.parametrize("arm", ["unsegmented", "segmented"])
def test_explanations_lie_over_the_image_and_say_if_they_agree(fitted_run, phantom_files, tmp_path, arm):
    path = next(iter(phantom_files.values()))
    (answer,) = predict_images(load_pipeline(fitted_run, arm, "cpu"), [ImageRef("a.jpg", path)], compare=tmp_path)
    assert len(answer["explanations"]) == 7
    assert all(value is None or -1 <= value <= 1 for value in answer["explanations"].values())
    assert Image.open(tmp_path / "a.jpg.png").size[0] == 4 * 420
    (prediction,) = load_pipeline(fitted_run, arm, "cpu")([load_grayscale(path).resize((150, 120))], compare=True)
    for heat in prediction.explanations.maps.values():
        assert heat.shape == (120, 150) and (heat >= 0).all() and np.isfinite(heat).all()
