"""`darkcovid lungs segment` and `darkcovid lungs evaluate` as a person meets them."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ..commands import error_of


@pytest.fixture
def folder(tmp_path, cohort):
    """Two phantoms, a black image, a tiny one and a file that is no image."""
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for name, file in (("one.png", cohort.files[0]), ("deep/two.jpg", cohort.files[5])):
        Image.open(file).resize((300, 260)).save(folder / name)
    Image.new("L", (64, 64)).save(folder / "black.png")
    Image.new("L", (20, 20), 128).save(folder / "tiny.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def test_a_folder_becomes_masks_crops_overlays_and_a_table(darkcovid, folder, tmp_path):
    rows = json.loads(darkcovid("segment", folder, "--out", "found", "--json").stdout)
    assert [row["image"] for row in rows] == ["black.png", "broken.png", "deep/two.jpg", "one.png", "tiny.png"]
    by_name = {row["image"]: row for row in rows}
    assert not by_name["black.png"]["trusted"]
    assert by_name["black.png"]["reason"]
    assert by_name["broken.png"]["reason"] == "not a PNG, JPEG or DICOM image"
    found = tmp_path / "found"
    with (found / "lungs.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == list(by_name)
    for name, row in by_name.items():
        if name == "broken.png":
            continue
        result = name if name.endswith(".png") else f"{name}.png"
        size = (row["width"], row["height"])
        mask = Image.open(found / "masks" / result)
        assert (mask.size, mask.mode) == (size, "L")
        assert set(np.unique(mask)) <= {0, 255}
        crop = Image.open(found / "crops" / result)
        assert crop.size == (row["right"] - row["left"], row["bottom"] - row["top"])
        assert crop.size == size or row["trusted"]
        assert max(Image.open(found / "overlays" / result).size) == 512


def test_a_huge_image_is_segmented_and_one_beyond_all_bounds_is_refused(darkcovid, cohort, tmp_path):
    Image.open(cohort.files[0]).resize((8000, 6000), Image.Resampling.NEAREST).save(tmp_path / "huge.jpg", quality=50)
    Image.new("L", (12_000, 10_000)).save(tmp_path / "bomb.png")
    huge = json.loads(darkcovid("segment", "huge.jpg", "--json").stdout)[0]
    assert (huge["width"], huge["height"]) == (8000, 6000)
    assert "12000x10000 pixels, more than" in error_of(darkcovid("segment", "bomb.png", code=3))


def test_one_image_one_manifest_and_what_is_wrong(darkcovid, folder, cohort, tmp_path):
    said = darkcovid("segment", folder / "one.png", "--out", "one").stdout
    assert said.startswith("1 images, ")
    manifest = cohort.files[0].parents[1] / "manifest.csv"
    assert len(json.loads(darkcovid("segment", manifest, "--out", "all", "--json").stdout)) == len(cohort)
    assert "no such image, folder or manifest" in error_of(darkcovid("segment", "absent", code=2))
    assert "no image could be read" in error_of(darkcovid("segment", folder / "broken.png", "--out", "x", code=3))
    (tmp_path / "empty").mkdir()
    assert "no PNG, JPEG or DICOM image in it" in error_of(darkcovid("segment", "empty", code=2))


def test_evaluating_on_phantoms_whose_lungs_are_known(darkcovid, cohort, tmp_path):
    manifest = cohort.files[0].parents[1] / "manifest.csv"
    summary = json.loads(darkcovid("lungs", "evaluate", "--manifest", manifest, "--out", "scores", "--json").stdout)
    assert summary["images"] == len(cohort)
    assert summary["dice"].keys() == {"mean", "median", "p5", "min"}
    assert summary["lung_kept"].keys() == {"mean", "share_at_95"}
    assert {"box_iou_mean", "crop_area_mean", "untrusted"} <= summary.keys()
    with (tmp_path / "scores" / "lungs.csv").open(newline="") as file:
        dice = [float(row["dice"]) for row in csv.DictReader(file)]
    assert np.mean(dice) == pytest.approx(summary["dice"]["mean"], abs=1e-5)
    overlays = list((tmp_path / "scores" / "worst").rglob("*.png"))
    assert len(overlays) == len(summary["worst"]) == 5
    assert json.loads((tmp_path / "scores" / "summary.json").read_text()) == summary


def test_evaluating_without_masks_is_refused(darkcovid, tmp_path):
    (tmp_path / "m.csv").write_text("path,label,patient_id\na.png,covid,1\n")
    assert "no row has a lung_mask" in error_of(darkcovid("lungs", "evaluate", "--manifest", "m.csv", code=2))


def test_masks_that_cannot_be_used_are_left_out_and_listed(darkcovid, cohort, tmp_path):
    source = cohort.files[0].parents[1]
    rows = pd.read_csv(source / "manifest.csv", dtype=str, keep_default_na=False)[:7]
    for path in [*rows.path, *rows.lung_mask]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((source / path).read_bytes())
    (tmp_path / rows.lung_mask[1]).write_bytes(b"no image")
    Image.new("L", (64, 64)).save(tmp_path / rows.lung_mask[2])
    (tmp_path / rows.lung_mask[3]).unlink()
    dot = Image.new("L", (2048, 2048))
    dot.putpixel((9, 9), 255)
    dot.save(tmp_path / rows.lung_mask[4])
    rows.to_csv(tmp_path / "manifest.csv", index=False)
    done = darkcovid("lungs", "evaluate", "--manifest", "manifest.csv", "--json")
    summary = json.loads(done.stdout)
    assert (summary["images"], summary["bad_images"]) == (3, 4)
    assert [bad["image"] for bad in summary["bad"]] == rows.path[1:5].tolist()
    reasons = [bad["reason"] for bad in summary["bad"]]
    assert [word in reason for word, reason in zip(("read", "empty", "missing", "too small"), reasons, strict=True)] == [True] * 4
    rows.iloc[1:3].to_csv(tmp_path / "manifest.csv", index=False)
    assert "no lung mask can be used" in error_of(darkcovid("lungs", "evaluate", "--manifest", "manifest.csv", code=3))
