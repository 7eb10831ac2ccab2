import hashlib
import json
import shutil
import zipfile

import pytest
from rocrate.rocrate import ROCrate

from darkcovid.core.errors import UsageError
from darkcovid.experiment.run_crate import write_run_crate

from ..conftest import RECIPES

RUN = RECIPES.parent / "docs" / "results" / "segmented"
FILES = ("recipe.yaml", "comparison.json", "environment.json", "audit.json", "comparison.png")
pytestmark = pytest.mark.filterwarnings("ignore:old names of recipe keys:FutureWarning")


@pytest.fixture
def run(tmp_path):
    """A published run, with what may and what may not leave this machine beside it."""
    folder = tmp_path / "run"
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(RUN / name, folder / name)
    arm = folder / "small"
    (arm / "plots").mkdir(parents=True)
    for name in (
        "weights.safetensors",
        "predictions.csv",
        "plots/roc.png",
        "thumbnails.json",
        "plots/gradcam.png",
        "x.npy",
        "x.pkl",
    ):
        (arm / name).write_bytes(name.encode())
    for name in ("status.json", "events.jsonl", ".hidden.json", "x.dcm", "lungs.png"):
        (folder / name).write_text("host")
    for name in ("wandb/run-1/files/config.yaml", "tensorboard/small/hparams.json"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("of a tracker")
    (folder / "link.json").symlink_to("/etc/hostname")
    return folder


def test_all_that_a_reviewer_needs_is_in_it_hashed_and_no_radiograph(run, tmp_path):
    listed = write_run_crate(run, tmp_path / "c.zip", "https://creativecommons.org/licenses/by/4.0/")
    made = {"report.html", "claim.md", "tripod-ai.md", "probast-ai.md"}
    assert set(listed) == {*FILES, "small/weights.safetensors", "small/predictions.csv", "small/plots/roc.png", *made}
    with zipfile.ZipFile(tmp_path / "c.zip") as packed:
        assert set(packed.namelist()) == {*listed, "SHA256SUMS", "ro-crate-metadata.json"}
        sums = dict(reversed(line.split("  ")) for line in packed.read("SHA256SUMS").decode().splitlines())
        assert sums == {name: hashlib.sha256(packed.read(name)).hexdigest() for name in listed}
        assert b"data:image/jpeg" not in packed.read("report.html") and b"data:image/png" not in packed.read("report.html")
    crate = ROCrate(tmp_path / "c.zip")
    assert {entity.id: entity["sha256"] for entity in crate.data_entities if entity.id in sums} == sums
    assert crate.license.id == "https://creativecommons.org/licenses/by/4.0/"
    (action,) = crate.get_by_type("CreateAction")
    assert action["instrument"]["name"] == "darkcovid" and [each.id for each in action["object"]] == ["recipe.yaml"]
    assert not list(tmp_path.glob(".*.part"))


def test_no_place_of_this_machine_is_in_it(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    (run / "small" / "timing.json").write_text(
        json.dumps({"run_dir": str(run), "data": "/home/somebody/films", "other": "/data"})
    )
    write_run_crate(run, tmp_path / "c.zip")
    with zipfile.ZipFile(tmp_path / "c.zip") as packed:
        assert json.loads(packed.read("small/timing.json")) == {"run_dir": "run", "data": "~/films", "other": "/data"}
        assert not [name for name in packed.namelist() if str(tmp_path).encode() in packed.read(name)]


def test_a_license_is_not_made_up(run, tmp_path):
    write_run_crate(run, tmp_path / "c.zip")
    assert str(ROCrate(tmp_path / "c.zip").license).startswith("not stated")


def test_what_is_no_run_or_no_zip_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match="not a finished run"):
        write_run_crate(tmp_path, tmp_path / "c.zip")
    with pytest.raises(UsageError, match="one ZIP"):
        write_run_crate(run, tmp_path / "c.tar")
    assert not list(tmp_path.glob("c.*"))
