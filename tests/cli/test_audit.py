"""`darkcovid audit`: the same verdict on anybody's predictions, and the exit codes that a CI job goes by."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from darkcovid.data.phantom import phantom_manifest
from darkcovid.recipe import Phantom

from ..commands import error_of
from ..conftest import RECIPES

CLASSES = ["covid", "no_finding", "pneumonia"]
CLEAN, PLANTED = Phantom(patients=90, image_size=64), Phantom(patients=90, image_size=64, shortcut=1.0)


def predicted(rows, skill=2.5, seed=0):
    logits = np.random.default_rng(seed).normal(size=(len(rows), 3))
    logits[np.arange(len(rows)), [CLASSES.index(label) for label in rows.label]] += skill
    values = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return pd.DataFrame(values, columns=[f"prob_{name}" for name in CLASSES]).assign(image=rows.path.to_numpy())


@pytest.fixture(scope="module")
def cohorts(cache_dir):
    return {name: phantom_manifest(phantom, cache_dir) for name, phantom in (("clean", CLEAN), ("planted", PLANTED))}


@pytest.fixture
def files(cohorts, tmp_path):
    """Of each cohort the manifest's path, and its rows to be scored and to be trained on, patients apart."""

    def of(name):
        manifest = cohorts[name]
        scored = manifest.rows.patient_id.str.rpartition("-")[2].astype(int) % 2 == 0
        return manifest.roots[0] / "manifest.csv", manifest.rows[scored], manifest.rows[~scored]

    return of


def audit(darkcovid, tmp_path, manifest, predictions, *words, code=0, train=None):
    tables = predictions if isinstance(predictions, dict) else {"preds": predictions}
    asked = [word for name in tables for word in ("--predictions", f"{name}.csv")]
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    if train is not None:
        train.to_csv(tmp_path / "train.csv", index=False)
        asked += ["--train", "train.csv"]
    done = darkcovid("audit", *asked, "--manifest", manifest, *words, "--json", code=code)
    return json.loads(done.stdout) if code in (0, 1) else error_of(done)


def statuses(result):
    return {row["number"]: row["status"] for row in result["checks"]}


@pytest.mark.slow
def test_a_clean_cohort_passes(darkcovid, tmp_path, files):
    manifest, scored, train = files("clean")
    table = predicted(scored)
    clean = audit(darkcovid, tmp_path, manifest, table, "--fail-on", "fail", train=train[["path", "patient_id"]])
    assert clean["status"] != "fail" and not clean["leaks"] and clean["patients"]["on_both_sides"] == 0
    assert [statuses(clean)[number] for number in (3, 4, 6)] == ["pass"] * 3

    metrics = clean["arms"]["preds"]
    values = table[[f"prob_{name}" for name in CLASSES]].to_numpy()
    codes = np.array([CLASSES.index(label) for label in scored.label])
    assert metrics["accuracy"] == pytest.approx((values.argmax(1) == codes).mean())
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(codes, values.argmax(1)))
    assert metrics["per_class"]["covid"]["roc_auc"] == pytest.approx(roc_auc_score(codes == 0, values[:, 0]))
    low, high = metrics["intervals"]["accuracy"]
    assert low < metrics["accuracy"] < high and "epochs" not in metrics

    needs = {row["number"]: row["needs"] for row in clean["checks"] if row["needs"]}
    assert "--model" in needs[19] and "training" in needs[16] and 4 not in needs
    folder = tmp_path / clean["run_dir"]
    page = (folder / "report.html").read_text()
    assert clean["verdict"][0] in page and "What could not be checked" in page and needs[16] in page
    assert {path.name for path in (folder / "preds" / "plots").iterdir()} >= {
        "roc.png",
        "reliability.png",
        "confusion_matrix.png",
    }
    assert json.loads((folder / "audit.json").read_text()) == clean
    assert darkcovid("report", folder).returncode == 0 and (folder / "report.html").read_text() == page

    (listed,) = json.loads(darkcovid("runs", "list", "--json").stdout)
    assert (listed["name"], listed["kind"], listed["status"], listed["minutes"]) == (folder.name, "audit", "done", None)
    assert listed["arms"]["preds"]["value"] == metrics["accuracy"] and listed["verdict"] == clean["verdict"][0]
    assert "an audit" in darkcovid("runs", "show", folder.name).stdout
    assert "no finished run" in error_of(darkcovid("runs", "best", code=2))
    (folder / "audit.json").write_text('{"verdict": []}')
    assert "audit.json cannot be read" in json.loads(darkcovid("runs", "show", folder.name, "--json").stdout)["damage"]
    darkcovid("runs", "rm", folder.name, "--yes")
    assert not folder.exists()


