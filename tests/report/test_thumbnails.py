"""Small images of a run: the same picture, outline and heat at the same place, within a number of bytes."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from darkcovid.report.thumbnails import LONG_SIDE, outline_path, read_thumbnails, thumbnail, write_thumbnails


def opened(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_a_thumbnail_is_the_image_made_small():
    pixels = np.zeros((200, 100), np.uint8)
    pixels[:100] = 200
    small = thumbnail(pixels, None, None)
    assert (small["width"], small["height"]) == (LONG_SIDE // 2, LONG_SIDE)
    shown = np.asarray(opened(small["image"]).convert("L"), int)
    assert shown.shape == (LONG_SIDE, LONG_SIDE // 2)
    assert abs(shown[:75].mean() - 200) < 8 and shown[85:].mean() < 8
    assert (small["lungs"], small["heat"]) == ("", "")


def test_the_outline_is_that_of_the_mask():
    mask = np.zeros((100, 100), np.uint8)
    mask[20:60, 10:30] = 1
    mask[20:60, 70:90] = 1
    numbers = np.array(re.findall(r"\d+", outline_path(mask, (200, 200))), int).reshape(-1, 2)
    assert numbers.min(0) == pytest.approx([20, 40], abs=2) and numbers.max(0) == pytest.approx([180, 120], abs=2)
    assert outline_path(mask, (200, 200)).count("M") == 2
    assert outline_path(np.zeros((10, 10)), (20, 20)) == ""
    assert outline_path(np.ones((10, 10)), (20, 20)).count("M") == 1  # a lung at the image's edge is closed too


def test_heat_is_where_the_map_is_hot():
    heat = np.zeros((40, 80), np.float32)
    heat[20:, 60:] = 5
    alpha = np.asarray(opened(thumbnail(np.zeros((40, 80), np.uint8), None, heat)["heat"]).convert("RGBA"))[..., 3]
    assert alpha.shape == (10, 20)
    assert alpha[7:, 17:].min() == 255 and alpha[:3].max() == alpha[:, :10].max() == 0


@pytest.mark.parametrize("heat", [np.zeros((8, 8), np.float32), np.full((8, 8), 1e-12, np.float32)])
def test_a_map_without_heat_is_no_error(heat):
    assert thumbnail(np.zeros((8, 8), np.uint8), np.zeros((8, 8)), heat)["heat"]


def test_images_of_all_fits_are_read_and_damaged_files_passed_by(tmp_path):
    small = thumbnail(np.zeros((8, 8), np.uint8), None, None)
    write_thumbnails(tmp_path / "fold1" / "thumbnails.json", [("a.png", small)])
    write_thumbnails(tmp_path / "fold2" / "thumbnails.json", [("b.png", small)])
    (tmp_path / "fold3").mkdir()
    empty, unlike = {"images": {}}, {"images": {"a.png": 5, "b.png": {"image": 3}}}
    for damage in ("{", "[]", "3", json.dumps({"pictures": {}}), '{"images": 3}', json.dumps(empty), json.dumps(unlike)):
        read_nothing = {"fold3": {}} if damage in (json.dumps(empty), json.dumps(unlike)) else {}
        (tmp_path / "fold3" / "thumbnails.json").write_text(damage)
        assert read_thumbnails(tmp_path) == {"fold1": {"a.png": small}, "fold2": {"b.png": small}} | read_nothing
    assert read_thumbnails(tmp_path / "absent") == {}
