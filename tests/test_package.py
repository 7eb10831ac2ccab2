"""The wheel holds what the package needs, and runs from it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_recipes_weights_stubs_and_templates_are_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    recipes = {f"darkcovid/shipped/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "recipes").rglob("*.yaml")}
    files = {"shipped/data_manifest.csv", "py.typed", "__init__.pyi", "lungs/weights/lung_unet.safetensors"}
    assert recipes | {f"darkcovid/{name}" for name in files} <= names
    assert "darkcovid/report/templates/report.html.j2" in names and "darkcovid/serving/page/page.js" in names
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    assert wheel.stat().st_size < 40e6


@pytest.mark.slow
def test_a_recipe_is_run_by_its_name_from_the_wheel_alone(wheel, tmp_path, cache_dir):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    small = [
        "data.phantom.patients=24",
        "data.phantom.image_size=64",
        "data.image_size=64",
        "lungs.crop_size=32",
        "training.epochs=1",
    ]
    words = ["run", "segmented", "--phantom", "--arm", "segmented", "--cache-dir", str(cache_dir)]
    words += [word for key in [*small, "audit=none"] for word in ("--set", key)]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    program = [sys.executable, "-c", "import darkcovid, darkcovid.cli; print(darkcovid.__file__); darkcovid.cli.main()", *words]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site")) and "run folder: runs/segmented-" in done.stdout
    listed = [sys.executable, "-c", "from darkcovid.recipe import load_recipe; print(load_recipe('systems/cnn13').data.manifest)"]
    named = subprocess.run(listed, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert named.stdout.strip() == str(tmp_path / "site" / "darkcovid" / "shipped" / "data_manifest.csv")
