"""Arrays made together are those made alone, and only what is absent is made."""

import numpy as np
import pytest
from PIL import Image

from darkcovid.core import array_cache
from darkcovid.core.errors import DataError
from darkcovid.data import image_arrays
from darkcovid.data.image_arrays import ImageArray, cached_image_arrays


@pytest.fixture
def files(tmp_path):
    random, paths = np.random.default_rng(0), [tmp_path / f"{number}.png" for number in range(7)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (24, 20), np.uint8)).save(path)
    return paths


@pytest.fixture
def opened(monkeypatch):
    names: list[str] = []
    load = image_arrays.load_grayscale
    monkeypatch.setattr(image_arrays, "load_grayscale", lambda path: names.append(path.name) or load(path))
    return names


def side(folder, side, images="abcdefg"):
    """A whole image at so many pixels per side, and its number in a corner."""

    def draw(image, row):
        pixels = np.array(image.resize((side, side)))
        pixels[0, 0] = row
        return pixels

    return ImageArray(folder, list(images), (side, side), {"side": side}, draw)


def test_together_as_alone_and_each_file_opened_once(files, opened, tmp_path, monkeypatch):
    monkeypatch.setattr(array_cache, "SHARD_ROWS", 3)
    alone = [cached_image_arrays(files, [side(tmp_path / "alone", size)])[0] for size in (4, 8, 6)]
    assert len(opened) == 3 * len(files)
    opened.clear()
    together = cached_image_arrays(files, [side(tmp_path / "both", size) for size in (4, 8, 6)])
    assert sorted(opened) == sorted(path.name for path in files)
    for one, other in zip(alone, together, strict=True):
        assert other.fresh and np.array_equal(np.asarray(one.array), np.asarray(other.array))
        assert np.asarray(other.array)[:, 0, 0].tolist() == list(range(7))


def test_only_what_is_absent_is_made_and_the_same_twice_is_one(files, opened, tmp_path):
    cached_image_arrays(files, [side(tmp_path, 8)])
    opened.clear()
    small, known, again = cached_image_arrays(files, [side(tmp_path, 4), side(tmp_path, 8), side(tmp_path, 4)])
    assert len(opened) == len(files)
    assert small.fresh and again.fresh and not known.fresh
    assert np.array_equal(small.array, again.array)
    opened.clear()
    assert not any(array.fresh for array in cached_image_arrays(files, [side(tmp_path, 8), side(tmp_path, 4)]))
    assert cached_image_arrays(files, []) == [] and not opened


def test_a_file_that_cannot_be_read_leaves_nothing_behind(files, tmp_path):
    files[4].write_bytes(b"no image")
    folder = tmp_path / "cache"
    with pytest.raises(DataError, match=r"4\.png"):
        cached_image_arrays(files, [side(folder, 4), side(folder, 8)])
    assert not [path for path in folder.iterdir() if path.suffix != ".lock"]
