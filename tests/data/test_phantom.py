import hashlib

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

from darkcovid.data.phantom import CLASSES, phantom_manifest

from ..conftest import SMALL


def images(manifest, column="path"):
    return np.stack([np.asarray(Image.open(manifest.locate(path))) for path in manifest.rows[column]])


def test_the_same_settings_draw_the_same_cohort(tmp_path):
    first, second = (phantom_manifest(SMALL, tmp_path / name) for name in "ab")
    assert first.rows.equals(second.rows)
    assert not first.rows.equals(phantom_manifest(SMALL.model_copy(update={"seed": 8}), tmp_path / "a").rows)


def test_the_manifest_tells_the_truth_about_its_files(tmp_path):
    manifest = phantom_manifest(SMALL, tmp_path)
    row = manifest.rows.iloc[0]
    assert hashlib.sha256(manifest.locate(row.path).read_bytes()).hexdigest() == row.sha256
    assert set(manifest.rows.label) == set(CLASSES)
    assert manifest.rows.patient_id.nunique() == SMALL.patients < len(manifest.rows)


def test_lungs_are_darker_than_what_surrounds_them_and_masks_are_exact(tmp_path):
    manifest = phantom_manifest(SMALL.model_copy(update={"signal": 0.0}), tmp_path)
    pixels, masks = images(manifest), images(manifest, "lung_mask") == 255
    assert set(np.unique(images(manifest, "lung_mask"))) == {0, 255}
    assert 0.1 < masks.mean() < 0.5
    body = ~masks & (pixels > 60)
    for picture, mask, flesh in zip(pixels, masks, body, strict=True):
        assert picture[mask].mean() < picture[flesh].mean() - 20


def test_the_sign_of_a_class_lies_in_the_lungs_and_nowhere_else(tmp_path):
    plain = phantom_manifest(SMALL.model_copy(update={"signal": 0.0}), tmp_path)
    added = images(phantom_manifest(SMALL, tmp_path)).astype(int) - images(plain)
    near_lungs = [binary_dilation(mask == 255, iterations=3) for mask in images(plain, "lung_mask")]
    for change, lungs, label in zip(added, near_lungs, plain.rows.label, strict=True):
        assert np.abs(change[~lungs]).max() <= 1
        assert (change[lungs].mean() > 2) == (label != "no_finding")


def test_the_planted_shortcut_is_a_corner_marker_of_covid_alone(tmp_path):
    manifest = phantom_manifest(SMALL.model_copy(update={"shortcut": 1.0}), tmp_path)
    marked = images(manifest)[:, 3, 3] == 255
    assert (marked == (manifest.rows.label == "covid").to_numpy()).all()
