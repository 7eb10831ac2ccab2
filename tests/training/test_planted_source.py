"""Remedies beat plain training by a margin where a source that tells the class is planted."""

import pytest

import darkcovid as dc
from darkcovid.recipe.recipe import validate

from .planted_source import recipe, write_cohort

pytestmark = pytest.mark.usefixtures("quick_plots")

MARGIN = 0.2  # of accuracy on images whose source says the opposite


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal", "look", "remedies", "epochs"),
    [
        (0.5, "blurred", ["balanced", "reweighted", "dro"], 6),
        (0.6, "bright", ["style"], 8),
        (0.6, "label", ["lung_consistency", "probe_lungs_only"], 6),
        (0.5, "bars", ["fill_bars"], 6),
    ],
)
def test_a_remedy_is_better_than_none(tmp_path, cache_dir, signal, look, remedies, epochs):
    inside = write_cohort(tmp_path / "in", 400, covid_in_north=0.9, seed=1, signal=signal, look=look, cache=cache_dir)
    outside = write_cohort(tmp_path / "out", 200, covid_in_north=0.1, seed=2, signal=signal, look=look, cache=cache_dir)
    arms = ["plain", *remedies]
    planted = validate(recipe(inside, outside, epochs), where="")
    run = dc.run(planted, arms=arms, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    outsides = {name: metrics.external["outside"].accuracy for name, metrics in run.metrics.items()}
    assert run.metrics["plain"].valid.accuracy > 0.9 and outsides["plain"] < 0.5
    for name in remedies:
        assert outsides[name] - outsides["plain"] > MARGIN, outsides
