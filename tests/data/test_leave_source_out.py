"""Each hospital in turn is what the network has not seen: no patient of it is trained on, under any name of its source."""

import numpy as np
import pandas as pd
import pytest

import darkcovid as dc
from darkcovid.audits.leakage import find_leaks_of_splits
from darkcovid.core.errors import UsageError
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.data.splits import assign_splits, source_name
from darkcovid.recipe import Split
from darkcovid.recipe.recipe import validate

from ..experiment.test_runner import Watched
from .sources import write_two_hospitals

pytestmark = pytest.mark.usefixtures("quick_plots")

PER_CLASS = {"north": {"a": 40, "b": 40}, "south": {"a": 40, "b": 20}, "west": {"b": 30}, "only": {"c": 10, "a": 10}}


def rows(per_class=PER_CLASS, patients_of=2):
    cells = [(source, label) for source, counts in per_class.items() for label, count in counts.items() for _ in range(count)]
    table = pd.DataFrame(cells, columns=["dataset", "label"])
    table["path"] = [f"{row}.png" for row in range(len(table))]
    table["patient_id"] = [f"{row.dataset}{row.label}{number // patients_of}" for number, row in enumerate(table.itertuples())]
    return table


def two_classes():
    table = rows()
    return table[(table.label != "c")].reset_index(drop=True)


def split_of(table, **split):
    return assign_splits(table, table.label, Split(method="leave_source_out", **split))


def test_each_source_is_the_test_set_once_and_validation_is_of_all_others():
    table = two_classes()
    held = []
    for fold in (1, 2, 3, 4):
        valid, test = split_of(table, folds=4, fold=fold)
        (source,) = set(table.dataset[test])
        held.append(source)
        assert test.sum() == (table.dataset == source).sum()
        assert set(table.dataset[valid]) == set(table.dataset) - {source}
        assert valid.sum() == pytest.approx(0.2 * (~test).sum(), abs=4)
        sets = [set(table.patient_id[where]) for where in (valid, test, ~valid & ~test)]
        assert sum(map(len, sets)) == len(set.union(*sets))
    assert held == ["north", "only", "south", "west"]
    _, test = split_of(table, held_out="west")
    assert set(table.dataset[test]) == {"west"}


def test_a_source_with_the_only_images_of_a_class_stays_in_training():
    table = rows()
    with pytest.raises(
        UsageError, match=r"^training\.folds: 3 of the 4 sources in column dataset can be held out \(north, south, west\)"
    ):
        split_of(table, folds=4)
    assert set(table.dataset[split_of(table, folds=3, fold=3)[1]]) == {"west"}
    with pytest.raises(UsageError, match=r"^data\.split\.held_out: only: no other source has all of its classes; 3 of the 4"):
        split_of(table, held_out="only")
    with pytest.raises(UsageError, match="all images are of one source in column dataset, north; leave_source_out needs two"):
        split_of(rows({"north": {"a": 10, "b": 10}}), folds=2)
    alone = rows({"north": {"a": 10}, "south": {"b": 10}})
    with pytest.raises(UsageError, match="no source in column dataset can be held out"):
        split_of(alone, folds=2)


def test_a_source_is_any_column_and_every_row_has_one():
    table = two_classes().assign(hospital=lambda table: np.where(table.index % 3 == 0, "x", "y"), patient_id="")
    _, test = split_of(table, held_out="x", column="hospital")
    assert (test == (table.hospital == "x")).all()
    with pytest.raises(UsageError, match="the manifest has no column 'hospitl'; did you mean 'hospital'"):
        split_of(table, held_out="x", column="hospitl")
    table.loc[3, "hospital"] = ""
    with pytest.raises(UsageError, match=r"1 rows have no hospital, the first is 3\.png"):
        split_of(table, held_out="x", column="hospital")
    with pytest.raises(UsageError, match="nort: there is no such source; did you mean 'north'"):
        split_of(table, held_out="nort")


