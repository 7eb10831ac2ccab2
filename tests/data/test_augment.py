"""Against fastai's own transforms, whose draws these replace."""

import numpy as np
import pytest
import torch
from fastai.torch_core import TensorImage
from fastai.vision.all import aug_transforms  # noqa: F401 (importing it patches rotate, zoom and warp onto TensorImage)
from torch.nn import functional

from darkcovid.data.augment import (
    Augment,
    apply_lighting,
    homography_grid,
    perspective_matrix,
    perspective_matrix_by_side,
    random_erasing,
    rotation_matrix,
    sample_homographies,
    sample_lighting,
    zoom_matrix,
)
from darkcovid.recipe import AUGMENTATIONS, Augmentation

IMAGES = torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(0))


def moved(matrices, images=IMAGES):
    grid = homography_grid(matrices, images.shape[-2:])
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=True)


def twice(value):
    return torch.tensor([value, value])


@pytest.mark.parametrize(
    ("matrices", "theirs"),
    [
        (rotation_matrix(twice(10.0), (48, 48)), lambda image: image.rotate(draw=10, p=1.0, align_corners=True)),
        (
            zoom_matrix(twice(1.2), torch.tensor([[0.4, -0.6]] * 2)),
            lambda image: image.zoom(draw=1.2, draw_x=0.7, draw_y=0.2, p=1.0, align_corners=True),
        ),
        (
            perspective_matrix(twice(0.15), twice(-0.1)),
            lambda image: image.warp(draw_x=0.15, draw_y=-0.1, p=1.0, align_corners=True),
        ),
    ],
    ids=["rotation", "zoom", "warp"],
)
def test_each_movement_is_fastais(matrices, theirs):
    torch.testing.assert_close(moved(matrices), torch.Tensor(theirs(TensorImage(IMAGES.clone()))), atol=1e-4, rtol=0)


def test_lighting_is_fastais():
    brightness, contrast = torch.tensor([0.6, 0.4]), torch.tensor([1.25, 0.8])
    bright = TensorImage(IMAGES.clone()).brightness(draw=lambda x: brightness, p=1.0)
    torch.testing.assert_close(apply_lighting(IMAGES, brightness, torch.ones(2)), torch.Tensor(bright), atol=1e-5, rtol=0)
    clear = TensorImage(IMAGES.clone()).contrast(draw=lambda x: contrast, p=1.0)
    torch.testing.assert_close(apply_lighting(IMAGES, twice(0.5), contrast), torch.Tensor(clear), atol=1e-5, rtol=0)


def test_a_rotation_of_a_wide_image_does_not_shear_it():
    square, wide = torch.zeros(1, 1, 41, 41), torch.zeros(1, 1, 41, 81)
    square[..., 15:26, 20] = 1
    wide[..., 15:26, 40] = 1
    degrees = torch.tensor([30.0])
    turned = moved(rotation_matrix(degrees, (41, 81)), wide)[..., 20:61]
    torch.testing.assert_close(turned, moved(rotation_matrix(degrees, (41, 41)), square), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["fastai_default", "strong"])
def test_draws_stay_in_their_ranges_and_spare_their_share(name):
    preset = AUGMENTATIONS[name]
    torch.manual_seed(0)
    brightness, contrast = sample_lighting(4000, preset)
    assert 0.5 * (1 - preset.lighting) <= brightness.min() < brightness.max() <= 0.5 * (1 + preset.lighting)
    assert 1 - preset.lighting <= contrast.min() + 1e-6
    assert contrast.max() <= 1 / (1 - preset.lighting) + 1e-6
    assert (brightness == 0.5).float().mean() == pytest.approx(1 - preset.p_lighting, abs=0.03)
    matrices = sample_homographies(4000, (48, 48), preset)
    mirrored = (torch.linalg.det(matrices) < 0).float().mean()
    assert mirrored == pytest.approx(preset.flip, abs=0.03)


def symmetric_warp_of_v1(magnitudes):
    """fastai v1's `symmetric_warp`, with the four magnitudes that it draws, solved by NumPy: the homography that takes the moved
    corners to the corners of the frame. v1 lists corners as (x, y): top left, bottom left, top right, bottom right."""
    right, left, bottom, top = magnitudes
    moved = [(-1 - top, -1 - left), (-1 - bottom, 1 + left), (1 + top, -1 - right), (1 + bottom, 1 + right)]
    equations, values = [], []
    for (x, y), (u, v) in zip(moved, [(-1, -1), (-1, 1), (1, -1), (1, 1)], strict=True):
        equations += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(equations, values), 1).reshape(3, 3)


