"""A sound machine is called so, and each thing that can be wrong is named with what to do."""

import json
from collections import namedtuple

import pytest

from darkcovid.core.array_cache import cached_array
from darkcovid.experiment import doctor

from ..conftest import RECIPES


@pytest.mark.slow
def test_a_sound_machine(darkcovid, tmp_path):
    done = darkcovid("doctor", "--cache-dir", tmp_path / "cache", "--manifest", RECIPES.parent / "data_manifest.csv", "--json")
    found = {one["about"]: one for one in json.loads(done.stdout)}
    assert [found[name]["state"] for name in ("libraries", "device", "cache", "lung segmenter", "self-test")] == ["ok"] * 5
    assert found["data"]["words"].endswith("of 1773 images found")
    assert "phantoms and scored in" in found["self-test"]["words"]
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_a_manifest_that_is_not_there_fails(darkcovid, tmp_path):
    done = darkcovid("doctor", "--no-self-test", "--manifest", "absent.csv", "--cache-dir", tmp_path, code=1)
    assert "FAIL  data: absent.csv: no such file" in done.stdout
    assert "self-test" not in done.stdout


def test_a_library_that_is_missing_or_too_old_fails(monkeypatch):
    needed = ["numpy>=1", "nonesuch>=2", "torch>=99", "other>=1; extra == 'x'"]
    monkeypatch.setattr(doctor, "requires", lambda name: needed)
    found = doctor.libraries()
    assert found.state == "fail" and found.advice
    assert found.words.startswith("nonesuch is missing (needed: >=2); torch ") and found.words.endswith("(needed: >=99)")


def test_a_cache_that_went_bad_is_told(tmp_path):
    for name in ("a", "b"):
        cached_array(tmp_path / "pixels", name, (3, 3), lambda array: array.fill(1))
    assert doctor.check_cache(tmp_path).state == "ok"
    path = tmp_path / "pixels" / "b.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    found = doctor.check_cache(tmp_path)
    assert found.state == "warn" and "2 arrays" in found.words and "1 damaged, the first is b.npy" in found.words


def test_a_full_disk_warns_and_one_that_cannot_be_written_fails(tmp_path, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    assert doctor.disk("here", tmp_path / "not" / "yet").words.startswith(str(tmp_path / "not" / "yet"))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(10, 9, 1))
    assert doctor.disk("here", tmp_path).state == "warn"

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = doctor.disk("here", tmp_path)
    assert (found.state, found.words) == ("fail", f"{tmp_path}: cannot be written (Permission denied)")


def test_images_that_are_missing_come_with_the_command_that_fetches_them(tmp_path):
    (tmp_path / "m.csv").write_text("path,label,patient_id\nx.png,a,1\ny.png,b,2\n")
    (tmp_path / "x.png").write_bytes(b"")
    found = doctor.data(tmp_path / "m.csv", None)
    assert (found.state, found.words.split(": ")[1]) == ("warn", "1 of 2 images found")
    assert found.advice.startswith(f"darkcovid data fetch {tmp_path / 'm.csv'}")


def test_spark_without_java_warns(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "_version", lambda name: "1" if name in ("pyspark", "fastapi") else None)
    found = doctor.extras()
    assert found.state == "warn" and found.words == "serve, spark; Spark has no Java"


def test_a_part_that_breaks_is_a_finding():
    found = doctor._guarded("a part", lambda: 1 / 0, "mend it")
    assert (found.state, found.words, found.advice) == ("fail", "ZeroDivisionError: division by zero", "mend it")