def test_sources_with_few_images_still_give_validation_images():
    for count in (2, 3, 7):
        table = rows({f"s{number:02}": {"a": count, "b": count} for number in range(40)}, patients_of=1)
        valid, test = split_of(table, held_out="s03")
        for label in "ab":
            of_class = (table.label == label) & ~test
            assert valid[of_class].mean() == pytest.approx(0.2, abs=0.03)


def test_advice_is_what_a_recipe_takes():
    one = rows({"north": {"a": 20, "b": 20}, "south": {"a": 20}, "west": {"b": 20, "c": 20}, "east": {"c": 20}})
    table = one[one.dataset.isin(["north", "south", "west"])].reset_index(drop=True)
    table = table[table.label != "c"].assign(dataset=lambda table: table.dataset.replace({"west": "south"}))
    with pytest.raises(UsageError, match="group them in a column of at most 20 sources"):
        split_of(rows({f"s{number}": {"a": 5, "b": 5} for number in range(25)}), folds=4)
    lonely = rows({"north": {"a": 20, "b": 20, "c": 20}, "south": {"a": 20, "b": 20}})
    with pytest.raises(UsageError, match=r"use data\.split\.held_out=south without training\.folds"):
        split_of(lonely, folds=2)


def test_recipes_of_earlier_versions_name_no_source_by_split():
    assert source_name(Split(column="split")) == "dataset" == source_name(Split(method="by_column", column="hospital"))
    assert source_name(Split(column="hospital")) == "hospital"


