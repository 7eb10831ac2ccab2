import json

import pytest

from darkcovid.core.errors import UsageError
from darkcovid.evaluation.results import parse_comparison
from darkcovid.experiment.compare import build_comparison, compare_runs, paired_comparisons
from darkcovid.report.tables import comparison_markdown, comparison_rows

from ..arms import ARM, COST, OF_CLASS


def arm_files(folder, seconds=60.0, patients=("p1", "p2"), accuracy=0.5):
    folder.mkdir(parents=True)
    lines = [f"{index}.png,{patient},covid,valid" for index, patient in enumerate(patients)]
    (folder / "split.csv").write_text("image,patient,label,side\n" + "\n".join([*lines, "t.png,t,covid,train", ""]))
    table = [f"{index}.png,{patient},valid,covid,covid,1.0" for index, patient in enumerate(patients)]
    columns = "image,patient,side,label,predicted,probability_covid"
    (folder / "predictions.csv").write_text("\n".join([columns, *table, ""]))
    metrics = {name: value for name, value in ARM.items() if name not in COST} | {
        "accuracy": accuracy,
        "per_class": {"covid": OF_CLASS | {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2}},
        "parameters": 1_167_586,
    }
    timing = COST | {
        "image_size": [256, 192],
        "epochs": 2,
        "train_seconds": seconds,
        "epoch_seconds": seconds / 2,
        "peak_host_bytes": 1_500_000_000,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "timing.json").write_text(json.dumps(timing))
    return folder


def test_speed_up_is_of_the_median_epoch_however_many_there_were():
    arms = {
        "slow": {"train_seconds": 90.0, "epochs": 100, "epoch_seconds": 0.9},
        "fast": {"train_seconds": 30.0, "epochs": 100, "epoch_seconds": 0.3},
        "short": {"train_seconds": 22.5, "epochs": 25, "epoch_seconds": 0.9},
    }
    compared = build_comparison(arms, "runs/x", "slow")
    assert compared["reference_arm"] == "slow"
    assert [arm["speedup"] for arm in compared["arms"].values()] == pytest.approx([1.0, 3.0, 1.0])


def test_arms_with_a_test_set_are_paired_on_it(tmp_path):
    """On validation both arms say the same; on the test set one is always wrong."""
    columns = "image,patient,side,label,predicted,probability_covid,probability_none"
    for name, sure in (("good", 0.9), ("bad", 0.1)):
        (tmp_path / name).mkdir()
        rows = [f"v{i}.png,v{i},valid,covid,covid,0.9,0.1" for i in range(20)]
        rows += [f"t{i}.png,t{i},test,covid,covid,{sure},{1 - sure:.1f}" for i in range(20)]
        (tmp_path / name / "predictions.csv").write_text("\n".join([columns, *rows, ""]))
    (pair,) = paired_comparisons({name: tmp_path / name for name in ("good", "bad")}, "good", ["covid", "none"])
    assert (pair["only_reference"], pair["only_arm"]) == (20, 0)
    assert pair["differences"]["accuracy"]["difference"] == -1.0


def test_runs_validated_on_the_same_patients_are_compared(tmp_path):
    arm_files(tmp_path / "one" / "whole", 60)
    arm_files(tmp_path / "two" / "crop", 20, accuracy=0.75)
    compared = compare_runs([tmp_path / "one", tmp_path / "two"])
    assert list(compared["arms"]) == ["whole", "crop"]
    assert compared["arms"]["crop"]["speedup"] == 3.0
    assert compared["not_comparable"] == []


def test_arms_of_the_same_name_are_told_apart_by_their_run(tmp_path):
    for run in ("one", "two"):
        arm_files(tmp_path / run / "whole")
    assert list(compare_runs([tmp_path / "one", tmp_path / "two"])["arms"]) == ["one/whole", "two/whole"]


def test_other_validation_patients_are_refused_with_the_reason_unless_forced(tmp_path):
    arm_files(tmp_path / "one" / "whole")
    arm_files(tmp_path / "two" / "whole", patients=("p1", "p3"))
    with pytest.raises(UsageError, match=r"validated on different patients \(2 are in only one of them\).*--force"):
        compare_runs([tmp_path / "one", tmp_path / "two"])
    forced = compare_runs([tmp_path / "one", tmp_path / "two"], force=True)
    assert "different patients" in forced["not_comparable"][0]
    assert "Not comparable" in comparison_markdown(parse_comparison(forced))


def test_other_images_of_the_same_patients_are_refused_too(tmp_path):
    arm_files(tmp_path / "one" / "whole", patients=("p1", "p2", "p2"))
    arm_files(tmp_path / "two" / "whole", patients=("p1", "p2"))
    with pytest.raises(UsageError, match="different images or labels"):
        compare_runs([tmp_path / "one", tmp_path / "two"])


def test_what_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such run folder"):
        compare_runs([tmp_path / "absent"])
    with pytest.raises(UsageError, match="no finished arm"):
        compare_runs([tmp_path])


def test_the_table_shows_each_figure_in_its_unit(tmp_path):
    arm_files(tmp_path / "one" / "whole", 90)
    rows = dict(comparison_rows(parse_comparison(compare_runs([tmp_path / "one"]))))
    assert rows["image size"] == ["256x192"]
    assert rows["parameters"] == ["1,167,586"]
    assert rows["training (min)"] == ["1.50"]
    assert rows["segmentation (min)"] == ["-"]
    assert rows["speed-up per epoch"] == ["1.00x"]
    assert rows["peak memory (GB)"] == ["1.50"]
    assert rows["covid P/R/F1"] == ["1.00/.50/.67"]
    assert "energy (Wh)" not in rows
