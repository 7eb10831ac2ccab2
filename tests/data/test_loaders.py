from dataclasses import replace

import numpy as np
import pytest
import torch

from darkcovid.core.device import Device
from darkcovid.data.loaders import array_loaders, oversample_rows
from darkcovid.data.normalize import Normalize, training_scale
from darkcovid.recipe import AUGMENTATIONS

CPU = Device(torch.device("cpu"), "fp32")
UNIT = Normalize()


def loaders(cohort, pixels, **options):
    settings = {"normalizer": UNIT, "augmentation": None, "batch_size": 8, "compute": CPU} | options
    return array_loaders(cohort, pixels, **settings)


def test_validation_batches_are_the_cohort_in_order(cohort, pixels):
    dls = loaders(cohort, pixels)
    images, labels = (torch.cat(parts) for parts in zip(*dls.valid, strict=True))
    np.testing.assert_allclose(images[:, 0], pixels[cohort.valid] / 255, atol=1e-6)
    np.testing.assert_array_equal(labels, cohort.labels[cohort.valid])
    assert list(dls.vocab) == list(cohort.classes)


def test_each_training_image_comes_once_with_its_own_label_in_another_order_each_epoch(cohort, pixels):
    dls = loaders(cohort, pixels)
    label_of = {pixels[row].tobytes(): cohort.labels[row] for row in np.flatnonzero(~cohort.valid)}
    orders = []
    for _ in range(2):
        seen = [(image, int(label)) for images, labels in dls.train for image, label in zip(images, labels, strict=True)]
        keys = [(image[0] * 255).round().to(torch.uint8).numpy().tobytes() for image, _ in seen]
        assert len(set(keys)) == len(keys) == (~cohort.valid).sum() // 8 * 8
        assert all(label_of[key] == label for key, (_, label) in zip(keys, seen, strict=True))
        orders.append(keys)
    assert orders[0] != orders[1]


def test_the_training_side_is_standardized_by_its_own_figures(cohort, pixels):
    rows = np.flatnonzero(~cohort.valid)
    scale = training_scale(pixels, rows, at_once=7)
    assert float(scale.mean) == pytest.approx((pixels[rows] / 255).mean())
    assert float(scale.std) == pytest.approx((pixels[rows] / 255).std())
    images = torch.cat([images for images, _ in loaders(cohort, pixels, normalizer=scale).train])
    assert abs(float(images.mean())) < 0.05
    assert abs(float(images.std()) - 1) < 0.05


def test_augmentation_touches_the_training_side_alone(cohort, pixels):
    dls = loaders(cohort, pixels, augmentation=AUGMENTATIONS["fastai_default"])
    train = torch.cat([images[:, 0] for images, _ in dls.train])
    rows = np.concatenate(dls.train.batches)
    changed = (torch.Tensor(train) - torch.from_numpy(pixels[rows] / 255)).abs().amax((1, 2)) > 1e-3
    assert changed.float().mean() > 0.9
    valid = torch.cat([images for images, _ in dls.valid])
    np.testing.assert_allclose(valid[:, 0], pixels[cohort.valid] / 255, atol=1e-6)


def test_masks_are_moved_with_their_images(cohort, pixels):
    masks = (pixels > 128).astype(np.uint8)
    dls = loaders(cohort, masks * 255, targets=masks, augmentation=AUGMENTATIONS["strong"])
    images, targets = dls.train.one_batch()
    assert targets.dtype == torch.int64
    assert set(targets.unique().tolist()) <= {0, 1}
    images, targets = torch.Tensor(images[:, 0]), torch.Tensor(targets.float())
    agreement = torch.corrcoef(torch.stack([images.flatten(), targets.flatten()]))[0, 1]
    assert agreement > 0.6


def test_a_cohort_smaller_than_a_batch_still_trains(cohort, pixels):
    assert len(list(loaders(cohort, pixels, batch_size=1000).train)) == 1


def test_rarer_classes_come_as_often_as_the_largest_when_oversampled(cohort, pixels):
    rows, labels = np.arange(10), np.array([0] * 6 + [1] * 3 + [2])
    often = oversample_rows(rows, labels)
    assert np.bincount(labels[often]).tolist() == [6, 6, 6]
    assert set(often) == set(rows)
    dls = loaders(cohort, pixels, oversample=True, batch_size=1000)
    _, seen = dls.train.one_batch()
    assert len(set(np.bincount(seen).tolist())) == 1
    assert len(dls.valid.dataset.items) == cohort.valid.sum()


def test_the_test_side_is_in_no_batch(cohort, pixels):
    held = replace(cohort, test=~cohort.valid & (np.arange(len(cohort)) % 3 == 0))
    dls = loaders(held, pixels, batch_size=1000)
    rows = set(dls.train.dataset.items) | set(dls.valid.dataset.items)
    assert rows == set(np.flatnonzero(~held.test))
