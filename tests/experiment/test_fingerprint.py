"""A run that is resumed stands on the images that it began with, or is refused."""

import json
import shutil

import pandas as pd
import pytest

from darkcovid.core.errors import Interrupted, UsageError
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.experiment.fingerprint import check_one_cohort, cohort_table, describe_changes
from darkcovid.experiment.run_dir import RunDir
from darkcovid.experiment.runner import RunPaths, aggregate_run, run, run_subset
from darkcovid.recipe import FitSelector, load_recipe

from ..conftest import RECIPES
from .test_runner import Watched

SETS = ["data.dataset=null", "data.image_size=64", "training.epochs=2", "training.batch_size=8", "training.precision=fp32"]
SETS += ["data.split.valid=0.25", "audit=none"]


@pytest.fixture
def manifest(cohort, tmp_path):
    """A manifest of its own that a test can change, with copies of the phantom's files."""
    rows = cohort.rows.assign(path=[f"{index:03}.png" for index in range(len(cohort))], sha256="", dataset="")
    for file, path in zip(cohort.files, rows.path, strict=True):
        shutil.copy(file, tmp_path / path)
    rows.to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path / "manifest.csv"


@pytest.fixture
def folders(tmp_path, cache_dir):
    return RunPaths(tmp_path / "runs", cache_dir)


def remove_a_patient(manifest):
    rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    rows[rows.patient_id != rows.patient_id.iloc[3]].to_csv(manifest, index=False)


def add_an_image(manifest):
    rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    new = rows.iloc[[0]].assign(path="new.png", patient_id="new")
    shutil.copy(manifest.parent / rows.path[0], manifest.parent / "new.png")
    pd.concat([rows, new]).to_csv(manifest, index=False)


def swap_labels(manifest):
    rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    rows.assign(label=rows.label.replace({"covid": "pneumonia", "pneumonia": "covid"})).to_csv(manifest, index=False)


def change_a_patient(manifest):
    rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    rows.loc[0, "patient_id"] = "somebody else"
    rows.to_csv(manifest, index=False)


def change_a_file(manifest):
    shutil.copy(manifest.parent / "001.png", manifest.parent / "000.png")


CHANGES = {
    remove_a_patient: "are gone",
    add_an_image: "1 images are new (new.png)",
    swap_labels: "have another label",
    change_a_patient: "1 images belong to another patient (000.png)",
    change_a_file: "1 images have another file content (000.png)",
}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_cohort_is_not_resumed(manifest, folders, change):
    recipe = load_recipe(RECIPES / "base.yaml", [*SETS, f"data.manifest={manifest}"])
    with pytest.raises(Interrupted):
        run(recipe, folders, Watched(stop_at="base epoch 1/2"))
    saved = {path: path.read_bytes() for path in manifest.parent.glob("*.*")}
    before = contents(folders.runs)
    change(manifest)
    with pytest.raises(UsageError, match="the cohort is not the one that base was fitted on") as refused:
        run(recipe, folders, Watched(), resume=True)
    assert CHANGES[change] in str(refused.value) and refused.value.exit_code == 2
    assert contents(folders.runs) == before
    for path, content in saved.items():
        path.write_bytes(content)
    assert run(recipe, folders, Watched(), resume=True)["arms"]["base"]["epochs"] == 2


@pytest.mark.parametrize("sets", [["arms={first: {}, second: {training.lr: 1e-4}}"], ["training.folds=2"]])
def test_a_finished_fit_and_the_next_one_have_one_cohort(manifest, folders, sets):
    recipe = load_recipe(RECIPES / "base.yaml", [*SETS, f"data.manifest={manifest}", *sets, "training.epochs=1"])
    second = "second epoch" if "arms" in sets[0] else "base/fold2 epoch"
    with pytest.raises(Interrupted):
        run(recipe, folders, Watched(stop_at=second))
    remove_a_patient(manifest)
    with pytest.raises(UsageError, match="are gone"):
        run(recipe, folders, Watched(), resume=True)