@pytest.mark.slow
def test_leaks_are_found_by_image_patient_file_and_near_copy(darkcovid, tmp_path, files, cohorts):
    manifest, scored, train = files("clean")
    table, first = predicted(scored), scored.iloc[0]
    patient = pd.DataFrame({"image": [first.path, "b.png"], "patient_id": ["", scored.iloc[5].patient_id.upper()]})
    known = audit(darkcovid, tmp_path, manifest, table, "--no-pixels", train=patient)
    assert known["leaked_pairs"] == [[first.path, first.path]] and statuses(known)[3] == statuses(known)[4] == "fail"
    assert known["leaked_patients"] == sorted({first.patient_id, scored.iloc[5].patient_id})

    from PIL import Image

    from darkcovid.data.phantom import draw_anatomy, draw_radiograph

    source = Image.open(cohorts["clean"].roots[0] / first.path)
    (tmp_path / "copy.png").write_bytes((cohorts["clean"].roots[0] / scored.iloc[3].path).read_bytes())
    source.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((80, 80)).save(tmp_path / "mirrored.png")
    random = np.random.RandomState([99, 1])
    Image.fromarray(draw_radiograph(draw_anatomy(random), "covid", CLEAN, random)[0]).save(tmp_path / "other.png")
    copies = audit(darkcovid, tmp_path, manifest, table, train=pd.DataFrame({"image": ["copy.png", "mirrored.png", "other.png"]}))
    leaked = {frozenset(pair) for pair in copies["leaked_pairs"]}
    assert leaked == {frozenset((scored.iloc[3].path, "copy.png")), frozenset((first.path, "mirrored.png"))}

    split = pd.concat(
        [scored.assign(split="test").iloc[:-1], train.assign(split="train"), scored.iloc[-1:].assign(split="train")]
    )
    split.to_csv(tmp_path / "split.csv", index=False)
    declared = audit(darkcovid, tmp_path, tmp_path / "split.csv", table, "--no-pixels")
    assert sum(map(sum, declared["arms"]["preds"]["confusion_matrix"])) == len(scored) - 1


@pytest.mark.slow
def test_files_are_compared_on_the_same_images(darkcovid, tmp_path, files):
    manifest, scored, _ = files("clean")
    good, bad = predicted(scored), predicted(scored, skill=0.3, seed=1).iloc[2:]
    turned = bad[[*reversed(bad.columns)]].sample(frac=1, random_state=0)
    result = audit(darkcovid, tmp_path, manifest, {"good": good, "bad": turned}, "--no-pixels")
    (pair,) = result["pairs"]
    right = {
        name: dict(zip(table.image, table[[f"prob_{label}" for label in CLASSES]].to_numpy().argmax(1), strict=True))
        for name, table in (("good", good), ("bad", bad))
    }
    labels = {row.path: CLASSES.index(row.label) for row in scored.itertuples()}
    common = list(bad.image)
    accuracy = {name: np.mean([answers[image] == labels[image] for image in common]) for name, answers in right.items()}
    assert pair["differences"]["accuracy"]["difference"] == pytest.approx(accuracy["bad"] - accuracy["good"])
    assert pair["p"] < 0.01 and "bad was less accurate than good" in pair["sentence"]
    assert any(f"on the {len(common)} of its {len(good)} images" in note for note in result["notes"]["good"])
    assert "have no image in common" in audit(
        darkcovid, tmp_path, manifest, {"a": good.iloc[:20], "b": good.iloc[20:]}, "--no-pixels", code=2
    )


