import json

import pandas as pd
import pytest

from darkcovid.core.errors import UsageError
from darkcovid.evaluation.results import parse_comparison
from darkcovid.experiment.compare import build_comparison, compare_runs
from darkcovid.experiment.paired_arms import paired_comparisons
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
    (pair,), _ = paired_comparisons([{name: tmp_path / name for name in ("good", "bad")}], ["covid", "none"])
    assert (pair["only_reference"], pair["only_arm"]) == (20, 0)
    assert pair["differences"]["accuracy"]["difference"] == -1.0


def test_runs_validated_on_the_same_patients_are_compared(tmp_path):
    arm_files(tmp_path / "one" / "whole", 60)
    arm_files(tmp_path / "two" / "crop", 20, accuracy=0.75)
    compared = compare_runs([tmp_path / "one", tmp_path / "two"])
    assert list(compared["arms"]) == ["whole", "crop"] and compared["runs"] == {}
    assert compared["arms"]["crop"]["speedup"] == 3.0
    assert compared["not_comparable"] == []


def test_arms_of_the_same_name_are_told_apart_by_their_run(tmp_path):
    for run in ("one", "two"):
        arm_files(tmp_path / run / "whole")
    compared = compare_runs([tmp_path / "one", tmp_path / "two"])
    assert list(compared["arms"]) == ["1: whole", "2: whole"]
    assert compared["runs"] == {"1": str(tmp_path / "one"), "2": str(tmp_path / "two")}
    text = comparison_markdown(parse_comparison(compared))
    assert f"1: {tmp_path / 'one'}" in text and f"2: {tmp_path / 'two'}" in text


def test_epochs_of_other_numbers_of_images_have_no_speed_up(tmp_path):
    for run, count in (("one", 232), ("two", 72)):
        metrics = arm_files(tmp_path / run / "whole") / "metrics.json"
        metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"images": {"train": count, "valid": 2}}))
    compared = compare_runs([tmp_path / "one", tmp_path / "two"])
    assert [arm["speedup"] for arm in compared["arms"].values()] == [1.0, None]
    text = comparison_markdown(parse_comparison(compared))
    assert "Epochs of 2: whole (72 training images) and of 1: whole (232) are different amounts of work" in text


def write_predictions(folder, probabilities, fits=("",), images=10, label="a"):
    """Predictions of two classes; `probabilities` are those of class a of each image, by fit."""
    rows = [
        {"image": f"{image}.png", "patient": f"p{image}", "side": "test", "label": label, "predicted": "a",
         "probability_a": probability, "probability_b": 1 - probability} | ({"fit": fit} if fit else {})
        for fit, row in zip(fits, probabilities, strict=True) for image, probability in enumerate(row[:images])
    ]  # fmt: skip
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "predictions.csv", index=False)
    return folder


def test_arms_of_one_name_are_tested_across_runs_and_fits_give_one_answer_per_image(tmp_path):
    """Fits of seed 1 and 2 say .9 and .2 of the first four images, so their mean is right; of the rest both are wrong."""
    seeds = ([0.9] * 4 + [0.2] * 6, [0.2] * 4 + [0.2] * 6)
    runs = [
        {"1: whole": write_predictions(tmp_path / "one" / "whole", [[0.2] * 10]),
         "1: crop": write_predictions(tmp_path / "one" / "crop", [[0.9] * 10])},
        {"2: crop": write_predictions(tmp_path / "two" / "crop", seeds, ("seed1", "seed2")),
         "2: new": write_predictions(tmp_path / "two" / "new", [[0.9] * 10])},
    ]  # fmt: skip
    pairs, not_paired = paired_comparisons(runs, ["a", "b"])
    assert not_paired == []
    tested = {(pair["arm"], pair["reference"]): (pair["only_reference"], pair["only_arm"]) for pair in pairs}
    assert tested == {("2: crop", "1: crop"): (6, 0), ("1: crop", "1: whole"): (0, 10), ("2: new", "1: whole"): (0, 10)}
    assert pairs[0]["arm"] == "2: crop" and pairs[0]["p"] == pytest.approx(2 * 0.5**6)
    assert pairs[0]["p_holm"] == pairs[0]["p"], "the largest of the three"
    assert pairs[0]["sentence"].endswith("Each image's answer of 2: crop is the mean of its 2 fits.")


@pytest.mark.parametrize("change", [{"images": 9}, {"label": "b"}])
def test_what_has_no_paired_test_is_said(tmp_path, change):
    first = write_predictions(tmp_path / "one" / "whole", [[0.9] * 10])
    other = write_predictions(tmp_path / "two" / "whole", [[0.9] * 10], **change)
    pairs, (sentence,) = paired_comparisons([{"1: whole": first}, {"2: whole": other}], ["a", "b"])
    assert pairs == [] and sentence.startswith("No paired test of 2: whole against 1: whole")


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
