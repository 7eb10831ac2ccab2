"""A few files that cannot be read among good ones: every command names them, answers for the others, and ends as it says."""

import json
import struct
import zlib

import pandas as pd
import pytest
from PIL import Image

from ..commands import error_of
from ..conftest import RECIPES
from ..data.test_dicom import dataset, written

BAD = ("empty.png", "text.png", "cut.png", "cut.jpg", "huge.png", "none.dcm", "cut.dcm", "folder.png", "dangling.png")
FIT = ["data.dataset=null", "data.image_size=64", "data.max_bad=0.5", "training.epochs=1", "training.batch_size=8"]
FIT += ["data.split.valid=0.3", "training.precision=fp32", "training.device=cpu", "audit=data"]
SETS = [word for one in FIT for word in ("--set", one)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, phantom_rows):
    """A folder with good radiographs, BAD files and a manifest of all of them."""
    folder = tmp_path_factory.mktemp("mixed")
    rows, source = phantom_rows
    for path in {*rows.path, *rows.lung_mask}:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes((source / path).read_bytes())
    good = (folder / rows.path[0]).read_bytes()
    Image.open(folder / rows.path[0]).save(folder / "cut.jpg")
    content = {
        "empty.png": b"",
        "text.png": b"no image at all",
        "cut.png": good[: len(good) // 2],
        "cut.jpg": (folder / "cut.jpg").read_bytes()[:400],
        "huge.png": _png_that_claims(60_000, 60_000),
        "none.dcm": b"DICM",
    }
    for name, bytes_ in content.items():
        (folder / name).write_bytes(bytes_)
    (folder / "cut.dcm").write_bytes(written(dataset())[:-3000])
    (folder / "folder.png").mkdir()
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    bad = pd.DataFrame({"path": BAD, "label": "covid", "patient_id": [f"bad{number}" for number in range(len(BAD))]})
    pd.concat([rows, bad.assign(lung_mask=rows.lung_mask[0])]).fillna("").to_csv(folder / "manifest.csv", index=False)
    return folder


def _png_that_claims(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def phantom_rows(fitted_cohort):
    """Every other row of the phantoms of `fitted_run`, and their folder."""
    folder = fitted_cohort.manifest.roots[0]
    rows = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
    return rows.loc[::2, ["path", "label", "patient_id", "lung_mask"]].reset_index(drop=True), folder


@pytest.mark.parametrize("target", ["", "manifest.csv"])
def test_predict_answers_for_the_good_ones(darkcovid, mixed, fitted_run, target):
    done = darkcovid("predict", fitted_run, mixed / target, "--arm", "small", "--json")
    answers = {one["image"]: one for one in json.loads(done.stdout)}
    unread = {name for name, one in answers.items() if one["label"] is None}
    assert unread == set(BAD) - ({"folder.png"} if not target else set())
    assert all(answers[name]["warnings"][0] for name in unread)


@pytest.mark.parametrize("target", ["", "manifest.csv"])
def test_segment_does_the_good_ones(darkcovid, mixed, target):
    rows = {one["image"]: one for one in json.loads(darkcovid("segment", mixed / target, "--json").stdout)}
    unread = {name for name, one in rows.items() if one["width"] == 0}
    assert unread == set(BAD) - ({"folder.png"} if not target else set())


def test_verify_names_them_all(darkcovid, mixed):
    found = json.loads(darkcovid("data", "verify", mixed / "manifest.csv", "--json", code=3).stdout)
    assert {path for path, _ in found["faults"]} == set(BAD)
    assert darkcovid("data", "describe", mixed / "manifest.csv").stdout


def test_a_run_leaves_them_out_and_says_so(darkcovid, mixed, tmp_path):
    manifest = ("--manifest", mixed / "manifest.csv")
    done = darkcovid("run", RECIPES / "base.yaml", *manifest, *SETS, "--runs-dir", tmp_path / "runs")
    assert f"excluded: {BAD[0]} (" in done.stderr
    (metrics,) = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/*/metrics.json")]
    assert {one["image"] for one in metrics["bad"]} == set(BAD)
    assert darkcovid("run", RECIPES / "base.yaml", *manifest, *SETS, "--set", "data.max_bad=0.01", code=3).stderr


@pytest.mark.parametrize(
    "words",
    [("data", "audit"), ("data", "preview"), ("data", "prepare"), ("lr-find",)],
    ids=lambda words: "-".join(words),
)
def test_other_commands_go_on(darkcovid, mixed, words):
    done = darkcovid(*words, RECIPES / "base.yaml", "--manifest", mixed / "manifest.csv", *SETS, "--json")
    found = json.loads(done.stdout)
    if words[0] == "data" and words[1] != "preview":
        assert found["images"] == len(list(mixed.glob("images/*")))
    else:
        assert not set(BAD) & set(done.stdout.split('"')) and found


def test_lungs_are_judged_on_the_good_ones(darkcovid, mixed):
    done = darkcovid("lungs", "evaluate", "--manifest", mixed / "manifest.csv", "--json")
    found = json.loads(done.stdout)
    assert found["images"] == len(list(mixed.glob("images/*")))
    assert {one["image"] for one in found["bad"]} == set(BAD)


def test_bad_ones_alone_are_refused(darkcovid, mixed, fitted_run, tmp_path):
    rows = pd.read_csv(mixed / "manifest.csv", dtype=str, keep_default_na=False)
    alone = tmp_path / "alone.csv"
    rows[rows.path.isin(BAD)].to_csv(alone, index=False)
    for words in (("predict", fitted_run, alone), ("segment", alone), ("lungs", "evaluate", "--manifest", alone)):
        done = darkcovid(*words, "--data-root", mixed, code=3)
        assert error_of(done)