@pytest.mark.slow
def test_labels_alone_claim_nothing_of_scores(darkcovid, tmp_path, files):
    manifest, scored, _ = files("clean")
    table = predicted(scored)
    best = table[[f"prob_{name}" for name in CLASSES]].to_numpy().argmax(1)
    alone = pd.DataFrame({"image": table.image, "y_pred": [CLASSES[code] for code in best]})
    result = audit(darkcovid, tmp_path, manifest, {"alone": alone, "scores": table}, "--no-pixels")
    arm = result["arms"]["alone"]
    assert arm["accuracy"] == result["arms"]["scores"]["accuracy"] and arm["labels_only"]
    assert not {"ece", "brier", "log_loss", "calibration"} & set(arm) and arm["macro"]["roc_auc"] is None
    assert arm["per_class"]["covid"]["roc_auc"] is None and "covid.roc_auc" not in arm["intervals"]
    assert not any("roc_auc" in name for name in result["pairs"][0]["differences"])
    (folder,) = (tmp_path / result["run_dir"] / "alone" / "plots",)
    assert [path.name for path in folder.iterdir()] == ["confusion_matrix.png"]
    only = audit(darkcovid, tmp_path, manifest, alone, "--no-pixels")
    assert (
        statuses(only)[30] == "not run"
        and "Predicted labels without scores" in (tmp_path / only["run_dir"] / "report.html").read_text()
    )


@pytest.mark.slow
def test_a_ci_job_fails_where_it_is_told_to(darkcovid, tmp_path, files):
    manifest, scored, _ = files("planted")
    words = ("--no-pixels", "--no-images")
    table = predicted(scored)
    failed = audit(darkcovid, tmp_path, manifest, table, *words, "--fail-on", "fail", code=1)
    numbers = [str(row["number"]) for row in failed["checks"] if row["status"] == "fail"]
    passed_over = [word for number in numbers for word in ("--ignore", number)]
    assert failed["verdict"][0].startswith("Not as it stands") and "6" in numbers  # the class by its source
    assert audit(darkcovid, tmp_path, manifest, table, *words, "--fail-on", "fail", *passed_over)["status"] == "fail"


@pytest.mark.slow
def test_the_headline_that_the_documentation_examines(darkcovid):
    """docs/audit_others.md: metadata without any pixel tell the class better than the network that was published does."""
    results = RECIPES.parent / "docs" / "results" / "segmented"
    files = [word for arm in ("unsegmented", "segmented") for word in ("--predictions", results / arm / "predictions.csv")]
    manifest = ("--manifest", RECIPES.parent / "data_manifest.csv", "--dataset", "ozturk", "--match-by", "stem")
    found = json.loads(darkcovid("audit", *files, *manifest, "--no-pixels", "--json").stdout)
    page = (RECIPES.parent / "docs" / "audit_others.md").read_text()
    alone, arms = found["metadata_alone"]["accuracy"], found["arms"]
    for figure in (alone, arms["unsegmented"]["accuracy"], arms["segmented"]["accuracy"]):
        assert f"{figure:.3f}" in page
    assert alone > arms["unsegmented"]["accuracy"] and found["verdict"][0] in page.replace("\n", " ")
    recorded = json.loads((results / "comparison.json").read_text())["arms"]
    assert arms["unsegmented"]["confusion_matrix"] == recorded["unsegmented"]["confusion_matrix"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "nothing to audit"),
        (["--predictions", "preds.csv"], 2, "give --manifest PATH"),
        (["--predictions", "absent.csv", "--manifest", "m.csv"], 2, "absent.csv: no such file"),
        (["--predictions", "preds.csv", "--manifest", "absent.csv"], 2, "absent.csv: no such file"),
        (["--predictions", "noise.csv", "--manifest", "m.csv"], 3, "noise.csv: not "),
        (["--predictions", "preds.csv", "--manifest", "m.csv", "--classes", "covid"], 2, "write LABEL=CLASS"),
        (["--predictions", "preds.csv", "--manifest", "m.csv", "--probability", "covid"], 2, "write CLASS=COLUMN"),
        (["--predictions", "preds.csv", "--manifest", "m.csv", "--train", "absent.csv"], 2, "absent.csv: no such file"),
        (["--predictions", "preds.csv", "--manifest", "m.csv", "--row-column", "image"], 2, "--first-row"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(darkcovid, tmp_path, words, code, message):
    (tmp_path / "m.csv").write_text("path,label,patient_id\na.png,covid,1\nb.png,normal,2\n")
    (tmp_path / "preds.csv").write_text("image,covid,normal\na.png,0.9,0.1\nb.png,0.2,0.8\n")
    (tmp_path / "noise.csv").write_bytes(bytes(range(128, 256)) * 10)
    before = sorted(tmp_path.iterdir())
    done = darkcovid("audit", *words, code=code)
    assert message in error_of(done) and done.stdout == "" and sorted(tmp_path.iterdir()) == before
