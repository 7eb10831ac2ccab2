"""The command as a person meets it: exit codes, one-line errors, JSON and nothing else on stdout."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from ..commands import error_of
from ..conftest import RECIPES

SMALL = ["--phantom", "--set", "data.phantom.patients=18", "--set", "data.phantom.image_size=64"]
SMALL += ["--set", "data.image_size=64", "--set", "training.epochs=1", "--set", "training.batch_size=8"]
SMALL += ["--set", "data.split.valid=0.3", "--set", "lungs.crop_size=32"]


def imported_by(*words):
    """The modules that a command of its own process has imported when it ends."""
    code = f"import sys; sys.argv = {['darkcovid', *map(str, words)]!r}\n"
    code += "from darkcovid.cli import main\ntry: main()\nexcept SystemExit as stop: assert not stop.code\n"
    code += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_help_never_imports_torch():
    assert not {"torch", "fastai", "pandas", "numpy", "pydantic"} & imported_by("--help")


@pytest.mark.slow
def test_what_a_run_does_not_need_it_does_not_import(tmp_path):
    """The lung U-Net's libraries where masks are known, torch's compiler, what audits use at the end: up to a second each."""
    words = ["run", RECIPES / "segmented.yaml", *SMALL, "--set", "lungs.crop_size=null", "--dry-run", "--arm", "segmented"]
    words += ["--cache-dir", tmp_path]
    lungs = {"segmentation_models_pytorch", "timm", "torchvision"}
    never = {
        "torch._dynamo",
        "torch._inductor",
        "fastai.vision.learner",
        "captum",
        "sklearn.ensemble",
        "onnxruntime",
        "pyspark",
        "mlflow",
    }
    first, again = imported_by(*words), imported_by(*words)
    assert "torch" in again and lungs <= first, "the masks were not made: does this test still ask what it says?"
    assert not (lungs | never) & again


def test_the_version_and_usage_errors(darkcovid):
    assert darkcovid("--version").stdout.startswith("darkcovid 0.")
    done = subprocess.run([sys.executable, "-m", "darkcovid", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == darkcovid("--version").stdout
    assert darkcovid("rum", code=2).stdout == ""
    assert darkcovid("run", code=2).stdout == ""


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["absent.yaml"], 2, "absent.yaml: no such recipe"),
        ([RECIPES / "segmented.yaml", "--set", "training.epoch=3"], 2, "training.epoch: unknown key; did you mean 'epochs'?"),
        ([RECIPES / "segmented.yaml", "--manifest", "absent.csv"], 2, "absent.csv: no such file"),
        ([RECIPES / "segmented.yaml", "--data", "real"], 2, "No such option"),
        ([RECIPES / "segmented.yaml", *SMALL, "--arm", "segmentd"], 2, "--arm segmentd: the recipe has no such arm"),
        (
            [RECIPES / "segmented.yaml", *SMALL, "--set", "data.classes=[covid, flu]"],
            2,
            "no image is labeled 'flu'",
        ),
        ([RECIPES / "segmented.yaml", *SMALL, "--set", "data.split.valid=0.001"], 2, "data.split: stratified_group"),
        ([RECIPES / "segmented.yaml", *SMALL, "--resume"], 2, "--resume: no unfinished run of this recipe"),
        ([RECIPES / "segmented.yaml", "--data-root", "nowhere"], 3, "1125 of 1125 images cannot be used (1125 missing)"),
        ([RECIPES / "segmented.yaml", *SMALL, "--set", "lungs.weights=absent.safetensors"], 3, "lungs.weights: "),
    ],
)
def test_what_is_wrong_is_one_line_with_its_exit_code_and_nothing_is_written(darkcovid, tmp_path, words, code, message):
    done = darkcovid("run", *words, code=code)
    assert message in error_of(done)
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_run_resume_compare_and_dry_run_speak_json(darkcovid, tmp_path):
    recipe = RECIPES / "segmented.yaml"
    plan = json.loads(darkcovid("run", recipe, *SMALL, "--dry-run", "--json").stdout)
    assert plan["arms"]["small"]["image_size"] == [32, 32]
    assert plan["arms"]["unsegmented"]["train_seconds"] > 0
    assert not (tmp_path / "runs").exists()

    done = json.loads(darkcovid("run", recipe, *SMALL, "--json").stdout)
    assert done["reference_arm"] == "unsegmented"
    assert list(done["arms"]) == ["unsegmented", "small", "segmented"]
    assert plan["images"]["valid"].keys() == {"covid", "no_finding", "pneumonia"}

    run = tmp_path / done["run_dir"]
    assert json.loads((run / "comparison.json").read_text()) == done
    compared = json.loads(darkcovid("compare", run, "--json").stdout)
    assert compared["arms"].keys() == done["arms"].keys()
    assert "| accuracy |" in darkcovid("compare", run, "--markdown").stdout

    (run / "comparison.json").unlink()
    (run / "status.json").write_text('{"state": "interrupted"}')
    (run / "segmented" / "metrics.json").unlink()
    resumed = json.loads(darkcovid("run", recipe, *SMALL, "--json", "--resume").stdout)
    assert resumed["run_dir"] == done["run_dir"]
    for arm in done["arms"]:
        assert resumed["arms"][arm]["confusion_matrix"] == done["arms"][arm]["confusion_matrix"]


@pytest.mark.slow
def test_lr_find_prints_suggestions_draws_them_and_names_the_set(darkcovid, tmp_path):
    words = ["lr-find", RECIPES / "segmented.yaml", *SMALL, "--arm", "small", "--steps", 40]
    found = json.loads(darkcovid(*words, "--json").stdout)
    assert found["suggestions"].keys() == {"valley", "steep", "minimum", "slide"}
    assert (tmp_path / found["plot"]).read_bytes().startswith(b"\x89PNG")
    line = darkcovid(*words, "--apply", "valley").stdout.strip()
    assert float(line.removeprefix("--set training.lr=")) == pytest.approx(found["suggestions"]["valley"], rel=0.01)
    assert "--apply: 'best' is not one of 'valley'" in error_of(darkcovid(*words, "--apply", "best", code=2))


def test_describe_and_verify_the_public_manifest(darkcovid):
    manifest = RECIPES.parent / "data_manifest.csv"
    counts = json.loads(darkcovid("data", "describe", manifest, "--json").stdout)
    assert counts["images"] == 1773
    assert "125 images of" in darkcovid("data", "describe", manifest, "--dataset", "ozturk").stdout
    assert "datasets in the manifest: ieee8023, ozturk" in error_of(
        darkcovid("data", "describe", manifest, "--dataset", "nih", code=2)
    )
    assert "fault: " in darkcovid("data", "verify", manifest, code=3).stdout


def test_models_lists_and_shows(darkcovid):
    assert "darkcovidnet" in darkcovid("models").stdout
    shown = json.loads(darkcovid("models", "show", "darkcovidnet", "--classes", 2, "--size", 256, "--json").stdout)
    assert (shown["name"], shown["parameters"], shown["trainable_parameters"]) == ("darkcovidnet", 1_164_434, 1_164_434)
    assert "did you mean 'darkcovidnet'" in error_of(darkcovid("models", "show", "darknet", code=2))


def test_a_preview_shows_each_class_plain_and_augmented(darkcovid, tmp_path):
    words = [RECIPES / "segmented.yaml", *SMALL, "--arm", "unsegmented", "--per-class", "2", "--json"]
    drawn = json.loads(darkcovid("data", "preview", *words).stdout)
    assert drawn["arm"] == "unsegmented"
    assert len(drawn["images"]) == 6
    assert Image.open(tmp_path / "preview.png").size == (6 * 192, 6 * (192 + 36))


def test_an_audit_can_fail_where_patients_leak(darkcovid):
    words = ["data", "audit", RECIPES / "base.yaml", *SMALL, "--fail-on-leaks", "--json"]
    assert json.loads(darkcovid(*words, "--set", "data.split.method=random", code=1).stdout)["leaks"] is True
    assert json.loads(darkcovid(*words).stdout)["leaks"] is False


@pytest.mark.slow
def test_a_network_that_cannot_be_is_refused_before_anything_is_written(darkcovid, tmp_path):
    for sets, said in (
        (["model.arch=resnet81"], "did you mean 'resnet18'?"),
        (["model.arch=basic_cnn_1"], "does not fit basic_cnn_1"),
        (["training.freeze_backbone=true"], "no backbone to freeze"),
        (["model.activation=sigmoid"], "sigmoid tells two classes apart, and data.classes has 3"),
    ):
        words = [word for key in sets for word in ("--set", key)]
        assert said in error_of(darkcovid("run", RECIPES / "base.yaml", *SMALL, *words, code=2))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_audit_of_a_manifest_is_read_by_a_person(darkcovid):
    done = darkcovid("data", "audit", RECIPES.parent / "data_manifest.csv", "--dataset", "ozturk")
    assert done.stdout.startswith("1125 images of 765 patients; 192 patients have several images, 21 images of several classes")
    assert "no split here: for patients and copies in two sets use" in done.stdout
    assert "near copies not looked for" in done.stdout and "almost identical" not in done.stdout
    folder = error_of(darkcovid("data", "audit", RECIPES, code=2))
    assert "a folder; make a manifest of it first: darkcovid data import" in folder
    assert "patient_prefix: covid / no_finding" in done.stdout and "extension: covid / no_finding" in done.stdout
    assert "--engine: 'dask' is not one of 'local', 'spark'" in error_of(
        darkcovid("data", "audit", RECIPES.parent / "data_manifest.csv", "--engine", "dask", code=2)
    )


@pytest.mark.slow
def test_preparing_says_what_was_made(darkcovid, tmp_path):
    words = ["data", "prepare", RECIPES / "segmented.yaml", *SMALL, "--cache-dir", tmp_path / "cache"]
    first, again = darkcovid(*words).stdout, darkcovid(*words).stdout
    assert "1 of 1 blocks made" in first and "images are ready, 0 excluded" in first
    assert "0 of 1 blocks made" in again and "1 of 1 blocks" not in again
