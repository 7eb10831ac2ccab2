import numpy as np
import pytest
import torch

from darkcovid.data.normalize import fit_normalizer
from darkcovid.recipe import AUGMENTATIONS


def fitted(kind, pixels, rows, grayscale=False):
    torch.manual_seed(0)
    return fit_normalizer(
        kind, pixels, rows, AUGMENTATIONS["fastai_default"], 16, **({"scale": ((0.449,), (0.226,))} if grayscale else {})
    )


@pytest.fixture
def rows(cohort):
    return np.flatnonzero(cohort.train)


@pytest.fixture
def images(pixels):
    return torch.from_numpy(np.array(pixels)).unsqueeze(1).float() / 255


def test_the_training_side_gets_mean_0_and_variance_1(pixels, rows, images):
    seen = fitted("training", pixels, rows)(images[rows])
    assert float(seen.mean()) == pytest.approx(0, abs=1e-4)
    assert float(seen.std()) == pytest.approx(1, abs=1e-3)


def test_each_image_gets_mean_0_and_variance_1(pixels, rows, images):
    seen = fitted("per_image", pixels, rows)(images)
    torch.testing.assert_close(seen.mean((1, 2, 3)), torch.zeros(len(images)), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std((1, 2, 3)), torch.ones(len(images)), atol=1e-3, rtol=0)


def test_imagenets_figures_make_three_channels_or_one(pixels, rows, images):
    color = fitted("imagenet", pixels, rows)(images)
    assert color.shape == (len(images), 3, 64, 64)
    torch.testing.assert_close(color[:, 1], (images[:, 0] - 0.456) / 0.224)
    assert fitted("imagenet", pixels, rows, grayscale=True)(images).shape == images.shape


def test_none_leaves_pixels_alone_and_a_batch_gives_its_own_figures(pixels, rows, images):
    torch.testing.assert_close(fitted("none", pixels, rows)(images), images)
    batch = fitted("first_batch", pixels, rows)
    plain = fitted("training", pixels, rows)
    assert float(batch.mean) != float(plain.mean)
    assert float(batch.mean) == pytest.approx(float(plain.mean), abs=0.1)


def test_zca_whitens_the_training_side_and_is_fitted_to_it_alone(pixels, rows, images):
    small = np.array(pixels[:, ::4, ::4])
    zca = fitted("zca", small, rows)
    few = images[:, :, ::4, ::4]
    white = zca(few[rows]).flatten(1)
    variances = torch.linalg.svdvals(white - white.mean(0)).square() / len(rows)
    shown = len(zca.gains)
    torch.testing.assert_close(variances[:shown], torch.ones(shown), atol=1e-2, rtol=0)
    changed = small.copy()
    changed[np.setdiff1d(np.arange(len(small)), rows)] = 0
    torch.testing.assert_close(fitted("zca", changed, rows).state_dict(), zca.state_dict())
    correlation = torch.corrcoef(torch.stack([zca(few[rows[:1]]).flatten(), few[rows[0]].flatten()]))[0, 1]
    assert correlation > 0