def test_the_warp_of_fastai_v1_moves_each_side_by_itself_and_all_or_none():
    magnitudes = torch.tensor([[0.2, -0.1, 0.05, 0.15], [-0.2, 0.2, -0.2, 0.2]], dtype=torch.float64)
    for matrix, drawn in zip(perspective_matrix_by_side(magnitudes.float()).numpy(), magnitudes.tolist(), strict=True):
        np.testing.assert_allclose(matrix, symmetric_warp_of_v1(drawn), atol=1e-5)
    torch.manual_seed(0)
    preset = AUGMENTATIONS["fastai_v1"].model_copy(update={"flip": 0.0, "rotate": 0.0, "zoom": (1.0, 1.0)})
    matrices = sample_homographies(4000, (48, 48), preset)
    corners = torch.tensor([[-1.0, -1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, 1]])
    moved = torch.linalg.solve(matrices, corners.T.expand(4000, 3, 4)).mT  # where the frame's corners come to lie
    moved = moved[..., :2] / moved[..., 2:]
    drawn = torch.stack(
        [moved[:, 2, 0] - 1, moved[:, 3, 0] - 1, moved[:, 1, 1] - 1, moved[:, 3, 1] - 1], 1
    )  # top, bottom, left, right
    warped = drawn.abs().amax(1) > 1e-6
    assert warped.float().mean() == pytest.approx(0.75, abs=0.02)
    assert (drawn[warped].abs() > 1e-6).all() and drawn.abs().max() <= 0.2 + 1e-5
    correlations = torch.corrcoef(drawn[warped].T) - torch.eye(4)
    assert correlations.abs().max() < 0.06
    areas = (2 + drawn[warped][:, :2].sum(1)) * (2 + drawn[warped][:, 2:].sum(1)) / 4
    assert 0.66 < areas.min() < 0.82 and 1.2 < areas.max() < 1.44
    order = sample_homographies(500, (48, 48), AUGMENTATIONS["fastai_v1"].model_copy(update={"p_affine": 1.0, "flip": 0.0}))
    assert (order[:, 2, :2].abs() > 0).any(1).all()


def test_erasing_replaces_patches_of_some_images_and_of_none_when_not_asked():
    images = torch.full((200, 1, 32, 32), 2.0)
    torch.manual_seed(0)
    touched = (random_erasing(images.clone(), 0.3) != 2.0).flatten(1).any(1).float().mean()
    assert touched == pytest.approx(0.3, abs=0.1)
    assert random_erasing(images, 0.0) is images


def test_keras_shifts_spans_and_shears_stay_in_their_ranges():
    """What is seen of the picture: spans 0.5 to 1.5 of it along each axis by itself, moved by up to 0.15 of its sides."""
    torch.manual_seed(0)
    wanted = AUGMENTATIONS["basic_cnn_first"].model_copy(update={"rotate": 0.0, "flip": 0.0})
    matrices = sample_homographies(4000, (48, 48), wanted)
    across, down = matrices[:, 0, 0], matrices[:, 1, 1]
    for span in (across, down):
        assert 0.5 <= span.min() < 0.51
        assert 1.49 < span.max() <= 1.5
    assert abs(torch.corrcoef(torch.stack([across, down]))[0, 1]) < 0.1
    assert matrices[:, :2, 2].abs().max() <= 0.3 + 1e-6
    sheared = sample_homographies(1000, (48, 48), AUGMENTATIONS["three_layer_cnn"].model_copy(update={"zoom_range": (1.0, 1.0)}))
    assert 0 < sheared[:, 0, 1].abs().max() <= 0.2 * 3.1416 / 180 + 1e-6


def test_a_channel_shift_adds_one_level_to_a_whole_image():
    torch.manual_seed(0)
    images = torch.full((200, 1, 8, 8), 0.5)
    seen = Augment(Augmentation(channel_shift=20.0)).altered(images.clone()) - images
    assert seen.flatten(1).std(1).max() < 1e-6
    assert 15 / 255 < seen.abs().max() <= 20 / 255 + 1e-6


def test_trivial_augment_alters_images_one_by_one_and_keeps_their_range():
    torch.manual_seed(0)
    seen = Augment(AUGMENTATIONS["trivial"]).altered(IMAGES.repeat(8, 1, 1, 1))
    assert seen.shape == (16, 1, 48, 48)
    assert 0 <= seen.min() < seen.max() <= 1
    assert len({image.numpy().tobytes() for image in seen}) > 8


def test_an_augmentation_of_nothing_changes_nothing():
    torch.testing.assert_close(Augment(Augmentation()).altered(IMAGES.clone()), IMAGES, atol=1e-5, rtol=0)
