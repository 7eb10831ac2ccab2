"""An archive becomes a folder, whole or not at all, and nothing is written outside it."""

import io
import tarfile
import zipfile
from itertools import product

import numpy as np
import pytest

from darkcovid.core.errors import DataError, UsageError
from darkcovid.data import unpack as module
from darkcovid.data.unpack import archive_suffix, unpack

from ..commands import error_of
from .importers import miniatures

PNG = io.BytesIO()
miniatures.Image.new("L", (40, 32), 90).save(PNG, "PNG")
PNG = PNG.getvalue()


def zip_of(path, *names, content=PNG):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return path


def tar_of(path, *names, kind=None, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            if kind is not None:
                info.type, info.linkname = kind, "../../etc/passwd"
                archive.addfile(info)
                continue
            info.size = len(PNG)
            archive.addfile(info, io.BytesIO(PNG))
    return path


def nothing_written(folder, *kept):
    return sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in kept)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.zip", ".zip"),
        ("A.ZIP", ".zip"),
        ("a.tar.gz", ".tar.gz"),
        ("a.tgz", ".tgz"),
        ("a.npz", ".npz"),
        ("a.7z", None),
        (".zip", None),
    ],
)
def test_archives_by_their_names(tmp_path, name, suffix):
    assert archive_suffix(tmp_path / name) == suffix


@pytest.mark.parametrize(("make", "suffix"), [(zip_of, ".zip"), (tar_of, ".tgz")])
def test_files_are_unpacked(tmp_path, make, suffix):
    archive, seen = make(tmp_path / f"set{suffix}", "set/covid/1.png", "set/normal/a b.png"), []
    unpack(archive, tmp_path / "out", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "out" / "set" / "normal" / "a b.png").read_bytes() == PNG
    assert seen[-1] == (2 * len(PNG), 2 * len(PNG))
    assert nothing_written(tmp_path, archive, tmp_path / "out")


OUTSIDE = ["../out.png", "a/../../out.png", "/etc/out.png", "C:/out.png"]


@pytest.mark.parametrize("name", [*OUTSIDE, "..\\out.png", "a\\..\\..\\out.png"])
def test_a_path_out_of_a_zip_is_refused(tmp_path, name):
    archive = zip_of(tmp_path / "set.zip", "good.png", name)
    with pytest.raises(DataError, match="leads out of the archive; nothing was unpacked"):
        unpack(archive, tmp_path / "out")
    assert nothing_written(tmp_path, archive)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_out_of_a_tar_is_refused(tmp_path, name):
    archive = tar_of(tmp_path / "set.tar.gz", "good.png", name)
    with pytest.raises(DataError, match="leads out of the archive; nothing was unpacked"):
        unpack(archive, tmp_path / "out")
    assert nothing_written(tmp_path, archive)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    archive = tar_of(tmp_path / "set.tgz", "covid/1.png", kind=kind)
    with pytest.raises(DataError, match="is a link or a device"):
        unpack(archive, tmp_path / "out")
    assert nothing_written(tmp_path, archive)


def test_a_link_in_a_zip_is_refused(tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        info = zipfile.ZipInfo("covid/1.png")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="is a link or a device"):
        unpack(archive, tmp_path / "out")
    assert nothing_written(tmp_path, archive)


def test_two_files_of_one_name_are_refused(tmp_path):
    archive = zip_of(tmp_path / "set.zip", "covid/a.png", "covid/A.PNG")
    with pytest.raises(DataError, match=r"covid/A.PNG and covid/a.png: one name for two files"):
        unpack(archive, tmp_path / "out")
    assert nothing_written(tmp_path, archive)


def test_an_archive_larger_than_the_disk_is_refused(tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "set.zip", "covid/a.png", content=bytes(1 << 20))
    usage = module.shutil.disk_usage(tmp_path)._replace(free=module.SPARE_BYTES + (1 << 19))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match=r"unpacked it has 0.0 GB, and .* GB free"):
        unpack(archive, tmp_path / "out")
    assert nothing_written(tmp_path, archive)


DAMAGES = {
    "cut": lambda content: content[: min(560, len(content) // 2)],
    "flipped": lambda content: bytes(byte ^ 255 if at == len(content) // 2 else byte for at, byte in enumerate(content)),
    "empty": lambda content: b"",
    "text": lambda content: b"not found\n",
}


@pytest.mark.parametrize(
    ("suffix", "damage"),
    sorted({*product((".zip", ".tgz", ".tar", ".npz"), DAMAGES)} - {(".tar", "flipped")}),  # a tar has no checksum of contents
)
def test_a_damaged_archive_is_one_line(tmp_path, suffix, damage):
    name = tmp_path / ("pneumoniamnist.npz" if suffix == ".npz" else f"set{suffix}")
    if suffix == ".npz":
        miniatures.pneumoniamnist_file(name)
    elif suffix == ".zip":
        zip_of(name, "covid/1.png", content=np.random.default_rng(0).bytes(4000))
    else:
        tar_of(name, "covid/1.png", mode="w:gz" if suffix == ".tgz" else "w")
    name.write_bytes(DAMAGES[damage](name.read_bytes()))
    with pytest.raises(DataError, match=str(name)):
        unpack(name, tmp_path / "out")
    assert nothing_written(tmp_path, name)


def test_an_encrypted_zip_is_one_line(tmp_path):
    archive = zip_of(tmp_path / "set.zip", "covid/1.png")
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match="it is encrypted; unpack it yourself"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"train_images": np.zeros((4, 28, 28), np.float32)}, "float32, not uint8"),
        ({"train_images": np.zeros((3, 28, 28), np.uint8)}, "for 4 labels"),
        ({"val_labels": np.array([[2], [0]])}, "val_labels"),
        ({"val_labels": np.array([["a"], ["b"]], object)}, "Object arrays"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changed, cause):
    archive = miniatures.pneumoniamnist_file(tmp_path / "pneumoniamnist.npz", **changed)
    with pytest.raises(DataError, match=cause):
        unpack(archive, tmp_path / "out")
    assert nothing_written(tmp_path, archive)


def test_other_sets_of_medmnist_are_refused(tmp_path):
    archive = miniatures.pneumoniamnist_file(tmp_path / "pathmnist.npz")
    with pytest.raises(UsageError, match="hold chest radiographs"):
        unpack(archive, tmp_path / "out")


def test_a_folder_that_is_there_is_not_touched(darkcovid, tmp_path):
    archive = zip_of(tmp_path / "set.zip", "covid/1.png", "normal/1.png")
    (tmp_path / "set").mkdir()
    assert "it exists already; import this folder" in error_of(darkcovid("data", "import", archive, code=2))


def test_an_archive_is_imported_in_one_command(darkcovid, tmp_path):
    folder = miniatures.chest_xray_pneumonia(tmp_path / "chest_xray")
    archive = tmp_path / "kaggle.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(tmp_path).as_posix()
            file.write(path, name)
            if path.is_file() and "__MACOSX" not in name:
                file.write(path, f"chest_xray/{name}")  # as Kaggle's own archive has everything twice
    done = darkcovid("data", "import", archive)
    assert "read as chest-xray-pneumonia" in done.stderr
    assert f"{tmp_path / 'kaggle' / 'manifest.csv'}: 10 images" in done.stdout
    assert "neither a folder nor a .zip" in error_of(darkcovid("data", "import", tmp_path / "kaggle" / "manifest.csv", code=2))
