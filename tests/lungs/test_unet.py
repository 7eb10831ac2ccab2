import numpy as np
import pytest
import torch

from darkcovid.core.device import predict_batches
from darkcovid.core.errors import DataError
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.data.normalize import Normalize
from darkcovid.lungs.masks import load_ground_truth_masks
from darkcovid.lungs.overlap import mask_dice
from darkcovid.lungs.segment import segment_cohort
from darkcovid.lungs.unet import SHIPPED_WEIGHTS, build_unet, dice_bce_loss, load_segmenter, save_segmenter
from darkcovid.recipe import Data, Phantom
from darkcovid.training.segmenter import dice_by_image


def test_the_shipped_weights_are_small_and_described():
    assert SHIPPED_WEIGHTS.stat().st_size < 8e6
    card = SHIPPED_WEIGHTS.with_suffix(".md").read_text()
    for word in ("Dice", "license", "research"):
        assert word.lower() in card.lower()


def test_the_network_has_its_stated_size():
    assert sum(parameter.numel() for parameter in build_unet().parameters()) == 1_960_017


def test_the_shipped_weights_find_phantom_lungs_and_the_answer_is_remembered(cache_dir, cpu):
    data = Data(manifest="phantom", phantom=Phantom(patients=9, image_size=256))
    cohort = load_classification_cohort(
        data.model_copy(update={"split": data.split.model_copy(update={"valid": 0.4})}), cache_dir
    )
    found = segment_cohort(cohort, load_segmenter(), cpu, cache_dir)
    truth = load_ground_truth_masks(cohort, (256, 256), cache_dir).array.astype(bool)
    assert np.median(mask_dice(found.masks.astype(bool), truth)) > 0.8
    assert found.trusted.mean() > 0.8
    again = segment_cohort(cohort, load_segmenter(), cpu, cache_dir)
    assert (found.fresh, again.fresh) == (True, False)
    assert again.seconds == found.seconds
    np.testing.assert_array_equal(again.masks, found.masks)


def test_saving_and_loading_keeps_outputs_within_half_precision(tmp_path, cpu):
    network = build_unet()
    save_segmenter(network, Normalize(0.5, 0.25), tmp_path / "w.safetensors")
    loaded = load_segmenter(tmp_path / "w.safetensors")
    assert (float(loaded.normalizer.mean), float(loaded.normalizer.std)) == (0.5, 0.25)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64), np.uint8)
    before, after = (
        torch.cat(list(predict_batches(net, pixels, Normalize(0.5, 0.25), cpu))) for net in (network, loaded.network)
    )
    torch.testing.assert_close(before, after, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("content", [b"", b"not safetensors", SHIPPED_WEIGHTS.read_bytes()[:5000]])
def test_damaged_weights_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"lungs\.weights: .*not a lung U-Net's weights") as caught:
        load_segmenter(path)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_not_loaded(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(DataError):
        load_segmenter(tmp_path / "w.pth")


def test_the_loss_is_zero_only_for_a_perfect_mask():
    masks = torch.zeros(2, 8, 8, dtype=torch.long)
    masks[:, 2:6, 2:6] = 1
    perfect = (masks.float() * 2 - 1).unsqueeze(1) * 50
    assert float(dice_bce_loss(perfect, masks)) == pytest.approx(0, abs=1e-5)
    assert float(dice_bce_loss(-perfect, masks)) > 10


def test_the_training_metric_is_dice_of_the_thresholded_logits():
    truth = torch.zeros(1, 4, 4, dtype=torch.long)
    truth[0, :2] = 1
    predicted = torch.zeros(1, 4, 4, dtype=torch.bool)
    predicted[0, :, :2] = True
    logits = torch.where(predicted, 5.0, -5.0).unsqueeze(1)
    assert dice_by_image(logits, truth)[0] == pytest.approx((2 * 4 + 1) / 17)


@pytest.mark.real_data
def test_the_shipped_weights_find_real_lungs(real_data, cache_dir, cpu):
    """Every image of the manifest has a mask drawn by people; these patients were held out in training."""
    from darkcovid.data.cohort import load_segmentation_cohort

    cohort = load_segmentation_cohort(Data(manifest=str(real_data / "ieee512" / "manifest.csv")), cache_dir)
    unseen = cohort.take(np.flatnonzero(cohort.valid)[:40])
    found = segment_cohort(unseen, load_segmenter(), cpu, cache_dir)
    dice = mask_dice(found.masks.astype(bool), load_ground_truth_masks(unseen, (256, 256), cache_dir).array.astype(bool))
    assert dice.mean() > 0.92
    assert found.trusted.mean() > 0.9
