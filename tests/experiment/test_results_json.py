"""The JSON of tiny runs has the key paths and types that other programs rely on: those of `results_json.json`, which was written
by the version before results were typed. A key may be added to that file, none renamed or left out."""

import json
import re
from pathlib import Path

import pytest

from darkcovid.evaluation.results import parse_classifier_fit, parse_comparison, parse_segmenter_fit
from darkcovid.experiment.runner import run
from darkcovid.recipe import load_recipe

from ..conftest import RECIPES
from .test_runner import Watched

pytestmark = pytest.mark.usefixtures("quick_plots")

GOLDEN = json.loads(Path(__file__).with_suffix("").with_name("results_json.json").read_text())
WARD = "{manifest: phantom, name: ward, shared_patient_ids: false, phantom: {patients: 24, image_size: 64, seed: 8}}"
CLASSIFIERS = [
    *("data.manifest=phantom", "data.dataset=null", "data.phantom.patients=40", "data.phantom.image_size=64"),
    *("data.image_size=64", "data.split.valid=0.4", "data.split.test=0.2", "data.augment={flip: 0.5}", f"data.external=[{WARD}]"),
    *("lungs.crop_size=32", "training.epochs=1", "training.batch_size=8", "training.seeds=[1, 2]", "training.tta_views=1"),
]
SEGMENTERS = [
    *("data.manifest=phantom", "data.phantom.patients=12", "data.phantom.image_size=64", "data.split.folds=null"),
    *("training.epochs=1", "training.batch_size=4", "training.folds=2"),
]


def shape(value, path=""):
    """The types at each key path of parsed JSON: items of lists at `path[]`, of classes at `<class>`, of arms at `arms.<arm>`."""
    path = re.sub(r"\b(covid|no_finding|pneumonia)\b", "<class>", path)
    path = re.sub(r"^\.arms\.\w+", ".arms.<arm>", path)
    if isinstance(value, dict):
        return _merged(shape(item, f"{path}.{key}") for key, item in value.items()) | {path: ["object"]}
    if isinstance(value, list):
        return _merged(shape(item, f"{path}[]") for item in value) | {path: ["array"]}
    return {path: ["null" if value is None else type(value).__name__]}


def _merged(shapes):
    merged = {}
    for one in shapes:
        for path, types in one.items():
            merged[path] = sorted({*merged.get(path, []), *types})
    return merged


def differences(before, now):
    """Paths that are in one shape only, or have another type; what cannot be measured everywhere may be null."""
    types = {path: (set(before.get(path, [])) - {"null"}, set(now.get(path, [])) - {"null"}) for path in {*before, *now}}
    return sorted(path for path, (old, new) in types.items() if (path in before) != (path in now) or (old and new and old != new))


def files(run_dir, arm, fit):
    found = {"comparison": run_dir / "comparison.json", "pooled": run_dir / arm / "metrics.json"}
    found |= {"fit": run_dir / arm / fit / "metrics.json"}
    return {name: json.loads(path.read_text()) for name, path in found.items()}


@pytest.fixture(scope="module")
def results(tmp_path_factory, cache_dir):
    from darkcovid.experiment.runner import RunPaths

    folders = RunPaths(tmp_path_factory.mktemp("results") / "runs", cache_dir)
    found = {}
    jobs = [("segmented", CLASSIFIERS, ["unsegmented", "segmented"], "seed1"), ("lung_unet", SEGMENTERS, [], "fold1")]
    for name, sets, arms, fit in jobs:
        comparison = run(load_recipe(RECIPES / f"{name}.yaml", sets), folders, Watched(), arms)
        found[name] = files(folders.runs / Path(comparison["run_dir"]).name, name, fit)
        assert found[name]["comparison"] == comparison
    return found


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["segmented", "lung_unet"])
@pytest.mark.parametrize("file", ["comparison", "pooled", "fit"])
def test_every_key_is_where_it_was_with_the_type_that_it_had(results, recipe, file):
    assert differences(GOLDEN[recipe][file], shape(results[recipe][file])) == []


@pytest.mark.slow
def test_what_is_read_back_becomes_the_same_json(results):
    for file, keys in (("fit", set()), ("pooled", {"fits", "mean", "sd"})):
        for recipe, parse in (("segmented", parse_classifier_fit), ("lung_unet", parse_segmenter_fit)):
            written = results[recipe][file]
            read = json.loads(json.dumps(parse(written).as_dict()))
            assert read == {key: value for key, value in written.items() if key not in keys}
    comparison = parse_comparison(results["segmented"]["comparison"])
    assert list(comparison.arms) == ["unsegmented", "segmented"]
    assert comparison.arms["segmented"].cost.fits == 2
    assert comparison.pairs[0].arm == "segmented"


def test_results_of_earlier_versions_can_be_read():
    """Those under docs/results lack what was added since, such as `judged_by` and the counts of images by class."""
    folder = RECIPES.parent / "docs" / "results"
    fits = [path for path in folder.glob("*/**/*.json") if path.name == "metrics.json" or path.parent.name == "systems"]
    older = [written for path in fits if "members" not in (written := json.loads(path.read_text()))]
    assert len(older) > 20
    for written in older:
        metrics = parse_classifier_fit(written).metrics
        assert metrics.valid.accuracy == written["accuracy"]
        assert metrics.headline.calibration.judged_by == "the images that it was fitted to"
    comparison = parse_comparison(json.loads((folder / "segmented" / "comparison.json").read_text()))
    assert comparison.arms["segmented"].metrics.shortcuts.views["lungs_erased"].accuracy > 0.5


def test_a_renamed_key_would_be_seen():
    before = shape({"accuracy": 0.5, "joules": None})
    assert differences(before, shape({"accuracy": 0.5, "joules": 2.0})) == []
    assert differences(before, shape({"acc": 0.5, "joules": None})) == [".acc", ".accuracy"]
    assert differences(before, shape({"accuracy": 1, "joules": None})) == [".accuracy"]
