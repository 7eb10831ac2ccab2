import hashlib
import json

import numpy as np
import onnxruntime
import pytest
import torch

from darkcovid.core.errors import DarkCovidError
from darkcovid.inference.export import export_model
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
