"""Wrong or hostile input is one clear line, and nothing is half-written."""

import errno
import os
import zipfile

import pytest

from darkcovid.core.errors import DataError
from darkcovid.data.image_folders import walk_images

from ...commands import error_of
from . import miniatures


@pytest.fixture
def folder(tmp_path):
    return miniatures.class_folders(tmp_path / "set")


def written(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix in (".csv", ".partial", ".salt", ".part"))


def test_a_table_of_ten_gigabytes(darkcovid, folder, tmp_path):
    table = tmp_path / "list.csv"
    with table.open("wb") as file:
        file.write(b"path,label\n")
        file.truncate(10_000_000_000)  # sparse
    assert "10.0 GB is no list of images" in error_of(darkcovid("data", "import", folder, "--table", table, code=3))
    (folder / "metadata.csv").symlink_to(table)
    (folder / "Data_Entry_2017.csv").symlink_to(table)
    done = darkcovid("data", "import", folder, "--form", "nih-chestxray14", code=3)
    assert "10.0 GB is no list of images" in error_of(done)
    assert written(folder) == ["Data_Entry_2017.csv", "metadata.csv"]


def test_a_workbook_with_formulas_is_not_a_table(darkcovid, folder, tmp_path):
    book = tmp_path / "list.xlsx"
    with zipfile.ZipFile(book, "w") as file:
        file.writestr("xl/worksheets/sheet1.xml", "<c><f>HYPERLINK(1)</f></c>")
    assert "Excel workbook" in error_of(darkcovid("data", "import", folder, "--table", book, code=3))
    assert written(folder) == []


def test_two_files_of_one_name_in_two_cases_are_said(darkcovid, folder):
    (first,) = sorted((folder / "train").rglob("*.png"))[:1]
    first.with_name(first.name.upper()).write_bytes(first.read_bytes())
    done = darkcovid("data", "import", folder)
    assert "differ in case alone: on Windows and macOS they are one file" in done.stderr


def test_a_folder_without_rights_is_named(folder, monkeypatch):
    scandir, closed = os.scandir, folder / "train"

    def without_rights(path):
        if os.fspath(path) == os.fspath(closed):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scandir(path)

    with (
        monkeypatch.context() as context,
        pytest.raises(DataError, match=r"set/train: this folder cannot be read \(Permission denied\)"),
    ):
        context.setattr(os, "scandir", without_rights)
        walk_images(folder)


def test_a_link_that_goes_round_does_not_end_the_command(darkcovid, folder):
    (folder / "train" / "round").symlink_to(folder)
    (folder / "train" / "self.png").symlink_to(folder / "train" / "self.png")
    done = darkcovid("data", "import", folder)
    assert "folders that are links are not entered: train/round" in done.stderr
    assert "images" in done.stdout


def test_names_that_are_no_utf8_are_said(darkcovid, folder):
    (name,) = sorted((folder / "train").rglob("*.png"))[:1]
    name.rename(os.fsdecode(os.fsencode(name.parent) + b"/caf\xe9.png"))
    done = darkcovid("data", "import", folder)
    assert "left out, for a name that is not UTF-8: 1" in done.stderr


def test_a_manifest_that_cannot_be_written(darkcovid, folder):
    (folder / "taken").mkdir()
    assert "taken" in error_of(darkcovid("data", "import", folder, "--force", "-o", folder / "taken", code=2))
