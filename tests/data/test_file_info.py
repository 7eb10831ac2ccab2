"""An interrupted import goes on where it stopped, and looks again at what has changed."""

from contextlib import contextmanager

import pytest

from darkcovid.data import import_folder as module
from darkcovid.data.file_info import Journal, file_facts
from darkcovid.data.import_folder import import_folder, list_images
from darkcovid.data.importers import CLASS_FOLDERS
from darkcovid.data.manifest import read_manifest

from .importers import miniatures


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 4)
    for number in range(20):
        miniatures.image(tmp_path / "set" / ("covid" if number % 2 else "normal") / f"{number:02}.png", number)
    return tmp_path / "set"


@pytest.fixture
def looked_at(monkeypatch):
    paths = []

    def counting(file, ids):
        paths.append(file.name)
        return file_facts(file, ids)

    monkeypatch.setattr(module, "file_facts", counting)
    return paths


@contextmanager
def interrupted_after_12(what, total):
    def show(done):
        if done == 12:
            raise KeyboardInterrupt

    yield show


def imported(folder, **options):
    listed = list_images(folder, CLASS_FOLDERS, {})
    import_folder(folder, CLASS_FOLDERS, listed, folder / "manifest.csv", **options)
    return (folder / "manifest.csv").read_bytes()


def test_an_interrupted_import_goes_on(folder, looked_at):
    whole = imported(folder)
    (folder / "manifest.csv").unlink()
    looked_at.clear()
    with pytest.raises(KeyboardInterrupt):
        imported(folder, progress=interrupted_after_12)
    assert len(looked_at) == 12 and not (folder / "manifest.csv").exists()
    journal = folder / "manifest.csv.partial"
    journal.write_bytes(journal.read_bytes()[:-9])  # torn by a kill
    changed = folder / "covid" / "01.png"
    miniatures.image(changed, 200, (50, 50))
    looked_at.clear()
    again = imported(folder)
    assert len(looked_at) == 8 + 2 and "01.png" in looked_at and not journal.exists()
    assert again != whole
    miniatures.image(changed, 1)
    assert imported(folder) == whole


def test_a_journal_of_another_kind_is_not_read(tmp_path):
    file = tmp_path / "a.png"
    miniatures.image(file)
    with Journal(tmp_path / "m.csv", "file, ids hashed") as journal:
        journal.record({"a.png": (file, {"width": "40"})})
    assert Journal(tmp_path / "m.csv", "file, ids hashed").recall("a.png", file) == {"width": "40"}
    assert Journal(tmp_path / "m.csv", "file, ids raw").recall("a.png", file) is None
    (tmp_path / "m.csv.partial").write_bytes(b'\xff\xfe\n[]\n3\n{"kind": "file, ids hashed"}\nnull\n')
    assert Journal(tmp_path / "m.csv", "file, ids hashed").recall("a.png", file) is None


class Measure:
    """Flags files by their number."""

    version = "test 1"

    def __init__(self):
        self.seen = []

    def __call__(self, files, views):
        assert len(files) == len(views)
        self.seen += [file.name for file in files]
        return ["blurred" if file.name < "04" else "" for file in files]


def test_quality_is_a_column_and_is_remembered(folder, monkeypatch):
    monkeypatch.setattr(module, "QUALITY_AT_ONCE", 5)
    (folder / "covid" / "21.png").write_bytes((folder / "normal" / "00.png").read_bytes())
    measure = Measure()

    @contextmanager
    def interrupted(what, total):
        def show(done):
            if what == "image quality" and done == 10:
                raise KeyboardInterrupt

        yield show

    with pytest.raises(KeyboardInterrupt):
        imported(folder, quality=measure, progress=interrupted)
    assert len(measure.seen) == 10
    imported(folder, quality=measure)
    assert len(measure.seen) == 21 == len(set(measure.seen))
    rows = read_manifest(folder / "manifest.csv").rows.set_index("path")
    assert rows.quality["covid/01.png"] == "blurred" and rows.quality["covid/05.png"] == "good"
    assert rows.quality["normal/00.png"] == "blurred|duplicate" and rows.quality["covid/21.png"] == "good"
    imported(folder, update=True)
    assert read_manifest(folder / "manifest.csv").rows.set_index("path").quality.equals(rows.quality)


@pytest.mark.slow
def test_the_command_measures_quality(darkcovid, folder):
    done = darkcovid("data", "import", folder, "--quality", "--merge-copies")
    assert "image quality, too small: 10 of 10 covid, 10 of 10 no_finding" in done.stdout
    assert "duplicate" not in done.stdout and "--quality finds" not in done.stdout
