import json

import pytest
from typer.testing import CliRunner

from darkcovid.cli import app
from darkcovid.core.errors import UsageError
from darkcovid.experiment.benchmark import select_benchmark_arms
from darkcovid.recipe import load_recipe

from ..cli.test_cli import SMALL
from ..conftest import RECIPES


def test_a_recipe_without_a_crop_arm_cannot_be_benched(tmp_path):
    assert select_benchmark_arms(load_recipe(RECIPES / "segmented.yaml")) == ("unsegmented", "segmented")
    (tmp_path / "a.yaml").write_text("name: a\n")
    with pytest.raises(UsageError, match=r"lungs\.mode crop, both trained by epochs; a has no crop arm"):
        select_benchmark_arms(load_recipe(tmp_path / "a.yaml"))


def test_arms_of_one_network_that_is_trained_by_epochs_are_benched(monkeypatch):
    """The recipe begins with probes; each of its arms names its network."""
    assert select_benchmark_arms(load_recipe("transfer")) == ("resnet18", "resnet18_crop")
    benched = []
    monkeypatch.setattr("darkcovid.experiment.benchmark.bench", lambda recipe, *_: benched.append(recipe))
    monkeypatch.setattr("darkcovid.report.plots.plot_bench", lambda *_: None)
    CliRunner().invoke(app, ["bench", "transfer", "--arch", "vgg16"])
    (recipe,) = benched
    assert {arm.model.arch for arm in recipe.arm_recipes().values()} == {"vgg16"}
    assert not any(arm.model.is_probe for arm in recipe.arm_recipes().values())


@pytest.mark.slow
def test_bench_gives_three_contenders_and_two_ratios(darkcovid, tmp_path):
    plot = tmp_path / "bars.png"
    result = json.loads(darkcovid("bench", RECIPES / "segmented.yaml", *SMALL, "--repeats", 1, "--output", plot, "--json").stdout)
    for label in ("stock", "whole", "crop"):
        found = result[label]
        assert len(found["all_epoch_seconds"]) == 1
        assert found["epoch_seconds"] * found["images_per_second"] == pytest.approx(
            result["stock"]["epoch_seconds"] * result["stock"]["images_per_second"]
        )
        assert list(found["stages"]) == ["data", "forward", "backward", "optimizer", "validation", "other"]
        assert min(found["stages"][stage] for stage in ("forward", "backward", "optimizer", "validation")) > 0
        assert found["peak_host_bytes"] > 1e8
    assert plot.stat().st_size > 1000
    assert result["ratio_whole"] == pytest.approx(result["stock"]["epoch_seconds"] / result["whole"]["epoch_seconds"])
    assert result["ratio_crop"] == pytest.approx(result["stock"]["epoch_seconds"] / result["crop"]["epoch_seconds"])


def test_epochs_are_not_counted_in_a_race(darkcovid):
    said = darkcovid("bench", "segmented", "--to-accuracy", 0.8, "--repeats", 5, code=2)
    assert said.stderr.startswith("error: --repeats: counts epochs")


@pytest.mark.slow
def test_a_race_to_an_accuracy_ends_at_the_target_or_with_the_schedule(darkcovid, tmp_path):
    plot = tmp_path / "race.png"
    sets = [word for key in ("epochs=5", "early_stopping_patience=1") for word in ("--set", f"training.{key}")]
    options = [*sets, "--to-accuracy", 0, "--output", plot, "--json"]
    result = json.loads(darkcovid("bench", RECIPES / "segmented.yaml", *SMALL, *options).stdout)
    assert result["target"] == 0 and plot.stat().st_size > 1000
    for label in ("stock", "whole", "crop"):
        curve = result[label]
        assert len(curve["seconds"]) == len(curve["accuracy"]) == 3 and curve["epochs"] == 5
        assert curve["seconds"] == sorted(curve["seconds"]) and all(0 <= value <= 1 for value in curve["accuracy"])
        assert curve["seconds_to_target"] == curve["seconds"][2]
