import pytest

from darkcovid.data.describe import describe
from darkcovid.data.manifest import read_manifest
from darkcovid.errors import DataError, RequestError

HEADER = "dataset,path,label,patient_id\n"


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "manifest.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_unknown_columns_are_empty_and_cells_are_text(write):
    manifest = read_manifest(write(HEADER + "a,x.png,covid,007\n"))
    assert manifest.rows.patient_id[0] == "007"
    assert manifest.rows.sha256[0] == ""


def test_a_byte_order_mark_and_windows_lines_do_no_harm(write):
    manifest = read_manifest(write("\ufeff" + (HEADER + "a,x.png,covid,1\n").replace("\n", "\r\n")))
    assert manifest.rows.to_dict("records")[0]["label"] == "covid"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dataset,path,label\na,x.png,covid\n", "'patient_id' is missing"),
        (HEADER + "a,x.png,covid,1\na,x.png,covid,1\n", "row 3: 'x.png' is listed twice"),
        (HEADER + "a,../x.png,covid,1\n", "row 2: '../x.png' must be a relative path"),
        (HEADER + "a,/etc/passwd,covid,1\n", "must be a relative path"),
        (HEADER + "a,C:\\x.png,covid,1\n", "must be a relative path"),
    ],
)
def test_an_unusable_manifest_is_refused_with_the_row(write, text, words):
    with pytest.raises(RequestError) as caught:
        read_manifest(write(text))
    assert words in str(caught.value)


def test_what_is_no_csv_is_damaged_data(write, tmp_path):
    with pytest.raises(DataError):
        read_manifest(write('path,label,patient_id\n"unclosed'))
    with pytest.raises(DataError):
        read_manifest(write(HEADER + "a,é.png,covid,1\n", encoding="latin-1"))
    with pytest.raises(RequestError, match="no such file"):
        read_manifest(tmp_path / "absent.csv")


def test_files_are_found_beside_the_manifest_then_in_the_given_root_then_by_environment(write, tmp_path, monkeypatch):
    path = write(HEADER + "a,x.png,covid,1\n")
    for folder in ("root", "environment"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_text("")
    monkeypatch.setenv("DARKCOVID_DATA", str(tmp_path / "environment"))
    assert read_manifest(path).locate("x.png") == tmp_path / "environment" / "x.png"
    assert read_manifest(path, tmp_path / "root").locate("x.png") == tmp_path / "root" / "x.png"
    (tmp_path / "x.png").write_text("")
    assert read_manifest(path, tmp_path / "root").locate("x.png") == tmp_path / "x.png"
    assert read_manifest(path).locate("y.png") is None


def test_describe_counts_images_patients_and_what_repeats(write):
    text = HEADER + "a,1.png,covid,p1\na,2.png,covid,p1\na,3.png,pneumonia,p1\na,4.png,covid,\nb,5.png,covid,p2\n"
    counts = describe(read_manifest(write(text)))
    assert counts["datasets"]["a"]["covid"] == {"images": 3, "patients": 2}
    assert counts["patients"] == {
        "known": 2,
        "with_several_images": 1,
        "with_several_labels": 1,
        "images_without_patient": 1,
    }
    assert counts["present"] == 0


def test_the_public_manifest_has_the_published_counts():
    from ..conftest import RECIPES

    counts = describe(read_manifest(RECIPES.parent / "data_manifest.csv"))
    images = {label: count["images"] for label, count in counts["datasets"]["ozturk"].items()}
    assert images == {"covid": 125, "no_finding": 500, "pneumonia": 500}
    assert counts["without_checksum"] == 1
