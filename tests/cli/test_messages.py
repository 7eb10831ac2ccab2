"""Mistakes that newcomers made, each answered by what is wrong and what to do."""

import json
import shutil

import pandas as pd
import pytest
from PIL import Image

from ..conftest import RECIPES
from .test_cli import SMALL, error_of


@pytest.fixture
def copied(cohort, tmp_path):
    """A folder of classes in which one image stands twice, in two classes' names."""
    folder = tmp_path / "my xrays"
    for number, (file, label) in enumerate(zip(cohort.files, cohort.labels, strict=True)):
        place = folder / cohort.classes[label] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    first = next((folder / "covid").iterdir())
    shutil.copy(first, folder / "covid" / "again.png")
    return folder


@pytest.mark.slow
def test_copies_in_an_existing_manifest_get_one_patient_id(copied, darkcovid):
    darkcovid("data", "import", copied)
    rows = pd.read_csv(copied / "manifest.csv", keep_default_na=False)
    assert (rows.patient_id == "").all()
    rows.loc[rows.path == "pneumonia/" + rows.path[rows.label == "pneumonia"].iloc[0].split("/")[1], "patient_id"] = "mine"
    rows.to_csv(copied / "manifest.csv", index=False)
    done = darkcovid("data", "import", copied, "--merge-copies", "--update")
    rows = pd.read_csv(copied / "manifest.csv", keep_default_na=False)
    merged = rows[rows.patient_id.str.startswith("copies:")]
    assert len(merged) == 2 and merged.patient_id.nunique() == 1 and "covid/again.png" in set(merged.path)
    assert (rows.patient_id == "mine").sum() == 1
    assert "copies: 1 pairs" in done.stdout and "patients: 1 known" in done.stdout


@pytest.mark.slow
def test_an_audit_names_what_leaks_and_what_to_do(darkcovid):
    words = ["data", "audit", RECIPES / "base.yaml", *SMALL, "--set", "data.split.method=random"]
    found = json.loads(darkcovid(*words, "--json").stdout)
    assert len(found["leaked_patients"]) == found["patients"]["on_both_sides"] > 5
    said = darkcovid(*words).stdout
    assert all(f"  patient {name}\n" in said for name in found["leaked_patients"][:5])


@pytest.mark.slow
def test_a_run_ends_with_its_verdict(darkcovid):
    words = ["--arm", "unsegmented", "--set", "training.epochs=1", "--set", "audit=none"]
    leaky = ["--set", "data.split.method=random", "--set", "data.allow_leaks=true"]
    done = darkcovid("run", RECIPES / "segmented.yaml", *SMALL, *words, *leaky)
    assert "The reasons are in report.html.\nrun folder: " in done.stdout
    done = darkcovid("run", "segmented", *SMALL, *words[:-1], "audit=data", *leaky)
    assert "LEAKS: patients or copies are in two sets, which the recipe allowed" in done.stdout
    assert "LEAKS, allowed by data.allow_leaks" in done.stderr


def test_other_mistakes(darkcovid, tmp_path, monkeypatch):
    (tmp_path / "recipe.yaml").write_text("extends: recipes/segmented.yaml\nname: mine\ntraining:\n  epochs: 4\n   seed: 2\n")
    (tmp_path / "runs").mkdir()
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "my_xrays").mkdir()
    (tmp_path / "manifest.csv").write_text("path,label\na.png,covid\n")
    for words, said in (
        (["predict", "runs", "a.png"], "runs: not a run folder; name one that `darkcovid run` made"),
        (["export", "recipe.yaml"], "recipe.yaml: not a run folder"),
        (
            ["data", "merge", "my_xrays", "runs", "-o", "b.csv"],
            "my_xrays: a folder; make a manifest of it first: darkcovid data import",
        ),
        (["run", "segmented", "--manifest", "my_xrays"], "my_xrays: a folder; make a manifest"),
        (["run", "recipe.yaml"], "recipe.yaml: not a valid recipe (line 5: "),
        (["run", "."], ".: a folder; name a recipe file"),
        (["run", "recipee.yaml"], "recipee.yaml: no such recipe; did you mean 'recipe.yaml'?"),
        (
            ["run", "manifest.csv"],
            "manifest.csv: a manifest, not a recipe; use it with: darkcovid run RECIPE --manifest manifest.csv",
        ),
        (["run", "segmented", "--manifest", "manifest.csv"], "'patient_id' is missing (its cells may be empty"),
    ):
        assert said in error_of(darkcovid(*words, code=2))
    (tmp_path / "my_xrays" / "manifest.csv").write_text("path,label,patient_id\n")
    assert "a folder; its manifest is my_xrays/manifest.csv" in error_of(
        darkcovid("run", "segmented", "--manifest", "my_xrays", code=2)
    )
    (tmp_path / "recipe.yaml").write_text("extends: recipes/segmented.yaml\nname: mine\ndata: {manifest: ~/absent.csv}\n")
    assert error_of(darkcovid("run", "recipe.yaml", code=2)).startswith(f"error: {home()}/absent.csv: no such file")


def home():
    from pathlib import Path

    return Path.home()