def test_a_source_of_one_class_is_not_held_against_the_majority(manifest, tmp_path):
    table = pd.read_csv(manifest)
    table["dataset"] = table.dataset.where(~((table.dataset == "south") & (table.label == "covid")), "ward")
    table.to_csv(manifest.with_name("ward.csv"), index=False)
    data = {"manifest": str(manifest.with_name("ward.csv")), "image_size": 64}
    data["split"] = {"method": "leave_source_out", "held_out": "ward"}
    one = recipe(manifest, data=data, training={}, ensemble={}, arms={"probe": {}})
    run = dc.run(one, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    assert not any("majority" in sentence for sentence in run.verdict)


def test_a_source_column_that_is_not_there_is_told_before_anything_is_trained(manifest, tmp_path):
    arms = {"plain": {}, "dro": {"training.loss.groups": "dro"}}
    model, data = {"arch": "darkcovidnet"}, {"manifest": str(manifest), "image_size": 64, "split": {"column": "hospitl"}}
    wrong = recipe(manifest, arms=arms, model=model, data=data, training={"epochs": 1}, ensemble={})
    with pytest.raises(UsageError, match=r"^arms\.dro\.data\.split\.column: the manifest has no column 'hospitl'"):
        dc.run(wrong, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("split", "training", "said"),
    [
        ({"method": "leave_source_out"}, {}, "needs either held_out, a source, or training.folds"),
        ({"method": "leave_source_out", "held_out": "a"}, {"folds": 2}, "needs either held_out"),
        ({"method": "leave_source_out", "held_out": "a", "test": 0.2}, {}, "the test set of leave_source_out is the source"),
        ({"method": "leave_source_out", "held_out": "a"}, None, "leave_source_out is for classifiers"),
        ({"held_out": "a"}, {}, "held_out needs method: leave_source_out"),
    ],
)
def test_what_contradicts_is_refused(split, training, said):
    with pytest.raises(UsageError, match=said):
        task = {"task": "lung_segmentation"} if training is None else {"training": training}
        validate({"name": "x", "data": {"manifest": "phantom", "split": split}} | task, where="")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_two_hospitals(tmp_path_factory.mktemp("sources"))


def recipe(manifest, **change):
    plain = {
        "name": "sources",
        "audit": "data",
        "data": {"manifest": str(manifest), "image_size": 64, "split": {"method": "leave_source_out"}},
        "model": {"arch": "resnet18", "head": "linear-probe", "weights": "none"},
        "training": {"folds": 2},
        "arms": {"probe": {}, "neighbors": {"model.head": "nearest-neighbors"}},
        "ensemble": {"mean": ["probe", "neighbors"]},
    }
    return validate(plain | change, where="")


def test_patients_in_two_sources_are_not_trained_on(manifest, tmp_path):
    fits = list(recipe(manifest).fits().values())
    cohorts = [load_classification_cohort(fit.data, tmp_path / "cache") for fit in fits]
    for cohort, source, count in zip(cohorts, ("north", "south"), (5, 5), strict=True):
        patients = cohort.patients.to_numpy()
        assert set(cohort.rows.dataset[cohort.test]) == {source}
        assert not set(patients[cohort.train | cohort.valid]) & set(patients[cohort.test])
        assert len(cohort.left_out) >= count
        assert set(cohort.used_as) == {"train", "valid", "test", "left_out"}
    for leaks in find_leaks_of_splits(cohorts, tmp_path / "cache"):
        assert not leaks.leaks
    without = cohorts[0].without(frozenset({cohorts[0].rows.path[cohorts[0].train].iloc[0]}), "x")
    assert len(without.left_out) == len(cohorts[0].left_out) + 1


def test_a_run_says_how_each_source_fares(manifest, tmp_path):
    progress = Watched()
    run = dc.run(recipe(manifest), runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache", progress=progress)
    table = pd.read_csv(manifest)
    for name, metrics in run.metrics.items():
        assert list(metrics.sources) == ["north", "south"]
        assert {source: of.images for source, of in metrics.sources.items()} == table.dataset.value_counts().to_dict()
        assert metrics.headline is metrics.test and metrics.scored_on == "test"
        predicted = run.predictions[(run.predictions.arm == name) & (run.predictions.side == "test")]
        assert len(predicted) == len(table)
        for source, of in metrics.sources.items():
            here = predicted[predicted.source == source]
            assert of.accuracy == pytest.approx((here.label == here.predicted).mean())
            assert of.fall.metrics["accuracy"].outside == of.accuracy
    columns = [f"probability_{name}" for name in ("covid", "no_finding", "pneumonia")]
    valid = run.predictions[(run.predictions.fit == "fold1") & (run.predictions.side == "valid")]
    both = valid[valid.arm.isin(["probe", "neighbors"])].groupby("image")
    right = np.array(columns)[both[columns].mean().to_numpy().argmax(1)] == "probability_" + both.label.first()
    mean = run.metrics["mean"].sources["north"]
    assert mean.fall.metrics["accuracy"].inside == pytest.approx(right.mean())
    assert mean.calibration.fitted_on == "the other sources held out"
    probe, folds = run.metrics["probe"], run.predictions[run.predictions.arm == "probe"]
    first = folds[(folds.fit == "fold1") & (folds.side == "valid")]
    assert probe.sources["north"].fall.metrics["accuracy"].inside == pytest.approx((first.label == first.predicted).mean())
    files = (run.path / "probe" / "fold1" / name for name in ("split.csv", "predictions.csv"))
    split, predicted = (pd.read_csv(file, dtype=str).set_index("image").side for file in files)
    assert split.to_dict() == predicted.to_dict() and {"train", "valid", "test", "left_out"} == set(split)
    report = (run.path / "report.html").read_text()
    assert "<h3>north</h3>" in report and "by the fits that were trained without this source" in report
    assert "sources held out (north, south), 2 fits pooled" in " ".join(run.verdict).lower()


def test_the_report_shows_how_sources_part_in_the_features(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr("darkcovid.audits.source_separability.MIN_PATIENTS", 2)
    monkeypatch.setattr("darkcovid.audits.source_separability.FOLDS", 2)
    run = dc.run(recipe(manifest, ensemble={}, arms={"probe": {}}), runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    (metrics,) = run.metrics.values()
    assert 0 <= metrics.source_separability.balanced_accuracy <= 1 and metrics.source_separability.chance == 0.5
    assert (run.path / "probe" / "fold1" / "plots" / "sources.png").is_file()
    assert "where they part by source, a source can tell the class" in (run.path / "report.html").read_text()
    assert "source told by features (chance)" in (run.path / "comparison.md").read_text()
