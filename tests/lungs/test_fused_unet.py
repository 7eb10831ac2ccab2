"""The fused lung U-Net is the same function as the network that it was made from."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from darkcovid.core.device import Device
from darkcovid.lungs.fused_unet import BATCH, can_fuse, filled_batch, fused_unet, upsampling_kernel
from darkcovid.lungs.overlap import mask_dice
from darkcovid.lungs.unet import INPUT_SIZE, load_segmenter

pytestmark = pytest.mark.skipif(not can_fuse(torch.float32), reason="this torch has no oneDNN")


def pixels(count, size=INPUT_SIZE, seed=0):
    return torch.randn(count, 1, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def unet():
    """With trained weights: those of chance make a network that magnifies what rounding leaves."""
    return load_segmenter().network


@pytest.mark.parametrize("size", [INPUT_SIZE, (96, 160)])
@pytest.mark.parametrize("count", [1, 3, 17])
def test_same_logits(unet, count, size):
    images = pixels(count, size)
    with torch.inference_mode():
        expected, found = unet(images), fused_unet(unet, torch.float32)(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_network_that_it_is_made_from_stays_as_it_is(unet):
    images, before = pixels(1), {name: value.clone() for name, value in unet.state_dict().items()}
    with torch.inference_mode():
        expected = unet(images)
        fused_unet(unet, torch.float32)
        assert torch.equal(unet(images), expected)
    after = unet.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_an_image_gets_the_same_logits_in_any_batch(unet):
    images, fused = pixels(5), fused_unet(unet, torch.float32)
    with torch.inference_mode():
        assert torch.equal(fused(images)[3:4], fused(images[3:4]))


def test_few_images_cost_no_full_batch(unet):
    fused, computed = fused_unet(unet, torch.float32), []
    fused.encoder.register_forward_pre_hook(lambda _, inputs: computed.append(len(inputs[0])))
    with torch.inference_mode():
        found = [len(fused(pixels(count, (32, 32)))) for count in (1, 2, 3, BATCH, BATCH + 1)]
    assert found == [1, 2, 3, BATCH, BATCH + 1]
    assert computed == [1, 2, 4, BATCH, 2 * BATCH]
    assert len({filled_batch(count) for count in range(1, BATCH + 1)}) <= 5  # each is compiled once


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda segmenter: pickle.loads(pickle.dumps(segmenter))])  # noqa: S301
def test_a_segmenter_that_was_used_can_be_copied_and_pickled(copied, phantom_pixels):
    segmenter, compute = load_segmenter(), Device(torch.device("cpu"), "fp32")
    images = torch.from_numpy(phantom_pixels[:1]).float()[:, None] / 255
    with torch.inference_mode():
        assert torch.equal(copied(segmenter).fastest(compute)(images), segmenter.fastest(compute)(images))
        assert torch.equal(copied(segmenter).fastest(compute)(images), segmenter.fastest(compute)(images))


def test_bf16_rounds_no_more_than_autocast(phantom_pixels):
    segmenter = load_segmenter()
    images = segmenter.normalizer(torch.from_numpy(phantom_pixels).float()[:, None] / 255)
    with torch.inference_mode():
        exact = segmenter.network(images) > 0
        with torch.autocast("cpu", torch.bfloat16):
            rounded = segmenter.network(images) > 0
        fused = segmenter.fastest(Device(torch.device("cpu"), "bf16"))(images) > 0
    of_fused, of_autocast = (mask_dice(seen[:, 0].numpy(), exact[:, 0].numpy()) for seen in (fused, rounded))
    assert of_fused.min() > 0.99
    assert of_fused.mean() > of_autocast.mean() - 0.001


@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (1, 4, 1, 1), (2, 3, 8, 8)])
def test_upsampling_and_convolution_in_one(shape):
    torch.manual_seed(0)
    images, kernel = torch.randn(shape, dtype=torch.float64), torch.randn(6, shape[1], 3, 3, dtype=torch.float64)
    large = nn.functional.interpolate(images, scale_factor=2, mode="nearest")
    expected = nn.functional.conv2d(large, kernel, padding=1)
    found = nn.functional.conv_transpose2d(images, upsampling_kernel(kernel), stride=2, padding=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def phantom_pixels():
    from darkcovid.data.phantom import CLASSES, draw_anatomy, draw_radiograph
    from darkcovid.recipe import Phantom

    random, phantom = np.random.RandomState(0), Phantom(image_size=INPUT_SIZE[0])
    drawn = [draw_radiograph(draw_anatomy(random), CLASSES[number % 3], phantom, random)[0] for number in range(16)]
    return np.stack(drawn)
