"""What a folder's files are taken for: by content where the name says nothing, and what is left out is said."""

import io

import numpy as np
import pytest
from PIL import Image

from darkcovid.core.errors import UsageError
from darkcovid.inference.image_files import find_images, open_image, png_names

from ..data.test_dicom import dataset, written

GRAY = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1)))


def encoded(kind):
    file = io.BytesIO()
    GRAY.save(file, kind)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Images under names of every sort, other files, and what systems leave behind."""
    files = {
        "IM000001": written(dataset()),
        "study/1.2.840.113": written(dataset())[132:],
        "a.png": encoded("PNG"),
        "b.jfif": encoded("JPEG"),
        "c.jpe": encoded("JPEG"),
        "d": encoded("PNG"),
        "e.image": encoded("JPEG"),
        "broken.png": b"no picture",
        "x.tif": encoded("TIFF"),
        "y.TIF": encoded("TIFF"),
        "x.bmp": encoded("BMP"),
        "x.webp": b"RIFF\0\0\0\0WEBPVP8 ",
        "notes.txt": b"text",
        "empty": b"",
        "DICOMDIR": written(dataset()),
        ".DS_Store": b"\0\0\0\1Bud1",
        "Thumbs.db": b"\xd0\xcf",
        "._a.png": b"\0\5\x16\7",
        "__MACOSX/._a.png": b"\0\5\x16\7",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_files_are_known_by_content_and_the_others_are_counted(folder, caplog):
    caplog.set_level("INFO")
    # faults 10 and 25
    images = find_images(folder)
    names = ["IM000001", "a.png", "b.jfif", "broken.png", "c.jpe", "d", "e.image", "study/1.2.840.113"]
    assert sorted(image.name for image in images) == names
    faults = {image.name: open_image(image)[1] for image in images}
    assert faults.pop("broken.png") == "not a PNG, JPEG or DICOM image"
    assert set(faults.values()) == {None}
    (line,) = caplog.messages
    assert line.startswith(f"{folder}: left out, being neither PNG, JPEG nor DICOM: 2 .tif")
    assert all(kind in line for kind in ("1 .bmp", "1 .webp", "1 .txt", "1 without suffix"))


def test_a_folder_without_an_image_says_what_is_in_it(folder):
    for name in ("study", "__MACOSX"):
        for file in (folder / name).iterdir():
            file.unlink()
    (folder / "study" / "scan.tiff").write_bytes(encoded("TIFF"))
    with pytest.raises(UsageError, match=r"no PNG, JPEG or DICOM image in it \(left out, .*: 1 \.tiff\)"):
        find_images(folder / "study")
    with pytest.raises(UsageError, match=r"no PNG, JPEG or DICOM image in it$"):
        find_images(folder / "__MACOSX")


def test_many_kinds_stay_one_line(tmp_path, caplog):
    caplog.set_level("INFO")
    GRAY.save(tmp_path / "a.png")
    for number in range(20):
        (tmp_path / f"x.{number:03}").write_text("no image")
    find_images(tmp_path)
    assert caplog.messages[0].endswith("14 of other kinds") and "\n" not in caplog.messages[0]


def test_a_link_to_nothing_is_an_image_that_cannot_be_read(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    (image,) = find_images(tmp_path)
    assert "no such file" in open_image(image)[1]


def test_nothing_is_said_where_nothing_is_left_out(tmp_path, caplog):
    caplog.set_level("INFO")
    GRAY.save(tmp_path / "a.png")
    assert len(find_images(tmp_path)) == 1
    assert caplog.messages == []


def test_no_two_images_share_a_result():
    names = ["IM1", "IM1.png", "a.jpg", "a.jpg.png", "b.dcm", "IM1_"]
    assert png_names(names) == ["IM1_.png", "IM1.png", "a.jpg_.png", "a.jpg.png", "b.dcm.png", "IM1__.png"]
