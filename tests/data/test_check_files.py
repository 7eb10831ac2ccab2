"""What is remembered of files, and what is asked again."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkcovid.core.array_cache import content_key
from darkcovid.core.errors import DataError
from darkcovid.data import check_files as intake
from darkcovid.data.check_files import validate_files
from darkcovid.data.manifest import Manifest


@pytest.fixture
def three(tmp_path):
    """A manifest of three images, of which the second is damaged."""
    for number in range(3):
        Image.fromarray(np.full((20 + number, 30), number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    return Manifest(pd.DataFrame({"path": ["0.png", "1.png", "2.png"], "sha256": ""}), (tmp_path,))


@pytest.fixture
def opened(monkeypatch):
    """The files that were decoded, and a decoder that may be told to fail."""
    files, really = [], intake.load_grayscale

    def open_grayscale(file):
        files.append(file.name)
        if file.name in open_grayscale.missing:
            raise DataError(f"{file}: a decoder is missing: install `darkcovid[dicom]`")
        return really(file)

    open_grayscale.missing = set()
    monkeypatch.setattr(intake, "load_grayscale", open_grayscale)
    return files, open_grayscale


def test_sound_images_are_remembered_and_refused_ones_are_asked_again(three, opened, tmp_path):
    # fault 37
    files, decoder = opened
    decoder.missing = {"0.png"}
    first = validate_files(three, tmp_path / "cache")
    assert [bool(answer.fault) for answer in first] == [True, True, False]
    assert "install" in first[0].fault
    decoder.missing, files[:] = set(), []
    second = validate_files(three, tmp_path / "cache")
    assert sorted(files) == ["0.png", "1.png"]
    assert [(answer.width, answer.height) for answer in second] == [(30, 20), (0, 0), (30, 22)]
    files[:] = []
    assert validate_files(three, tmp_path / "cache") == second
    assert files == ["1.png"]


def test_another_decoder_looks_again_and_makes_other_pixels(three, opened, tmp_path, monkeypatch):
    files, _ = opened
    validate_files(three, tmp_path / "cache")
    before = content_key(kind="whole")
    files[:] = []
    monkeypatch.setattr("darkcovid.data.check_files.DECODER_VERSION", 10**6)
    monkeypatch.setattr("darkcovid.core.array_cache.DECODER_VERSION", 10**6)
    validate_files(three, tmp_path / "cache")
    assert sorted(files) == ["0.png", "1.png", "2.png"]
    assert content_key(kind="whole") != before


def test_a_damaged_memory_is_made_anew(three, opened, tmp_path):
    files, _ = opened
    first = validate_files(three, tmp_path / "cache")
    (memory,) = (tmp_path / "cache" / "intake").glob("*.json")
    memory.write_text(memory.read_text().replace("30", "31"))
    files[:] = []
    assert validate_files(three, tmp_path / "cache") == first
    assert len(files) == 3
