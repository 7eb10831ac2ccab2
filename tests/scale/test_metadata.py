"""Spark counts what pandas counts: of a manifest as CSV and as Parquet, and of a recipe's cohort."""

import shutil

import numpy as np
import pandas as pd
import pytest

from darkcovid.audits.data_audit import audit_cohort, audit_facts, audit_rows
from darkcovid.core.errors import DataError, UsageError
from darkcovid.data.manifest import read_manifest
from darkcovid.scale.audit import audit_cohort_on_spark
from darkcovid.scale.metadata import SparkFacts

from ..conftest import RECIPES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="no Java on this machine; Spark needs 17 or 21"),
]


@pytest.fixture
def manifest(tmp_path):
    """The shipped manifest's rows, with copied files, blanks, quotes and unlabeled rows among them."""
    rows = pd.read_csv(RECIPES.parent / "data_manifest.csv", dtype=str, keep_default_na=False)
    ozturk = rows.index[rows.dataset == "ozturk"]
    rows.loc[ozturk[5:10], "sha256"] = rows.sha256[ozturk[4]]
    rows.loc[ozturk[700], "sha256"] = rows.sha256[ozturk[3]]
    rows.loc[ozturk[20], "license"] = 'with "quotes", a comma and\na line'
    rows.loc[ozturk[30:41], "patient_id"] = "  "
    rows.to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path / "manifest.csv"


def test_a_manifest_has_the_same_audit(session, manifest):
    dataset = "ozturk"
    here = read_manifest(manifest).of_datasets([dataset], "--dataset")
    wanted = audit_rows(here.rows)
    assert wanted["duplicates"]["exact"] >= 6 and wanted["unknown_patients"] >= 11
    assert audit_facts(SparkFacts.of_manifest(session, manifest, dataset)) == wanted
    typed = pd.read_csv(manifest, dtype={"path": str, "label": str}).convert_dtypes()
    typed.to_parquet(manifest.with_suffix(".parquet"))
    assert audit_facts(SparkFacts.of_manifest(session, manifest.with_suffix(".parquet"), dataset)) == wanted
    parquet = read_manifest(manifest.with_suffix(".parquet"))
    assert audit_rows(parquet.of_datasets([dataset], "--dataset").rows) == wanted


def test_a_cohort_has_the_same_audit(session, cohort, cache_dir, tmp_path):
    wanted = audit_cohort(cohort, cache_dir)
    random = cohort.take(np.random.default_rng(0).permutation(len(cohort)))
    assert audit_cohort_on_spark(session, cohort, tmp_path) == wanted
    assert audit_cohort_on_spark(session, random, tmp_path)["patients"] == wanted["patients"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.drop(columns="patient_id"), "'patient_id' is missing"),
        (lambda rows: pd.concat([rows, rows[:1]]), "is listed twice"),
        (lambda rows: rows.assign(path="../" + rows.path), "must be a relative path"),
        (lambda rows: rows.assign(label="one"), "fewer than two labels"),
        (lambda rows: rows.assign(label=""), "fewer than two labels"),
    ],
)
def test_what_is_refused_here_is_refused_there(session, manifest, change, words):
    change(pd.read_csv(manifest, dtype=str, keep_default_na=False)).to_csv(manifest, index=False)
    for audit in (
        lambda: audit_rows(read_manifest(manifest).rows),
        lambda: audit_facts(SparkFacts.of_manifest(session, manifest, None)),
    ):
        with pytest.raises(UsageError, match=words):
            audit()


@pytest.mark.parametrize(("encoding", "delimiter"), [("utf-16-le", ";"), ("utf-16", "\t")])
def test_every_program_s_csv_has_the_same_audit(session, tmp_path, encoding, delimiter):
    ids = ["3", "3.0", "03", "p1", "P1", "p1 ", "", "nan", "p2", "p3", "P2", "7"]
    lines = ["Path,LABEL,Patient ID,Sex, dataset,"]
    lines += [f"images\\{row}.png,{'ab'[row % 2]},{patient},{'mMfF'[row % 4]},é," for row, patient in enumerate(ids)]
    lines[5:5] = ["", ",,,,,"]
    path = tmp_path / "manifest.csv"
    path.write_bytes("\n".join(lines).replace(",", delimiter).encode(encoding))
    here = audit_rows(read_manifest(path).rows)
    assert here["patients"]["total"] == 7
    assert audit_facts(SparkFacts.of_manifest(session, path, "é")) == here


@pytest.mark.parametrize(
    "content",
    [
        b"path,label,patient_id\na.png,a,1\nb.png,b\n",
        b'path,label,patient_id,notes\na.png,a,1,"x\nb.png,b,2,\n',
        b"path,label,patient_id\n"
        + b"".join(b"%d.png,a,%d\n" % (row, row) for row in range(3000))
        + "x.png,b,Müller\n".encode("latin-1"),
        b'path,label,patient_id,notes\na.png,a,1,"x \\" y"\n',
    ],
    ids=["short row", "open quote", "late byte", "backslash"],
)
def test_a_damaged_csv_is_refused_as_here(session, tmp_path, content):
    path, said = tmp_path / "manifest.csv", set()
    path.write_bytes(content)
    for read in (read_manifest, lambda path: audit_facts(SparkFacts.of_manifest(session, path, None))):
        with pytest.raises(DataError) as caught:
            read(path)
        said.add(str(caught.value))
    assert len(said) == 1


def test_typed_columns_and_columns_of_no_use_have_the_same_audit(session, tmp_path):
    ids = [123456789012.0, 3.0, 3.5, np.nan, 1e5, 7.0] * 4
    rows = pd.DataFrame({"path": [f"{row}.png" for row in range(24)], "label": list("ab") * 12, "patient_id": ids})
    rows = rows.assign(age=[40.0, np.nan] * 12, Label="x", Notes="1", notes="2", boxes=[[1]] * 24)
    rows.to_parquet(tmp_path / "manifest.parquet")
    here = audit_rows(read_manifest(tmp_path / "manifest.parquet").rows)
    assert here["patients"]["total"] == 9
    assert audit_facts(SparkFacts.of_manifest(session, tmp_path / "manifest.parquet", None)) == here
    lines = [
        "path,label,patient_id,Label,Notes,notes,age",
        "a.png,a,1,x,1,2",
        "b.png,b,2,x,1,2,30,",
        " , ",
        "c.png,a,3",
        "d.png,b,4",
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    here = audit_rows(read_manifest(tmp_path / "manifest.csv").rows)
    assert audit_facts(SparkFacts.of_manifest(session, tmp_path / "manifest.csv", None)) == here


def test_what_is_no_parquet_is_damaged_data(session, tmp_path):
    path = tmp_path / "manifest.parquet"
    path.write_bytes(b"no such thing")
    with pytest.raises(DataError, match="not a readable"):
        read_manifest(path)
    with pytest.raises(DataError, match="not a readable"):
        SparkFacts.of_manifest(session, path, None)
    with pytest.raises(UsageError, match="no row belongs to 'x'"):
        rows = pd.DataFrame({"path": ["a"], "label": ["b"], "patient_id": ["c"], "dataset": ["d"]})
        rows.to_parquet(path)
        SparkFacts.of_manifest(session, path, "x")
