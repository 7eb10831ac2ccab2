"""A classifier of images with enhanced contrast is asked, and exported, as it was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from darkcovid.core.device import predict_batches
from darkcovid.data.decode import load_grayscale
from darkcovid.data.normalize import Normalize
from darkcovid.inference.export import export_model
from darkcovid.inference.load import FittedModel
from darkcovid.inference.predictor import InferencePipeline
from darkcovid.lungs.unet import load_segmenter
from darkcovid.recipe import Lungs, Recipe
from darkcovid.training.loss import class_probabilities
from darkcovid.vision.arm_inputs import InputBuilder

IMAGES = 6


class PixelStatistics(nn.Module):
    """Logits that follow every pixel: the means of the image's upper and lower half, and its standard deviation."""

    def forward(self, images):
        upper, lower = images.chunk(2, dim=2)
        return torch.stack([upper.mean((1, 2, 3)), lower.mean((1, 2, 3)), images.std((1, 2, 3))], 1)


def classifier(recipe, size):
    classes = ("covid", "no_finding", "pneumonia")
    return FittedModel(Path("run"), "a", recipe, classes, size, PixelStatistics(), Normalize(0.5, 0.1), 1.0, {}, {})


def answers(model, cohort, cpu):
    predictions = InferencePipeline(model, load_segmenter(), cpu)([load_grayscale(file) for file in cohort.files[:IMAGES]])
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


@pytest.mark.slow
@pytest.mark.parametrize("lungs", [None, Lungs(), Lungs(context_channel=True), Lungs(mode="mask")])
def test_contrast_is_enhanced_in_use_as_in_training(phantom_data, cohort, cache_dir, cpu, lungs):
    found = {}
    for contrast in ("none", "clahe"):
        recipe = Recipe(name="a", audit="none", lungs=lungs, data=phantom_data.model_copy(update={"contrast": contrast}))
        trained_on = InputBuilder(recipe, cohort, cpu, cache_dir).make("a")
        model = classifier(recipe, trained_on.size)
        logits = torch.cat(list(predict_batches(model.network, np.array(trained_on.pixels[:IMAGES]), model.normalizer, cpu)))
        found[contrast] = answers(model, cohort, cpu)
        np.testing.assert_allclose(found[contrast], class_probabilities(logits, 1.0).numpy(), atol=1e-6)
    assert np.abs(found["clahe"] - found["none"]).max() > 1e-3  # a thousand times the tolerance


@pytest.mark.slow
def test_an_exported_classifier_says_which_contrast_it_was_trained_on(phantom_data, tmp_path):
    recipe = Recipe(name="a", data=phantom_data.model_copy(update={"contrast": "clahe"}))
    about = export_model(classifier(recipe, (64, 64)), load_segmenter(), "torch", tmp_path)
    assert about["classifier"]["contrast"] == "clahe"
