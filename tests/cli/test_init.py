"""Three questions and a recipe that runs."""

import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from darkcovid.cli import app
from darkcovid.recipe import load_recipe

from ..commands import error_of


@pytest.fixture
def folder(cohort, tmp_path):
    """The synthetic cohort's images in folders named after its classes, and one class of a single image."""
    for file, label in zip(cohort.files, cohort.labels, strict=True):
        name = cohort.classes[label]
        (tmp_path / "my images" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "my images" / name / f"{file.parent.name}_{file.name}")
    (tmp_path / "my images" / "odd").mkdir()
    shutil.copy(cohort.files[0], tmp_path / "my images" / "odd")
    return tmp_path / "my images"


@pytest.mark.slow
def test_questions_and_a_recipe_that_runs(darkcovid, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", "-o", "mine.yaml"], input="my images\nno_finding, covid\n1\n", catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "mine.yaml: two arms of" in done.stdout and "next: darkcovid run mine.yaml" in done.stdout
    recipe = load_recipe("mine.yaml")
    assert recipe.data.classes == ("no_finding", "covid") and 3 <= recipe.training.epochs <= 100
    assert (tmp_path / "my images" / "manifest.csv").is_file()
    darkcovid("run", "mine.yaml", "--set", "training.epochs=1", "--set", "data.image_size=64", "--set", "lungs.crop_size=64")
    (comparison,) = tmp_path.glob("runs/*/comparison.json")
    assert list(json.loads(comparison.read_text())["arms"]) == ["unsegmented", "segmented"]


def test_wrong_answers_are_one_line(darkcovid, folder, tmp_path):
    options = ("--images", folder, "--minutes", "1")
    assert "has no such class of two patients or more; did you mean 'covid'?" in error_of(
        darkcovid("init", *options, "--classes", "covid,odd", code=2)
    )
    assert "name two or more" in error_of(darkcovid("init", *options, "--classes", "covid", code=2))
    assert "no such folder or archive" in error_of(darkcovid("init", "--images", "none", code=2))
    assert not (tmp_path / "recipe.yaml").exists()
    (tmp_path / "recipe.yaml").write_text("name: kept\n")
    assert "it exists already" in error_of(darkcovid("init", *options, code=2))
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == {"name": "kept"}
    for path in folder.glob("[!c]*/*"):
        path.unlink()
    (folder / "manifest.csv").unlink()
    assert "a run needs two classes of two patients each; there is covid" in error_of(
        darkcovid("init", *options, "-o", "a.yaml", code=2)
    )