def test_fits_of_several_machines_have_one_cohort(manifest, folders, tmp_path):
    recipe = load_recipe(RECIPES / "base.yaml", [*SETS, f"data.manifest={manifest}", "training.folds=2", "training.epochs=1"])
    run_subset(recipe, tmp_path / "shared", folders, Watched(), (), FitSelector(fold=1))
    remove_a_patient(manifest)
    with pytest.raises(UsageError, match=r"base/fold1 was fitted on: \d+ images are gone"):
        run_subset(recipe, tmp_path / "shared", folders, Watched(), (), FitSelector(fold=2))
    other = tmp_path / "other"
    run_subset(recipe, other, folders, Watched(), (), FitSelector(fold=2))
    shutil.move(other / "base" / "fold2", tmp_path / "shared" / "base" / "fold2")
    with pytest.raises(UsageError, match=r"base/fold1 and base/fold2 were fitted on different cohorts: .* are gone"):
        aggregate_run(RunDir(tmp_path / "shared"), recipe, ["base"], Watched())


def test_half_a_line_of_events_ends_no_fit_of_a_shared_folder(manifest, folders, tmp_path):
    recipe = load_recipe(RECIPES / "base.yaml", [*SETS, f"data.manifest={manifest}", "training.folds=2", "training.epochs=1"])
    run_subset(recipe, tmp_path / "shared", folders, Watched(), (), FitSelector(fold=1))
    events = tmp_path / "shared" / "events.jsonl"
    whole = events.read_text()
    events.write_text(whole[:-9])
    run_subset(recipe, tmp_path / "shared", folders, Watched(), (), FitSelector(fold=2))
    kept = [json.loads(line) for line in whole.splitlines()[:-1]]
    assert RunDir(tmp_path / "shared").events()[: len(kept)] == kept
    assert events.read_text().startswith(whole[:-9] + "\n")


def test_external_sets_and_weights_are_part_of_what_is_resumed(manifest, folders, tmp_path):
    ward = tmp_path / "ward.csv"
    rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    rows.assign(patient_id="ward-" + rows.patient_id).head(9).to_csv(ward, index=False)
    phantom = [*SETS, "data.manifest=phantom", "data.phantom.image_size=64"]
    here = load_recipe(RECIPES / "base.yaml", [*phantom, "data.phantom.patients=12", "data.phantom.seed=3"])
    weights = run(here, RunPaths(tmp_path / "first", folders.cache), Watched())["run_dir"] + "/base/weights.safetensors"
    sets = [*phantom, "data.phantom.patients=24", "data.phantom.seed=11"]
    sets += [f"data.external=[{{manifest: {ward}, shared_patient_ids: false}}]", f"model.weights={weights}"]
    recipe = load_recipe(RECIPES / "base.yaml", sets)
    with pytest.raises(Interrupted):
        run(recipe, folders, Watched(stop_at="base epoch 1/2"))
    (folder,) = folders.runs.iterdir()
    assert set(json.loads((folder / "inputs.json").read_text())) == {"external set ward", f"model.weights {weights}"}
    whole = ward.read_text()
    swap_labels(ward)
    with pytest.raises(UsageError, match="external set ward changed since the run began"):
        run(recipe, folders, Watched(), resume=True)
    ward.write_text(whole)
    second = load_recipe(RECIPES / "base.yaml", [*sets[:-2], "training.seed=5"])
    other = run(second, RunPaths(tmp_path / "first", folders.cache), Watched())["run_dir"] + "/base/weights.safetensors"
    shutil.copy(other, weights)
    with pytest.raises(UsageError, match=r"model.weights .* changed since the run began"):
        run(recipe, folders, Watched(), resume=True)


def test_the_order_of_rows_is_no_change_and_one_name_in_two_datasets_is_two_images(phantom_data, cache_dir):
    table = cohort_table(load_classification_cohort(phantom_data, cache_dir))
    twice = pd.concat([table, table.head(2).assign(label="other")], ignore_index=True)
    assert describe_changes(table, table.sample(frac=1, random_state=1)) is None
    assert describe_changes(twice, twice) is None
    assert describe_changes(table, twice).startswith("2 images are new")
    other_side = table.assign(side=table.side.where(table.index > 0, "test"))
    assert describe_changes(table, other_side) == f"1 images are in another set of the split ({table.image[0]})"


def test_a_run_of_an_earlier_version_says_so(manifest, folders):
    recipe = load_recipe(RECIPES / "base.yaml", [*SETS, f"data.manifest={manifest}"])
    path = folders.runs / "run" / "base"
    path.mkdir(parents=True)
    (path / "split.csv").write_text("image,patient,label,side,lungs_untrusted\na.png,p,covid,train,\n")
    with pytest.raises(UsageError, match="written by an earlier version"):
        check_one_cohort(folders.runs / "run", recipe, ["base"])
