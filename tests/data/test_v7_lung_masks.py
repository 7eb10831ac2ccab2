"""Outlines of known area, served over real HTTP from this machine."""

import hashlib
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkcovid.core.errors import DarkCovidError, DataError
from darkcovid.data.download.v7_lung_masks import fetch_lungs, rasterize, read_outlines
from darkcovid.data.manifest import read_manifest


def ring(left, top, right, bottom):
    return [{"x": x, "y": y} for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]


def annotation(name, *polygons):
    lungs = [{"name": "Lung", "polygon": {"path": path, "additional_paths": more}} for path, *more in polygons]
    tags = [{"name": "COVID-19", "tag": {}}]
    return {"image": {"original_filename": name, "width": 100, "height": 80}, "annotations": [*tags, *lungs]}


@pytest.fixture
def archive(tmp_path, address):
    path = tmp_path / "site" / "outlines.zip"
    with zipfile.ZipFile(path, "w") as files:
        two = annotation("x.png", [ring(10, 10, 39, 69)], [ring(60, 10, 89, 69), ring(70, 30, 79, 49)])
        files.writestr("covid/one.json", json.dumps(two))
        files.writestr("covid/two.json", json.dumps(annotation("other.png", [ring(0, 0, 9, 9)])))
        files.writestr("covid/none.json", json.dumps(annotation("untouched.png")))
        files.writestr("readme.txt", "not an annotation")
    return f"{address}/outlines.zip", hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_ring_in_a_ring_is_a_hole_and_two_lungs_are_one_mask():
    mask = rasterize(annotation("a", [ring(10, 10, 39, 69)], [ring(60, 10, 89, 69), ring(70, 30, 79, 49)]))
    assert mask.shape == (80, 100)
    assert mask.sum() == 30 * 60 + 30 * 60 - 10 * 20
    assert not mask[40, 75]


def test_outlines_become_masks_and_a_manifest_to_train_on(tmp_path, archive):
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    Image.new("L", (200, 160)).save(data / "images" / "x.png")
    rows = pd.DataFrame([{"path": f"images/{name}", "label": "covid", "patient_id": name} for name in ("x.png", "y.png")])
    rows.to_csv(data / "images.csv", index=False)
    done = fetch_lungs(read_manifest(data / "images.csv"), data, *archive)
    assert (done.masks, done.unmatched) == (1, 1)
    made = read_manifest(done.manifest)
    assert made.rows.lung_mask.tolist() == ["lung_masks/x.png"]
    mask = Image.open(made.locate("lung_masks/x.png"))
    assert mask.size == (200, 160)
    assert (np.asarray(mask) > 0).sum() == 4 * (2 * 30 * 60 - 10 * 20)


def test_another_file_than_the_recorded_one_is_refused(tmp_path, archive, address):
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,label,patient_id\nx.png,covid,1\n")
    with pytest.raises(DarkCovidError, match="could not be fetched"):
        fetch_lungs(read_manifest(manifest), tmp_path / "data", archive[0], "0" * 64)
    with pytest.raises(DarkCovidError, match="could not be fetched"):
        fetch_lungs(read_manifest(manifest), tmp_path / "more", f"{address}/absent.zip", "0" * 64)
    assert not (tmp_path / "data" / "lung_masks").exists()


def test_an_archive_that_is_not_the_recorded_one_is_fetched_anew(tmp_path, archive):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "covid-only.zip").write_bytes(b"an older one")
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,label,patient_id\nx.png,covid,1\n")
    assert fetch_lungs(read_manifest(manifest), tmp_path / "data", *archive).masks == 1


def test_a_broken_archive_is_one_line(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="not a zip of Darwin annotations"):
        read_outlines(tmp_path / "a.zip")
