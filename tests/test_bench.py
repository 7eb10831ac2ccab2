import json

import pytest

from darkcovid.bench import whole_and_crop
from darkcovid.errors import RequestError
from darkcovid.recipe import load_recipe

from .conftest import RECIPES
from .test_cli import SMALL, darkcovid  # noqa: F401 (a fixture)


def test_a_recipe_without_a_crop_arm_cannot_be_benched(tmp_path):
    assert whole_and_crop(load_recipe(RECIPES / "segmented.yaml")) == ("unsegmented", "segmented")
    (tmp_path / "a.yaml").write_text("name: a\n")
    with pytest.raises(RequestError, match=r"lungs\.mode crop; a lacks one"):
        whole_and_crop(load_recipe(tmp_path / "a.yaml"))


@pytest.mark.slow
def test_bench_gives_three_contenders_and_two_ratios(darkcovid):  # noqa: F811
    result = json.loads(darkcovid("bench", RECIPES / "segmented.yaml", *SMALL, "--repeats", 1, "--json").stdout)
    for label in ("stock", "whole", "crop"):
        assert result[label]["epoch_seconds"] > 0
        assert result[label]["images_per_second"] > 0
    assert result["ratio_whole"] == pytest.approx(result["stock"]["epoch_seconds"] / result["whole"]["epoch_seconds"])
    assert result["ratio_crop"] == pytest.approx(result["stock"]["epoch_seconds"] / result["crop"]["epoch_seconds"])
