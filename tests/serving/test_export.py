import hashlib
import json
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from darkcovid.core.errors import DarkCovidError
from darkcovid.data.decode import load_grayscale
from darkcovid.inference.export import export_model
from darkcovid.inference.int8 import add_int8
from darkcovid.inference.predictor import load_pipeline
from darkcovid.training.loss import class_probabilities

from ..commands import error_of


@pytest.fixture(scope="module")
def predictor(fitted_run):
    return load_pipeline(fitted_run, "segmented", "cpu")


@pytest.fixture
def pixels(predictor):
    return torch.rand(5, 2, *predictor.model.size, generator=torch.Generator().manual_seed(0))


def probabilities(model, pixels):
    with torch.inference_mode():
        return class_probabilities(model.network(model.normalizer(pixels)), model.temperature).numpy()


@pytest.mark.slow
def test_onnx_says_what_the_network_says(predictor, pixels, tmp_path):
    about = export_model(predictor.model, predictor.segmenter, "onnx", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["segmented-lungs.onnx", "segmented.onnx", "segmented.onnx.json"]
    file = tmp_path / about["classifier"]["file"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == about["classifier"]["sha256"]
    (found,) = onnxruntime.InferenceSession(file).run(None, {"pixels": pixels.numpy()})
    np.testing.assert_allclose(found, probabilities(predictor.model, pixels), atol=1e-4)
    kept = json.loads((tmp_path / "segmented.onnx.json").read_text())
    assert kept["classes"] == ["covid", "no_finding", "pneumonia"]
    assert kept["classifier"]["channels"] == ["crop around the lungs", "whole image"]
    assert kept["classifier"]["contrast"] == "none"
    lungs = onnxruntime.InferenceSession(tmp_path / "segmented-lungs.onnx")
    seen = np.random.RandomState(0).rand(3, 1, 256, 256).astype(np.float32)
    straight, mirrored = lungs.run(None, {"pixels": seen})
    turned = lungs.run(None, {"pixels": seen[..., ::-1].copy()})
    np.testing.assert_allclose(mirrored, turned[0][..., ::-1], atol=1e-3)
    assert straight.shape == (3, 1, 256, 256)


@pytest.mark.slow
def test_torch_s_own_file_too_through_the_command(darkcovid, fitted_run, predictor, pixels, tmp_path):
    words = ["export", fitted_run, "--arm", "segmented", "--format", "torch", "--out", tmp_path, "--json"]
    about = json.loads(darkcovid(*words).stdout)
    loaded = torch.export.load(tmp_path / about["classifier"]["file"]).module()
    np.testing.assert_allclose(loaded(pixels).numpy(), probabilities(predictor.model, pixels), atol=1e-4)
    assert "'tf' is not one of 'onnx', 'torch'" in error_of(darkcovid("export", fitted_run, "--format", "tf", code=2))


def test_a_file_that_says_something_else_is_not_kept(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr("darkcovid.inference.export._difference", lambda *_: 1e-3)
    with pytest.raises(DarkCovidError, match=r"segmented\.pt2 differs from the network by 1\.0e-03"):
        export_model(predictor.model, predictor.segmenter, "torch", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_int8_is_calibrated_on_training_images_and_says_what_it_costs(
    darkcovid, fitted_run, fitted_cohort, predictor, phantom_files, cache_dir, tmp_path
):
    words = ["export", fitted_run, "--arm", "segmented", "--int8", "--output", tmp_path, "--cache-dir", cache_dir, "--json"]
    about = json.loads(darkcovid(*words).stdout)
    stated, kept = about["int8"], json.loads((tmp_path / "segmented.onnx.json").read_text())
    assert kept["int8"] == stated
    assert stated["calibration"] == {"images": int(min(128, fitted_cohort.train.sum())), "side": "train"}
    file = tmp_path / "segmented-int8.onnx"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == stated["sha256"]
    assert file.stat().st_size < 0.5 * (tmp_path / "segmented.onnx").stat().st_size

    images = [load_grayscale(path) for path in phantom_files.values()]
    pixels = predictor.inputs(images).astype(np.float32) / 255
    (found,) = onnxruntime.InferenceSession(file).run(None, {"pixels": pixels})
    labels = dict(zip(fitted_cohort.rows.path, fitted_cohort.labels, strict=True))
    right = found.argmax(1) == [labels[name] for name in phantom_files]
    loss = stated["validation"]
    assert loss["images"] == len(images) and loss["accuracy"]["int8"] == pytest.approx(right.mean())
    assert loss["accuracy_loss"] == pytest.approx(loss["accuracy"]["exact"] - loss["accuracy"]["int8"])
    exact = probabilities(predictor.model, torch.from_numpy(pixels))
    assert loss["largest_difference"] == pytest.approx(np.abs(found - exact).max(), abs=1e-3)
    assert loss["largest_difference"] < 0.1

    elsewhere = tmp_path / "cache"
    shutil.copytree(cache_dir / "phantom", elsewhere / "phantom")
    for path in phantom_files.values():
        moved = elsewhere / path.relative_to(cache_dir)
        noise = np.random.RandomState(0).randint(0, 256, Image.open(moved).size[::-1], np.uint8)
        Image.fromarray(noise).save(moved)
    again = add_int8(predictor, about, tmp_path, elsewhere)["int8"]
    assert again["sha256"] == stated["sha256"], "other validation images gave another file"
    assert again["validation"] != loss


def test_int8_is_for_onnx_files_of_one_network(darkcovid, fitted_run, tmp_path):
    words = ["export", fitted_run, "--format", "torch", "--int8", "--output", tmp_path]
    assert "only ONNX files are quantized" in error_of(darkcovid(*words, code=2))
    assert not any(tmp_path.iterdir())
